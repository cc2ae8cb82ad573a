//! Bounds that are reached: connections, files, endpoints.

use std::time::Duration;

use ringway_tests::client::To;
use ringway_tests::gateway::PLAIN;
use ringway_tests::origins::parts;
use ringway_tests::wire::Broken;
use ringway_tests::{Client, Gateway, Origin, names, process};

#[test]
fn at_the_file_limit_new_connections_wait_and_are_served_later() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}{PLAIN}");
    let mut gateway = Gateway::start_under(&text, &[("origin", &origin.endpoint())], Some(128)).unwrap();
    let mut clients: Vec<Client> = (0..200).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET /-/probe HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    clients[0].response().expect(200);
    // More than fit are waiting now: that costs nothing and breaks nothing.
    let before = process::cpu_time(gateway.pid());
    std::thread::sleep(Duration::from_millis(1500));
    let used = process::cpu_time(gateway.pid()) - before;
    assert!(used < Duration::from_millis(300), "{used:?} of processor while waiting for files");
    let open = process::descriptors(gateway.pid(), 128);
    assert!(open < 128, "{open} open files");
    assert!(gateway.metrics().sum(names::FD_LIMIT_HITS, &[]) >= 1.0);
    // Some are kept for the rest: a reload opens files.
    gateway.reload(&text);
    // Each that goes makes room for another, until all have been answered.
    let first = clients.remove(0);
    drop(first);
    for mut client in clients {
        client.response().expect(200);
    }
    gateway.get("/").expect(200);
}

#[test]
fn beyond_the_connection_limit_new_ones_wait_in_the_backlog() {
    let origin = Origin::start(parts::says("ok"));
    let text = PLAIN.replace("routes: all }", "routes: all, limits: { connections: 4 } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut held: Vec<Client> = Vec::new();
    let mut waiting: Vec<Client> = Vec::new();
    for _ in 0..12 {
        let mut client = gateway.connect();
        client.patience(Duration::from_millis(300));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_response(To::Get) {
            Ok(response) => {
                response.expect(200);
                held.push(client);
            }
            Err(broken) => {
                assert_eq!(broken, Broken::Timeout, "it waits, it is not refused");
                waiting.push(client);
            }
        }
    }
    assert!(held.len() <= 4 && !held.is_empty(), "{} at once where 4 are allowed", held.len());
    held.clear();
    // Side by side: in which order workers take them from their backlogs is not said.
    std::thread::scope(|scope| {
        for mut client in waiting {
            scope.spawn(move || {
                client.patience(Duration::from_secs(10));
                client.response().expect(200);
            });
        }
    });
}

#[test]
fn connections_to_an_endpoint_are_bounded() {
    let origin = Origin::start(parts::stalls);
    let text = r#"
runtime: { workers: 1, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ], breaker: { endpoint: { connections: 2 } } }
routes:
  - { name: all, path: /**, to: app }
"#;
    let gateway = Gateway::start_with(text, &[("origin", &origin.endpoint())]);
    let mut clients: Vec<Client> = (0..2).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert!(origin.wait(Duration::from_secs(5), |state| state.seen.len() == 2));
    gateway.get("/").expect(503).reason();
    assert_eq!(origin.accepted(), 2);
    drop(clients);
}

#[test]
fn buffers_are_bounded_however_many_send_half_a_head() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!(
        "runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false, buffers: {{ size: 16KiB, count: 64 }} }}{PLAIN}"
    );
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut halves: Vec<Client> = (0..400).map(|_| gateway.connect()).collect();
    for client in &mut halves {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\nX-Half: ");
    }
    // Six times as many half heads as buffers, and others are served all the same.
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    for client in &mut halves {
        client.send("1\r\n\r\n");
    }
    for client in &mut halves {
        client.response().expect(200);
    }
}

#[test]
fn buffers_are_bounded_however_many_stalled_uploads_there_are() {
    let origin = Origin::start(parts::echoes);
    let text = format!(
        "runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false, buffers: {{ size: 16KiB, count: 64 }} }}{PLAIN}"
    );
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut uploads: Vec<Client> = (0..200).map(|_| gateway.connect()).collect();
    for client in &mut uploads {
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nab");
    }
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    for client in &mut uploads {
        client.send("cde");
    }
    for client in &mut uploads {
        assert!(client.response().expect(200).text().ends_with("abcde"));
    }
}

#[test]
fn buffers_are_bounded_however_many_do_not_read() {
    let origin = Origin::start(parts::says_bytes(3_000_000));
    let quick = Origin::start(parts::says("ok"));
    let text = r#"
runtime: { workers: 1, backend: {{backend}}, pin: false, buffers: { size: 16KiB, count: 64 } }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  large: { endpoints: [ "{{origin}}" ] }
  quick: { endpoints: [ "{{quick}}" ] }
routes:
  - { name: large, path: /large, to: large }
  - { name: quick, path: /**, to: quick }
"#;
    let gateway = Gateway::start_with(text, &[("origin", &origin.endpoint()), ("quick", &quick.endpoint())]);
    let address = gateway.address("web");
    let mut readers: Vec<Client> = (0..60).map(|_| Client::connect_with_small_window(address)).collect();
    for client in &mut readers {
        client.send("GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    assert!(origin.wait(Duration::from_secs(10), |state| state.seen.len() == 60));
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    let resident = process::resident(gateway.pid());
    assert!(resident < 64 << 20, "{resident} bytes for sixty that don't read");
    for mut client in readers.drain(..3) {
        assert_eq!(client.response().expect(200).body.len(), 3_000_000);
    }
}

#[test]
fn buffers_are_bounded_however_many_requests_wait_behind_a_stalled_one() {
    let origin = Origin::start(parts::stalls);
    let quick = Origin::start(parts::says("ok"));
    let text = r#"
runtime: { workers: 1, backend: {{backend}}, pin: false, buffers: { size: 16KiB, count: 64 } }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  stalled: { endpoints: [ "{{origin}}" ] }
  quick: { endpoints: [ "{{quick}}" ] }
routes:
  - { name: stalled, path: /stalled, to: stalled }
  - { name: quick, path: /**, to: quick }
"#;
    let gateway = Gateway::start_with(text, &[("origin", &origin.endpoint()), ("quick", &quick.endpoint())]);
    let more = "GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n".repeat(2000);
    let mut clients: Vec<Client> = (0..60).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET /stalled HTTP/1.1\r\nHost: a.example\r\n\r\n").send(&more);
    }
    assert!(origin.wait(Duration::from_secs(10), |state| state.seen.len() == 60));
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    let resident = process::resident(gateway.pid());
    assert!(resident < 64 << 20, "{resident} bytes for sixty that wait");
}

#[test]
fn beyond_the_connection_rate_new_ones_wait_and_are_all_served() {
    let origin = Origin::start(parts::says("ok"));
    let text = PLAIN.replace("routes: all }", "routes: all, limits: { connection_rate: 50/s } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let started = std::time::Instant::now();
    for _ in 0..150 {
        gateway.get("/").expect(200);
    }
    // A burst of a second's worth may pass at once.
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1500), "150 connections at 50 a second took {took:?}");
    assert!(took < Duration::from_secs(8), "150 connections at 50 a second took {took:?}");
}
