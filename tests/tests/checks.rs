//! Checks by HTTP and TCP: what is well, what is not, and why that is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ringway_tests::tls::Authority;
use ringway_tests::{Gateway, Origin, http2, ports, wait};

const CHECKED: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{one}}" ]
    protocol: {{protocol}}
    health: { {{check}}, interval: 50ms, timeout: 500ms, healthy: 1, unhealthy: 1 }
routes:
  - { name: all, path: /**, to: app }
"#;

fn gateway(one: &str, protocol: &str, check: &str) -> Gateway {
    Gateway::start_with(CHECKED, &[("one", one), ("protocol", protocol), ("check", check)])
}

fn passed(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("ringway_health_checks_total", &[("result", "passed")])
}

/// Waits for what it says: that takes its own way, and may be behind what it counts.
#[track_caller]
fn said(gateway: &Gateway, line: &str) {
    wait::until_true(&format!("it to say {line:?}"), || gateway.stderr().contains(line));
}

fn unhealthy(gateway: &Gateway) -> bool {
    gateway.metrics().sum("ringway_endpoints_unhealthy", &[("service", "app")]) == 1.0
}

/// Answers what it is told; `said` is the place in `answers`.
fn telling(answers: &'static [&'static str]) -> (Origin, Arc<AtomicUsize>) {
    let place = Arc::new(AtomicUsize::new(0));
    let told = place.clone();
    let origin = Origin::start(move |connection| {
        loop {
            connection.request()?;
            connection.send(answers[told.load(SeqCst)])?;
        }
    });
    (origin, place)
}

#[test]
fn an_answer_by_http_is_judged_by_status_and_body() {
    const FINE: &str = "HTTP/1.1 204 No Content\r\nX: all ok\r\n\r\n";
    let (origin, says) = telling(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{ok:true}",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\n{ok:true}",
        "HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngone",
        FINE,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{ok\r\n6\r\n:true}\r\n0\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{ok",
    ]);
    let check = r#"http: { path: "/healthz?deep", body: "ok:true", host: "app.internal" }"#;
    let gateway = gateway(&origin.endpoint(), "http1", check);
    wait::until_true("checks to pass", || passed(&gateway) >= 2.0);
    let seen = &origin.seen()[0];
    assert_eq!(seen.head.start, "GET /healthz?deep HTTP/1.1");
    assert_eq!(seen.head.get("host").as_deref(), Some("app.internal"));
    assert_eq!(seen.head.get("user-agent").as_deref(), Some("ringway-health"));
    for (place, why) in [
        (1, "HTTP status 503 Service Unavailable"),
        (2, "HTTP status 301 Moved Permanently"),
        (3, "HTTP status 200 OK, but its body lacks \"ok:true\""),
        (4, "HTTP status 204 No Content, but its body lacks \"ok:true\""),
        (6, "invalid HTTP version parsed"),
        (7, "no answer within 500 ms"),
    ] {
        says.store(place, SeqCst);
        wait::until_true("it to be unhealthy", || unhealthy(&gateway));
        said(&gateway, &format!("service app: the endpoint {} is unhealthy: {why}", origin.endpoint()));
        says.store(if place == 3 { 5 } else { 0 }, SeqCst);
        wait::until_true("it to be healthy again", || !unhealthy(&gateway));
    }
}

#[test]
fn a_check_by_tcp_is_a_connection() {
    let port = ports::free();
    let check = gateway(&format!("127.0.0.1:{port}"), "http1", "tcp: {}");
    wait::until_true("it to be unhealthy", || unhealthy(&check));
    said(&check, "is unhealthy: Connection refused");
    let _silent = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    wait::until_true("it to be healthy", || !unhealthy(&check));
}

#[test]
fn checks_by_http2_and_under_tls_as_the_service_speaks() {
    let reply = |asked: &http2::Asked| {
        let host = asked.head.uri().authority().map(ToString::to_string).unwrap_or_default();
        let head = http::Response::builder().body(()).unwrap();
        http2::Reply { head, body: vec![format!("for {host}").into()], ..http2::Reply::default() }
    };
    let origin = http2::Origin::start(reply);
    let address = origin.address.to_string();
    let plain = gateway(&address, "http2", "http: { path: /, body: for a.example, host: a.example }");
    wait::until_true("checks to pass", || passed(&plain) >= 2.0);

    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["a.example"]);
    let files = folder.path().display().to_string();
    let inner = "
listeners:
  - { name: web, address: \"127.0.0.1:{{web}}\", routes: all, tls: { certificates: [ { cert: \"{{tls}}/site.crt\", key: \"{{tls}}/site.key\" } ] } }
services:
  app: { endpoints: [ \"{{origin}}\" ], protocol: http2 }
routes:
  - { name: all, path: /**, to: app }
";
    let inner = Gateway::start_with(inner, &[("tls", &files), ("origin", &address)]);
    let outer = |protocol: &str, name: &str, check: &str| {
        let tls =
            format!("    protocol: {{{{protocol}}}}\n    tls: {{ ca: \"{files}/ca.crt\", name: {name} }}\n");
        let text = CHECKED.replace("    protocol: {{protocol}}\n", &tls);
        let one = inner.address("web").to_string();
        Gateway::start_with(&text, &[("one", &one), ("protocol", protocol), ("check", check)])
    };
    const HTTP: &str = "http: { path: /, body: for a.example, host: a.example }";
    for (protocol, check) in [("http1", HTTP), ("http2", HTTP), ("auto", HTTP), ("http1", "tcp: {}")] {
        let right = outer(protocol, "a.example", check);
        wait::until_true("checks to pass", || passed(&right) >= 2.0);
        assert!(!unhealthy(&right), "{protocol} {check}");
    }
    for check in [HTTP, "tcp: {}"] {
        let wrong = outer("http1", "b.example", check);
        wait::until_true("it to be unhealthy", || unhealthy(&wrong));
        said(&wrong, "is unhealthy: TLS: invalid peer certificate");
        assert_eq!(passed(&wrong), 0.0);
    }
}
