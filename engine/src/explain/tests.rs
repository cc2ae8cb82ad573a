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
    timeouts: connect 3s, response head 1m, silence in the body 1m
  service   orders-next (5%), balance least_request
    - dns:next.internal:80
    timeouts: connect 3s, response head 1m, silence in the body 1m
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
    for wrong in ["", "GET", "a b c", "ftp://h/", "http:///x", "h/x"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
