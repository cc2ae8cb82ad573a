//! Changing the configuration and stopping, under load, without one failed request.

use std::time::Duration;

use ringway_tests::gateway::PLAIN;
use ringway_tests::load::{Load, Mode};
use ringway_tests::names;
use ringway_tests::origins::parts;
use ringway_tests::wait::{until, until_true};
use ringway_tests::{Client, Gateway, Origin};

const EVERY_MODE: [Mode; 4] = [Mode::KeepAlive, Mode::Fresh, Mode::Upload, Mode::KeepAlive];

/// Differs from `PLAIN` in everything a reload may touch but the listener and the service under load.
fn variant(number: usize) -> String {
    let extra = if number.is_multiple_of(2) {
        "  - { name: extra, address: \"127.0.0.1:{{extra}}\", routes: all }\nservices:"
    } else {
        "services:"
    };
    let text =
        PLAIN.replace("services:", extra).replace("to: app", &format!("to: app, timeout: {}s", 20 + number));
    if number.is_multiple_of(3) {
        text.replace("[ \"{{origin}}\" ]", "[ \"{{origin}}\" ], balance: random")
    } else {
        text
    }
}

#[test]
fn twenty_reloads_under_load_fail_no_request() {
    let origin = Origin::start(parts::says("ok"));
    let mut gateway = Gateway::in_front_of(&origin);
    let load = Load::start(gateway.address("web"), &EVERY_MODE);
    for number in 0..20 {
        let before = load.done();
        gateway.reload(&variant(number));
        until_true("load to go on", || load.done() >= before + 20);
    }
    let (done, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {done} failed: {failures:#?}", failures.len());
}

#[test]
fn a_drain_under_load_fails_no_exchange_and_exits_with_0() {
    let origin = Origin::start(parts::takes(Duration::from_millis(5), "ok"));
    let mut gateway = Gateway::in_front_of(&origin);
    let load = Load::start(gateway.address("web"), &EVERY_MODE);
    until_true("load to flow", || load.done() >= 100);
    load.expect_drain();
    let status = gateway.terminate();
    let (done, failures) = load.join();
    assert!(failures.is_empty(), "{} of {done} failed: {failures:#?}", failures.len());
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
}

#[test]
fn a_drain_lets_an_exchange_end_and_tells_the_client_to_close() {
    let origin = Origin::start(parts::takes(Duration::from_millis(500), "late"));
    let mut gateway = Gateway::in_front_of(&origin);
    let mut idle = gateway.connect();
    idle.get("/-/probe").expect(200);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    gateway.signal("TERM");
    idle.expect_closed();
    let response = client.response().expect(200);
    assert_eq!(response.text(), "late");
    assert!(response.head.lists("connection", "close"), "{:?}", response.head);
    client.expect_closed();
    assert_eq!(gateway.wait_for_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_drain_ends_when_its_time_is_up() {
    let origin = Origin::start(parts::stalls);
    let text = format!("drain_timeout: 500ms\n{PLAIN}");
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    gateway.signal("TERM");
    gateway.wait_for_exit(Duration::from_secs(4));
    client.expect_closed();
}

#[test]
fn a_tunnel_lives_through_twenty_reloads() {
    let origin = Origin::start(parts::tunnels);
    let mut gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 101);
    for number in 0..20 {
        gateway.reload(&variant(number));
        let message = format!("message {number}");
        client.send(&message);
        assert_eq!(client.read_bytes(message.len()), message.as_bytes());
    }
}

#[test]
fn a_keep_alive_connection_and_the_pool_live_through_a_reload() {
    let origin = Origin::start(parts::says("ok"));
    let text = PLAIN.to_owned();
    let single = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}{text}");
    let mut gateway = Gateway::start_with(&single, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.get("/").expect(200);
    for number in 0..3 {
        gateway.reload(&single.replace("to: app", &format!("to: app, timeout: {}s", 10 + number)));
        client.get("/").expect(200);
    }
    assert_eq!(origin.accepted(), 1, "the connection to the origin was not kept");
}

#[test]
fn a_reload_moves_traffic_to_the_new_service() {
    let (old, new) = (Origin::start(parts::says("old")), Origin::start(parts::says("new")));
    let mut gateway = Gateway::in_front_of(&old);
    let mut client = gateway.connect();
    assert_eq!(client.get("/").expect(200).text(), "old");
    gateway.set("origin", &new.endpoint());
    gateway.reload(PLAIN);
    // The connection opened before follows too.
    assert_eq!(client.get("/").expect(200).text(), "new");
    assert_eq!(gateway.get("/").expect(200).text(), "new");
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let origin = Origin::start(parts::says("ok"));
    let mut gateway = Gateway::in_front_of(&origin);
    gateway.replace_config(PLAIN);
    until_true("the new file to run", || gateway.get("/-/probe").expect(200).text() == "1");
}

#[test]
fn a_swapped_symlink_is_noticed_as_in_a_mounted_configmap() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let dir = gateway.dir();
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    // gateway.yaml -> ..data/gateway.yaml, ..data -> v1; then ..data is swapped for v2.
    for (version, body) in [("v1", "first"), ("v2", "second")] {
        std::fs::create_dir(dir.join(version)).unwrap();
        let text = text.replace("body: \"0\"", &format!("body: \"{body}\""));
        std::fs::write(dir.join(version).join("gateway.yaml"), text).unwrap();
        std::os::unix::fs::symlink(version, dir.join("..next")).unwrap();
        std::fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
        if version == "v1" {
            std::os::unix::fs::symlink("..data/gateway.yaml", dir.join("link")).unwrap();
            std::fs::rename(dir.join("link"), gateway.config_path()).unwrap();
        }
        until_true("the swapped file to run", || gateway.get("/-/probe").expect(200).text() == body);
    }
}

#[test]
fn a_bad_reload_keeps_serving_and_is_shown() {
    let origin = Origin::start(parts::says("ok"));
    let mut gateway = Gateway::in_front_of(&origin);
    let generation = gateway.metrics().sum(names::CONFIG_GENERATION, &[]);
    gateway.replace_config(&PLAIN.replace("to: app", "to: nowhere"));
    gateway.signal("HUP");
    until_true("the failure in the metrics", || {
        gateway.metrics().sum(names::CONFIG_RELOAD_FAILURES, &[]) >= 1.0
    });
    let ready = gateway.admin("/readyz").expect(200).text();
    assert!(ready.contains("nowhere"), "{ready}");
    until_true("the failure in the log", || gateway.stderr().contains("nowhere"));
    assert_eq!(gateway.metrics().sum(names::CONFIG_GENERATION, &[]), generation);
    assert_eq!(gateway.get("/").expect(200).text(), "ok");
    gateway.reload(PLAIN);
    let ready = gateway.admin("/readyz").expect(200).text();
    assert!(!ready.contains("nowhere"), "{ready}");
}

#[test]
fn a_listener_that_is_removed_serves_its_accept_queue_first() {
    let origin = Origin::start(parts::takes(Duration::from_millis(20), "ok"));
    let extra = "  - { name: extra, address: \"127.0.0.1:{{extra}}\", routes: all }\nservices:";
    let text = PLAIN.replace("services:", extra);
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    for _ in 0..5 {
        let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(gateway.address("extra"))).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        gateway.replace_config(PLAIN);
        gateway.signal("HUP");
        for client in &mut clients {
            assert_eq!(client.response().expect(200).text(), "ok");
        }
        until_true("the listener to be closed", || Client::try_connect(gateway.address("extra")).is_err());
        gateway.reload(&text);
        let extra = gateway.address("extra");
        until("the listener to be back", Duration::from_secs(5), || Client::try_connect(extra).ok());
    }
}

#[test]
fn a_new_listener_that_can_not_bind_leaves_everything_as_it_was() {
    let origin = Origin::start(parts::says("ok"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gateway = Gateway::in_front_of(&origin);
    let address = taken.local_addr().unwrap();
    let extra = format!("  - {{ name: extra, address: \"{address}\", routes: all }}\nservices:");
    gateway.replace_config(&PLAIN.replace("services:", &extra));
    gateway.signal("HUP");
    until_true("the failure in the metrics", || {
        gateway.metrics().sum(names::CONFIG_RELOAD_FAILURES, &[]) >= 1.0
    });
    assert!(gateway.admin("/readyz").expect(200).text().contains("extra"));
    assert_eq!(gateway.get("/").expect(200).text(), "ok");
    assert_eq!(gateway.get("/-/probe").expect(200).text(), "0");
}

#[test]
fn a_file_still_being_written_is_waited_for() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let path = gateway.config_path();
    let text = std::fs::read_to_string(&path).unwrap().replace("body: \"0\"", "body: \"whole\"");
    // Half of it ends within a word.
    let half = text.find("endpoints").unwrap() + 4;
    std::fs::write(&path, &text[..half]).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    std::fs::write(&path, &text).unwrap();
    until_true("the whole file to run", || gateway.get("/-/probe").expect(200).text() == "whole");
    assert_eq!(gateway.metrics().sum(names::CONFIG_RELOAD_FAILURES, &[]), 0.0, "{}", gateway.stderr());
}

#[test]
fn a_response_under_way_when_the_drain_time_is_up_is_cut_and_looks_cut() {
    let origin =
        Origin::start(parts::sends_and_stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
    let text = format!("drain_timeout: 500ms\n{PLAIN}");
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    let started = std::time::Instant::now();
    gateway.signal("TERM");
    let response = client.response();
    assert!(response.is_cut(), "{response:?}");
    gateway.wait_for_exit(Duration::from_secs(3));
    assert!(started.elapsed() >= Duration::from_millis(450), "it did not wait");
}

#[test]
fn a_listener_that_is_removed_ends_its_connections_after_their_exchange_and_no_others() {
    let origin = Origin::start(parts::takes(Duration::from_millis(600), "late"));
    let extra = "  - { name: extra, address: \"127.0.0.1:{{extra}}\", routes: all }\nservices:";
    let text = PLAIN.replace("services:", extra);
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut kept = gateway.connect();
    kept.get("/-/probe").expect(200);
    let mut idle = Client::connect(gateway.address("extra"));
    idle.get("/-/probe").expect(200);
    let mut busy = Client::connect(gateway.address("extra"));
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    gateway.reload(PLAIN);
    let response = busy.response().expect(200);
    assert_eq!(response.text(), "late");
    assert!(response.head.lists("connection", "close"), "{:?}", response.head);
    busy.expect_closed();
    idle.expect_closed();
    kept.get("/-/probe").expect(200);
}

#[test]
fn a_unix_listener_comes_goes_and_comes_back() {
    let origin = Origin::start(parts::says("ok"));
    let extra = "  - { name: local, address: \"unix:{{dir}}/local.sock\", routes: all }\nservices:";
    let text = PLAIN.replace("services:", extra);
    let mut gateway = Gateway::in_front_of(&origin);
    let path = gateway.dir().join("local.sock");
    for _ in 0..3 {
        gateway.reload(&text);
        let mut client = Client::connect_unix(&path);
        client.get("/").expect(200);
        gateway.reload(PLAIN);
        client.expect_closed();
        until_true("the socket to be closed", || std::os::unix::net::UnixStream::connect(&path).is_err());
    }
}

#[test]
fn reloads_under_load_make_no_new_connections_to_an_origin() {
    let origin = Origin::start(parts::says("ok"));
    let single = |seconds: usize| {
        let plain = PLAIN.replace("to: app", &format!("to: app, timeout: {seconds}s"));
        format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}{plain}")
    };
    let mut gateway = Gateway::start_with(&single(10), &[("origin", &origin.endpoint())]);
    let load = Load::start(gateway.address("web"), &[Mode::KeepAlive, Mode::KeepAlive]);
    until_true("load to flow", || load.done() >= 100);
    for number in 0..10 {
        gateway.reload(&single(20 + number));
        let before = load.done();
        until_true("load to go on", || load.done() >= before + 20);
    }
    let (done, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {done} failed: {failures:#?}", failures.len());
    assert!(origin.accepted() <= 2, "{} connections for two clients", origin.accepted());
}

#[test]
fn a_name_moves_to_its_new_port_by_a_reload() {
    let (old, new) = (Origin::start(parts::says("old")), Origin::start(parts::says("new")));
    let named = |origin: &Origin| format!("dns:localhost:{}", origin.address().port());
    let mut gateway = Gateway::start_with(PLAIN, &[("origin", &named(&old))]);
    until_true("the name to be resolved", || gateway.get("/").status == 200);
    let load = Load::start(gateway.address("web"), &[Mode::KeepAlive, Mode::Fresh]);
    until_true("load to flow", || load.done() >= 20);
    gateway.set("origin", &named(&new));
    gateway.reload(PLAIN);
    until_true("the new origin to answer", || gateway.get("/").text() == "new");
    let (done, failures) = load.stop();
    // The name is known already, so no request falls between the two. It may stand for ::1 too, where nobody listens:
    // each worker learns that from a refusal.
    let others = failures.iter().filter(|why| !why.contains("upstream_connect_refused")).count();
    assert!(others == 0 && failures.len() <= 8, "{} of {done} failed: {failures:#?}", failures.len());
}
