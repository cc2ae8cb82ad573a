//! Origins that misbehave: what the client gets, and what becomes of connections.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ringway_tests::client::To;
use ringway_tests::gateway::PLAIN;
use ringway_tests::origins::parts;
use ringway_tests::{Gateway, Origin};

/// As `PLAIN`, impatient with the origin.
const IMPATIENT: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{origin}}" ]
    timeouts: { connect: 300ms, response_head: 300ms, idle: 300ms }
routes:
  - { name: all, path: /**, to: app }
"#;

fn impatient(origin: &Origin) -> Gateway {
    Gateway::start_with(IMPATIENT, &[("origin", &origin.endpoint())])
}

#[test]
fn an_origin_that_never_answers_is_a_504() {
    let origin = Origin::start(parts::stalls);
    let gateway = impatient(&origin);
    let started = Instant::now();
    let response = gateway.get("/").expect(504);
    assert!(!response.reason().is_empty());
    assert!(started.elapsed() >= Duration::from_millis(290), "{:?}", started.elapsed());
    assert!(origin.wait(Duration::from_secs(5), |state| state.ended.len() == state.accepted));
}

#[test]
fn an_origin_that_stalls_within_its_body_is_cut_off() {
    let origin =
        Origin::start(parts::sends_and_stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"));
    let gateway = impatient(&origin);
    let mut client = gateway.connect();
    let response = client.get("/");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert!(response.is_cut(), "{:?}", response.broken);
    assert!(origin.wait(Duration::from_secs(5), |state| state.ended.contains(&0)));
}

#[test]
fn an_origin_that_stalls_within_its_head_is_a_504() {
    let origin = Origin::start(parts::sends_and_stalls(b"HTTP/1.1 200 OK\r\nContent-"));
    impatient(&origin).get("/").expect(504);
}

#[test]
fn a_route_bounds_the_whole_exchange() {
    let origin = Origin::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
        loop {
            connection.send("x")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let text = PLAIN.replace("to: app", "to: app, timeout: 300ms");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let started = Instant::now();
    let response = gateway.get("/");
    assert!(response.is_cut(), "{:?}", response.broken);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(origin.wait(Duration::from_secs(5), |state| state.ended.contains(&0)));
}

#[test]
fn a_route_timeout_before_the_head_is_a_504() {
    let origin = Origin::start(parts::stalls);
    let text = PLAIN.replace("to: app", "to: app, timeout: 300ms");
    Gateway::start_with(&text, &[("origin", &origin.endpoint())]).get("/").expect(504);
}

#[test]
fn a_reset_before_the_head_is_a_502() {
    let origin = Origin::start(parts::resets_on_request);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    client.response().expect(502).reason();
    // The client's connection is as good as before.
    client.get("/-/probe").expect(200);
}

#[test]
fn a_reset_within_the_head_is_a_502() {
    let origin = Origin::start(parts::sends_and_resets(b"HTTP/1.1 200 OK\r\nContent-"));
    Gateway::in_front_of(&origin).get("/").expect(502).reason();
}

#[test]
fn a_reset_within_the_body_cuts_the_response() {
    for head in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let bytes: &'static str = format!("HTTP/1.1 200 OK\r\n{head}").leak();
        let origin = Origin::start(parts::sends_and_resets(bytes.as_bytes()));
        let gateway = Gateway::in_front_of(&origin);
        let mut client = gateway.connect();
        let response = client.get("/");
        assert_eq!(response.text(), "hello");
        assert!(response.is_cut(), "a cut body must not look whole");
        client.expect_closed();
    }
}

#[test]
fn a_reset_within_a_body_without_length_is_a_reset_for_the_client_too() {
    let origin = Origin::start(parts::sends_and_resets(b"HTTP/1.1 200 OK\r\n\r\nhello"));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    let response = client.get("/");
    assert!(response.is_cut(), "what was cut looks whole: {response:?}");
}

#[test]
fn bytes_sent_while_idle_never_answer_a_request() {
    let origin = Origin::start(parts::talks_while_idle);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for number in 0..4 {
        assert_eq!(client.get("/").expect(200).text(), "first");
        // The gateway sees the bytes and ends that connection. (A request that is sent before they have come can't be
        // told from one that they answer: that is no proxy's to tell.)
        assert!(origin.wait(Duration::from_secs(5), |state| state.ended.contains(&number)), "{number}");
    }
}

#[test]
fn a_connection_closed_while_idle_costs_no_request() {
    let origin = Origin::start(parts::closes_after_each);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/").expect(200).text(), "once");
    }
}

#[test]
fn a_stale_connection_is_retried_once_on_a_fresh_one_when_that_is_safe() {
    let origin = Origin::start(parts::closes_on_second_request);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").expect(200).text(), "first on this connection");
    }
}

#[test]
fn a_post_with_a_body_is_never_sent_twice() {
    let origin = Origin::start(parts::closes_on_second_request);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    let posts = 20;
    for number in 0..posts {
        client.send(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"));
        let status = client.response().status;
        assert!(status == 200 || status == 502, "{status}");
    }
    for number in 0..posts {
        let line = format!("POST /{number} HTTP/1.1");
        let times = origin.seen().iter().filter(|seen| seen.head.start == line).count();
        assert_eq!(times, 1, "{line}");
    }
}

#[test]
fn an_origin_that_hangs_up_is_a_502() {
    let origin = Origin::start(parts::hangs_up);
    Gateway::in_front_of(&origin).get("/").expect(502).reason();
}

#[test]
fn a_refused_connection_is_a_502_and_service_returns_with_the_origin() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = ringway_tests::ports::free();
    let address = std::net::SocketAddr::new(address.ip(), port);
    let gateway = Gateway::start_with(PLAIN, &[("origin", &address.to_string())]);
    let mut client = gateway.connect();
    let first = client.get("/").expect(502);
    assert!(!first.reason().is_empty());
    let _origin = Origin::start_at(address, parts::says("back"));
    ringway_tests::wait::until_true("the endpoint to be tried again", || client.get("/").status == 200);
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let good = Origin::start(parts::says("good"));
    let dead = format!("127.0.0.1:{}", ringway_tests::ports::free());
    let text = PLAIN.replace("[ \"{{origin}}\" ]", "[ \"{{origin}}\", \"{{dead}}\" ]");
    let gateway = Gateway::start_with(&text, &[("origin", &good.endpoint()), ("dead", &dead)]);
    let mut client = gateway.connect();
    let failed = (0..200).filter(|_| client.get("/").status != 200).count();
    // A connection that was refused has sent nothing: another endpoint can be asked, or at worst it is learnt from.
    assert!(failed <= 4, "{failed} of 200 failed");
}

#[test]
fn connections_to_an_origin_are_reused() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for _ in 0..100 {
        client.get("/").expect(200);
    }
    assert_eq!(origin.accepted(), 1, "one worker needs one connection");
}

#[test]
fn an_origin_that_never_reads_holds_back_an_upload_and_nothing_grows() {
    let origin = Origin::start(parts::never_reads);
    let text = IMPATIENT.replace("response_head: 300ms, idle: 300ms", "response_head: 1s, idle: 1s");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let before = ringway_tests::process::resident(gateway.pid());
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\n");
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    client.patience(Duration::from_secs(5));
    while sent < 200_000_000 && client.try_send(&piece).is_ok() {
        sent += piece.len();
    }
    let grown = ringway_tests::process::resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for an upload nobody reads, {sent} sent");
    assert!(sent < 100_000_000, "{sent} bytes were taken though nobody read them");
}

#[test]
fn an_answer_before_the_upload_ends_reaches_the_client() {
    let origin = Origin::start(parts::answers_before_the_upload);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "early"));
}

#[test]
fn an_answer_before_the_upload_ends_leaves_no_half_read_request_in_the_pool() {
    let origin = Origin::start(parts::answers_early_and_reads_on);
    let gateway = Gateway::in_front_of(&origin);
    for _ in 0..5 {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
        assert_eq!(client.response().expect(200).text(), "early");
        client.half_close();
        drop(client);
        // Were the connection reused, this would be read as the rest of the body.
        assert_eq!(gateway.get("/next").expect(200).text(), "early");
    }
    assert_eq!(origin.malformed(), Vec::<String>::new());
    let next = origin.seen().iter().filter(|seen| seen.head.start == "GET /next HTTP/1.1").count();
    assert_eq!(next, 5);
}

#[test]
fn a_continue_from_the_origin_lets_the_body_come() {
    let origin = Origin::start(parts::says_continue);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let interim = client.next_message(To::Get).unwrap();
    assert_eq!(interim.status, 100);
    client.send("hello");
    assert_eq!(client.response().expect(200).text(), "hello");
}

#[test]
fn a_body_that_was_refused_is_never_asked_for() {
    let origin = Origin::start(parts::refuses_the_body);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 403);
    assert!(response.interim.is_empty(), "the body was asked for: {:?}", response.interim);
}

#[test]
fn a_large_response_passes_whole() {
    let origin = Origin::start(parts::says_bytes(20_000_000));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let response = client.get("/").expect(200);
        assert_eq!(response.body.len(), 20_000_000);
        assert!(response.body.iter().all(|&b| b == b'x'));
    }
}

#[test]
fn large_uploads_pass_whole_with_a_length_and_in_chunks() {
    let origin = Origin::start(|connection| {
        loop {
            let seen = connection.request()?;
            let sum: u64 = seen.body.iter().map(|&b| u64::from(b)).sum();
            connection.answer(format!("{} {sum}", seen.body.len()))?;
        }
    });
    let gateway = Gateway::in_front_of(&origin);
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let wanted = format!("{} {}", body.len(), body.iter().map(|&b| u64::from(b)).sum::<u64>());
    let mut client = gateway.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).send(&body);
    assert_eq!(client.response().expect(200).text(), wanted);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut sizes = [1usize, 5, 4095, 4096, 70_000, 16_384, 3].into_iter().cycle();
    let mut rest = body.as_slice();
    while let Some(size) = sizes.next().filter(|_| !rest.is_empty()) {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
        rest = after;
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), wanted);
}

#[test]
fn a_websocket_like_tunnel_passes_bytes_both_ways() {
    let origin = Origin::start(parts::tunnels);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade").as_deref(), Some("websocket"));
    assert!(response.head.lists("connection", "upgrade"));
    for size in [1, 100, 20_000, 7] {
        let message = vec![b'w'; size];
        client.send(&message);
        assert_eq!(client.read_bytes(size), message);
    }
    drop(client);
    assert!(origin.wait(Duration::from_secs(5), |state| state.ended.contains(&0)));
}

#[test]
fn bytes_sent_early_pass_through_the_tunnel_once_it_stands() {
    let origin = Origin::start(parts::tunnels);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    assert_eq!(client.response().status, 101);
    assert_eq!(client.read_bytes(5), b"early");
}

#[test]
fn an_origin_and_a_listener_may_be_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::start_unix(&dir.path().join("origin.sock"), parts::echoes);
    let text = r#"
listeners:
  - { name: web, address: "unix:{{dir}}/web.sock" }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { path: /**, to: app }
"#;
    let gateway = Gateway::start_with(text, &[("origin", &origin.endpoint())]);
    let mut client = ringway_tests::Client::connect_unix(&gateway.dir().join("web.sock"));
    for _ in 0..3 {
        assert!(client.get("/over/unix").expect(200).text().starts_with("GET /over/unix HTTP/1.1"));
    }
}

#[test]
fn weights_split_a_route_between_services() {
    let (a, b) = (Origin::start(parts::says("a")), Origin::start(parts::says("b")));
    let text = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  a: { endpoints: [ "{{a}}" ] }
  b: { endpoints: [ "{{b}}" ] }
routes:
  - { path: /**, to: [ { service: a, weight: 80 }, { service: b, weight: 20 } ] }
"#;
    let gateway = Gateway::start_with(text, &[("a", &a.endpoint()), ("b", &b.endpoint())]);
    let mut client = gateway.connect();
    let to_b = (0..1000).filter(|_| client.get("/").expect(200).text() == "b").count();
    assert!((140..=260).contains(&to_b), "{to_b} of 1000 went to the service with a fifth");
}

#[test]
fn every_way_of_balancing_reaches_every_endpoint() {
    for balance in ["round_robin", "least_request", "peak_ewma", "random"] {
        let (a, b) = (Origin::start(parts::says("a")), Origin::start(parts::says("b")));
        let text = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{a}}", { address: "{{b}}", weight: 3 } ], balance: {{balance}} }
routes:
  - { path: /**, to: app }
"#;
        let values = [("a", a.endpoint()), ("b", b.endpoint()), ("balance", balance.to_owned())];
        let values: Vec<(&str, &str)> = values.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let gateway = Gateway::start_with(text, &values);
        let mut client = gateway.connect();
        let to_a = (0..200).filter(|_| client.get("/").expect(200).text() == "a").count();
        assert!((1..200).contains(&to_a), "{balance}: {to_a} of 200 to a");
        if balance == "round_robin" {
            assert!((45..=55).contains(&to_a), "round_robin by weight 1:3, {to_a} of 200 to a");
        }
    }
}

#[test]
fn a_name_is_resolved_and_served() {
    let origin = Origin::start(parts::says("by name"));
    let endpoint = format!("dns:localhost:{}", origin.address().port());
    let gateway = Gateway::start_with(PLAIN, &[("origin", &endpoint)]);
    ringway_tests::wait::until_true("the name to be resolved", || gateway.get("/").status == 200);
}
