//! What is sent again after a try came to nothing, what is not, and how much of it there may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use ringway_tests::http2::{Origin as Http2Origin, Reply, Session};
use ringway_tests::origins::{Behaviour, Connection, parts};
use ringway_tests::wire::Broken;
use ringway_tests::{Client, Gateway, Origin};

const TEXT: &str = r#"
runtime: { workers: 1, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all, connect: true, trusted_hops: {{trusted}} }
services:
  app: { endpoints: {{endpoints}}, balance: round_robin, protocol: {{protocol}}, retry_budget: {{budget}} }
routes:
  - { name: all, path: /**, to: app, retries: {{retries}} }
"#;
const PLENTY: &str = "{ floor: 1000/s }";
const RETRIES: &str = "ringway_upstream_retries_total";
const REFUSED: &str = "ringway_upstream_retries_refused_total";

struct Setup<'a> {
    endpoints: Vec<String>,
    retries: &'a str,
    budget: &'a str,
    trusted: &'a str,
    protocol: &'a str,
}

impl<'a> Setup<'a> {
    fn of(endpoints: &[&Origin], retries: &'a str) -> Setup<'a> {
        let endpoints = endpoints.iter().map(|origin| origin.endpoint()).collect();
        Setup { endpoints, retries, budget: PLENTY, trusted: "[]", protocol: "http1" }
    }

    fn start(&self) -> Gateway {
        self.start_as(TEXT)
    }

    fn start_as(&self, text: &str) -> Gateway {
        let quoted: Vec<String> = self.endpoints.iter().map(|one| format!("\"{one}\"")).collect();
        let endpoints = format!("[ {} ]", quoted.join(", "));
        let values = [
            ("endpoints", endpoints.as_str()),
            ("retries", self.retries),
            ("budget", self.budget),
            ("trusted", self.trusted),
            ("protocol", self.protocol),
        ];
        Gateway::start_with(text, &values)
    }
}

fn gateway(endpoints: &[&Origin], retries: &str) -> Gateway {
    Setup::of(endpoints, retries).start()
}

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n";

/// Answers the first `count` requests of all with these bytes, and then properly.
fn at_first(count: usize, bytes: &'static [u8]) -> impl Behaviour {
    let seen = Arc::new(AtomicUsize::new(0));
    move |connection: &mut Connection| loop {
        connection.request()?;
        match seen.fetch_add(1, Ordering::SeqCst) < count {
            true => connection.send(bytes)?,
            false => connection.answer("ok")?,
        }
    }
}

fn stalls_on_each(connection: &mut Connection) -> Result<(), Broken> {
    parts::stalls(connection)
}

#[test]
fn each_condition_is_retried_on_another_endpoint_and_counted() {
    let good = Origin::start(parts::says("good"));
    for (when, bad, condition) in [
        ("reset", Origin::start(parts::resets_on_request), "reset"),
        ("reset", Origin::start(parts::hangs_up), "reset"),
        ("timeout", Origin::start(stalls_on_each), "timeout"),
        ("503", Origin::start(parts::sends(UNAVAILABLE)), "status"),
        ("5xx", Origin::start(parts::sends(UNAVAILABLE)), "status"),
        ("gateway", Origin::start(parts::sends(UNAVAILABLE)), "status"),
    ] {
        let retries =
            format!("{{ when: [ {when} ], per_try_timeout: 200ms, backoff: 1ms, backoff_max: 1ms }}");
        let gateway = gateway(&[&bad, &good], &retries);
        let mut client = gateway.connect();
        for _ in 0..10 {
            assert_eq!(client.get("/").expect(200).text(), "good", "{when}");
        }
        let retried = gateway.metrics().sum(RETRIES, &[("service", "app"), ("condition", condition)]);
        assert!((4.0..=10.0).contains(&retried), "{when}: {retried} of 10");
    }
}

#[test]
fn what_is_not_listed_is_not_retried() {
    let good = Origin::start(parts::says("good"));
    for (bad, status) in [
        (Origin::start(parts::resets_on_request), 502),
        (Origin::start(parts::sends(UNAVAILABLE)), 503),
        (Origin::start(stalls_on_each), 504),
    ] {
        let gateway = gateway(&[&bad, &good], "{ when: [ connect, 500 ], per_try_timeout: 100ms }");
        let mut client = gateway.connect();
        let statuses: Vec<u16> = (0..6).map(|_| client.get("/").status).collect();
        assert_eq!(statuses.iter().filter(|one| **one == status).count(), 3, "{statuses:?}");
        assert_eq!(gateway.metrics().sum(RETRIES, &[]), 0.0);
    }
}

#[test]
fn all_that_were_tried_are_passed_over_while_others_remain() {
    let bad = [Origin::start(parts::sends(UNAVAILABLE)), Origin::start(parts::sends(UNAVAILABLE))];
    let good = Origin::start(parts::says("good"));
    let gateway = gateway(&[&bad[0], &bad[1], &good], "{ attempts: 2, when: [ 503 ], backoff: 1ms }");
    let mut client = gateway.connect();
    for _ in 0..30 {
        client.get("/").expect(200);
    }
}

#[test]
fn the_only_endpoint_is_asked_again() {
    let origin = Origin::start(at_first(2, UNAVAILABLE));
    let gateway = gateway(&[&origin], "{ attempts: 2, when: [ 503 ] }");
    assert_eq!(gateway.get("/").expect(200).text(), "ok");
    assert_eq!(origin.seen().len(), 3);
    assert_eq!(origin.accepted(), 1, "what nobody gets is read, and its connection kept");
}

#[test]
fn where_tries_run_out_the_last_answer_is_the_endpoints_own() {
    let origin = Origin::start(parts::sends(UNAVAILABLE));
    let gateway = gateway(&[&origin], "{ attempts: 2, when: [ 503 ], backoff: 1ms }");
    let response = gateway.get("/").expect(503);
    assert_eq!(response.text(), "busy\n");
    assert_eq!(origin.seen().len(), 3);
    assert_eq!(gateway.metrics().sum(REFUSED, &[("reason", "attempts")]), 1.0);
}

#[test]
fn a_refused_connection_is_retried_whatever_the_method() {
    let good = Origin::start(parts::says("good"));
    let mut setup = Setup::of(&[&good], "{ attempts: 2, when: [ connect ], backoff: 1ms }");
    let dead = || format!("127.0.0.1:{}", ringway_tests::ports::free());
    setup.endpoints.extend([dead(), dead()]);
    let gateway = setup.start();
    let mut client = gateway.connect();
    for _ in 0..10 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").response().expect(200);
    }
    assert!(good.seen().iter().all(|seen| seen.body == b"hello"));
    for _ in 0..10 {
        let mut client = gateway.connect();
        client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").response_to_connect().expect(200);
        client.send("GET /through HTTP/1.1\r\nHost: a\r\n\r\n").response().expect(200);
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";

#[test]
fn a_post_is_not_sent_twice_unless_it_says_that_it_may_be() {
    let origin = Origin::start(at_first(1, UNAVAILABLE));
    let gateway = gateway(&[&origin], "{ when: [ 503 ], backoff: 1ms }");
    gateway.connect().send(format!("{POST}\r\nhello")).response().expect(503);
    assert_eq!(gateway.metrics().sum(REFUSED, &[("reason", "unsafe")]), 1.0);

    let origin = Origin::start(at_first(1, UNAVAILABLE));
    let gateway = self::gateway(&[&origin], "{ when: [ 503 ], backoff: 1ms }");
    gateway.connect().send(format!("{POST}Idempotency-Key: 7\r\n\r\nhello")).response().expect(200);
    let bodies: Vec<Vec<u8>> = origin.wait_for(2).into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"hello", b"hello"]);

    let origin = Origin::start(at_first(1, UNAVAILABLE));
    let gateway = self::gateway(&[&origin], "{ when: [ 503 ], backoff: 1ms, unsafe: true }");
    gateway.connect().send(format!("{POST}\r\nhello")).response().expect(200);
}

fn put(size: usize, chunked: bool) -> (Vec<u8>, Vec<u8>) {
    let body: Vec<u8> = (0..size).map(|at| b'a' + (at % 23) as u8).collect();
    let mut request = b"PUT / HTTP/1.1\r\nHost: a\r\n".to_vec();
    if chunked {
        request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(3000) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
    } else {
        request.extend_from_slice(format!("Content-Length: {size}\r\n\r\n").as_bytes());
        request.extend_from_slice(&body);
    }
    (request, body)
}

#[test]
fn a_body_is_sent_again_up_to_the_bound_and_beyond_it_goes_through_once() {
    for chunked in [false, true] {
        for (size, status) in [(1, 200), (20_000, 200), (64 << 10, 200), (200_000, 503)] {
            let origin = Origin::start(at_first(1, UNAVAILABLE));
            let gateway = gateway(&[&origin], "{ when: [ 503 ], backoff: 1ms }");
            let (request, body) = put(size, chunked);
            let mut client = gateway.connect();
            client.send(&request).response().expect(status);
            let tries = if status == 200 { 2 } else { 1 };
            let seen = origin.wait_for(tries);
            assert!(seen.iter().all(|one| one.body == body), "{size} {chunked}");
            assert_eq!(seen.len(), tries);
            // What follows is still read as what it is.
            client.get("/").expect(200);
            let refused = gateway.metrics().sum(REFUSED, &[("reason", "body")]);
            assert_eq!(refused, if status == 200 { 0.0 } else { 1.0 }, "{size} {chunked}");
        }
    }
}

#[test]
fn a_body_that_is_still_coming_follows_to_the_next_endpoint() {
    for chunked in [false, true] {
        let bad = Origin::start(parts::resets_on_request);
        let good = Origin::start(parts::says("good"));
        let gateway = gateway(&[&bad, &good], "{ when: [ reset ], backoff: 1ms }");
        let (request, body) = put(30_000, chunked);
        for _ in 0..4 {
            let mut client = gateway.connect();
            client.send(&request[..10_000]);
            // Long enough for the first endpoint to have reset its connection.
            std::thread::sleep(Duration::from_millis(50));
            client.send(&request[10_000..]).response().expect(200);
        }
        assert!(good.seen().iter().all(|seen| seen.body == body));
        assert!(gateway.metrics().sum(RETRIES, &[("condition", "reset")]) >= 2.0);
    }
}

#[test]
fn an_endpoint_that_asks_for_time_gets_it_or_is_not_asked_again() {
    let after = |line: &str| -> &'static [u8] {
        format!("HTTP/1.1 503 X\r\n{line}Content-Length: 0\r\n\r\n").leak().as_bytes()
    };
    let origin = Origin::start(at_first(1, after("Retry-After: 1\r\n")));
    let gateway = gateway(&[&origin], "{ when: [ 503 ] }");
    let started = Instant::now();
    gateway.get("/").expect(200);
    assert!(started.elapsed() >= Duration::from_millis(990), "{:?}", started.elapsed());

    for line in ["Retry-After: 60\r\n", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n"] {
        let origin = Origin::start(at_first(1, after(line)));
        let gateway = self::gateway(&[&origin], "{ when: [ 503 ] }");
        let started = Instant::now();
        gateway.get("/").expect(503);
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(gateway.metrics().sum(REFUSED, &[("reason", "pushback")]), 1.0);
    }
    let origin = Origin::start(at_first(1, after("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n")));
    self::gateway(&[&origin], "{ when: [ 503 ] }").get("/").expect(200);
}

#[test]
fn no_try_begins_that_the_exchange_would_not_see_the_end_of() {
    let line: &'static [u8] = b"HTTP/1.1 503 X\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(at_first(1, line));
    let text = TEXT.replace("to: app,", "to: app, timeout: 1s,");
    let endpoints = format!("[ \"{}\" ]", origin.endpoint());
    let values = [
        ("endpoints", endpoints.as_str()),
        ("retries", "{ when: [ 503 ] }"),
        ("budget", PLENTY),
        ("trusted", "[]"),
        ("protocol", "http1"),
    ];
    let gateway = Gateway::start_with(&text, &values);
    let started = Instant::now();
    gateway.get("/").expect(503);
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!(gateway.metrics().sum(REFUSED, &[("reason", "deadline")]), 1.0);
}

#[test]
fn the_time_of_one_try_is_its_own_and_that_of_all_is_the_routes() {
    let stuck = Origin::start(stalls_on_each);
    let gateway =
        gateway(&[&stuck], "{ attempts: 3, when: [ timeout ], per_try_timeout: 100ms, backoff: 1ms }");
    let started = Instant::now();
    let response = gateway.get("/").expect(504);
    assert_eq!(response.reason(), "upstream_try_timeout");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(395) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(stuck.seen().len(), 4);
}

#[test]
fn a_hop_that_is_believed_keeps_tries_from_multiplying() {
    let next = |trusted: &str, line: &str| {
        let origin = Origin::start(at_first(1, UNAVAILABLE));
        let mut setup = Setup::of(&[&origin], "{ when: [ 503 ], backoff: 1ms }");
        setup.trusted = trusted;
        let gateway = setup.start();
        let status =
            gateway.connect().send(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n")).response().status;
        let told: Vec<Option<String>> =
            origin.seen().iter().map(|seen| seen.head.get("x-ringway-attempt")).collect();
        (status, told)
    };
    let two = || Some("2".to_owned());
    assert_eq!(next("[ 127.0.0.0/8 ]", ""), (200, vec![None, two()]));
    assert_eq!(next("[ 127.0.0.0/8 ]", "X-Ringway-Attempt: 2\r\n"), (503, vec![two()]));
    // Anybody can say so; the next hop must not hear it from us.
    assert_eq!(next("[]", "X-Ringway-Attempt: 2\r\n"), (200, vec![None, two()]));
}

#[test]
fn a_retry_storm_stays_within_the_budget() {
    let origin = Origin::start(parts::sends(UNAVAILABLE));
    let mut setup = Setup::of(&[&origin], "{ attempts: 3, when: [ 503 ], backoff: 5ms, backoff_max: 20ms }");
    setup.budget = "{ share: 20%, floor: 10/s }";
    let gateway = setup.start();
    let (address, started) = (gateway.address("web"), Instant::now());
    let threads: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut count = 0;
                while started.elapsed() < Duration::from_secs(2) {
                    assert_eq!(client.get("/").expect(503).text(), "busy\n");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let requests: u32 = threads.into_iter().map(|thread| thread.join().expect("a client")).sum();
    let seconds = started.elapsed().as_secs_f64();
    let metrics = gateway.metrics();
    let retries = metrics.sum(RETRIES, &[]);
    // At most four of twenty are under way again at a time, so at most a fifth of all tries.
    let bound = f64::from(requests) * 0.25 + 10.0 * (seconds + 1.0);
    assert!(retries > 0.0 && retries <= bound, "{retries} retries of {requests} requests in {seconds} s");
    assert!(metrics.sum(REFUSED, &[("reason", "budget")]) > 0.0);
    assert_eq!(origin.seen().len() as f64, f64::from(requests) + retries);
}

/// What an origin that fails all it gets has seen: tries, those beyond a request's first, and how many of these at once.
#[derive(Clone, Copy, Default)]
struct Storm {
    tries: usize,
    again: usize,
    again_now: usize,
    again_most: usize,
}

fn fails_each(storm: Arc<Mutex<Storm>>, after: Duration) -> impl Behaviour {
    move |connection: &mut Connection| loop {
        let again = usize::from(connection.request()?.head.get("x-ringway-attempt").is_some());
        {
            let mut storm = storm.lock().unwrap();
            storm.tries += 1;
            storm.again += again;
            storm.again_now += again;
            storm.again_most = storm.again_most.max(storm.again_now);
        }
        std::thread::sleep(after);
        storm.lock().unwrap().again_now -= again;
        connection.send(UNAVAILABLE)?;
    }
}

#[test]
fn on_eight_workers_a_storm_gets_one_budget() {
    /// Each has one request under way.
    const CLIENTS: usize = 80;
    const FLOOR: f64 = 10.0;
    for (budget, has_share, floor) in [
        ("{ share: 20%, floor: none }", true, 0.0),
        ("{ share: 0%, floor: 10/s }", false, FLOOR),
        ("{ share: 20%, floor: 10/s }", true, FLOOR),
    ] {
        let storm = Arc::new(Mutex::new(Storm::default()));
        let origin = Origin::start(fails_each(storm.clone(), Duration::from_millis(40)));
        let mut setup = Setup::of(&[&origin], "{ attempts: 3, when: [ 503 ], backoff: 5ms }");
        setup.budget = budget;
        let gateway = setup.start_as(&TEXT.replace("workers: 1", "workers: 8"));
        let started = Instant::now();
        let ask = || {
            let (mut client, mut count) = (gateway.connect(), 0);
            while started.elapsed() < Duration::from_secs(1) {
                assert_eq!(client.get("/").expect(503).text(), "busy\n");
                count += 1;
            }
            count
        };
        let requests: usize = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).sum()
        });
        let seconds = started.elapsed().as_secs_f64();
        let seen = *storm.lock().unwrap();
        let told = format!(
            "{budget}: {} again, {} at once, of {requests} in {seconds:.2} s",
            seen.again, seen.again_most
        );
        assert_eq!(seen.tries, requests + seen.again, "{told}");
        // A try that follows holds its part for longer than a first one takes: it waits before.
        let share = if has_share { requests as f64 / 4.0 } else { 0.0 };
        let of_floor = if floor > 0.0 { floor * (seconds + 1.0) } else { 0.0 };
        assert!(seen.again > 0 && seen.again as f64 <= share + of_floor, "{told}");
        let at_once = if has_share { CLIENTS as f64 / 5.0 } else { 0.0 };
        assert!(seen.again_most as f64 <= at_once + of_floor, "{told}");
        let metrics = gateway.metrics();
        assert_eq!(metrics.sum(RETRIES, &[("service", "app")]), seen.again as f64, "{told}");
        assert!(metrics.sum(REFUSED, &[("reason", "budget")]) > 0.0, "{told}");
        eprintln!("{told}");
    }
}

fn over_http2<'a>(origin: &Http2Origin, retries: &'a str) -> Setup<'a> {
    let mut setup = Setup::of(&[], retries);
    setup.endpoints = vec![origin.address.to_string()];
    setup.protocol = "http2";
    setup
}

#[test]
fn over_http2_statuses_are_retried_as_over_http1() {
    let seen = AtomicUsize::new(0);
    let origin = Http2Origin::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply { head: Response::builder().status(503).body(()).unwrap(), ..Reply::default() },
        _ => Reply { body: vec![b"ok".to_vec()], ..Reply::default() },
    });
    let gateway = over_http2(&origin, "{ when: [ 503 ], backoff: 1ms }").start();
    assert_eq!(gateway.connect().get("/").expect(200).text(), "ok");
    let (request, body) = put(50_000, true);
    gateway.connect().send(&request).response().expect(200);
    assert_eq!(origin.seen().last().unwrap().body, body);
}

fn call(line: Option<(&str, &str)>) -> Request<()> {
    let mut call =
        Request::post("http://a.example/a.Service/Call").header("content-type", "application/grpc");
    if let Some((name, value)) = line {
        call = call.header(name, value);
    }
    call.body(()).expect("a request")
}

/// A call's end without anything else, with these fields.
fn ends_with(fields: &[(&str, &str)]) -> Reply {
    let mut head = Response::builder().header("content-type", "application/grpc");
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    Reply { head: head.body(()).expect("a head"), ..Reply::default() }
}

/// The first call ends with these fields, all others well.
fn fails_once(fields: &'static [(&'static str, &'static str)]) -> Http2Origin {
    let seen = AtomicUsize::new(0);
    Http2Origin::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => ends_with(fields),
        _ => ends_with(&[("grpc-status", "0")]),
    })
}

fn called(origin: &Http2Origin, retries: &str, line: Option<(&str, &str)>) -> (String, Vec<Option<String>>) {
    let gateway = over_http2(origin, retries).start();
    let session = Session::connect(gateway.address("web"));
    let answer = session.ask(call(line), &[b"\0\0\0\0\x02\x08\x01"], None);
    let status = answer.header("grpc-status").or(answer.trailer("grpc-status")).unwrap_or_default();
    let seen = origin.seen();
    let previous = seen.iter().map(|asked| {
        let value = asked.head.headers().get("grpc-previous-rpc-attempts");
        value.map(|value| value.to_str().expect("text").to_owned())
    });
    (status.to_owned(), previous.collect())
}

#[test]
fn calls_that_only_ended_are_made_again_and_say_so() {
    let retries = "{ when: [ \"grpc:unavailable\" ], backoff: 1ms }";
    let once = || Some("1".to_owned());
    let told = called(&fails_once(&[("grpc-status", "14")]), retries, None);
    assert_eq!(told, ("0".into(), vec![None, once()]));
    // A stranger's word about earlier tries is not passed on.
    let told =
        called(&fails_once(&[("grpc-status", "14")]), retries, Some(("grpc-previous-rpc-attempts", "7")));
    assert_eq!(told, ("0".into(), vec![None, once()]));
    assert_eq!(called(&fails_once(&[("grpc-status", "13")]), retries, None), ("13".into(), vec![None]));
}

#[test]
fn calls_of_which_more_came_are_not_made_again() {
    let origin = Http2Origin::start(|_| Reply {
        head: Response::builder().header("content-type", "application/grpc").body(()).unwrap(),
        body: vec![b"\0\0\0\0\0".to_vec()],
        trailers: Some([("grpc-status".parse().unwrap(), "14".parse().unwrap())].into_iter().collect()),
        ..Reply::default()
    });
    let told = called(&origin, "{ when: [ \"grpc:unavailable\" ] }", None);
    assert_eq!(told, ("14".into(), vec![None]));
}

#[test]
fn a_call_is_made_again_when_and_only_if_its_endpoint_wants_that() {
    let retries = "{ when: [ \"grpc:unavailable\" ], backoff: 1ms }";
    for never in [
        &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")],
        &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "60000")],
    ] {
        assert_eq!(called(&fails_once(never), retries, None), ("14".into(), vec![None]));
    }
    let later = fails_once(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "700")]);
    let started = Instant::now();
    assert_eq!(called(&later, retries, None).0, "0");
    assert!(started.elapsed() >= Duration::from_millis(700));
}
