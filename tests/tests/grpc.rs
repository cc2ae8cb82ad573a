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

const OTHERS: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ], protocol: http2 }
routes:
  - { name: web, path: /web.Service/**, to: app, grpc_web: { origins: [ "https://app.example" ] } }
  - name: json
    path: /**
    to: app
    timeout: 2s
    grpc_json: { descriptor: "{{proto}}", services: [ shop.Shop ] }
    response_headers: { set: { x-served-by: ringway } }
"#;

const SHOP: &str = r#"
syntax = "proto3";
package shop;
import "google/api/annotations.proto";
message Item { string name = 1; int32 count = 2; }
service Shop {
  rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/items/{name}" additional_bindings { post: "/items" body: "*" } }; }
  rpc Watch(Item) returns (stream Item) { option (google.api.http) = { get: "/items/{name}:watch" }; }
  rpc Break(Item) returns (stream Item) { option (google.api.http) = { get: "/broken/{name}" }; }
  rpc Fail(Item) returns (Item) { option (google.api.http) = { get: "/fail/{count}" }; }
}
"#;

/// Sends back the message it got; of `Watch` three times; `Fail` ends with the code that the message counts.
fn shop(asked: &Asked) -> Reply {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut end = trailers("0");
    let body = asked.body.clone();
    match asked.head.uri().path() {
        "/shop.Shop/Watch" => {
            // Cut anywhere.
            let all = [&body[..], &body, &body].concat();
            let body = all.chunks(5).map(<[u8]>::to_vec).collect();
            Reply { head, body, trailers: Some(end), ..Reply::default() }
        }
        // A whole message, and one that is none.
        "/shop.Shop/Break" => {
            let body = vec![body, b"\0\0\0\0\x02\x0a\x7f".to_vec(), vec![0; 64]];
            Reply { head, body, trailers: Some(end), ..Reply::default() }
        }
        "/shop.Shop/Fail" => {
            let code = body.last().copied().unwrap_or(2);
            end.insert("grpc-status", code.to_string().parse().unwrap());
            end.insert("grpc-message", "as asked: %E2%82%AC".parse().unwrap());
            Reply { head, trailers: Some(end), ..Reply::default() }
        }
        "/shop.Shop/Get" | "/web.Service/Call" => {
            Reply { head, body: vec![body], trailers: Some(end), ..Reply::default() }
        }
        _ => Reply { head, trailers: Some(trailers("12")), ..Reply::default() },
    }
}

fn others() -> (Http2Origin, tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().unwrap();
    let proto = folder.path().join("shop.proto");
    std::fs::write(&proto, SHOP).unwrap();
    let origin = Http2Origin::start(shop);
    let values = [("origin", origin.address.to_string()), ("proto", proto.display().to_string())];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = Gateway::start_with(OTHERS, &values);
    (origin, folder, gateway)
}

#[test]
fn json_becomes_calls_and_answers_become_json() {
    let (origin, _folder, gateway) = others();
    let mut client = gateway.connect();
    let response = client.get("/items/a%20b?count=7").expect(200);
    assert_eq!(response.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(response.json(), serde_json::json!({ "name": "a b", "count": 7 }));
    for head in ["POST /items HTTP/1.1", "POST /shop.Shop/Get HTTP/1.1"] {
        let body = r#"{"name": "x", "count": "3"}"#;
        client.send(format!(
            "{head}\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(client.response().expect(200).json(), serde_json::json!({ "name": "x", "count": 3 }));
    }
    let seen = origin.seen();
    assert_eq!(seen[0].head.method(), "POST");
    assert_eq!(seen[0].head.uri().path_and_query().unwrap(), "/shop.Shop/Get");
    assert_eq!(seen[0].head.headers()["content-type"], "application/grpc");
    assert_eq!(seen[0].head.headers()["te"], "trailers");
    assert!(seen[0].head.headers().contains_key("grpc-timeout"));
    assert_eq!(seen[0].body, b"\0\0\0\0\x07\x0a\x03a b\x10\x07");
    // Streams, as lines and as events, by both versions.
    let lines = client.get("/items/a:watch").expect(200);
    assert_eq!(lines.header("content-type").as_deref(), Some("application/x-ndjson"));
    assert_eq!(lines.text(), "{\"name\":\"a\"}\n".repeat(3));
    let session = Session::connect(gateway.address("web"));
    let request = Request::get("http://a.example/items/a:watch")
        .header("accept", "text/event-stream")
        .body(())
        .unwrap();
    let events = session.ask(request, &[], None);
    assert_eq!(
        (events.header("content-type"), events.text()),
        (Some("text/event-stream"), "data: {\"name\":\"a\"}\n\n".repeat(3))
    );
    assert!(events.trailers.is_none());
    // What goes wrong is a problem document, whoever says so.
    for (code, status) in [(5, 404), (7, 403), (14, 503), (13, 500)] {
        let response = client.get(&format!("/fail/{code}")).expect(status);
        assert_eq!(response.header("content-type").as_deref(), Some("application/problem+json"));
        assert_eq!(
            (response.json()["status"].as_u64(), response.json()["detail"].as_str()),
            (Some(status.into()), Some("as asked: \u{20ac}"))
        );
    }
    assert_eq!(client.get("/items/a?nothing=1").expect(400).json()["code"], "INVALID_ARGUMENT");
    assert_eq!(client.get("/nothing/here").expect(404).reason(), "route_not_found");
    client.send("DELETE /items/a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().expect(405).header("allow").as_deref(), Some("GET"));
    client.send("POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{");
    assert_eq!(client.response().expect(400).json()["code"], "INVALID_ARGUMENT");
    // The connection is still in step, and calls of gRPC itself pass as they are.
    assert_eq!(client.get("/items/z").expect(200).json()["name"], "z");
    let answer = session.ask(call("/shop.Shop/Get").body(()).unwrap(), &[b"\0\0\0\0\x02\x10\x07"], None);
    assert_eq!(
        (answer.body.as_slice(), answer.trailer("grpc-status")),
        (&b"\0\0\0\0\x02\x10\x07"[..], Some("0"))
    );
    wait::until_true("calls to be counted", || {
        gateway.metrics().sum("ringway_grpc_calls_total", &[("route", "json"), ("grpc_status", "NOT_FOUND")])
            == 1.0
    });
}

/// What can't be told on is said in the stream, and everything made here is counted and dressed as the route says.
#[test]
fn problems_have_their_reasons_and_streams_say_what_broke_them() {
    let (origin, _folder, gateway) = others();
    let mut client = gateway.connect();
    let lines = client.get("/broken/a").expect(200).text();
    let (first, second) = lines.split_once('\n').expect("two lines");
    assert_eq!(first, "{\"name\":\"a\"}");
    let said: serde_json::Value = serde_json::from_str(second).expect("a line of JSON");
    assert_eq!(said["error"]["code"], "INTERNAL");
    // Neither that stream nor its connection stands in the way of the next, on either side.
    let made = client.get("/items/a").expect(200);
    assert_eq!(made.header("x-served-by").as_deref(), Some("ringway"));
    client.send("POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{");
    assert_eq!(client.response().expect(400).header("x-served-by").as_deref(), Some("ringway"));
    client.get("/fail/5").expect(404);
    assert_eq!(origin.seen().len(), 3);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("ringway_upstream_connects_total", &[]), 1.0);
    assert_eq!(
        metrics.sum("ringway_local_replies_total", &[("reason", "call_malformed"), ("code", "400")]),
        1.0
    );
    assert_eq!(metrics.sum("ringway_local_replies_total", &[]), 1.0);
}

#[test]
fn browsers_call_by_grpc_web() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (origin, _folder, gateway) = others();
    let message = b"\0\0\0\0\x02\x10\x07";
    let end = b"\x80\0\0\0\x10grpc-status: 0\r\n";
    let ask = |content_type: &str, body: &[u8], path: &str| {
        let mut client = gateway.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(body);
        client.response().expect(200)
    };
    let response = ask("application/grpc-web+proto", message, "/web.Service/Call");
    assert_eq!(response.header("content-type").as_deref(), Some("application/grpc-web+proto"));
    assert_eq!(response.header("access-control-allow-origin").as_deref(), Some("https://app.example"));
    assert!(response.header("access-control-expose-headers").unwrap().contains("grpc-status"));
    assert_eq!(response.body, [&message[..], end].concat());
    let response = ask("application/grpc-web-text", STANDARD.encode(message).as_bytes(), "/web.Service/Call");
    assert_eq!(response.header("content-type").as_deref(), Some("application/grpc-web-text"));
    assert_eq!(STANDARD.decode(&response.body).unwrap(), [&message[..], end].concat());
    let failed = ask("application/grpc-web", message, "/web.Service/Other");
    assert!(failed.body.ends_with(b"grpc-status: 12\r\n"));
    let wrong = ask("application/grpc-web-text", b"!!!!", "/web.Service/Call");
    assert_eq!(wrong.header("grpc-status").as_deref(), Some("13"));
    assert!(wrong.header("grpc-message").unwrap().starts_with("call_malformed"));
    for asked in origin.seen() {
        assert_eq!(
            asked.head.headers()["content-type"].to_str().unwrap().split('+').next(),
            Some("application/grpc")
        );
        assert_eq!(asked.body, message);
    }
    // A page asks first; one from elsewhere is not told that it may.
    let preflight = |origin: &str| {
        let mut client = gateway.connect();
        client.send(format!(
            "OPTIONS /web.Service/Call HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type,x-grpc-web\r\n\r\n"
        ));
        client.response()
    };
    let response = preflight("https://app.example").expect(204);
    assert_eq!(response.header("access-control-allow-headers").as_deref(), Some("content-type,x-grpc-web"));
    assert_eq!(response.header("access-control-allow-methods").as_deref(), Some("POST"));
    assert_eq!(preflight("https://evil.example").header("access-control-allow-origin"), None);
}

#[test]
fn a_preflight_by_http2_is_answered_here_and_one_from_elsewhere_is_the_endpoints() {
    let (origin, _folder, gateway) = others();
    let session = Session::connect(gateway.address("web"));
    let ask = |origin: &str| {
        let request = Request::options("http://a.example/web.Service/Call")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-grpc-web,authorization");
        session.ask(request.body(()).unwrap(), &[], None)
    };
    let answer = ask("https://app.example");
    assert_eq!(answer.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("vary", "origin"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type,x-grpc-web,authorization"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    assert!(origin.seen().is_empty());
    assert_eq!(ask("https://evil.example").header("access-control-allow-origin"), None);
    assert_eq!(origin.seen()[0].head.method(), "OPTIONS");
}
