//! The configuration as it runs: compiled once, shared by all workers, never changed.
//!
//! This is the only place on the way to the request path that knows configuration types; what it makes of them are
//! plans, which hold bytes and tables ready for use. State that outlives a snapshot (pools, health, balance) is kept
//! by each worker, keyed by a service's name and an endpoint's address. Only what lives as long as an exchange holds
//! a snapshot, so that an old one is soon dropped.

mod action;
mod balancing;
mod breaking;
mod fault;
mod header_plan;
mod health_plan;
mod limits;
mod plan;
mod retries;
mod split;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ringway_config::model;

use crate::arrivals::{ClientRate, Pace};
use crate::balance::Address;
use crate::grpc_json::{self, Transcoder};
use crate::http2::Budget;
use crate::key::{KeyPart, KeyPlan};
use crate::overload::{OverloadPlan, Priority};
use crate::proxy_protocol;
use crate::routing::{Condition, HostRule, PathFill, PathRule, RouteId, RouteRule, Router, Segment};
use crate::tls::{ClientPlan, ServerPlan};
use balancing::Subsets;

pub use action::{ActionPlan, ForwardPlan, Origin, RedirectPlan, RespondPlan};
pub use balancing::{BalancingPlan, StickyPlan};
pub use fault::fault_plan;
pub use header_plan::HeaderPlan;
pub use health_plan::{CheckPlan, EjectPlan, HealthPlan, HttpCheckPlan};
pub use limits::{LimitId, LimitPlan, MissingKey, RouteLimit};
pub use plan::{
    EndpointPlan, EndpointTarget, ErrorFormat, Http2Plan, Limits, ListenerPlan, Mode, PoolPlan, Protocol,
    RoutePlan, ServiceId, ServicePlan, SocketPlan, TcpPlan, Timeouts, UdpPlan,
};
pub use retries::{HedgeAfter, HedgePlan, MirrorPlan};

pub use split::{Part, SPLIT_SEED, Split, Weighted};

/// All that a worker needs to serve. `Send + Sync`, no interior mutability.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every configuration applied.
    pub generation: u64,
    /// In the order written.
    pub listeners: Box<[ListenerPlan]>,
    /// By [`RouteId`].
    pub routes: Box<[RoutePlan]>,
    /// By [`ServiceId`], sorted by name.
    pub services: Box<[ServicePlan]>,
    /// When something is shed.
    pub overload: OverloadPlan,
    /// By [`LimitId`].
    pub limits: Box<[LimitPlan]>,
}

const _: () = {
    const fn shared_by_workers<T: Send + Sync>() {}
    shared_by_workers::<Snapshot>();
};

impl Snapshot {
    /// Compiles a validated configuration. Takes time with its size (10 000 routes: tens of milliseconds): not for workers.
    ///
    /// # Errors
    /// What TLS objects to that a validated configuration could not tell, such as a system that trusts nobody.
    pub fn compile(config: &model::Config, generation: u64) -> Result<Snapshot, String> {
        let subsets = Subsets::of(config);
        let mut at_once = 0;
        let routes = config.routes.iter().enumerate().map(|(place, route)| {
            let first = at_once;
            at_once += route.concurrency_limits.len();
            route_plan(place as u32, route, config, &subsets, first)
        });
        let routes = routes.collect::<Result<Box<[RoutePlan]>, String>>()?;
        let listeners: Result<_, _> =
            config.listeners.iter().map(|listener| listener_plan(listener, &routes, &subsets)).collect();
        let services: Result<_, _> = (0..)
            .zip(&config.services)
            .map(|(id, service)| service_plan(config, model::ServiceId(id), service, &subsets))
            .collect();
        let limits = limits::plans(config);
        let overload = breaking::overload(config);
        Ok(Snapshot { generation, listeners: listeners?, routes, services: services?, limits, overload })
    }

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&ListenerPlan> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }

    /// The service of this name.
    pub fn service_named(&self, name: &str) -> Option<&ServicePlan> {
        self.services.binary_search_by(|service| (*service.name).cmp(name)).ok().map(|at| &self.services[at])
    }

    /// What a route does.
    #[inline]
    pub fn route(&self, id: RouteId) -> &RoutePlan {
        &self.routes[id.0 as usize]
    }

    /// A service some route leads to.
    #[inline]
    pub fn service(&self, id: ServiceId) -> &ServicePlan {
        &self.services[id.0 as usize]
    }
}

fn listener_plan(
    listener: &model::Listener,
    routes: &[RoutePlan],
    subsets: &Subsets<'_>,
) -> Result<ListenerPlan, String> {
    let mut own: Vec<RouteId> = listener.routes.iter().map(|id| RouteId(id.0)).collect();
    own.sort_unstable();
    own.dedup();
    own.retain(|id| (id.0 as usize) < routes.len());
    let of_listener = |error| format!("listener `{}`: {error}", listener.name);
    let tls = match &listener.tls {
        Some(model::Tls::Terminate(tls)) => {
            let http = mode(listener, subsets).serves_http();
            let plan = ServerPlan::new(&listener.name, tls, ms(listener.timeouts.handshake), http);
            Some(Arc::new(plan.map_err(of_listener)?))
        }
        Some(model::Tls::Passthrough) | None => None,
    };
    Ok(ListenerPlan {
        name: listener.name.as_str().into(),
        address: address(&listener.address),
        router: Router::new(own.iter().map(|id| &routes[id.0 as usize].rule)),
        is_critical: !own.is_empty()
            && own.iter().all(|id| routes[id.0 as usize].priority == Priority::Critical)
            && listener.tcp.is_none(),
        routes: own.into(),
        proxy_protocol: listener.proxy_protocol.clone().into(),
        trusted_hops: listener.trusted_hops.clone().into(),
        limits: Limits {
            connections_max: listener.limits.connections,
            connections_per_second_max: listener.limits.connection_rate,
            client_rate: listener.limits.client_rate.as_ref().map(client_rate),
            head_bytes_max: listener.limits.head,
            headers_max: listener.limits.headers,
            target_bytes_max: listener.limits.target,
            body_bytes_max: listener.limits.body.unwrap_or(u64::MAX),
            requests_max: listener.limits.requests.unwrap_or(u32::MAX),
        },
        timeouts: Timeouts {
            head_ms: ms(listener.timeouts.head),
            idle_ms: ms(listener.timeouts.idle),
            rate_bytes_per_second_min: listener.timeouts.min_rate,
            handshake_ms: ms(listener.timeouts.handshake),
            tunnel_idle_ms: ms(listener.timeouts.tunnel_idle),
            linger_ms: ms(listener.timeouts.linger),
        },
        socket: SocketPlan {
            backlog: listener.socket.backlog,
            receive_buffer_bytes: listener.socket.receive_buffer,
            send_buffer_bytes: listener.socket.send_buffer,
        },
        upgrades: listener.upgrades.iter().map(|name| name.as_bytes().into()).collect(),
        allow_underscores: listener.underscores,
        merge_slashes: listener.merge_slashes,
        allow_connect: listener.connect,
        allow_trace: listener.trace,
        errors: match listener.errors {
            model::ErrorFormat::Problem => ErrorFormat::Problem,
            model::ErrorFormat::Text => ErrorFormat::Text,
        },
        http2: http2_plan(&listener.http2.bounds),
        budget: Budget {
            resets: listener.http2.resets,
            control_frames: listener.http2.control_frames,
            empty_frames: listener.http2.empty_frames,
            continuations: listener.http2.continuations,
            stream_errors: listener.http2.stream_errors,
            unsent: listener.http2.unsent,
            keep_alive_ms: listener.http2.keep_alive.map_or(0, ms),
        },
        tls,
        mode: mode(listener, subsets),
    })
}

fn pace(rate: &model::ArrivalRate) -> Pace {
    let period_ns = u64::try_from(rate.rate.period.as_nanos()).unwrap_or(u64::MAX);
    Pace::new(rate.rate.count, period_ns, rate.burst)
}

fn client_rate(client: &model::ClientRate) -> ClientRate {
    ClientRate { pace: pace(&client.rate), v4_bits: client.v4_bits, v6_bits: client.v6_bits }
}

fn mode(listener: &model::Listener, subsets: &Subsets<'_>) -> Mode {
    let tcp = listener.tcp.as_ref().map(|tcp| TcpPlan {
        split: subsets.split(&tcp.split),
        proxy_protocol: match tcp.proxy_protocol {
            model::ProxyProtocol::None => None,
            model::ProxyProtocol::V1 => Some(proxy_protocol::Form::V1),
            model::ProxyProtocol::V2 => Some(proxy_protocol::Form::V2),
        },
    });
    if let Some(udp) = &listener.udp {
        return Mode::Udp(UdpPlan {
            split: subsets.split(&udp.split),
            idle_ms: ms(udp.idle),
            sessions_max: udp.sessions,
            rate: udp.rate.as_ref().map(pace),
            client_rate: udp.client_rate.as_ref().map(client_rate),
        });
    }
    match (tcp, listener.protocol) {
        (None, _) if listener.tls == Some(model::Tls::Passthrough) => Mode::Passthrough,
        (None, _) => Mode::Http,
        (Some(tcp), model::ListenerProtocol::Http) => Mode::Tcp(tcp),
        (Some(tcp), model::ListenerProtocol::Auto) => Mode::Auto {
            opaque: tcp,
            detect_ms: ms(listener.detect.timeout),
            opaque_ports: listener.detect.opaque_ports.clone().into(),
        },
    }
}

fn http2_plan(bounds: &model::Http2) -> Http2Plan {
    Http2Plan {
        streams: bounds.streams,
        window: bounds.window,
        connection_window: bounds.connection_window,
        keep_alive_ms: 0,
    }
}

fn route_plan(
    place: u32,
    route: &model::Route,
    config: &model::Config,
    subsets: &Subsets<'_>,
    first_at_once: usize,
) -> Result<RoutePlan, String> {
    let rule = RouteRule {
        route: RouteId(place),
        hosts: route.hosts.iter().map(host_rule).collect(),
        path: path_rule(&route.path),
        methods: route.methods.clone(),
        headers: route.headers.iter().map(condition).collect(),
        query: route.query.iter().map(condition).collect(),
    };
    let fill = |template: &model::PathTemplate| PathFill::new(&segments(&template.0), &rule.path);
    let of_route = |error| format!("route `{}`: {error}", route.name);
    let action = match &route.action {
        model::Action::Forward(forward) => ActionPlan::Forward(ForwardPlan {
            split: subsets.split(&forward.split),
            entries: subsets.weighted(&forward.split).collect(),
            split_by: key_plan(&forward.split_by, &rule, &route.name),
            rewrite_path: forward.rewrite_path.as_ref().map(fill),
            rewrite_host: forward.rewrite_host.as_ref().map(|host| host.as_bytes().into()),
            grpc_web: forward
                .grpc_web
                .as_ref()
                .map(|web| web.origins.iter().map(|one| one.as_str().into()).collect()),
            grpc_json: forward
                .grpc_json
                .as_ref()
                .map(transcoder)
                .transpose()
                .map_err(of_route)?
                .map(Box::new),
            timeout_ms: forward.timeout.map(ms),
            retries: forward.retries.as_ref().map(|one| Box::new(retries::retries(one))),
            hedge: forward.hedge.as_ref().map(retries::hedge),
            mirror: forward.mirror.as_ref().map(retries::mirror),
        }),
        model::Action::Respond(respond) => {
            ActionPlan::Respond(RespondPlan::new(respond.status, &respond.content_type, &respond.body))
        }
        model::Action::Redirect(redirect) => ActionPlan::Redirect(RedirectPlan {
            status: redirect.status,
            https: redirect.scheme.as_deref().map(|scheme| scheme == "https"),
            host: redirect.host.as_ref().map(|host| host.as_bytes().into()),
            port: redirect.port,
            path: redirect.path.as_ref().map(fill),
        }),
    };
    Ok(RoutePlan {
        name: route.name.as_str().into(),
        action,
        request_headers: header_plan(&route.request_headers),
        response_headers: response_header_plan(config, route),
        limits: limits::of_route(config, route, &rule, first_at_once),
        allow_encoded_slashes: route.encoded_slashes,
        body_bytes_max: route.body_limit,
        faults: route.faults.iter().map(fault::fault_plan).collect(),
        rule,
        priority: breaking::priority(route.priority),
    })
}

/// A key of requests on `route`.
pub(crate) fn key_plan(sources: &[model::KeySource], route: &RouteRule, name: &str) -> KeyPlan {
    KeyPlan::new(sources.iter().map(|source| match source {
        model::KeySource::ClientIp { v4_bits, v6_bits } => {
            KeyPart::ClientIp { v4_bits: *v4_bits, v6_bits: *v6_bits }
        }
        model::KeySource::Header(name) => KeyPart::Header(name.as_str().into()),
        model::KeySource::Cookie(name) => KeyPart::Cookie(name.as_str().into()),
        model::KeySource::Query(name) => KeyPart::Query(name.as_str().into()),
        model::KeySource::Path => KeyPart::Path,
        model::KeySource::PathTemplate => KeyPart::Fixed(route.path.to_string().into(), "path_template"),
        model::KeySource::Method => KeyPart::Method,
        model::KeySource::Host => KeyPart::Host,
        model::KeySource::Route => KeyPart::Fixed(name.into(), "route"),
    }))
}

fn transcoder(json: &model::GrpcJson) -> Result<Transcoder, String> {
    let options = grpc_json::Options {
        ignore_unknown: json.ignore_unknown,
        print_defaults: json.print_defaults,
        proto_names: json.proto_names,
    };
    Transcoder::new(&json.descriptor_set, &json.services, options)
        .map_err(|error| format!("{}: {error}", json.descriptor.display()))
}

fn service_plan(
    config: &model::Config,
    id: model::ServiceId,
    service: &model::Service,
    subsets: &Subsets<'_>,
) -> Result<ServicePlan, String> {
    let tls = service.tls.as_ref().map(ClientPlan::new).transpose();
    let tls = tls.map_err(|error| format!("service `{}`: {error}", service.name))?;
    let (rules, balancing) = subsets.balancing(id, service);
    let endpoint = |endpoint: &model::Endpoint| endpoint_plan(config, endpoint, subsets.views(id, endpoint));
    Ok(ServicePlan {
        name: service.name.as_str().into(),
        endpoints: service.endpoints.iter().map(endpoint).collect(),
        rules,
        balancing,
        authority: service.authority.as_bytes().into(),
        authority_as_host: service.host == model::HostPolicy::Service,
        connect_ms: ms(service.timeouts.connect),
        response_head_ms: ms(service.timeouts.response_head),
        idle_ms: ms(service.timeouts.idle),
        pool: PoolPlan { idle_max: service.pool.idle, idle_timeout_ms: ms(service.pool.idle_timeout) },
        breaker: breaking::limits(&service.breaker),
        concurrency: service.concurrency.as_ref().map(breaking::concurrency),
        protocol: match service.protocol {
            model::ServiceProtocol::Http1 => Protocol::Http1,
            model::ServiceProtocol::Http2 => Protocol::Http2,
            model::ServiceProtocol::Auto => Protocol::Auto,
        },
        http2: Http2Plan {
            keep_alive_ms: service.http2_keep_alive.map_or(0, ms),
            ..http2_plan(&service.http2)
        },
        retry_budget: retries::budget(&service.retry_budget),
        tls: tls.map(Arc::new),
        health: service.health.as_ref().map(health_plan::health_plan),
        eject: service.eject.as_ref().map(health_plan::eject_plan),
    })
}

fn endpoint_plan(config: &model::Config, endpoint: &model::Endpoint, views: u64) -> EndpointPlan {
    let target = match &endpoint.address {
        model::EndpointAddress::Static(known) => EndpointTarget::Known(address(known)),
        model::EndpointAddress::Dns { name, port } => {
            EndpointTarget::Dns { name: name.as_str().into(), port: *port }
        }
    };
    let position = &endpoint.position;
    EndpointPlan {
        target,
        weight: endpoint.weight,
        priority: position.priority,
        zone: position.zone.as_deref().map(Into::into),
        is_near: position.zone.is_some() && position.zone == config.zone,
        views,
    }
}

fn address(address: &model::Address) -> Address {
    match address {
        model::Address::Ip(socket) => Address::Ip(*socket),
        model::Address::Unix(path) => Address::Unix(Arc::from(path.as_path())),
    }
}

fn header_plan(ops: &model::HeaderOps) -> HeaderPlan {
    HeaderPlan::new(&ops.remove, &ops.set, &ops.add)
}

/// What limits read of responses is not for clients.
fn response_header_plan(config: &model::Config, route: &model::Route) -> HeaderPlan {
    let ops = &route.response_headers;
    let removed: Vec<String> =
        ops.remove.iter().chain(limits::hidden_headers(config, route)).cloned().collect();
    HeaderPlan::new(&removed, &ops.set, &ops.add)
}

fn host_rule(host: &model::HostPattern) -> HostRule {
    match host {
        model::HostPattern::Exact(name) => HostRule::Exact(name.clone()),
        model::HostPattern::Suffix(suffix) => HostRule::Suffix(suffix.clone()),
    }
}

fn path_rule(path: &model::PathPattern) -> PathRule {
    match path {
        model::PathPattern::Any => PathRule::Segments(vec![Segment::Rest]),
        model::PathPattern::Exact(path) => PathRule::Exact(path.clone()),
        model::PathPattern::Prefix(prefix) => {
            let below_root = prefix.strip_prefix('/').unwrap_or(prefix);
            let pieces = below_root.split('/').filter(|_| !below_root.is_empty());
            let literals = pieces.map(|piece| Segment::Literal(piece.to_owned()));
            PathRule::Segments(literals.chain([Segment::Rest]).collect())
        }
        model::PathPattern::Template(template) => {
            let rule = PathRule::Segments(segments(template));
            let is_literal = template.iter().all(|s| matches!(s, model::Segment::Literal(_)));
            if is_literal { PathRule::Exact(rule.to_string()) } else { rule }
        }
    }
}

fn segments(segments: &[model::Segment]) -> Vec<Segment> {
    let segment = |segment: &model::Segment| match segment {
        model::Segment::Literal(text) => Segment::Literal(text.clone()),
        model::Segment::Parameter(name) => Segment::Parameter(name.clone()),
        model::Segment::Rest => Segment::Rest,
    };
    segments.iter().map(segment).collect()
}

fn condition(value: &model::ValueMatch) -> Condition {
    Condition { name: value.name.clone(), value: value.value.clone() }
}

/// Rounded up, so that what is short does not become nothing.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
