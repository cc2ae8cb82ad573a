//! Explanations as they read.

use ringway_config::model;

use super::*;
use crate::snapshot::fixture::{config, forward, listener, prefix, respond, route, service};

fn as_sent(raw: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<(), String> {
    if raw.contains(&b'\\') {
        return Err("it has a backslash".into());
    }
    for &byte in raw {
        if !(merge_slashes && byte == b'/' && out.last() == Some(&b'/')) {
            out.push(byte);
        }
    }
    Ok(())
}

fn told(config: &model::Config, text: &str, headers: &[(&str, &str)]) -> Explanation {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let request = Request::parse(text, headers).unwrap();
    explain(&Snapshot::compile(config, 1).unwrap(), &request, &as_sent)
}

fn shop() -> model::Config {
    let services = vec![
        service("orders", &[("127.0.0.1:9001", 1), ("127.0.0.1:9002", 2)]),
        service("orders-next", &[("dns:next.internal:80", 1)]),
    ];
    let api = Some("api.example.com");
    let mut orders = route("orders", api, prefix("/v1/orders"), forward(&[(0, 95), (1, 5)]));
    orders.methods = vec!["GET".into(), "POST".into()];
    orders.body_limit = Some(1 << 20);
    orders.request_headers.set =
        vec![("x-from".into(), "edge".into()), ("authorization".into(), "Bearer s".into())];
    orders.response_headers.remove = vec!["server".into()];
    if let model::Action::Forward(forward) = &mut orders.action {
        let literal = model::Segment::Literal("orders".into());
        forward.rewrite_path = Some(model::PathTemplate(vec![literal, model::Segment::Rest]));
        forward.timeout = Some(std::time::Duration::from_secs(5));
    }
    let mut acme = route("acme", api, prefix("/v1/orders"), forward(&[(0, 1)]));
    acme.methods = vec!["GET".into()];
    acme.headers = vec![model::ValueMatch { name: "x-tenant".into(), value: Some("acme".into()) }];
    let v1 = route("v1", api, prefix("/v1"), forward(&[(0, 1)]));
    let wild = route("wild", Some("*.example.com"), prefix("/v1/orders"), respond(200, "w"));
    let mut rest = route("rest", None, prefix("/v1"), respond(404, ""));
    rest.methods = vec!["GET".into()];
    config(services, vec![orders, acme, v1, wild, rest])
}

const BALANCED: &str = "
zone: a
listeners: [ { name: web, address: 127.0.0.1:0, routes: all } ]
services:
  app:
    endpoints:
      - { address: 127.0.0.1:1, zone: a, labels: { version: v1 } }
      - { address: 127.0.0.1:2, zone: b, weight: 2, labels: { version: v1 } }
      - { address: 127.0.0.1:3, priority: 1, labels: { version: v2 } }
    balance: maglev
    hash_by: [ \"cookie:sid\", path ]
    sticky: { cookie: to }
    slow_start: 30s
    panic: 12.5%
routes:
  - name: r
    path: /**
    to: [ { service: app, weight: 3, subset: { version: v1 } }, { service: app, subset: { version: v2 } } ]
    split_by: header:x-user
";

#[test]
fn what_decides_who_gets_a_request_is_told_and_where_it_leads() {
    let config = ringway_config::load_str("test.yaml", BALANCED, &|_| None).unwrap().config;
    let text = told(&config, "GET http://a.example/x", &[("cookie", "sid=5"), ("x-user", "u1")]).to_string();
    let expected = "\
  service   app (75%), balance maglev
    - 127.0.0.1:1, zone a (this one)
    - 127.0.0.1:2, weight 2, zone b
    subset: version=v1, 2 of 3 endpoints
    key: cookie:sid, path, past who has 125% of its share of what is under way; this request's leads to 127.0.0.1:1
    sticky: cookie to, for its session, before all else
    order: level 0 in this zone (1), level 0 elsewhere (1); each takes 1.4 times its usable share, at most all
    slow start: from a tenth of its weight to the whole within 30s
    panic: with less than 12.5% of endpoints usable
    speaks: HTTP/1.1
";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("split: by header:x-user; this request's leads to app, version=v"), "{text}");
    let text = told(&config, "GET http://a.example/x", &[]).to_string();
    assert!(text.contains("split: by header:x-user; not known of this request"), "{text}");
    assert!(text.contains("not known of this request: least_request where it is absent"), "{text}");
}

#[test]
fn a_match_is_told_with_everything_that_lost() {
    let text = told(&shop(), "GET http://api.example.com//v1/orders/7", &[]).to_string();
    let expected = "\
GET http://api.example.com//v1/orders/7
  listener  web: it is the only one
  path      /v1/orders/7
  route     orders (GET,POST api.example.com/v1/orders/**): it is the most specific that matches; one more specific does not
  runners-up, in order
    - acme (GET api.example.com/v1/orders/** with header x-tenant: acme): more specific, but header x-tenant is missing
    - v1 (api.example.com/v1/**): its prefix is shorter
    - wild (*.example.com/v1/orders/**): its host is a wildcard
    - rest (GET /v1/**): it is for any host
  policies, in order
    1. canonical path: //v1/orders/7 becomes /v1/orders/7
    2. request body: at most 1MiB, else 413
    3. request headers: drops x-from, authorization; writes x-from: edge, authorization: (redacted)
    4. rewrite: path becomes /orders/7
    5. timeout: the exchange within 5s, else 504
    6. response headers: drops server
  service   orders (95%), balance least_request
    - 127.0.0.1:9001
    - 127.0.0.1:9002, weight 2
    speaks: HTTP/1.1
    timeouts: connect 3s, response head 1m, silence in the body 1m
    limits: 8192 connections to each endpoint
  service   orders-next (5%), balance least_request
    - dns:next.internal:80
    speaks: HTTP/1.1
    timeouts: connect 3s, response head 1m, silence in the body 1m
    limits: 8192 connections to each endpoint
";
    assert_eq!(text, expected);
}

#[test]
fn what_comes_after_the_winner_may_have_failed_too() {
    let explanation = told(&shop(), "PUT http://api.example.com/v1/orders/7", &[("X-Tenant", "zed")]);
    assert_eq!(explanation.route.as_ref().unwrap().name, "v1");
    let whys: Vec<_> = explanation.runners_up.iter().map(|c| (c.name.as_str(), c.why.as_str())).collect();
    assert_eq!(
        whys,
        [
            ("acme", "more specific, but the method is not GET and header x-tenant is `zed`, not `acme`"),
            ("orders", "more specific, but the method is not GET or POST"),
            ("wild", "its host is a wildcard"),
            ("rest", "it is for any host; also the method is not GET"),
        ]
    );
}

#[test]
fn no_match_says_what_came_closest() {
    let explanation = told(&shop(), "PUT http://other.org/v1/orders", &[]);
    let refused = |status, reason: &str| Outcome::Refuse { status, reason: reason.into() };
    assert_eq!(explanation.outcome, refused(405, "routes match in all but the method; Allow: GET"));
    assert_eq!(explanation.runners_up[0].why, "the method is not GET");

    let mut config = shop();
    config.routes.truncate(2);
    config.listeners[0].routes.truncate(2);
    let explanation = told(&config, "http://other.org/v1/orders/7", &[]);
    assert_eq!(explanation.outcome, refused(404, "no route matches"));
    assert_eq!(explanation.closest[0].why, "its path fits, its host does not");
    let explanation = told(&config, "http://api.example.com/v1/order", &[]);
    assert_eq!(explanation.closest[0].why, "its path shares /v1 with the request, not more");
    assert_eq!(told(&config, "http://api.example.com/x", &[]).closest, []);
}

#[test]
fn a_refused_path_is_told_as_such() {
    let explanation = told(&shop(), "GET http://api.example.com/v1\\x", &[]);
    assert_eq!(explanation.outcome, Outcome::Refuse { status: 400, reason: "it has a backslash".into() });
    let explanation = told(&shop(), "GET http://api.example.com/v1/a%2fb", &[]);
    assert!(matches!(explanation.outcome, Outcome::Refuse { status: 400, .. }), "{explanation}");
}

#[test]
fn the_port_chooses_the_listener_else_the_first_that_matches() {
    let mut config = shop();
    config.listeners.insert(0, listener("other", 9090, vec![]));
    for (text, name, why) in [
        ("http://api.example.com:9090/v1", "other", "it has port 9090"),
        ("http://api.example.com:8080/v1", "web", "it has port 8080"),
        ("http://api.example.com/v1", "web", "it is the first with a route that matches"),
        (
            "http://api.example.com:99/v2",
            "other",
            "none has port 99; no listener has a route that matches; it is the first",
        ),
    ] {
        let explanation = told(&config, text, &[]);
        assert_eq!((explanation.listener.as_str(), explanation.listener_why.as_str()), (name, why), "{text}");
    }
}

#[test]
fn json_says_the_same() {
    let json = told(&shop(), "/v1/x", &[("Host", "api.example.com")]).to_json();
    assert_eq!(json["route"]["name"], "v1");
    assert_eq!(json["outcome"]["kind"], "forward");
    assert_eq!(json["services"][0]["endpoints"][1]["weight"], 2);
    assert_eq!(json["runners_up"][0]["name"], "rest");
}

#[test]
fn requests_are_read_as_they_are_typed() {
    let read = |text: &str| Request::parse(text, vec![]).map(|r| (r.method, r.authority, r.path, r.query));
    let found = |m: &str, a: &str, p: &str, q: &str| Ok((m.into(), a.into(), p.into(), q.into()));
    assert_eq!(read("GET http://h:1/a?b#c"), found("GET", "h:1", "/a", "b"));
    assert_eq!(read("https://h"), found("GET", "h", "/", ""));
    assert_eq!(read("https://h?x"), found("GET", "h", "/", "x"));
    assert_eq!(read("POST /a?u=http://x/"), found("POST", "", "/a", "u=http://x/"));
    assert_eq!(read("OPTIONS *"), found("OPTIONS", "", "*", ""));
    let connection = |text: &str| Request::parse(text, vec![]).map(|r| (r.scheme, r.to_string()));
    assert_eq!(connection("tcp://h:5432"), Ok((Scheme::Tcp, "tcp://h:5432".into())));
    assert_eq!(connection("wss://h/x"), Ok((Scheme::Https, "GET https://h/x".into())));
    for wrong in ["", "GET", "a b c", "ftp://h/", "http:///x", "h/x", "GET tcp://h", "tls://h/x", "udp://"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

/// As it is read from a file, since files are what these are about.
fn told_of(text: &str, request: &str, headers: &[(&str, &str)]) -> Explanation {
    let loaded = ringway_config::load_str("../config/tests/explain.yaml", text, &|_| None);
    told(&loaded.unwrap_or_else(|report| panic!("{}", report.render())).config, request, headers)
}

const PROTOCOLS: &str = "
listeners:
  - { name: plain, address: 0.0.0.0:8080, routes: all }
  - name: secure
    address: 0.0.0.0:8443
    routes: all
    tls:
      certificates: [ { cert: tls/site.crt, key: tls/site.key } ]
      clients: { verify: required, ca: tls/ca.crt, header: true }
  - { name: named, address: 0.0.0.0:9443, routes: [ named ], tls: passthrough }
  - { name: pg, address: 0.0.0.0:5432, tcp: { to: postgres, proxy_protocol: v2 } }
  - { name: any, address: 0.0.0.0:7000, protocol: auto, tcp: { to: postgres }, routes: all }
  - { name: dns, address: 0.0.0.0:5353, udp: { to: resolver } }
services:
  app: { endpoints: [ 127.0.0.1:9001 ], protocol: http2, tls: { ca: tls/ca.crt, name: app.internal } }
  shop: { endpoints: [ 127.0.0.1:9002 ], protocol: http2 }
  postgres: { endpoints: [ 127.0.0.1:15432 ] }
  resolver: { endpoints: [ 127.0.0.1:1053 ] }
routes:
  - { name: chat, path: /chat, to: app }
  - { name: json, path: /v1/**, to: shop, grpc_json: { descriptor: ../../engine/tests/shop.proto, services: [ shop.Shop ] } }
  - { name: web, path: /shop.Shop/**, to: shop, grpc_web: { origins: [ 'https://app.example' ] } }
  - { name: named, hosts: [ db.example ], to: postgres }
";

#[test]
fn the_certificate_is_the_one_that_the_name_asks_for() {
    let text = told_of(PROTOCOLS, "https://site.example:8443/chat", &[]).to_string();
    let expected = "\
  listener  secure: it has port 8443
    - TLS with the certificate ../config/tests/tls/site.crt, which is for site.example; HTTP/2 or HTTP/1.1 by ALPN
    - the client must show a certificate, told upstream
";
    assert!(text.contains(expected), "{text}");
    let expected = "    speaks: HTTP/2 by ALPN, TLS with a certificate verified for app.internal\n";
    assert!(text.contains(expected), "{text}");
    let text = told_of(PROTOCOLS, "https://other.org/chat", &[]).to_string();
    assert!(text.contains("site.crt, the first one, since none is for other.org"), "{text}");
    let refused = told_of(PROTOCOLS, "http://site.example:8443/chat", &[]).outcome;
    assert!(matches!(refused, Outcome::Refuse { status: 400, .. }), "{refused:?}");
    assert_eq!(told_of(PROTOCOLS, "http://site.example/chat", &[]).speaks, Vec::<String>::new());
}

#[test]
fn connections_and_datagrams_are_told_where_they_go() {
    let text = told_of(PROTOCOLS, "tcp://anywhere:5432", &[]).to_string();
    let expected = "\
tcp://anywhere:5432
  listener  pg: it has port 5432
  policies, in order
    1. PROXY protocol v2 first, to the endpoint
    2. bytes: both ways, until both sides have ended or nothing has moved for 1h
  service   postgres (100%), balance least_request
    - 127.0.0.1:15432
    speaks: bytes
    timeouts: connect 3s
    limits: 8192 connections to each endpoint
";
    assert_eq!(text, expected);
    let dns = told_of(PROTOCOLS, "udp://anywhere", &[]);
    assert_eq!((dns.listener_why.as_str(), &dns.outcome), ("it is the only one", &Outcome::Carry));
    assert_eq!((dns.services[0].name.as_str(), dns.services[0].speaks.as_str()), ("resolver", "datagrams"));
    let named = told_of(PROTOCOLS, "tls://db.example:9443", &[]);
    assert_eq!((named.route.unwrap().name.as_str(), named.services[0].name.as_str()), ("named", "postgres"));
    let closed = told_of(PROTOCOLS, "tls://other.example:9443", &[]);
    assert!(matches!(&closed.outcome, Outcome::Close { reason } if reason.contains("tls_name_not_routed")));
    assert!(matches!(told_of(PROTOCOLS, "tcp://named", &[]).outcome, Outcome::Close { .. }));
    assert_eq!(told_of(PROTOCOLS, "tls://site.example:8443", &[]).outcome, Outcome::Requests);
    let opaque = told_of(PROTOCOLS, "tcp://any", &[]);
    assert_eq!((opaque.listener_why.as_str(), &opaque.outcome), ("it has this name", &Outcome::Carry));
    assert!(opaque.speaks[0].starts_with("detects"), "{:?}", opaque.speaks);
    assert_eq!(told_of(PROTOCOLS, "http://a.example:7000/chat", &[]).outcome, Outcome::Forward);
    // A request where bytes are carried is bytes.
    assert_eq!(told_of(PROTOCOLS, "http://a.example:5432/", &[]).outcome, Outcome::Carry);
}

#[test]
fn json_is_told_as_the_call_it_becomes() {
    let told_json = |request: &str, headers: &[(&str, &str)]| told_of(PROTOCOLS, request, headers);
    let explanation = told_json("http://a.example:8080/v1/items/a%20b?count=7", &[]);
    let policies = &explanation.policies[1..];
    let expected = [
        "JSON: becomes the call /shop.Shop/Get (unary), by `GET /v1/items/{name}`",
        "JSON fields: name is `a b` from the path, count is from the query, there is no body",
        "JSON answer: one JSON document",
    ];
    assert_eq!(policies, expected);
    assert_eq!((explanation.outcome, explanation.services[0].name.as_str()), (Outcome::Forward, "shop"));
    let events = told_json("http://a.example:8080/v1/items/a:watch", &[("Accept", "text/event-stream")]);
    assert!(events.policies[1].contains("/shop.Shop/Watch (server streaming)"), "{:?}", events.policies);
    assert_eq!(events.policies[3], "JSON answer: Server-Sent Events");
    let posted = told_json("POST http://a.example:8080/v1/items", &[]);
    assert_eq!(posted.policies[2], "JSON fields: all others are from the body");
    let refused = |status, reason: &str| Outcome::Refuse { status, reason: reason.into() };
    assert_eq!(
        told_json("http://a.example:8080/v1/none", &[]).outcome,
        refused(404, "no call of the route's services has this path")
    );
    assert_eq!(
        told_json("DELETE http://a.example:8080/v1/items/a", &[]).outcome,
        refused(405, "calls have this path, but not this method; Allow: GET")
    );
    let unknown = told_json("http://a.example:8080/v1/items/a?nothing=1", &[]).outcome;
    assert_eq!(unknown, refused(400, "the message has no field `nothing`"));
    let call =
        told_json("POST http://a.example:8080/v1/items", &[("content-type", "application/grpc+proto")]);
    assert_eq!(call.policies[1], "gRPC: a call already, which passes as it is");
}

#[test]
fn grpc_web_is_told_with_who_may_read_the_answer() {
    let web = |method: &str, headers: &[(&str, &str)]| {
        told_of(PROTOCOLS, &format!("{method} http://a.example:8080/shop.Shop/Get"), headers)
    };
    let content_type = ("content-type", "application/grpc-web-text+proto");
    for (headers, end) in [
        (
            &[content_type, ("origin", "https://app.example")][..],
            "the page of https://app.example may read the answer",
        ),
        (
            &[content_type, ("origin", "https://evil.example")],
            "https://evil.example is not among the route's origins, so its page may not read the answer",
        ),
        (&[content_type], "no Origin, so nothing is said about who may read the answer"),
    ] {
        let explanation = web("POST", headers);
        let expected = format!("gRPC-Web in the text form: becomes a call of gRPC; {end}");
        assert_eq!(
            (explanation.policies[1].as_str(), explanation.outcome),
            (expected.as_str(), Outcome::Forward)
        );
    }
    let asks = ("access-control-request-method", "POST");
    let allowed = web("OPTIONS", &[asks, ("origin", "https://app.example")]);
    assert_eq!(allowed.outcome, Outcome::Respond { status: 204 });
    let not = web("OPTIONS", &[asks, ("origin", "https://evil.example")]);
    assert_eq!(not.outcome, Outcome::Forward);
    assert!(not.policies[1].starts_with("CORS: https://evil.example is not"), "{:?}", not.policies);
    let plain = web("POST", &[("content-type", "text/plain")]);
    assert!(plain.policies[1].starts_with("gRPC-Web: not for this content type"), "{:?}", plain.policies);
}

#[test]
fn an_upgrade_is_told() {
    let chat = told_of(PROTOCOLS, "ws://a.example:8080/chat", &[]);
    let expected =
        "upgrade: websocket is asked for; once agreed, bytes both ways until nothing has moved for 1h";
    assert_eq!(chat.policies[1], expected);
    let other = told_of(PROTOCOLS, "http://a.example:8080/chat", &[("Upgrade", "h2c")]);
    assert_eq!(
        other.policies[1],
        "upgrade: h2c is not among the listener's upgrades, so it is not asked for"
    );
}

#[test]
fn what_is_sent_again_is_told_and_what_is_not_too() {
    let mut config = shop();
    if let model::Action::Forward(forward) = &mut config.routes[0].action {
        forward.retries = Some(model::Retries {
            attempts: 2,
            when: vec![model::RetryWhen::Connect, model::RetryWhen::Gateway, model::RetryWhen::Grpc(14)],
            per_try_timeout: Some(std::time::Duration::from_secs(1)),
            backoff: std::time::Duration::from_millis(25),
            backoff_max: std::time::Duration::from_millis(250),
            buffer: 64 << 10,
            unsafe_too: false,
        });
        forward.hedge = Some(model::Hedge {
            after: model::HedgeAfter::Share(950_000),
            at_least: std::time::Duration::from_millis(5),
        });
        forward.mirror = Some(model::Mirror {
            service: model::ServiceId(1),
            share: 5_000,
            concurrency: 64,
            body: 64 << 10,
        });
    }
    let url = "http://api.example.com/v1/orders/7";
    let policies = |method: &str, headers: &[(&str, &str)]| {
        told(&config, &format!("{method} {url}"), headers).policies.join("\n")
    };
    let get = policies("GET", &[]);
    for line in [
        "retries: up to 2 more after connect, 502, 503, 504, grpc:unavailable, each within 1s, on another endpoint where \
         there is one; waits up to 25ms, doubling up to 250ms; bodies up to 64KiB",
        "retry budget of orders: 20% of its requests under way, and 10 a second",
        "hedge: another endpoint is asked too after the time of 95% of answers, at least 5ms",
        "mirror: 0.5% are copied to orders-next, 64 at once, bodies up to 64KiB",
    ] {
        assert!(get.contains(line), "{line}\n{get}");
    }
    let post = policies("POST", &[]);
    assert!(post.contains("retries: POST is not idempotent"), "{post}");
    assert!(post.contains("hedge: none, for POST is not idempotent"), "{post}");
    assert!(!policies("POST", &[("Idempotency-Key", "7")]).contains("not idempotent"));
}
