//! Small configurations for tests.

use std::time::Duration;

use ringway_config::model::*;

/// One listener `web` on port 8080 that serves all of `routes`.
pub(crate) fn config(services: Vec<Service>, routes: Vec<Route>) -> Config {
    let all = (0..routes.len() as u32).map(RouteId).collect();
    Config {
        role: Role::Gateway,
        runtime: Runtime {
            workers: Some(1),
            backend: Backend::Auto,
            pin: false,
            buffers: Buffers { size: 16 << 10, count: 1024 },
            memory: None,
        },
        admin: Admin { address: "127.0.0.1:9901".parse().unwrap(), writes: AdminWrites::Local },
        access_log: None,
        drain_timeout: Duration::from_secs(10),
        overload: Overload { loop_lag: None, memory: None },
        zone: None,
        acme: Vec::new(),
        fleets: Vec::new(),
        rate_limits: Vec::new(),
        listeners: vec![listener("web", 8080, all)],
        services,
        routes,
        files: vec![],
    }
}

const HTTP2: Http2 = Http2 { streams: 100, window: 64 << 10, connection_window: 1 << 20 };

pub(crate) fn listener(name: &str, port: u16, routes: Vec<RouteId>) -> Listener {
    Listener {
        name: name.into(),
        address: Address::Ip(([0, 0, 0, 0], port).into()),
        routes,
        tls: None,
        protocol: ListenerProtocol::Http,
        tcp: None,
        udp: None,
        detect: Detect { timeout: Duration::from_millis(50), opaque_ports: vec![] },
        http2: ListenerHttp2 {
            bounds: HTTP2,
            unsent: 1 << 20,
            resets: 100,
            control_frames: 100,
            empty_frames: 100,
            continuations: 8,
            stream_errors: 100,
            keep_alive: None,
        },
        proxy_protocol: vec![],
        trusted_hops: vec!["10.0.0.0/8".parse().unwrap()],
        limits: ListenerLimits {
            connections: 100_000,
            connection_rate: None,
            client_rate: None,
            head: 32 << 10,
            headers: 100,
            target: 8 << 10,
            body: None,
            requests: None,
        },
        timeouts: ListenerTimeouts {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            min_rate: 100,
            handshake: Duration::from_secs(10),
            tunnel_idle: Duration::from_secs(3600),
            linger: Duration::from_secs(1),
        },
        socket: SocketOptions { backlog: 4096, receive_buffer: None, send_buffer: None },
        upgrades: vec!["websocket".into()],
        underscores: false,
        merge_slashes: true,
        connect: false,
        trace: false,
        errors: ErrorFormat::Problem,
    }
}

pub(crate) fn service(name: &str, endpoints: &[(&str, u16)]) -> Service {
    let endpoint = |(text, weight): &(&str, u16)| Endpoint {
        address: match text.strip_prefix("dns:") {
            Some(rest) => {
                let (name, port) = rest.rsplit_once(':').unwrap();
                EndpointAddress::Dns { name: name.into(), port: port.parse().unwrap() }
            }
            None => EndpointAddress::Static(Address::Ip(text.parse().unwrap())),
        },
        weight: *weight,
        position: Position::default(),
    };
    Service {
        name: name.into(),
        endpoints: endpoints.iter().map(endpoint).collect(),
        balance: Balance::LeastRequest,
        balancing: Balancing { panic: 500_000, ..Balancing::default() },
        authority: endpoints[0].0.into(),
        host: HostPolicy::Preserve,
        timeouts: ServiceTimeouts {
            connect: Duration::from_secs(3),
            response_head: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        },
        pool: Pool { idle: 128, idle_timeout: Duration::from_secs(30) },
        protocol: ServiceProtocol::Http1,
        tls: None,
        http2: HTTP2,
        http2_keep_alive: None,
        retry_budget: RetryBudget { share: 200_000, floor: 10 },
        health: None,
        breaker: Breaker {
            connections: None,
            requests: None,
            pending: 1024,
            wait: Duration::from_secs(1),
            retries: None,
            endpoint: EndpointBreaker { connections: 8192, requests: None },
        },
        concurrency: None,
        eject: None,
    }
}

pub(crate) fn route(name: &str, host: Option<&str>, path: PathPattern, action: Action) -> Route {
    Route {
        name: name.into(),
        hosts: host
            .into_iter()
            .map(|host| match host.strip_prefix("*.") {
                Some(suffix) => HostPattern::Suffix(suffix.into()),
                None => HostPattern::Exact(host.into()),
            })
            .collect(),
        path,
        methods: vec![],
        headers: vec![],
        query: vec![],
        action,
        rate_limits: vec![],
        concurrency_limits: vec![],
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        encoded_slashes: false,
        body_limit: None,
        priority: Priority::Normal,
        faults: vec![],
    }
}

pub(crate) fn forward(split: &[(u32, u32)]) -> Action {
    Action::Forward(Forward {
        split: split
            .iter()
            .map(|(service, weight)| Part { weight: *weight, ..Part::whole(ServiceId(*service)) })
            .collect(),
        split_by: vec![],
        rewrite_path: None,
        rewrite_host: None,
        grpc_web: None,
        grpc_json: None,
        timeout: None,
        retries: None,
        hedge: None,
        mirror: None,
    })
}

pub(crate) fn respond(status: u16, body: &str) -> Action {
    Action::Respond(Respond { status, body: body.into(), content_type: "text/plain; charset=utf-8".into() })
}

pub(crate) fn prefix(path: &str) -> PathPattern {
    PathPattern::Prefix(path.into())
}
