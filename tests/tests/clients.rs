//! Clients that misbehave, and clients that are merely unusual.

use std::fmt::Write;
use std::time::{Duration, Instant};

use ringway_tests::client::To;
use ringway_tests::gateway::PLAIN;
use ringway_tests::origins::parts;
use ringway_tests::wire::Broken;
use ringway_tests::{Gateway, Origin};

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(parts::says_target);
    let gateway = Gateway::in_front_of(&origin);
    let mut requests = String::new();
    for number in 0..1000 {
        write!(requests, "GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    let mut client = gateway.connect();
    client.send(requests);
    for number in 0..1000 {
        assert_eq!(client.response().expect(200).text(), format!("/{number}"));
    }
}

#[test]
fn pipelined_requests_with_bodies_are_told_apart() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let mut requests = String::new();
    for number in 0..100 {
        match number % 3 {
            0 => write!(requests, "GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => write!(requests, "POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET "),
            _ => write!(
                requests,
                "PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nPUT \r\n0\r\n\r\n"
            ),
        }
        .unwrap();
    }
    let mut client = gateway.connect();
    client.send(requests);
    for number in 0..100 {
        let text = client.response().expect(200).text();
        assert!(text.contains(&format!(" /{number} HTTP/1.1\n")), "{number}: {text}");
    }
}

#[test]
fn a_client_that_finishes_sending_still_gets_its_answer() {
    let origin = Origin::start(parts::takes(Duration::from_millis(200), "late"));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").half_close();
    assert_eq!(client.response().expect(200).text(), "late");
    client.expect_closed();
}

#[test]
fn every_pipelined_request_before_a_half_close_is_answered() {
    let origin = Origin::start(parts::says_target);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").half_close();
    assert_eq!(client.response().expect(200).text(), "/1");
    assert_eq!(client.response().expect(200).text(), "/2");
    client.expect_closed();
}

#[test]
fn a_client_that_resets_takes_its_exchange_with_it() {
    let origin = Origin::start(parts::stalls);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    client.reset();
    let ended = origin.wait(Duration::from_secs(5), |state| state.ended.contains(&0));
    assert!(ended, "the origin still works for a client that is gone");
}

#[test]
fn a_client_that_resets_within_an_upload_resets_the_origin() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    client.reset();
    assert!(origin.wait(Duration::from_secs(5), |state| state.ended.contains(&0)));
    assert!(!origin.seen()[0].whole);
    gateway.get("/").expect(200);
}

#[test]
fn a_head_that_trickles_in_too_slowly_is_a_408() {
    let origin = Origin::start(parts::says("ok"));
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { head: 400ms } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    let started = Instant::now();
    let head = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    // Each byte comes well within the time; the head as a whole does not.
    let _ = client.send_in_pieces(head, 1, Duration::from_millis(40));
    client.response().expect(408).reason();
    client.expect_closed();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(origin.seen().is_empty());
}

#[test]
fn a_head_a_byte_at_a_time_within_its_time_is_fine() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let head = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        client.send_in_pieces(head, 1, Duration::from_millis(2)).unwrap();
        client.response().expect(200);
    }
}

#[test]
fn a_body_that_trickles_in_too_slowly_ends_the_exchange() {
    let origin = Origin::start(parts::echoes);
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { min_rate: 1000000B/s } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(9) && client.try_send("x").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    match client.try_response(To::Get) {
        Ok(response) => assert_eq!(response.status, 408),
        Err(broken) => assert_ne!(broken, Broken::Timeout, "still open"),
    }
    assert!(started.elapsed() < Duration::from_secs(9), "nobody ended it");
    assert!(origin.seen().iter().all(|seen| !seen.whole));
}

#[test]
fn a_client_that_stops_reading_holds_back_the_origin_and_is_ended_in_the_end() {
    let origin = Origin::start(parts::says_bytes(200_000_000));
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { min_rate: 1000000B/s } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    gateway.get("/-/probe").expect(200);
    let before = ringway_tests::process::resident(gateway.pid());
    let mut client = ringway_tests::Client::connect_with_small_window(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // It ends the origin's connection too, so this is the event to wait for.
    assert!(origin.wait(Duration::from_secs(10), |state| !state.ended.is_empty()), "nobody ended it");
    let grown = ringway_tests::process::resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for a client that doesn't read");
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let origin = Origin::start(parts::says_bytes(400_000));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = ringway_tests::Client::connect_with_small_window(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.response().expect(200).body.len(), 400_000);
}

#[test]
fn early_bytes_on_a_rejected_upgrade_never_become_a_request() {
    let origin = Origin::start(parts::rejects_upgrades);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(client.response().status, 403);
    client.expect_closed();
    assert!(origin.seen().iter().all(|seen| !seen.head.start.contains("smuggled")));
}

#[test]
fn early_bytes_behind_a_stripped_h2c_upgrade_are_the_next_request_or_nothing() {
    let origin = Origin::start(parts::says_target);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\
         \r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    );
    assert_eq!(client.response().expect(200).text(), "/1");
    match client.try_response(To::Get) {
        Ok(response) => assert!(response.status == 400 || response.status == 505),
        Err(broken) => assert_ne!(broken, Broken::Timeout),
    }
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_request_smuggled_behind_a_refused_one_is_never_answered() {
    let origin = Origin::start(parts::says_target);
    let gateway = Gateway::in_front_of(&origin);
    for refused in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
    ] {
        let mut client = gateway.connect();
        client.send(format!("{refused}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status, 400, "{refused}");
        client.expect_closed();
    }
    assert!(origin.seen().iter().all(|seen| !seen.head.start.contains("smuggled")));
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let origin = Origin::start(parts::says("ok"));
    let text = PLAIN.replace("routes: all }", "routes: all, limits: { body: 1KiB } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    // Closing at once would answer these bytes with a reset, which may overtake the response.
    let _ = client.send_in_pieces(&vec![b'x'; 300_000], 10_000, Duration::from_millis(1));
    client.response().expect(413).reason();
}

#[test]
fn a_body_nobody_wants_is_drained_or_its_connection_closed() {
    let gateway = Gateway::start(
        r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
routes:
  - { path: /no, respond: { status: 403, body: "no" } }
"#,
    );
    let mut client = gateway.connect();
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n").send(vec![b'x'; 100]);
    client.response().expect(403);
    client.get("/-/probe").expect(200);
    // Too much to drain: the answer comes, and then the end.
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(8) && client.try_send(vec![b'x'; 65536]).is_ok() {}
    assert!(started.elapsed() < Duration::from_secs(8), "it drains without end");
}

#[test]
fn a_bad_chunk_after_the_response_began_never_ends_well_upstream() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let origin = Origin::start(move |connection: &mut ringway_tests::origins::Connection| {
        connection.request_head()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")?;
        let mut body = Vec::new();
        while let Ok(bytes) = connection.read_some() {
            body.extend(bytes);
            if body.ends_with(b"abc\r\n") {
                let _ = connection.send("hell");
            }
        }
        let _ = tell.lock().unwrap().send(body);
        Ok(())
    });
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    for piece in ["zz\r\n", "3\r\ndef\r\n", "0\r\n\r\n"] {
        std::thread::sleep(Duration::from_millis(60));
        let _ = client.try_send(piece);
    }
    client.reset();
    let body = told.recv_timeout(Duration::from_secs(5)).unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(!body.contains("def") && !body.ends_with("0\r\n\r\n"), "{body:?}");
}

#[test]
fn a_stranger_may_cut_its_request_anywhere_where_proxy_protocol_is_spoken() {
    let origin = Origin::start(parts::echoes);
    let text = PLAIN.replace("routes: all }", "routes: all, proxy_protocol: [ 10.0.0.0/8 ] }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    for cut in 1..8 {
        let mut client = gateway.connect();
        let request = b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(&request[..cut]);
        std::thread::sleep(Duration::from_millis(30));
        client.send(&request[cut..]);
        client.response().expect(200);
    }
    // But not to speak it.
    let mut client = gateway.connect();
    client.send("PROX");
    std::thread::sleep(Duration::from_millis(30));
    client.send("Y TCP4 9.9.9.9 8.8.8.8 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_closed();
}

#[test]
fn a_body_nobody_wants_is_drained_however_late_it_comes() {
    let gateway = Gateway::start(
        r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
routes:
  - { path: /no, respond: { status: 403, body: "no" } }
"#,
    );
    for (framing, pieces) in [
        ("Content-Length: 10", ["GET /", " HTT"].as_slice()),
        ("Transfer-Encoding: chunked", &["3\r\nGE", "T\r\n0\r\nX-A: 1\r\n\r"]),
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /no HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        client.response().expect(403);
        for piece in pieces {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(30));
        }
        let end = if framing.starts_with('C') { "P" } else { "\n" };
        client.send(format!("{end}GET /-/probe HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response().expect(200);
    }
}

#[test]
fn expect_continue_is_answered_when_the_origin_does_not_care() {
    let origin = Origin::start(parts::says_continue);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.next_message(To::Get).unwrap().status, 100);
    client.send("hi");
    assert_eq!(client.response().expect(200).text(), "hi");
}

#[test]
fn a_client_that_does_not_wait_for_the_continue_is_served() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    assert!(client.response().expect(200).text().ends_with("\n\nhi"));
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { idle: 300ms } }");
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut fresh = gateway.connect();
    fresh.expect_closed();
    let mut used = gateway.connect();
    used.get("/").expect(200);
    used.expect_closed();
}

#[test]
fn a_silent_tunnel_is_ended_and_a_busy_one_is_not() {
    let origin = Origin::start(parts::tunnels);
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { tunnel_idle: 500ms } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 101);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1200) {
        client.send("x");
        assert_eq!(client.read_bytes(1), b"x");
        std::thread::sleep(Duration::from_millis(100));
    }
    client.expect_closed();
}
