//! From a configuration to what runs.

use super::fixture::{config, forward, prefix, respond, route, service};
use super::*;
use crate::routing::{Matched, RouteQuery};

fn matched(snapshot: &Snapshot, host: &str, path: &str) -> Matched {
    let request = RouteQuery { host: host.as_bytes(), path: path.as_bytes(), query: b"", method: b"GET" };
    let headers: &[(&str, &str)] = &[];
    snapshot.listener("web").unwrap().router.route(&request, headers).unwrap()
}

#[test]
fn routes_lead_to_plans_and_plans_to_services() {
    let services = vec![service("orders", &[("127.0.0.1:9001", 1), ("dns:x.internal:80", 2)])];
    let mut orders = route("orders", Some("api.example.com"), prefix("/v1/orders"), forward(&[(0, 1)]));
    if let model::Action::Forward(forward) = &mut orders.action {
        let literal = model::Segment::Literal("orders".into());
        forward.rewrite_path = Some(model::PathTemplate(vec![literal, model::Segment::Rest]));
        forward.timeout = Some(Duration::from_micros(1500));
    }
    let health = route("health", None, model::PathPattern::Exact("/healthz".into()), respond(200, "ok"));
    let snapshot = Snapshot::compile(&config(services, vec![orders, health]), 7).unwrap();

    let path = "/v1/orders/7";
    let found = matched(&snapshot, "api.example.com:8080", path);
    let plan = snapshot.route(found.route);
    assert_eq!(&*plan.name, "orders");
    let ActionPlan::Forward(forward) = &plan.action else { panic!("{:?}", plan.action) };
    assert_eq!(forward.timeout_ms, Some(2));
    let mut rewritten = Vec::new();
    forward.rewrite_path.as_ref().unwrap().fill(found, path.as_bytes(), &mut rewritten);
    assert_eq!(rewritten, b"/orders/7");

    let service = snapshot.service(forward.split.pick(0).service);
    assert_eq!(&*service.name, "orders");
    assert_eq!(snapshot.service_named("orders").unwrap().endpoints.len(), 2);
    assert!(snapshot.service_named("none").is_none());
    let name = EndpointTarget::Dns { name: "x.internal".into(), port: 80 };
    assert_eq!((&service.endpoints[1].target, service.endpoints[1].weight), (&name, 2));

    let health = snapshot.route(matched(&snapshot, "any", "/healthz").route);
    let ActionPlan::Respond(respond) = &health.action else { panic!("{:?}", health.action) };
    assert_eq!(&*respond.content_type, b"text/plain; charset=utf-8");
}

#[test]
fn names_become_addresses_each_with_the_whole_weight() {
    let services = vec![service("s", &[("127.0.0.1:9001", 1), ("dns:x.internal:80", 2), ("dns:gone:81", 1)])];
    let snapshot = Snapshot::compile(&config(services, vec![]), 1).unwrap();
    let plan = &snapshot.services[0];
    assert_eq!(plan.names().map(|name| &**name).collect::<Vec<_>>(), ["x.internal", "gone"]);
    let resolved = |name: &str| match name {
        "x.internal" => vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        _ => vec![],
    };
    let told = plan.addresses(resolved);
    let told: Vec<String> = told.iter().map(|(address, weight)| format!("{address:?} {weight}")).collect();
    assert_eq!(told, ["Ip(127.0.0.1:9001) 1", "Ip(10.0.0.1:80) 2", "Ip([::1]:80) 2"]);
}

#[test]
fn a_listener_serves_only_its_own_routes() {
    let mut config = config(
        vec![],
        vec![
            route("a", None, prefix("/a"), respond(200, "")),
            route("b", None, prefix("/b"), respond(200, "")),
        ],
    );
    config.listeners[0].routes = vec![model::RouteId(1)];
    let snapshot = Snapshot::compile(&config, 1).unwrap();
    assert_eq!(matched(&snapshot, "h", "/b").route, RouteId(1));
    let request = RouteQuery { host: b"h", path: b"/a", query: b"", method: b"GET" };
    let headers: &[(&str, &str)] = &[];
    assert!(snapshot.listeners[0].router.route(&request, headers).is_err());
}

#[test]
fn paths_are_understood_in_every_form() {
    let literal = |text: &str| model::Segment::Literal(text.into());
    for (pattern, reads) in [
        (model::PathPattern::Any, "/**"),
        (prefix(""), "/**"),
        (prefix("/"), "/**"),
        (prefix("/a/b"), "/a/b/**"),
        (model::PathPattern::Exact("/".into()), "/"),
        (model::PathPattern::Template(vec![literal("a"), model::Segment::Parameter("id".into())]), "/a/{id}"),
        (model::PathPattern::Template(vec![literal("a"), literal("")]), "/a/"),
    ] {
        assert_eq!(path_rule(&pattern).to_string(), reads);
    }
    let plain = model::PathPattern::Template(vec![literal("a")]);
    assert_eq!(path_rule(&plain), PathRule::Exact("/a".into()));
}

#[test]
fn hops_are_trusted_by_their_address_also_when_it_is_mapped() {
    let snapshot = Snapshot::compile(&config(vec![], vec![]), 1).unwrap();
    let listener = &snapshot.listeners[0];
    for (peer, trusted) in
        [("10.1.2.3", true), ("11.1.2.3", false), ("::ffff:10.1.2.3", true), ("::1", false)]
    {
        assert_eq!(listener.trusts(peer.parse().unwrap()), trusted, "{peer}");
        assert!(!listener.expects_proxy_protocol(peer.parse().unwrap()));
    }
    assert!(listener.allows_upgrade(b"WebSocket") && !listener.allows_upgrade(b"h2c"));
}

#[test]
fn a_response_without_content_names_no_type() {
    for (status, content_type, body) in [(200, "a/b", "hi"), (204, "", ""), (304, "", ""), (205, "", "")] {
        let plan = RespondPlan::new(status, "a/b", "hi");
        assert_eq!(
            (&*plan.content_type, &*plan.body),
            (content_type.as_bytes(), body.as_bytes()),
            "{status}"
        );
    }
    assert!(RespondPlan::new(200, "a/b", "").content_type.is_empty());
}

#[test]
fn redirects_lead_where_they_say() {
    let plan = |https, host: Option<&str>, port, path: Option<&str>| RedirectPlan {
        status: 308,
        https,
        host: host.map(|host| host.as_bytes().into()),
        port,
        path: path.map(|to| {
            let to = [Segment::Literal(to.into()), Segment::Rest];
            PathFill::new(&to, &PathRule::Segments(vec![Segment::Literal("old".into()), Segment::Rest]))
        }),
    };
    let old = Matched { route: RouteId(0), rest_at: 4 };
    for (plan, authority, path, query, location) in [
        (plan(None, None, None, Some("new")), "h:8080", "/old/x", "a=1", "http://h:8080/new/x?a=1"),
        (plan(Some(true), None, None, None), "h:8080", "/old/x", "", "https://h/old/x"),
        (plan(Some(true), None, Some(443), None), "h:8080", "/old", "", "https://h/old"),
        (plan(Some(true), None, Some(8443), None), "[::1]:8080", "/old", "", "https://[::1]:8443/old"),
        (plan(None, Some("n.org"), None, None), "h:8080", "/old", "", "http://n.org/old"),
        (plan(None, None, None, None), "h", "//evil.org/x", "", "http://h//evil.org/x"),
        (plan(None, None, None, None), "", "//evil.org/x", "", "/.//evil.org/x"),
        (plan(None, None, None, Some("new")), "", "/old/x", "q", "/new/x?q"),
    ] {
        let mut out = Vec::new();
        let from = Origin { https: false, authority: authority.as_bytes() };
        plan.location(from, old, path.as_bytes(), query.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), location);
    }
}

#[test]
fn ten_thousand_routes_compile_and_are_found() {
    let routes: Vec<_> = (0..10_000)
        .map(|i| {
            let host = format!("h{}.example.com", i % 100);
            route(&format!("r{i}"), Some(&host), prefix(&format!("/v{}/s{i}", i % 7)), respond(200, ""))
        })
        .collect();
    let snapshot = Snapshot::compile(&config(vec![], routes), 1).unwrap();
    for i in 0..10_000_u32 {
        let path = format!("/v{}/s{i}/x", i % 7);
        let found = matched(&snapshot, &format!("h{}.example.com", i % 100), &path);
        assert_eq!((found.route, found.rest(path.as_bytes())), (RouteId(i), &b"/x"[..]));
    }
}
