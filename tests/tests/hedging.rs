//! What is sent beside the first try: hedges, mirrored copies, PINGs on connections that answer nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use ringway_tests::http2::{Origin as Http2Origin, Reply, Session};
use ringway_tests::origins::{Connection, parts};
use ringway_tests::{Gateway, Origin, wait};

const HEDGED: &str = r#"
runtime: { workers: 1, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{one}}", "{{two}}" ]
    balance: round_robin
    protocol: {{protocol}}
    retry_budget: { floor: 1000/s }
routes:
  - { name: all, path: /**, to: app, hedge: {{hedge}} }
"#;

const HEDGES: &str = "ringway_upstream_hedges_total";
const WON: &str = "ringway_upstream_hedges_won_total";

fn hedged(one: &str, two: &str, protocol: &str, hedge: &str) -> Gateway {
    Gateway::start_with(HEDGED, &[("one", one), ("two", two), ("protocol", protocol), ("hedge", hedge)])
}

#[test]
fn the_first_answer_wins_and_the_other_try_ends() {
    let stuck = Origin::start(parts::stalls);
    let good = Origin::start(parts::says("good"));
    let gateway = hedged(&stuck.endpoint(), &good.endpoint(), "http1", "{ after: 50ms }");
    let mut client = gateway.connect();
    let started = Instant::now();
    for _ in 0..6 {
        assert_eq!(client.get("/").expect(200).text(), "good");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let metrics = gateway.metrics();
    let hedges = metrics.sum(HEDGES, &[]);
    assert!(hedges >= 3.0 && metrics.sum(WON, &[]) == hedges, "{hedges}");
    let ended = |state: &ringway_tests::origins::State| state.ended.len() == hedges as usize;
    assert!(stuck.wait(Duration::from_secs(5), ended), "its connections are closed");
    assert!(good.seen().iter().any(|seen| seen.head.get("x-ringway-attempt").as_deref() == Some("2")));
}

#[test]
fn a_first_try_that_answers_after_all_wins() {
    let late = Origin::start(parts::takes(Duration::from_millis(300), "late"));
    let stuck = Origin::start(parts::stalls);
    let gateway = hedged(&late.endpoint(), &stuck.endpoint(), "http1", "{ after: 50ms }");
    let mut client = gateway.connect();
    for _ in 0..4 {
        assert_eq!(client.get("/").expect(200).text(), "late");
    }
    assert_eq!(gateway.metrics().sum(HEDGES, &[]), 4.0);
}

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n";

#[test]
fn a_second_try_that_fails_does_not_win() {
    let late = Origin::start(parts::takes(Duration::from_millis(300), "late"));
    let busy = Origin::start(|connection: &mut Connection| {
        loop {
            connection.request()?;
            connection.send(UNAVAILABLE)?;
        }
    });
    let gateway = hedged(&late.endpoint(), &busy.endpoint(), "http1", "{ after: 50ms }");
    let mut client = gateway.connect();
    let answers: Vec<u16> = (0..6).map(|_| client.get("/").status).collect();
    let metrics = gateway.metrics();
    let hedges = metrics.sum(HEDGES, &[]);
    let good = answers.iter().filter(|status| **status == 200).count();
    assert!(hedges >= 1.0 && good as f64 == hedges, "{answers:?}, {hedges} hedges");
    assert_eq!(metrics.sum(WON, &[]), 0.0);
}

#[test]
fn a_retry_after_a_race_goes_to_neither_of_the_two() {
    let stuck = Origin::start(parts::stalls);
    let good = Origin::start(parts::says("good"));
    let busy = Origin::start(|connection: &mut Connection| {
        loop {
            connection.request()?;
            std::thread::sleep(Duration::from_millis(100));
            connection.send(UNAVAILABLE)?;
        }
    });
    let text = HEDGED
        .replace("\"{{two}}\"", "\"{{two}}\", \"{{three}}\"")
        .replace("round_robin", "random")
        .replace("to: app,", "to: app, timeout: 10s, retries: { when: [ 503 ], backoff: 1ms },");
    let gateway = Gateway::start_with(
        &text,
        &[
            ("one", &stuck.endpoint()),
            ("two", &busy.endpoint()),
            ("three", &good.endpoint()),
            ("protocol", "http1"),
            ("hedge", "{ after: 30ms }"),
        ],
    );
    let mut client = gateway.connect();
    for _ in 0..30 {
        assert_eq!(client.get("/").expect(200).text(), "good");
    }
    assert!(gateway.metrics().sum("ringway_upstream_retries_total", &[]) > 0.0);
}

#[test]
fn what_must_not_be_done_twice_is_not() {
    let late = Origin::start(parts::takes(Duration::from_millis(200), "late"));
    let other = Origin::start(parts::takes(Duration::from_millis(200), "late"));
    let gateway = hedged(&late.endpoint(), &other.endpoint(), "http1", "{ after: 20ms }");
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").response().expect(200);
    }
    assert_eq!(gateway.metrics().sum(HEDGES, &[]), 0.0);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").response().expect(200);
    assert_eq!(gateway.metrics().sum(HEDGES, &[]), 1.0);
    let puts =
        || late.seen().into_iter().chain(other.seen()).filter(|seen| seen.head.start.starts_with("PUT"));
    assert!(puts().all(|seen| seen.body == b"hello") && puts().count() == 2);
}

#[test]
fn most_answers_say_how_long_is_long() {
    let slow = Arc::new(AtomicBool::new(false));
    let says = slow.clone();
    let first = Origin::start(move |connection: &mut Connection| {
        loop {
            connection.request()?;
            std::thread::sleep(Duration::from_millis(if says.load(Ordering::SeqCst) { 2000 } else { 2 }));
            connection.answer("one")?;
        }
    });
    let second = Origin::start(parts::takes(Duration::from_millis(2), "two"));
    let gateway = hedged(&first.endpoint(), &second.endpoint(), "http1", "{ after: 95%, at_least: 30ms }");
    let mut client = gateway.connect();
    for _ in 0..60 {
        client.get("/").expect(200);
    }
    slow.store(true, Ordering::SeqCst);
    let started = Instant::now();
    for _ in 0..4 {
        assert_eq!(client.get("/").expect(200).text(), "two");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn calls_over_http2_are_hedged_too() {
    let stuck = Http2Origin::start(|_| Reply { after: Duration::from_secs(30), ..Reply::default() });
    let good = Http2Origin::start(|_| Reply { body: vec![b"good".to_vec()], ..Reply::default() });
    let gateway = hedged(&stuck.address.to_string(), &good.address.to_string(), "http2", "{ after: 50ms }");
    let session = Session::connect(gateway.address("web"));
    for _ in 0..4 {
        assert_eq!(session.get("/").text(), "good");
    }
    assert!(gateway.metrics().sum(WON, &[]) >= 2.0);
}

/// A call of gRPC that ends well, after so long.
fn call_that_takes(after: Duration) -> Http2Origin {
    Http2Origin::start(move |_| Reply {
        head: Response::builder().header("content-type", "application/grpc").body(()).unwrap(),
        body: vec![b"\0\0\0\0\x02\x08\x02".to_vec()],
        trailers: Some([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect()),
        after,
        ..Reply::default()
    })
}

#[test]
fn calls_of_grpc_are_hedged_where_they_may_be_made_twice_and_nowhere_else() {
    const MESSAGE: &[u8] = b"\0\0\0\0\x02\x08\x01";
    let start = |retries: &str, origins: [&Http2Origin; 2]| {
        let text = HEDGED.replace("to: app,", &format!("to: app, {retries}"));
        let [one, two] = origins.map(|origin| origin.address.to_string());
        let values = [("one", &*one), ("two", &*two), ("protocol", "http2"), ("hedge", "{ after: 30ms }")];
        Gateway::start_with(&text, &values)
    };
    let call = |session: &Session| {
        let call = Request::post("http://a.example/shop.Shop/Buy").header("content-type", "application/grpc");
        let answer = session.ask(call.body(()).unwrap(), &[MESSAGE], None);
        assert_eq!((answer.status, answer.trailer("grpc-status")), (200, Some("0")), "{answer:?}");
    };
    let late = Duration::from_millis(400);
    for retries in ["", "retries: { when: [ connect, reset ] },"] {
        let origins = [call_that_takes(late), call_that_takes(late)];
        let gateway = start(retries, [&origins[0], &origins[1]]);
        let session = Session::connect(gateway.address("web"));
        (0..3).for_each(|_| call(&session));
        assert_eq!(gateway.metrics().sum(HEDGES, &[]), 0.0, "{retries}");
        assert_eq!(origins.iter().map(|origin| origin.seen().len()).sum::<usize>(), 3, "{retries}");
        session.get("/");
        assert_eq!(gateway.metrics().sum(HEDGES, &[]), 1.0, "what is idempotent is hedged there");
    }
    let (stuck, good) = (call_that_takes(Duration::from_secs(30)), call_that_takes(Duration::ZERO));
    let gateway = start("retries: { unsafe: true },", [&stuck, &good]);
    let session = Session::connect(gateway.address("web"));
    (0..6).for_each(|_| call(&session));
    let metrics = gateway.metrics();
    let hedges = metrics.sum(HEDGES, &[]);
    assert!(hedges >= 3.0 && metrics.sum(WON, &[]) >= 3.0, "{hedges}");
    let second = good.seen().into_iter().filter(|call| call.head.headers().contains_key("x-ringway-attempt"));
    assert!(second.clone().count() >= 3);
    assert!(second.into_iter().chain(stuck.seen()).all(|call| call.body == MESSAGE), "each has it whole");
}

const MIRRORED: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ] }
  next: { endpoints: [ "{{next}}" ], timeouts: { response_head: 20s } }
routes:
  - { name: all, path: /**, to: app, mirror: { service: next, concurrency: 4 } }
"#;
const DROPPED: &str = "ringway_upstream_mirrors_dropped_total";
const COPIES: &str = "ringway_upstream_mirrors_total";

fn mirrored(origin: &Origin, next: &str) -> Gateway {
    Gateway::start_with(MIRRORED, &[("origin", &origin.endpoint()), ("next", next)])
}

#[test]
fn copies_are_the_requests_for_another_host() {
    let origin = Origin::start(parts::says("ok"));
    let next = Origin::start(parts::sends(b"HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\nno!"));
    let gateway = mirrored(&origin, &next.endpoint());
    let mut client = gateway.connect();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: a.example:80\r\nX-Own: 1\r\n\r\n").response().expect(200);
    next.wait_for(1);
    let body = "x".repeat(30_000);
    let post = format!("POST /d HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.send(post).response().expect(200);
    next.wait_for(2);
    client
        .send(
            "POST /e HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .response()
        .expect(200);
    let copies = next.wait_for(3);
    let starts: Vec<&str> = copies.iter().map(|copy| copy.head.start.as_str()).collect();
    assert_eq!(starts, ["GET /a?b=c HTTP/1.1", "POST /d HTTP/1.1", "POST /e HTTP/1.1"]);
    assert_eq!(copies[0].head.get("host").as_deref(), Some("a.example-shadow:80"));
    assert_eq!(copies[0].head.get("x-own").as_deref(), Some("1"));
    assert_eq!(copies[0].head.get("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!((copies[1].body.len(), copies[2].body.as_slice()), (body.len(), &b"abc"[..]));
    wait::until_true("copies to be counted", || gateway.metrics().sum(COPIES, &[("service", "next")]) == 3.0);
    let ids = |origin: &Origin| origin.seen()[0].head.get("x-request-id");
    assert_eq!(ids(&origin), ids(&next));
    assert_eq!(origin.seen()[0].head.get("host").as_deref(), Some("a.example:80"));
}

#[test]
fn a_body_beyond_the_bound_is_forwarded_and_not_copied() {
    let origin = Origin::start(parts::says("ok"));
    let next = Origin::start(parts::says("ok"));
    let gateway = mirrored(&origin, &next.endpoint());
    let body = "x".repeat(200_000);
    let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    gateway.connect().send(post).response().expect(200);
    assert_eq!(gateway.metrics().sum(DROPPED, &[("service", "next"), ("reason", "body")]), 1.0);
    assert!(next.seen().is_empty());
}

#[test]
fn a_mirror_that_is_stuck_or_gone_harms_nobody() {
    let origin = Origin::start(parts::says("ok"));
    let stuck = Origin::start(parts::stalls);
    let gateway = mirrored(&origin, &stuck.endpoint());
    let started = Instant::now();
    let mut client = gateway.connect();
    for _ in 0..200 {
        client.get("/").expect(200);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let metrics = gateway.metrics();
    assert!(metrics.sum(DROPPED, &[("reason", "concurrency")]) >= 196.0);
    assert!(stuck.accepted() <= 4);
    drop((client, gateway));

    let gateway = mirrored(&origin, &format!("127.0.0.1:{}", ringway_tests::ports::free()));
    let mut client = gateway.connect();
    for _ in 0..50 {
        client.get("/").expect(200);
    }
    wait::until_true("copies to fail", || gateway.metrics().sum(DROPPED, &[("reason", "failed")]) > 0.0);
}

/// Carries bytes between its clients and `to`, until it is told that the ways of those it has are dead.
struct Way {
    address: SocketAddr,
    dead: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

impl Way {
    fn to(to: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (dead, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (dead.clone(), made.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(to).expect("the origin");
                for (from, into) in [(&client, &server), (&server, &client)] {
                    let (from, into) =
                        (from.try_clone().expect("a clone"), into.try_clone().expect("a clone"));
                    let until = until.clone();
                    std::thread::spawn(move || carry(from, into, || number < until.load(Ordering::SeqCst)));
                }
            }
        });
        Way { address, dead, made }
    }

    fn die(&self) {
        self.dead.store(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, is_dead: impl Fn() -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        // What comes is taken, and goes nowhere.
        if !is_dead() && into.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Both);
}

#[test]
fn a_connection_whose_way_is_dead_is_found_out_and_left() {
    let origin = Http2Origin::start(|_| Reply { body: vec![b"ok".to_vec()], ..Reply::default() });
    let way = Way::to(origin.address);
    let text = r#"
runtime: { workers: 1, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{way}}" ], protocol: http2, timeouts: { response_head: 300ms } }
routes:
  - { name: all, path: /**, to: app }
"#;
    let gateway = Gateway::start_with(text, &[("way", &way.address.to_string())]);
    let mut client = gateway.connect();
    client.get("/").expect(200);
    way.die();
    client.get("/").expect(504);
    // Its PING has no answer yet, so it gets no more streams.
    client.get("/").expect(200);
    assert_eq!(way.made.load(Ordering::SeqCst), 2);
    wait::until_true("the PING to be given up", || {
        gateway.metrics().sum("ringway_upstream_pings_unanswered_total", &[("service", "app")]) == 1.0
    });
    client.get("/").expect(200);
}

#[test]
fn a_slow_answer_alone_ends_no_connection() {
    let slow = AtomicUsize::new(0);
    let origin = Http2Origin::start(move |_| {
        let after = if slow.fetch_add(1, Ordering::SeqCst) == 0 { 600 } else { 0 };
        Reply { after: Duration::from_millis(after), body: vec![b"ok".to_vec()], ..Reply::default() }
    });
    let way = Way::to(origin.address);
    let text = HEDGED
        .replace("[ \"{{one}}\", \"{{two}}\" ]", "[ \"{{one}}\" ]\n    timeouts: { response_head: 300ms }")
        .replace("hedge: {{hedge}}", "timeout: 5s");
    let gateway = Gateway::start_with(&text, &[("one", &way.address.to_string()), ("protocol", "http2")]);
    let mut client = gateway.connect();
    client.get("/").expect(504);
    for _ in 0..20 {
        client.get("/").expect(200);
    }
    let unanswered = gateway.metrics().sum("ringway_upstream_pings_unanswered_total", &[]);
    assert_eq!(unanswered, 0.0);
    assert!(way.made.load(Ordering::SeqCst) <= 2);
}
