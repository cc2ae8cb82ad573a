//! Whole configurations through the front door.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ringway_config::describe::{Absent, Field, Kind, Object, tables};
use ringway_config::model::*;
use ringway_config::{Report, config_as_json, load, load_str};

fn no_env(_: &str) -> Option<String> {
    None
}

fn config(text: &str) -> Config {
    match load_str("test.yaml", text, &no_env) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{report}"),
    }
}

fn report(text: &str) -> Report {
    load_str("test.yaml", text, &no_env).expect_err(text)
}

/// The design's forms, without those of later versions.
const DESIGN: &str = r#"
role: gateway                        # or sidecar
runtime: { workers: auto, backend: auto, pin: true }
admin: { address: 127.0.0.1:9901 }

listeners:
  - { name: plain, address: 0.0.0.0:8080 }

services:
  orders:
    endpoints: [ 127.0.0.1:9001, { address: 127.0.0.1:9002, weight: 2 } ]
    balance: least_request
    protocol: http1
  orders-next: { endpoints: [ 127.0.0.1:9003 ] }
  billing: { endpoints: [ "dns:billing.internal:8080" ] }

routes:
  - name: orders
    hosts: [ api.example.com, "*.example.org" ]
    path: /v1/orders/**
    methods: [ GET, POST ]
    headers: { x-tenant: acme }
    to: [ { service: orders, weight: 95 }, { service: orders-next, weight: 5 } ]
    rewrite: { path: /orders/** }
    timeout: 5s
  - { path: "/v1/orders/{id}", to: billing }
  - { path: /healthz, respond: { status: 200, body: ok } }
  - { path: /old/**, redirect: { path: /new/**, status: 308 } }
"#;

#[test]
fn the_forms_of_the_design_mean_what_they_say() {
    let config = config(DESIGN);
    assert_eq!(
        config.runtime,
        Runtime {
            workers: None,
            backend: Backend::Auto,
            pin: true,
            buffers: Buffers { size: 16384, count: 640 },
            memory: None,
        }
    );
    assert_eq!(config.listeners[0].routes, (0..4).map(RouteId).collect::<Vec<_>>());
    let names: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["billing", "orders", "orders-next"]);
    assert_eq!(
        config.services[0].endpoints[0].address,
        EndpointAddress::Dns { name: "billing.internal".into(), port: 8080 }
    );
    assert_eq!(config.services[0].authority, "billing.internal:8080");
    assert_eq!(config.services[1].endpoints[1].weight, 2);
    assert_eq!(config.services[1].authority, "127.0.0.1:9001");

    let orders = &config.routes[0];
    assert_eq!(orders.hosts[1], HostPattern::Suffix("example.org".into()));
    assert_eq!(orders.path, PathPattern::Prefix("/v1/orders".into()));
    assert_eq!(orders.headers, [ValueMatch { name: "x-tenant".into(), value: Some("acme".into()) }]);
    let Action::Forward(forward) = &orders.action else { panic!() };
    let parts: Vec<_> = forward.split.iter().map(|part| (part.service, part.weight)).collect();
    assert_eq!(parts, [(ServiceId(1), 95), (ServiceId(2), 5)]);
    let rewrite = PathTemplate(vec![Segment::Literal("orders".into()), Segment::Rest]);
    assert_eq!(forward.rewrite_path, Some(rewrite));
    assert_eq!(forward.timeout, Some(Duration::from_secs(5)));

    assert_eq!(config.routes[1].name, "route-2");
    assert!(matches!(config.routes[1].path, PathPattern::Template(_)));
    let Action::Respond(respond) = &config.routes[2].action else { panic!() };
    assert_eq!((respond.status, respond.body.as_str()), (200, "ok"));
    let Action::Redirect(redirect) = &config.routes[3].action else { panic!() };
    assert_eq!((redirect.status, redirect.host.as_deref(), redirect.port), (308, None, None));
}

#[test]
fn defaults_are_those_of_the_model() {
    let config = config(
        "listeners: [ { name: a, address: 127.0.0.1:0 } ]\nservices: { s: { endpoints: [ 127.0.0.1:1 ] } }",
    );
    let listener = &config.listeners[0];
    assert_eq!(
        listener.limits,
        ListenerLimits {
            connections: 100_000,
            connection_rate: None,
            client_rate: None,
            head: 32 << 10,
            headers: 100,
            target: 8 << 10,
            body: None,
            requests: None,
        }
    );
    assert_eq!(
        listener.timeouts,
        ListenerTimeouts {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            min_rate: 100,
            handshake: Duration::from_secs(10),
            tunnel_idle: Duration::from_secs(3600),
            linger: Duration::from_secs(1),
        }
    );
    assert_eq!(listener.socket, SocketOptions { backlog: 4096, receive_buffer: None, send_buffer: None });
    assert_eq!(listener.upgrades, ["websocket"]);
    assert!(listener.merge_slashes && !listener.underscores && !listener.connect && !listener.trace);
    let service = &config.services[0];
    assert_eq!(
        service.timeouts,
        ServiceTimeouts {
            connect: Duration::from_secs(3),
            response_head: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    );
    assert_eq!(service.pool, Pool { idle: 128, idle_timeout: Duration::from_secs(30) });
    assert_eq!((config.access_log, config.drain_timeout), (None, Duration::from_secs(30)));
    assert_eq!(config.admin.address, "127.0.0.1:9901".parse().unwrap());
}

/// Everything that can be said, said once, and nothing as its default.
const FULL: &str = r#"
role: sidecar
runtime: { workers: 3, backend: epoll, pin: true, buffers: { size: 64KiB, count: 100 }, memory: 512MiB }
admin: { address: "[::1]:9902", writes: any }
access_log: { format: common, to: /var/log/ringway.log, ring: 1MiB }
drain_timeout: 1500ms
overload: { loop_lag: none, memory: 75% }
zone: z-1
listeners:
  - name: a
    address: "[::1]:8080"
    routes: [ two, one ]
    proxy_protocol: [ 10.0.0.0/8, fd00::/8 ]
    trusted_hops: [ 192.0.2.1 ]
    limits: { connections: 5, connection_rate: 60/min, head: 16KiB, headers: 50, target: 1KiB, body: 1MiB, requests: 7 }
    timeouts: { head: 1s, idle: 2m, min_rate: none, tunnel_idle: 3h, linger: 250ms }
    socket: { backlog: 10, receive_buffer: 64KiB, send_buffer: 128KiB }
    upgrades: [ WebSocket, tcp ]
    underscores: true
    merge_slashes: false
    connect: true
    trace: true
    errors: text
  - { name: b, address: unix:/run/b.sock, routes: all, upgrades: [] }
services:
  s:
    endpoints:
      - { address: unix:/run/s.sock, weight: 7, priority: 2, zone: z-1, labels: { version: v2, track: "5" } }
      - "dns:x.y.:80"
    balance: peak_ewma
    slow_start: 30s
    panic: 0.5%
    sticky: { cookie: to, ttl: 90m }
    protocol: http1
    authority: S.internal:81
    host: service
    timeouts: { connect: 1ms, response_head: 2ms, idle: 3ms }
    pool: { idle: 2, idle_timeout: 1m }
    breaker: { connections: 9, requests: 8, pending: 7, wait: 6s, retries: 5, endpoint: { connections: 4, requests: 3 } }
    concurrency: { mode: aimd, min: 2, max: 90, latency: 80ms, failures: 7.5% }
  t: { endpoints: [ 127.0.0.1:1 ], balance: ring_hash, hash_by: [ "cookie:sid", client_ip/24/56 ], hash_load: none }
  u: { endpoints: [ 127.0.0.1:2 ], balance: maglev, hash_by: path, hash_load: 200% }
routes:
  - name: one
    hosts: [ a.b, "*.c.d" ]
    path: "/x/{id}/**"
    methods: [ GET, PURGE ]
    headers: { X-A: "*", x-b: "1.10" }
    query: { "a b": "", q: "*" }
    to: [ { service: s, weight: 0, subset: { version: v2 } }, { service: t, weight: 9 }, { service: s } ]
    split_by: [ "header:x-user", host ]
    rewrite: { path: "/{id}/y/**", host: z.internal:99 }
    timeout: 7s
    request_headers: { remove: [ X-R ], set: { X-S: "no" }, add: { x-t: "010" } }
    response_headers: { remove: [ server ], set: { a: b }, add: { c: d } }
    encoded_slashes: true
    body_limit: 5B
    priority: low
    faults:
      - { delay: 2s, share: 0.5%, headers: { X-Chaos: "1", y: "*" }, until: 2026-01-01T00:00:00Z }
      - { abort: 503, until: 2026-01-01T01:00:00+01:00 }
      - { delay: 5m, abort: grpc:unavailable, until: 2026-01-01T00:00:00Z }
  - { name: two, path: /two, respond: { status: 503, body: "a\nb", content_type: text/html }, body_limit: none }
  - { name: four, path: /four, to: { service: u, weight: 3 } }
  - { name: three, path: "/three/**", redirect: { path: "/3/**", status: 302, scheme: https, host: w.x, port: 444 } }
"#;

#[test]
fn what_is_shown_loads_as_the_same_configuration() {
    for text in [FULL, DESIGN, WITH_ACME] {
        let config = config(text);
        let shown = config_as_json(&config).to_string();
        assert_eq!(self::config(&shown), config, "{shown}");
    }
}

/// Every field of ACME with a value that is not its default.
const WITH_ACME: &str = r#"
acme:
  one:
    directory: https://acme.internal:14000/acme/directory?x=1
    folder: var/acme
    terms_agreed: true
    email: ops@example.com
    challenge: http-01
    ca: tests/tls/ca.crt
    external_account: { id: kid-1, key: tests/acme/eab.key }
    retry: 5s
listeners:
  - { name: plain, address: 127.0.0.1:0, routes: all }
  - name: secure
    address: 127.0.0.1:0
    routes: all
    tls: { certificates: [ { acme: one, names: [ A.example, b.example ] }, { acme: one, names: [ c.example ] } ] }
routes: [ { path: /, respond: { status: 200 } } ]
"#;

#[test]
fn certificates_from_an_authority_are_kept_by_directory_and_first_name() {
    let config = config(WITH_ACME);
    let account = &config.acme[0];
    assert_eq!((account.challenge, account.retry), (AcmeChallenge::Http01, Duration::from_secs(5)));
    assert_eq!(account.external.as_ref().unwrap().key.bytes(), b"0123456789abcdef");
    let Some(Tls::Terminate(tls)) = &config.listeners[1].tls else { panic!() };
    let ListenerCertificate::Acme(one) = &tls.certificates[0] else { panic!() };
    assert_eq!(one.names, ["a.example", "b.example"]);
    let file = "var/acme/acme.internal-14000-acme-directory-x-1/a.example.pem";
    assert_eq!((one.file.to_str().unwrap(), &one.held), (file, &None));
    // It is watched for, so that it is read when it comes.
    assert!(config.files.iter().any(|read| read.path == one.file));
    let shown = config_as_json(&config).to_string();
    assert!(!shown.contains("MDEyMzQ1Njc4OWFiY2RlZg") && !shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn credentials_are_not_shown() {
    let text = "listeners: [ { name: a, address: 127.0.0.1:1 } ]\nservices: { s: { endpoints: [ 127.0.0.1:2 ] } }\nroutes:\n  \
                - { to: s, headers: { x-api-key: hush1 }, query: { token: hush2 },\n      \
                request_headers: { set: { Authorization: hush3, x-plain: seen }, add: { cookie: hush4 } } }\n";
    let shown = config_as_json(&config(text)).to_string();
    assert!(!shown.contains("hush") && shown.contains("seen") && shown.contains("[redacted]"), "{shown}");
}

#[test]
fn checks_and_ejection_read_back_as_they_are_shown() {
    let text = "listeners: [ { name: a, address: 127.0.0.1:1 } ]
services:
  s:
    endpoints: [ 127.0.0.1:2 ]
    health: { http: { path: /healthz?deep, status: [ 200, 300-399 ], body: ok, host: h.example }, jitter: 0% }
    eject: { latency: 2.5x, success: 0%, mode: observe, share: 33.3%, consecutive: 3, base: 1s, max: 2s }
  t: { endpoints: [ 127.0.0.1:3 ], health: { tcp: {} }, eject: {} }
routes: [ { to: [ { service: s }, { service: t } ] } ]
";
    let first = config(text);
    assert_eq!(config(&config_as_json(&first).to_string()), first);
    let CheckBy::Http(http) = &first.services[0].health.as_ref().unwrap().by else { panic!() };
    assert_eq!(http.statuses, [(200, 200), (300, 399)]);
    let eject = first.services[1].eject.unwrap();
    assert_eq!((eject.consecutive, eject.success, eject.latency, eject.share), (5, 800_000, None, 500_000));
}

#[test]
fn checks_that_ask_nothing_or_two_things_are_refused() {
    for (said, code, line) in [
        ("health: {}", "missing-field", "a check says what it asks"),
        ("health: { tcp: {}, grpc: a }", "conflict", "a check asks one thing"),
        ("health: { grpc: a }", "conflict", "calls of gRPC need HTTP/2"),
        ("health: { http: { path: healthz } }", "bad-path", "no path that can be asked for"),
        ("health: { http: { path: /, status: [ 100 ] } }", "bad-status", "no status that ends a response"),
        ("health: { http: { path: /, status: [] } }", "out-of-range", "1 to 32 statuses"),
        ("health: { http: { path: /, body: '' } }", "out-of-range", "1 to 256 bytes"),
        ("eject: { latency: 3 }", "bad-multiple", "no multiple"),
        ("eject: { base: 10m }", "out-of-range", "longer than any may"),
        ("eject: { consecutive: 65 }", "out-of-range", "65"),
        ("eject: { interval: 10ms }", "out-of-range", "at least 100ms"),
        ("eject: { consecutive: 0, success: 0% }", "no-effect", "judged by nothing"),
    ] {
        let text = format!(
            "listeners: [ {{ name: a, address: 127.0.0.1:1 }} ]\nroutes: [ {{ to: s }} ]\nservices: {{ s: {{ endpoints: \
             [ 127.0.0.1:2 ], {said} }} }}\n"
        );
        let found = match load_str("test.yaml", &text, &no_env) {
            Ok(loaded) => loaded.report(),
            Err(report) => report,
        };
        let one = found.diagnostics.iter().find(|one| one.code == code);
        assert!(one.is_some_and(|one| one.message.contains(line)), "{said}: {found}");
    }
}

#[test]
fn none_lifts_a_limit_for_one_route() {
    assert_eq!(config(FULL).routes[1].body_limit, Some(u64::MAX));
    assert_eq!(config(FULL).routes[2].body_limit, None);
}

/// Where the description says a field may stand, with something in it that is right nowhere: every described field must
/// be looked at by the decoder.
#[test]
fn every_described_field_is_decoded() {
    for object in tables::ALL {
        for field in object.fields {
            let text = with_field(object, field, "[ [ ] ]");
            let found = report(&text);
            let column_of_value = text.find("[ [ ] ]").unwrap();
            let (from, to) = (column_of_value as u32, column_of_value as u32 + 7);
            let at_value =
                found.diagnostics.iter().any(|one| one.place.is_some_and(|p| (from..to).contains(&p.start)));
            assert!(at_value, "{}.{}\n{text}\n{found}", object.name, field.name);
        }
    }
}

/// A default that is written out changes nothing.
#[test]
fn written_defaults_are_the_defaults() {
    for object in tables::ALL {
        for field in object.fields {
            let Absent::Default(default) = field.absent else { continue };
            let text = with_field(object, field, &serde_json::Value::from(default).to_string());
            let without = with_field(object, field, "GONE").replace(&format!("{}: GONE", field.name), "");
            assert_eq!(
                config(&text),
                config(&without.replace("{ ,", "{").replace(", ,", ",")),
                "{}.{}",
                object.name,
                field.name
            );
        }
    }
}

const ACME: &str = "directory: https://acme.internal/directory, folder: acme, terms_agreed: true";
const CERTIFICATES: &str = "certificates: [ { cert: tests/tls/site.crt, key: tests/tls/site.key } ]";

/// A configuration that is right but for one field of one object.
fn with_field(object: &'static Object, field: &'static Field, value: &str) -> String {
    let one = format!("{}: {value}", field.name);
    let unless =
        |name: &str, text: &str| if field.name == name { String::new() } else { format!(", {text}") };
    let mut root = String::new();
    let mut listener = String::from("name: a, address: 127.0.0.1:0");
    let mut service = String::from("endpoints: [ 127.0.0.1:1 ]");
    let mut route = String::from("name: r, path: /p/**, to: s");
    match object.name {
        "config" => root = format!("{one}\n"),
        "runtime" => root = format!("runtime: {{ {one} }}\n"),
        "buffers" => root = format!("runtime: {{ buffers: {{ {one} }} }}\n"),
        "admin" => root = format!("admin: {{ {one} }}\n"),
        "access_log" => root = format!("access_log: {{ {one} }}\n"),
        "listener" => {
            listener =
                format!("{one}{}{}", unless("name", "name: a"), unless("address", "address: 127.0.0.1:0"));
        }
        "fleet" if matches!(field.name, "rls" | "domain") => {
            root = format!("fleets: {{ x: {{ {one}{} }} }}\n", unless("rls", "rls: h:1"));
        }
        "fleet" => {
            root = format!("fleets: {{ x: {{ {one}{} }} }}\n", unless("redis", "redis: rediss://h"));
        }
        "rate_limit" => {
            let rest = unless("rate", "rate: 1/s");
            root = if field.name == "fleet" { "fleets: { m: { redis: redis://h } }\n".into() } else { root };
            route.push_str(&format!(", rate_limit: {{ {one}{rest} }}"));
        }
        "concurrency_limit" => {
            let rest = unless("requests", "requests: 1");
            route.push_str(&format!(", concurrency_limit: {{ {one}{rest} }}"));
        }
        "client_rate" => {
            let rest = unless("rate", "rate: 1/s");
            listener.push_str(&format!(", limits: {{ client_rate: {{ {one}{rest} }} }}"));
        }
        "arrival_rate" => {
            let rest = unless("rate", "rate: 1/s");
            listener.push_str(&format!(", udp: {{ to: s, rate: {{ {one}{rest} }} }}"));
        }
        "limits" => listener.push_str(&format!(", limits: {{ {one} }}")),
        "listener_timeouts" => listener.push_str(&format!(", timeouts: {{ {one} }}")),
        "socket" => listener.push_str(&format!(", socket: {{ {one} }}")),
        "tls" => {
            listener.push_str(&format!(", tls: {{ {one}{} }}", unless("certificates", CERTIFICATES)));
        }
        "listener_certificate" if matches!(field.name, "acme" | "names") => {
            root = format!("acme: {{ x: {{ {ACME} }} }}\n");
            let rest = format!("{}{}", unless("acme", "acme: x"), unless("names", "names: [ a.b ]"));
            listener.push_str(&format!(", tls: {{ certificates: [ {{ {one}{rest} }} ] }}"));
        }
        "listener_certificate" => {
            let cert = unless("cert", "cert: tests/tls/site.crt");
            let key = unless("key", "key: tests/tls/site.key");
            listener.push_str(&format!(", tls: {{ certificates: [ {{ {one}{cert}{key} }} ] }}"));
        }
        "certificate" => {
            let cert = unless("cert", "cert: tests/tls/site.crt");
            let key = unless("key", "key: tests/tls/site.key");
            service.push_str(&format!(", tls: {{ certificate: {{ {one}{cert}{key} }} }}"));
        }
        "acme_account" => {
            let rest = ACME.split(", ").filter(|part| !part.starts_with(&format!("{}:", field.name)));
            root = format!("acme: {{ x: {{ {one}, {} }} }}\n", rest.collect::<Vec<_>>().join(", "));
        }
        "external_account" => {
            let rest = format!("{}{}", unless("id", "id: k"), unless("key", "key: tests/acme/eab.key"));
            root = format!("acme: {{ x: {{ {ACME}, external_account: {{ {one}{rest} }} }} }}\n");
        }
        "clients" => {
            let ca = unless("ca", "ca: tests/tls/ca.crt");
            listener.push_str(&format!(", tls: {{ clients: {{ {one}{ca} }}, {CERTIFICATES} }}"));
        }
        "http2" => listener.push_str(&format!(", http2: {{ {one} }}")),
        "tcp" => listener.push_str(&format!(", tcp: {{ {one}{} }}", unless("to", "to: s"))),
        "udp" => listener.push_str(&format!(", udp: {{ {one}{} }}", unless("to", "to: s"))),
        "detect" => {
            listener.push_str(&format!(", protocol: auto, tcp: {{ to: s }}, detect: {{ {one} }}"));
        }
        "service_tls" => service.push_str(&format!(", tls: {{ {one} }}")),
        "health" => {
            let by_itself = matches!(field.name, "http" | "grpc" | "tcp");
            let rest = if by_itself { "" } else { ", grpc: a.Service" };
            service.push_str(&format!(", protocol: http2, health: {{ {one}{rest} }}"));
        }
        "sticky" => {
            let rest = unless("cookie", "cookie: c");
            service.push_str(&format!(", sticky: {{ {one}{rest} }}"));
        }
        "health_http" => {
            let path = unless("path", "path: /healthz");
            service.push_str(&format!(", health: {{ http: {{ {one}{path} }} }}"));
        }
        "eject" => service.push_str(&format!(", eject: {{ {one} }}")),
        "service_http2" => service.push_str(&format!(", http2: {{ {one} }}")),
        "service" => {
            let hashed = match field.name {
                "hash_by" => ", balance: maglev",
                "hash_load" => ", balance: maglev, hash_by: path",
                _ => "",
            };
            service = format!("{one}{hashed}{}", unless("endpoints", "endpoints: [ 127.0.0.1:1 ]"));
        }
        "endpoint" => {
            service = format!("endpoints: [ {{ {one}{} }} ]", unless("address", "address: 127.0.0.1:1"));
        }
        "service_timeouts" => service.push_str(&format!(", timeouts: {{ {one} }}")),
        "overload" => root = format!("overload: {{ {one} }}\n"),
        "breaker" => service.push_str(&format!(", breaker: {{ {one} }}")),
        "endpoint_breaker" => service.push_str(&format!(", breaker: {{ endpoint: {{ {one} }} }}")),
        "concurrency" => service.push_str(&format!(", concurrency: {{ {one} }}")),
        "pool" => service.push_str(&format!(", pool: {{ {one} }}")),
        "route" => {
            let action = if matches!(field.name, "respond" | "redirect") { "" } else { "to: s" };
            let action = if action.is_empty() { String::new() } else { unless("to", action) };
            route = format!("{one}{}{}{action}", unless("name", "name: r"), unless("path", "path: /p/**"));
        }
        "split" => {
            route = format!("name: r, to: [ {{ {one}{} }} ]", unless("service", "service: s"));
        }
        "grpc_web" => {
            service.push_str(", protocol: http2");
            route.push_str(&format!(", grpc_web: {{ {one} }}"));
        }
        "grpc_json" => {
            service.push_str(", protocol: http2");
            let descriptor = unless("descriptor", "descriptor: tests/shop.proto");
            let services = unless("services", "services: [ shop.Shop ]");
            route.push_str(&format!(", grpc_json: {{ {one}{descriptor}{services} }}"));
        }
        "respond" => route = format!("name: r, respond: {{ {one} }}"),
        "redirect" => route = format!("name: r, redirect: {{ {one}{} }}", unless("host", "host: h")),
        "rewrite" => route.push_str(&format!(", rewrite: {{ {one} }}")),
        "fault" => {
            let rest = unless("until", "until: \"2026-01-01T00:00:00Z\"");
            let delay = if field.name == "abort" { String::new() } else { unless("delay", "delay: 1s") };
            route.push_str(&format!(", faults: [ {{ {one}{delay}{rest} }} ]"));
        }
        "retries" => route.push_str(&format!(", retries: {{ {one} }}")),
        "hedge" => route.push_str(&format!(", hedge: {{ {one} }}")),
        "mirror" => {
            route.push_str(&format!(", mirror: {{ {one}{} }}", unless("service", "service: s")));
        }
        "retry_budget" => service.push_str(&format!(", retry_budget: {{ {one} }}")),
        "header_ops" => route.push_str(&format!(", request_headers: {{ {one} }}")),
        other => panic!("no place known for {other}"),
    }
    for (name, text) in [
        ("listeners", format!("listeners: [ {{ {listener} }} ]\n")),
        ("services", format!("services: {{ s: {{ {service} }} }}\n")),
        ("routes", format!("routes: [ {{ {route} }} ]\n")),
    ] {
        if !(object.name == "config" && field.name == name) {
            root.push_str(&text);
        }
    }
    root
}

#[test]
fn kinds_with_bounds_have_a_default_within_them() {
    for object in tables::ALL {
        for field in object.fields {
            if let Kind::Integer(min, max) | Kind::Size(min, max) = field.kind {
                assert!(min < max, "{}.{}", object.name, field.name);
            }
        }
    }
}

#[test]
fn a_missing_file_is_a_diagnostic_without_a_place() {
    let report = load(std::path::Path::new("/nonexistent/ringway.yaml"), &no_env).unwrap_err();
    assert_eq!(report.diagnostics[0].code, "unreadable");
    assert!(
        report.render().starts_with("/nonexistent/ringway.yaml: error: the file can't be read"),
        "{report}"
    );
    let folder = load(std::path::Path::new("/"), &no_env).unwrap_err();
    assert_eq!(folder.diagnostics[0].code, "unreadable");
}

#[test]
fn bytes_that_are_not_utf8_have_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, b"role: gateway\nx: \xff\xfe\n").unwrap();
    let report = load(&path, &no_env).unwrap_err();
    let place = report.diagnostics[0].place.unwrap();
    assert_eq!((report.diagnostics[0].code, place.line, place.column), ("not-utf8", 2, 4));
}

#[test]
fn a_byte_order_mark_is_no_matter() {
    config(&format!("\u{feff}{DESIGN}"));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let text = format!("# {}\n", "x".repeat(ringway_config::tree::INPUT_BYTES_MAX));
    assert_eq!(report(&text).diagnostics[0].code, "too-large");
}

#[test]
fn a_flood_of_problems_is_counted_not_printed() {
    let mut text = String::from("listeners: [ { name: a, address: 127.0.0.1:1 } ]\nroutes:\n");
    for index in 0..5000 {
        writeln!(text, "  - {{ name: r{index}, path: /{index}, to: nowhere }}").unwrap();
    }
    let report = report(&text);
    let rendered = report.render();
    assert_eq!(report.diagnostics.len() + report.dropped, 5000);
    assert!(rendered.ends_with("and 4900 more\n"), "{}", &rendered[rendered.len() - 80..]);
}

#[test]
fn ten_thousand_routes_load_in_a_breath() {
    let mut text = String::from("listeners: [ { name: a, address: 127.0.0.1:1 } ]\nservices:\n");
    for index in 0..1000 {
        writeln!(text, "  service-{index}: {{ endpoints: [ 127.0.0.1:{} ] }}", index + 1).unwrap();
    }
    text.push_str("routes:\n");
    for index in 0..10_000 {
        let service = index % 1000;
        writeln!(
            text,
            "  - {{ name: r{index}, hosts: [ h{index}.example.com ], path: \"/v1/{index}/{{id}}/**\", to: service-{service} }}"
        )
        .unwrap();
    }
    let start = Instant::now();
    assert_eq!(config(&text).routes.len(), 10_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn every_diagnostic_code_is_in_lower_case_with_dashes() {
    let found = report("role: x\nlisteners: [ { nam: 1 } ]\n");
    let json = found.to_json();
    assert_eq!(json["ok"], false);
    for one in json["diagnostics"].as_array().unwrap() {
        assert!(one["code"].as_str().unwrap().chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        assert_eq!(one["file"], "test.yaml");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        let _ = load_str("x", &text, &no_env).map_err(|report| report.render());
    }

    /// Pieces of what is right, in any order: deeper than random characters get.
    #[test]
    fn anything_like_a_configuration_is_answered(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        let text: String = pieces.concat();
        let _ = load_str("x", &text, &no_env).map_err(|report| { report.to_json(); report.render() });
    }

    /// One slip in a file that is right.
    #[test]
    fn a_slip_anywhere_is_answered(at in 0..FULL.len(), cut in 0usize..4, put in "(\\PC|\n|\t|: |- |\\{|\\}|\\[|\"){0,3}") {
        let mut text = FULL.to_owned();
        let end = (at + cut).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(end) {
            text.replace_range(at..end, &put);
        }
        if let Err(report) = load_str("x", &text, &no_env) {
            prop_assert!(report.errors() > 0);
            for one in &report.diagnostics {
                let place = one.place.unwrap();
                prop_assert!(place.line >= 1 && place.column >= 1 && place.start <= place.end);
            }
            report.render();
        }
    }
}

const PIECES: &[&str] = &[
    "listeners:",
    "services:",
    "routes:",
    "\n",
    "\n  ",
    "\n    ",
    "\n  - ",
    "- ",
    ": ",
    ", ",
    "{ ",
    " }",
    "[ ",
    " ]",
    "name",
    "address",
    "path",
    "to",
    "/a/**",
    "{id}",
    "web",
    "127.0.0.1:80",
    "unix:/a",
    "dns:a:1",
    "&a ",
    "*a",
    "<<",
    "5s",
    "16KiB",
    "none",
    "all",
    "${X}",
    "${X:-",
    "}",
    "\"",
    "'",
    "|\n",
    "#",
    "? ",
    "!!int ",
    "é",
    "\t",
    "respond",
    "redirect",
    "rewrite",
    "hosts",
    "limits",
    "~",
    "010",
    "---\n",
    "%",
];

fn with_fault(fault: &str) -> String {
    let text = "listeners: [ { name: a, address: 127.0.0.1:0 } ]\nroutes: [ { respond: { status: 204 }, faults: [ FAULT ] } ]";
    text.replace("FAULT", fault)
}

#[test]
fn a_fault_has_an_end_that_is_not_far() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let until = |seconds: u64| format!("{{ delay: 1s, until: {} }}", ringway_config::time::text(seconds));
    let warnings = |text: &str| {
        let loaded = load_str("test.yaml", text, &no_env).unwrap();
        loaded.warnings.iter().map(|one| one.code).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&with_fault(&until(now + 3600))), Vec::<&str>::new());
    assert_eq!(warnings(&with_fault(&until(now - 1))), ["fault-over"]);
    assert_eq!(report(&with_fault(&until(now + 31 * 86_400))).diagnostics[0].code, "out-of-range");
    assert_eq!(report(&with_fault("{ delay: 1s }")).diagnostics[0].code, "missing-field");
    assert_eq!(report(&with_fault("{ delay: 1s, until: soon }")).diagnostics[0].code, "bad-time");
}

#[test]
fn a_fault_does_something_that_can_be_borne() {
    let codes = |fault: &str| {
        let fault = format!("{{ {fault}, until: 2026-01-01T00:00:00Z }}");
        let report = report(&with_fault(&fault));
        report.diagnostics.iter().map(|one| one.code).filter(|code| *code != "fault-over").collect::<Vec<_>>()
    };
    assert_eq!(codes("share: 10%"), ["missing-field"]);
    assert_eq!(codes("delay: 6m"), ["out-of-range"]);
    assert_eq!(codes("abort: 200"), ["out-of-range"]);
    assert_eq!(codes("abort: grpc:ok"), ["bad-choice"]);
}

/// A file with this in `fleets`, and a route whose limit names one of them.
fn with_fleets(fleets: &str, named: &str) -> String {
    format!(
        "listeners: [ {{ name: a, address: 127.0.0.1:0 }} ]\nfleets: {{ {fleets} }}\nroutes:\n  \
         - {{ path: /a, respond: {{}}, rate_limit: {{ rate: 5/min, fleet: {named} }} }}\n"
    )
}

#[test]
fn fleets_are_named_by_limits() {
    let config = config(&with_fleets(
        "m: { redis: 'rediss://app:s%23cret@[::1]/2', prefix: edge, timeout: 20ms }",
        "m",
    ));
    let Fleet { name, store, timeout } = &config.fleets[0];
    assert_eq!((name.as_str(), *timeout), ("m", Duration::from_millis(20)));
    let FleetStore::Redis(redis) = store else { panic!() };
    assert_eq!((redis.url().as_str(), redis.prefix.as_str()), ("rediss://app@[::1]:6379/2", "edge"));
    assert_eq!(redis.password.as_ref().unwrap().bytes(), b"s#cret");
    assert_eq!(config.rate_limits[0].fleet.as_deref(), Some("m"));
}

#[test]
fn what_is_wrong_with_a_fleet_is_told_with_a_remedy_and_without_secrets() {
    for (fleets, named, code, part) in [
        ("main: { redis: 'redis://h' }", "mian", "unknown-fleet", "did you mean `main`?"),
        ("m: {}", "m", "missing-field", "redis://host:6379"),
        ("m: { redis: 'redis://h', rls: 'h:1' }", "m", "conflict", "either"),
        ("m: { rls: h }", "m", "bad-address", "add the port"),
        ("m: { rls: 'http://h:1' }", "m", "bad-address", "without a scheme"),
        ("m: { rls: 'h:1', password: hush }", "m", "conflict", "`redis` only"),
        ("m: { redis: 'redis://h', domain: d }", "m", "conflict", "`rls` only"),
        ("m: { redis: 'redis://:hush@h', password: hush }", "m", "conflict", "has a password too"),
        ("m: { redis: 'redis://u@h' }", "m", "missing-field", "REDIS_PASSWORD"),
        ("m: { redis: 'redis://h', ca: tests/tls/ca.crt }", "m", "conflict", "rediss"),
        ("m: { redis: 'redis://:hush@h/x' }", "m", "bad-url", "from 0"),
        ("m: { redis: 'http://:hush@h' }", "m", "bad-url", "redis://"),
        ("m: { redis: 'redis://h', timeout: 2s }", "m", "out-of-range", "1ms to 1s"),
    ] {
        let found = report(&with_fleets(fleets, named));
        let text = found.to_string();
        assert!(found.diagnostics.iter().any(|one| one.code == code), "{fleets}: {text}");
        assert!(text.contains(part) && !text.contains("hush"), "{fleets}: {text}");
    }
    let text = with_fleets("m: { redis: 'redis://h' }, n: { rls: 'h:1' }", "m");
    let loaded = load_str("test.yaml", &text, &no_env).unwrap();
    let codes: Vec<&str> = loaded.warnings.iter().map(|one| one.code).collect();
    assert!(codes.contains(&"unused-fleet"), "{codes:?}");
}

#[test]
fn clients_on_a_unix_socket_have_no_rate() {
    let text = "listeners: [ { name: a, address: 'unix:/tmp/a', limits: { client_rate: { rate: 1/s } } } ]";
    assert!(report(text).to_string().contains("no `client_rate`"));
    let text = "listeners: [ { name: a, address: 127.0.0.1:0, limits: { client_rate: { rate: 1/day } } } ]";
    assert!(report(text).to_string().contains("write a smaller burst"));
    let text =
        "listeners: [ { name: a, address: 127.0.0.1:0, limits: { client_rate: { rate: 1/s, per: path } } } ]";
    assert!(report(text).to_string().contains("client_ip/24/56"));
}
