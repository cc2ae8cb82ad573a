//! Endpoints whose exchanges fail are taken out, over all workers, and come back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringway_tests::origins::parts;
use ringway_tests::{Client, Gateway, Origin, ports, wait};

/// Four workers, so that each sees a part of what fails only.
const JUDGED: &str = r#"
runtime: { workers: 4, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{one}}", "{{two}}", "{{bad}}" ]
    eject: { consecutive: 5, base: 1s, max: 4s, interval: 1h, mode: {{mode}} }
routes:
  - { name: all, path: /**, to: app }
"#;

/// From the failure that decides to the last request that still meets the endpoint: 100 ms, and what a busy machine adds.
const SOON: Duration = Duration::from_millis(100 + 150);
/// Connections, spread over the workers.
const CLIENTS: usize = 16;

/// Fails every request while it is told to.
fn failing() -> (Origin, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let does = fails.clone();
    let origin = Origin::start(move |connection| {
        loop {
            connection.request()?;
            match does.load(SeqCst) {
                true => {
                    connection.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad")?
                }
                false => connection.answer("bad")?,
            }
        }
    });
    (origin, fails)
}

fn gateway(mode: &str, bad: &Origin) -> (Gateway, [Origin; 2]) {
    let good = [Origin::start(parts::says("good")), Origin::start(parts::says("good"))];
    let [one, two] = good.each_ref().map(Origin::endpoint);
    let bad = bad.endpoint();
    let values = [("one", one.as_str()), ("two", &two), ("bad", &bad), ("mode", mode)];
    (Gateway::start_with(JUDGED, &values), good)
}

/// Requests without pause on many connections, until it is dropped; when those that failed were answered.
struct Load {
    ends: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Load {
        let (ends, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let threads = (0..CLIENTS).map(|_| {
            let (ends, failed) = (ends.clone(), failed.clone());
            thread::spawn(move || {
                let mut client = Client::connect(address);
                while !ends.load(SeqCst) {
                    if client.get("/").status == 500 {
                        failed.lock().unwrap().push(Instant::now());
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            })
        });
        let threads = threads.collect();
        Load { ends, failed, threads }
    }

    /// When requests failed so far, in order.
    fn failed(&self) -> Vec<Instant> {
        let mut failed = self.failed.lock().unwrap().clone();
        failed.sort();
        failed
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Waits for what it says: that takes its own way, and may be behind what it counts.
#[track_caller]
fn said(gateway: &Gateway, line: &str) {
    wait::until_true(&format!("it to say {line:?}"), || gateway.stderr().contains(line));
}

fn ejected(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("ringway_endpoints_ejected", &[("service", "app")])
}

#[test]
fn an_endpoint_that_fails_is_out_in_a_moment_and_comes_back_by_probing() {
    let (bad, fails) = failing();
    let (gateway, _good) = gateway("enforce", &bad);
    let load = Load::on(gateway.address("web"));
    wait::until_true("it to be asked", || bad.seen().len() > 50);
    assert_eq!((load.failed().len(), ejected(&gateway)), (0, 0.0));
    fails.store(true, SeqCst);
    wait::until_true("it to be ejected", || ejected(&gateway) == 1.0);
    // It is probed, fails and is out again, for longer.
    wait::until_true("it to be probed", || {
        gateway.metrics().sum("ringway_ejections_total", &[("kind", "probe")]) >= 1.0
    });
    let failed = load.failed();
    let decides = failed[4];
    let late: Vec<Duration> =
        failed.iter().map(|at| at.duration_since(decides)).filter(|at| *at > SOON).collect();
    let probed = late.iter().filter(|at| **at > Duration::from_millis(900)).count();
    assert!(late.len() == probed, "still met while it was ejected: {late:?}");
    assert!((1..=4).contains(&probed), "one for each worker at most: {late:?}");
    eprintln!(
        "the last to meet it came {:?} after the failure that decided",
        failed[failed.len() - probed - 1].duration_since(decides)
    );
    fails.store(false, SeqCst);
    wait::until_true("it to be back", || ejected(&gateway) == 0.0);
    bad.forget();
    wait::until_true("it to be asked as others are", || bad.seen().len() > 50);
    for line in [
        "is ejected for 1 s: ",
        " failures in a row",
        "is ejected for 2 s: it failed",
        "is probed",
        "is asked again",
    ] {
        said(&gateway, line);
    }
}

#[test]
fn what_is_only_observed_changes_nothing() {
    let (bad, fails) = failing();
    let (gateway, _good) = gateway("observe", &bad);
    let load = Load::on(gateway.address("web"));
    wait::until_true("it to be asked", || bad.seen().len() > 50);
    fails.store(true, SeqCst);
    wait::until_true("it to be found failing", || {
        gateway.metrics().sum("ringway_ejections_total", &[("kind", "consecutive"), ("mode", "observe")])
            == 1.0
    });
    assert_eq!(ejected(&gateway), 1.0);
    bad.forget();
    wait::until_true("it to be asked all the same", || bad.seen().len() > 100);
    drop(load);
    said(&gateway, " failures in a row (observed only)");
}

#[test]
fn no_more_than_a_share_are_ejected_and_a_verdict_outlives_a_reload() {
    let (one, one_fails) = failing();
    let (two, two_fails) = failing();
    let (three, three_fails) = failing();
    let [a, b, c] = [&one, &two, &three].map(Origin::endpoint);
    let values = [("one", a.as_str()), ("two", &b), ("bad", &c), ("mode", "enforce")];
    let text = JUDGED.replace("base: 1s, max: 4s", "base: 1h, max: 1h");
    let mut gateway = Gateway::start_with(&text, &values);
    [one_fails, two_fails, three_fails].iter().for_each(|fails| fails.store(true, SeqCst));
    let load = Load::on(gateway.address("web"));
    wait::until_true("one to be ejected and two to be kept", || {
        gateway.metrics().sum("ringway_ejections_kept_total", &[("service", "app")]) == 2.0
    });
    assert_eq!(ejected(&gateway), 1.0);
    drop(load);
    gateway.reload(&format!("drain_timeout: 4s{text}"));
    assert_eq!(ejected(&gateway), 1.0);
    assert_eq!(gateway.metrics().sum("ringway_ejections_total", &[("service", "app")]), 1.0);
    let line = "    eject: { consecutive: 5, base: 1h, max: 1h, interval: 1h, mode: {{mode}} }\n";
    assert!(text.contains(line));
    gateway.reload(&text.replace(line, ""));
    [&one, &two, &three].iter().for_each(|origin| origin.forget());
    let load = Load::on(gateway.address("web"));
    wait::until_true("all to be asked", || {
        [&one, &two, &three].iter().all(|origin| !origin.seen().is_empty())
    });
    drop(load);
    assert_eq!(ejected(&gateway), 0.0);
}

/// Two good endpoints and `{{bad}}`, judged by how much succeeds: `requests` within a second.
const BY_SUCCESS: &str = r#"
runtime: { workers: 4, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{one}}", "{{two}}", "{{bad}}" ]
    balance: round_robin
    eject: { consecutive: 64, success: 80%, requests: 60, interval: 1s, base: 1h, max: 1h }
routes:
  - { name: all, path: /**, to: app }
"#;

/// Fails every second request.
fn fails_half() -> Origin {
    let asked = AtomicUsize::new(0);
    Origin::start(move |connection| {
        loop {
            connection.request()?;
            match asked.fetch_add(1, SeqCst) % 2 {
                0 => connection.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad")?,
                _ => connection.answer("half")?,
            }
        }
    })
}

/// Eight requests on each of 32 connections: about 85 for each endpoint, and fewer than 60 of these by one worker.
fn burst(clients: &mut [Client]) {
    for _ in 0..8 {
        for client in &mut *clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut *clients {
            client.response();
        }
    }
}

#[test]
fn an_endpoint_that_fails_half_is_out_by_what_all_workers_saw_together() {
    let half = fails_half();
    let good = [Origin::start(parts::says("good")), Origin::start(parts::says("good"))];
    let [one, two, bad] = [&good[0], &good[1], &half].map(Origin::endpoint);
    let gateway = Gateway::start_with(BY_SUCCESS, &[("one", &one), ("two", &two), ("bad", &bad)]);
    let mut clients: Vec<Client> = (0..32).map(|_| gateway.connect()).collect();
    let began = Instant::now();
    // One burst in an interval; one that goes over the end of one may be too few for either.
    while ejected(&gateway) == 0.0 {
        assert!(began.elapsed() < wait::PATIENCE, "not ejected");
        let burst_at = Instant::now();
        burst(&mut clients);
        while ejected(&gateway) == 0.0 && burst_at.elapsed() < Duration::from_millis(1200) {
            thread::sleep(Duration::from_millis(10));
        }
    }
    said(&gateway, &format!("the endpoint {bad} is ejected for 3600 s: only "));
    wait::until_true("all workers to know", || {
        half.forget();
        burst(&mut clients);
        half.seen().is_empty()
    });
    burst(&mut clients);
    assert_eq!((half.seen().len(), ejected(&gateway)), (0, 1.0));
    let metrics = gateway.metrics();
    let of = |labels: &[(&str, &str)]| metrics.sum("ringway_ejections_total", labels);
    assert_eq!((of(&[("kind", "success"), ("mode", "enforce")]), of(&[])), (1.0, 1.0));
}

#[test]
fn where_all_fail_half_nobody_is_out() {
    let origins = [(); 3].map(|()| fails_half());
    let [one, two, bad] = origins.each_ref().map(Origin::endpoint);
    let text = BY_SUCCESS.replace("requests: 60, interval: 1s", "requests: 20, interval: 200ms");
    let gateway = Gateway::start_with(&text, &[("one", &one), ("two", &two), ("bad", &bad)]);
    let mut clients: Vec<Client> = (0..32).map(|_| gateway.connect()).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        burst(&mut clients);
    }
    assert!(origins.iter().all(|origin| origin.seen().len() > 100));
    let metrics = gateway.metrics();
    let told = ["ringway_ejections_total", "ringway_ejections_kept_total"].map(|name| metrics.sum(name, &[]));
    assert_eq!((told, ejected(&gateway)), ([0.0, 0.0], 0.0));
}

#[test]
fn connections_that_are_refused_count_as_failures_of_a_tcp_service() {
    let there = Origin::start(parts::echoes);
    let gone = ports::free();
    let text = r#"
runtime: { workers: 4, backend: {{backend}}, pin: false }
listeners:
  - { name: raw, address: "127.0.0.1:{{raw}}", tcp: { to: app } }
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{there}}", "127.0.0.1:{{gone}}" ]
    balance: random
    eject: { consecutive: 2, base: 1h, max: 1h }
routes:
  - { name: all, path: /none, respond: { status: 200 } }
"#;
    let (there_at, gone) = (there.endpoint(), gone.to_string());
    let gateway = Gateway::start_with(text, &[("there", &there_at), ("gone", &gone)]);
    wait::until_true("it to be ejected", || {
        let mut client = Client::connect(gateway.address("raw"));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().expect(200);
        ejected(&gateway) == 1.0
    });
    said(&gateway, &format!("the endpoint 127.0.0.1:{gone} is ejected for 3600 s: "));
}

#[test]
fn a_call_of_grpc_fails_by_its_status() {
    use http::{HeaderMap, Response};
    use ringway_tests::http2;
    let call = |status: &'static str| {
        http2::Origin::start(move |_| {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            http2::Reply { head, body: vec![vec![0; 5]], trailers: Some(trailers), ..http2::Reply::default() }
        })
    };
    let (fine, refuses, fails) = (call("0"), call("7"), call("14"));
    let text = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints: [ "{{fine}}", "{{refuses}}", "{{fails}}" ]
    protocol: http2
    eject: { base: 1h, max: 1h, interval: 1h }
routes:
  - { name: all, path: /**, to: app }
"#;
    let [fine, refuses, fails] = [&fine, &refuses, &fails].map(|origin| origin.address.to_string());
    let values = [("fine", fine.as_str()), ("refuses", &refuses), ("fails", &fails)];
    let gateway = Gateway::start_with(text, &values);
    let session = http2::Session::connect(gateway.address("web"));
    let mut asked = 0;
    wait::until_true("it to be ejected", || {
        let request =
            http::Request::post("http://a.example/shop.Shop/Buy").header("content-type", "application/grpc");
        session.ask(request.body(()).unwrap(), &[b"\0\0\0\0\0"], None);
        asked += 1;
        asked % 16 == 0 && ejected(&gateway) == 1.0
    });
    said(&gateway, &format!("the endpoint {fails} is ejected"));
    assert!(!gateway.stderr().contains(&format!("the endpoint {refuses} is ejected")));
}
