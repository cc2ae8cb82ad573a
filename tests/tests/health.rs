//! Checks by the gRPC health protocol: unhealthy endpoints get nothing, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::{HeaderMap, Response};
use ringway_tests::Gateway;
use ringway_tests::http2::{Asked, Origin, Reply};
use ringway_tests::peers::{self, Peer};
use ringway_tests::tls::Authority;
use ringway_tests::wait;

const CHECKED: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{one}}", "{{two}}" ]
    protocol: http2
    health: { grpc: shop.Shop, interval: 50ms, timeout: 2s, healthy: 2, unhealthy: 2 }
routes:
  - { name: all, path: /**, to: app }
"#;

/// SERVING and NOT_SERVING; anything from here on is a status of the call.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
const STATUS: u8 = 100;

/// Answers checks as told, and everything else with its name.
fn origin(name: &'static str) -> (Origin, Arc<AtomicU8>) {
    let says = Arc::new(AtomicU8::new(SERVING));
    let said = says.clone();
    let reply = move |asked: &Asked| {
        if asked.head.uri().path() != "/grpc.health.v1.Health/Check" {
            let head = Response::builder().body(()).unwrap();
            return Reply { head, body: vec![name.into()], ..Reply::default() };
        }
        assert_eq!(asked.body, b"\0\0\0\0\x0b\x0a\x09shop.Shop");
        assert_eq!(asked.head.headers()["content-type"], "application/grpc");
        assert_eq!(asked.head.headers()["te"], "trailers");
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let (body, status) = match said.load(Ordering::SeqCst) {
            code @ STATUS.. => (Vec::new(), code - STATUS),
            status => (vec![vec![0, 0, 0, 0, 2, 8, status]], 0),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.to_string().parse().unwrap());
        Reply { head, body, trailers: Some(trailers), ..Reply::default() }
    };
    (Origin::start(reply), says)
}

fn unhealthy(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("ringway_endpoints_unhealthy", &[("service", "app")])
}

/// Who answers a number of requests, each once.
fn answered_by(gateway: &Gateway) -> Vec<String> {
    let mut names: Vec<String> = (0..24).map(|_| gateway.get("/").expect(200).text()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn unhealthy_endpoints_get_nothing_and_come_back() {
    let ((one, one_says), (two, two_says)) = (origin("one"), origin("two"));
    let values = [("one", one.address.to_string()), ("two", two.address.to_string())];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut gateway = Gateway::start_with(CHECKED, &values);
    wait::until_true("checks to pass", || {
        gateway.metrics().sum("ringway_health_checks_total", &[("result", "passed")]) >= 4.0
    });
    assert_eq!(unhealthy(&gateway), 0.0);
    wait::until_true("both to be asked", || answered_by(&gateway) == ["one", "two"]);
    for says in [NOT_SERVING, STATUS + 12, 3] {
        one_says.store(says, Ordering::SeqCst);
        wait::until_true("one to be unhealthy", || unhealthy(&gateway) == 1.0);
        wait::until_true("the workers to know", || answered_by(&gateway) == ["two"]);
        for _ in 0..3 {
            assert_eq!(answered_by(&gateway), ["two"]);
        }
        one_says.store(SERVING, Ordering::SeqCst);
        wait::until_true("one to be healthy again", || unhealthy(&gateway) == 0.0);
        wait::until_true("both to be asked again", || answered_by(&gateway) == ["one", "two"]);
    }
    // Where all are unhealthy, all are asked: half a service is better than none.
    one_says.store(NOT_SERVING, Ordering::SeqCst);
    two_says.store(NOT_SERVING, Ordering::SeqCst);
    wait::until_true("both to be unhealthy", || unhealthy(&gateway) == 2.0);
    wait::until_true("both to be asked all the same", || answered_by(&gateway) == ["one", "two"]);
    // A verdict outlives a reload, and checks that are taken out take theirs with them.
    two_says.store(SERVING, Ordering::SeqCst);
    wait::until_true("one alone to be unhealthy", || unhealthy(&gateway) == 1.0);
    gateway.reload(&format!("drain_timeout: 4s{CHECKED}"));
    assert_eq!(unhealthy(&gateway), 1.0);
    assert_eq!(answered_by(&gateway), ["two"]);
    let line = "    health: { grpc: shop.Shop, interval: 50ms, timeout: 2s, healthy: 2, unhealthy: 2 }\n";
    gateway.reload(&CHECKED.replace(line, ""));
    wait::until_true("both to be asked without checks", || answered_by(&gateway) == ["one", "two"]);
    assert_eq!(unhealthy(&gateway), 0.0);
}

#[test]
fn the_health_service_of_grpcio_is_understood() {
    if !peers::has_python("grpc_health") {
        return;
    }
    let mut peer = Peer::python("health_server.py");
    let (other, _) = origin("other");
    let (one, two) = (format!("127.0.0.1:{}", peer.port), other.address.to_string());
    let gateway = Gateway::start_with(CHECKED, &[("one", &one), ("two", &two)]);
    wait::until_true("checks to pass", || {
        gateway.metrics().sum("ringway_health_checks_total", &[("result", "passed")]) >= 4.0
    });
    assert_eq!(gateway.metrics().sum("ringway_health_checks_total", &[("result", "failed")]), 0.0);
    for (says, unhealthy_then) in [("NOT_SERVING", 1.0), ("SERVING", 0.0), ("SERVICE_UNKNOWN", 1.0)] {
        peer.tell(says);
        wait::until_true("that to be known", || unhealthy(&gateway) == unhealthy_then);
    }
    for line in
        ["is unhealthy: it says NOT_SERVING", "is healthy again", "is unhealthy: it says SERVICE_UNKNOWN"]
    {
        let line = format!("service app: the endpoint {one} {line}");
        wait::until_true(&line, || gateway.stderr().contains(&line));
    }
}

#[test]
fn checks_go_under_tls_where_the_service_does_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["a.example"]);
    let files = folder.path().display().to_string();
    let (origin, says) = origin("origin");
    let inner = "
listeners:
  - { name: web, address: \"127.0.0.1:{{web}}\", routes: all, tls: { certificates: [ { cert: \"{{tls}}/site.crt\", key: \"{{tls}}/site.key\" } ] } }
services:
  app: { endpoints: [ \"{{origin}}\" ], protocol: http2 }
routes:
  - { name: all, path: /**, to: app }
";
    let inner = Gateway::start_with(inner, &[("tls", &files), ("origin", &origin.address.to_string())]);
    let outer = |name: &str| {
        let text = CHECKED.replace("\"{{one}}\", ", "").replace(
            "    protocol: http2\n",
            &format!("    protocol: http2\n    tls: {{ ca: \"{{{{tls}}}}/ca.crt\", name: {name} }}\n"),
        );
        Gateway::start_with(&text, &[("tls", &files), ("two", &inner.address("web").to_string())])
    };
    let right = outer("a.example");
    let passed =
        |gateway: &Gateway| gateway.metrics().sum("ringway_health_checks_total", &[("result", "passed")]);
    wait::until_true("checks to pass", || passed(&right) >= 3.0);
    says.store(NOT_SERVING, Ordering::SeqCst);
    wait::until_true("it to be unhealthy", || unhealthy(&right) == 1.0);
    let wrong = outer("b.example");
    wait::until_true("it to be unhealthy", || unhealthy(&wrong) == 1.0);
    assert_eq!(passed(&wrong), 0.0);
    // What it says takes its own way, and may be behind what it counts.
    let said = || wrong.stderr().contains("is unhealthy: TLS: invalid peer certificate");
    wait::until_true("it to say why", said);
}
