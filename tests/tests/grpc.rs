//! gRPC through the proxy: deadlines, statuses, metrics; and with real peers.

use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use ringway_tests::http2::{Asked, Origin as Http2Origin, Reply, Session};
use ringway_tests::peers::{self, Peer};
use ringway_tests::{Gateway, wait};

const TEXT: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ], protocol: http2 }
  dead: { endpoints: [ "127.0.0.1:1" ], protocol: http2 }
routes:
  - { name: kinds, path: /test.Kinds/**, to: app }
  - { name: bounded, path: /bounded.Service/**, to: app, timeout: 300ms, body_limit: 1KiB }
  - { name: dead, path: /dead.Service/**, to: dead }
"#;

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("http://a.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

fn trailers(status: &str) -> HeaderMap {
    [("grpc-status".parse().unwrap(), status.parse().unwrap())].into_iter().collect()
}

fn answers(asked: &Asked) -> Reply {
    let mut head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    match asked.head.uri().path() {
        "/test.Kinds/TrailersOnly" => {
            head.headers_mut().extend(trailers("5"));
            Reply { head, ..Reply::default() }
        }
        "/bounded.Service/Slow" => Reply { head, after: Duration::from_secs(2), ..Reply::default() },
        _ => {
            Reply { head, body: vec![asked.body.clone()], trailers: Some(trailers("0")), ..Reply::default() }
        }
    }
}

#[test]
fn statuses_come_through_and_are_counted() {
    let origin = Http2Origin::start(answers);
    let gateway = Gateway::start_with(TEXT, &[("origin", &origin.address.to_string())]);
    let session = Session::connect(gateway.address("web"));
    let message = b"\0\0\0\0\x02\x08\x01";
    let answer = session.ask(call("/test.Kinds/Unary").body(()).unwrap(), &[message], None);
    assert_eq!(
        (answer.status, answer.body.as_slice(), answer.trailer("grpc-status")),
        (200, &message[..], Some("0"))
    );
    let answer = session.ask(call("/test.Kinds/TrailersOnly").body(()).unwrap(), &[message], None);
    assert_eq!((answer.header("grpc-status"), answer.trailer("grpc-status")), (Some("5"), None));
    // What we say ourselves is a status too.
    for (path, code, reason) in [
        ("/nobody.There/Call", "12", "route_not_found"),
        ("/dead.Service/Call", "14", "upstream_connect_refused"),
        ("/bounded.Service/Slow", "4", "exchange_timeout"),
    ] {
        let answer = session.ask(call(path).body(()).unwrap(), &[message], None);
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some(code)), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(answer.header("grpc-message").unwrap().starts_with(reason), "{answer:?}");
        assert!(answer.body.is_empty() && answer.broken.is_none());
    }
    let answer = session.ask(call("/bounded.Service/Large").body(()).unwrap(), &[&[0; 2000]], None);
    assert_eq!(answer.header("grpc-status"), Some("8"), "{answer:?}");
    // Others get what they always got.
    let answer = session.get("/nobody.There/Call");
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
    for (route, status, count) in
        [("kinds", "OK", 1.0), ("kinds", "NOT_FOUND", 1.0), ("dead", "UNAVAILABLE", 1.0)]
    {
        wait::until_true(status, || {
            let labels = [("route", route), ("grpc_status", status)];
            gateway.metrics().sum("ringway_grpc_calls_total", &labels) == count
        });
    }
}

#[test]
fn a_deadline_is_kept_and_passed_on_reduced() {
    let origin = Http2Origin::start(answers);
    let gateway = Gateway::start_with(TEXT, &[("origin", &origin.address.to_string())]);
    let session = Session::connect(gateway.address("web"));
    let ask = |path: &str, timeout: &str| {
        session.ask(call(path).header("grpc-timeout", timeout).body(()).unwrap(), &[b"x"], None)
    };
    let told = |place: usize| {
        let seen = origin.seen();
        let value = seen[place].head.headers().get("grpc-timeout").unwrap().to_str().unwrap().to_owned();
        assert_eq!(seen[place].head.headers().get_all("grpc-timeout").iter().count(), 1);
        let (digits, unit) = value.split_at(value.len() - 1);
        let number: u64 = digits.parse().unwrap();
        match unit {
            "n" => Duration::from_nanos(number),
            "u" => Duration::from_micros(number),
            "m" => Duration::from_millis(number),
            unit => panic!("{unit}"),
        }
    };
    assert_eq!(ask("/test.Kinds/Unary", "10S").status, 200);
    assert!((Duration::from_secs(9)..=Duration::from_secs(10)).contains(&told(0)), "{:?}", told(0));
    // The route's own bound, where it is tighter.
    assert_eq!(ask("/bounded.Service/Call", "10S").status, 200);
    assert!(told(1) <= Duration::from_millis(300));
    let began = Instant::now();
    let answer = ask("/bounded.Service/Slow", "100m");
    assert_eq!(answer.header("grpc-status"), Some("4"));
    assert!((Duration::from_millis(80)..Duration::from_millis(1500)).contains(&began.elapsed()));
}

#[test]
fn all_four_kinds_go_through_with_grpcio() {
    if !peers::has_python("grpc") {
        return;
    }
    let server = Peer::python("grpc_server.py");
    let gateway = Gateway::start_with(TEXT, &[("origin", &format!("127.0.0.1:{}", server.port))]);
    let said = peers::python("grpc_client.py", &[&gateway.address("web").to_string()]);
    let expected = [
        "unary b'one!' hello True",
        "server_stream [b'a', b'b', b'c'] hello",
        "client_stream b'x,y' hello",
        "both [b'cba', b'fed'] hello",
        "large True",
        "fails NOT_FOUND as asked: 100% \u{e9}",
        "fails UNAUTHENTICATED as asked: 100% \u{e9}",
        "late DEADLINE_EXCEEDED",
        "unknown UNIMPLEMENTED",
        "unrouted UNIMPLEMENTED route_not_found: No route matches this host and path.",
        "dead UNAVAILABLE upstream_connect_refused: The endpoint refused the connection.",
    ];
    assert_eq!(said.trim().lines().collect::<Vec<_>>(), expected, "{said}");
}
