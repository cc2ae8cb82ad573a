//! The harness tried on itself: wire texts all parse, and origins do what they say when asked directly.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_tests::case::Script;
use ringway_tests::client::To;
use ringway_tests::origins::parts::{self, Answer, Then};
use ringway_tests::wire::Broken;
use ringway_tests::{Client, Origin};

#[test]
fn every_wire_text_parses() {
    let folder = ringway_tests::binary::root().join("tests/wire");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a file");
        let script = Script::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
        let mut titles: Vec<&str> = script.cases.iter().map(|case| case.title.as_str()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), script.cases.len(), "a title twice in {}", entry.path().display());
        cases += script.cases.len();
    }
    assert!(cases > 300, "{cases} cases");
}

#[test]
fn an_origin_tells_what_it_saw_and_keeps_it() {
    let origin = Origin::start(parts::echoes);
    let mut client = Client::connect(origin.address());
    client.send(
        "POST /a HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    );
    let response = client.response().expect(200);
    assert_eq!(response.text(), "POST /a HTTP/1.1\nHost: b\nTransfer-Encoding: chunked\n\nabc");
    let seen = origin.wait_for(1);
    assert_eq!(seen[0].body, b"abc");
    assert_eq!(seen[0].trailers, [("X".to_owned(), "y".to_owned())]);
    assert!(client.get("/b").text().starts_with("GET /b HTTP/1.1"));
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn a_request_that_was_cut_stays_visible_as_one() {
    let origin = Origin::start(parts::echoes);
    let mut client = Client::connect(origin.address());
    client.send("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nab").half_close();
    assert!(origin.wait(Duration::from_secs(5), |state| state.ended.contains(&0)));
    let seen = origin.seen();
    assert!(!seen[0].whole);
    assert_eq!(seen[0].body, b"ab");
}

#[test]
fn a_reset_reaches_the_client_as_one() {
    let origin = Origin::start(parts::sends_and_resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"));
    let mut client = Client::connect(origin.address());
    let response = client.get("/");
    assert_eq!((response.body.as_slice(), response.broken), (b"ab".as_slice(), Some(Broken::Reset)));
}

#[test]
fn what_is_not_quite_http_is_noticed() {
    for bytes in [
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let origin = Origin::start(parts::sends(bytes));
        let mut client = Client::connect(origin.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let read = client.try_response(To::Get);
        assert!(matches!(read, Err(Broken::Malformed(_))), "{read:?}");
    }
}

#[test]
fn interim_responses_are_told_apart_from_the_final_one() {
    let origin = Origin::start(parts::sends(
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ));
    let response = Client::connect(origin.address()).get("/");
    assert_eq!(response.interim.len(), 1);
    assert_eq!(response.text(), "ok");
}

#[test]
fn a_tunnel_echoes() {
    let origin = Origin::start(parts::tunnels);
    let mut client = Client::connect(origin.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 101);
    client.send("ping");
    assert_eq!(client.read_bytes(4), b"ping");
}

#[test]
fn a_script_may_change_while_the_origin_runs() {
    let script = Arc::new(Mutex::new(Answer::default()));
    let origin = Origin::start(parts::scripted(Arc::clone(&script)));
    let mut client = Client::connect(origin.address());
    for text in ["one", "two"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{text}").into_bytes();
        *script.lock().unwrap() = Answer { bytes, then: Then::Stay };
        assert_eq!(client.get("/").text(), text);
    }
}

#[test]
fn dropping_an_origin_ends_its_connections() {
    let origin = Origin::start(parts::never_reads);
    let mut client = Client::connect(origin.address());
    drop(origin);
    client.expect_closed();
}
