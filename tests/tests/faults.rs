//! Faults on routes: delays and aborts, by share and header, each ending by itself.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringway_tests::names;
use ringway_tests::origins::parts;
use ringway_tests::wait::until_true;
use ringway_tests::{Client, Gateway, Origin};

/// A time so many seconds from now, as a file has it.
fn until(ahead_s: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = format!("@{}", now + ahead_s);
    let output =
        Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]).output().expect("coreutils");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One route in front of `origin`, with these faults; `UNTIL` is in an hour.
fn text(faults: &str, more: &str) -> String {
    let faults = faults.replace("UNTIL", &until(3600));
    format!(
        "listeners:\n  - {{ name: web, address: \"127.0.0.1:{{{{web}}}}\", routes: all }}\n\
         services:\n  app: {{ endpoints: [ \"{{{{origin}}}}\" ] }}\n\
         routes:\n  - {{ name: all, path: /**, to: app, faults: [ {faults} ]{more} }}\n"
    )
}

fn gateway(origin: &Origin, faults: &str, more: &str) -> Gateway {
    Gateway::start_with(&text(faults, more), &[("origin", &origin.endpoint())])
}

/// Fails unless a count lies within five deviations of what is expected.
#[track_caller]
fn is_share(count: usize, of: usize, share: f64) {
    let (mean, deviation) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
    assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{count} of {of}, {mean} expected");
}

fn injected(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metrics().sum("ringway_faults_injected_total", &[("route", "all"), ("kind", kind)])
}

#[test]
fn a_share_is_aborted_and_says_so_and_the_rest_is_served() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = gateway(&origin, "{ abort: 503, share: 20%, until: UNTIL }", "");
    let mut client = gateway.connect();
    let (mut aborted, all) = (0, 2000);
    for _ in 0..all {
        let response = client.get("/");
        if response.status == 200 {
            continue;
        }
        assert_eq!((response.status, response.reason().as_str()), (503, "fault_injected"));
        aborted += 1;
    }
    is_share(aborted, all, 0.2);
    assert_eq!(injected(&gateway, "abort"), aborted as f64);
    assert_eq!(injected(&gateway, "delay"), 0.0);
    assert_eq!(origin.seen().len(), all - aborted, "what is aborted is sent nowhere");
    assert_eq!(gateway.metrics().labelled("fault_injected"), aborted as f64);
}

#[test]
fn a_share_is_delayed_and_answered_all_the_same() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = gateway(&origin, "{ delay: 100ms, share: 50%, until: UNTIL }", "");
    let (threads, each) = (8, 50);
    let delayed: usize = std::thread::scope(|scope| {
        let one = || {
            let mut client = gateway.connect();
            let ask = |_| {
                let began = Instant::now();
                client.get("/").expect(200);
                began.elapsed() >= Duration::from_millis(99)
            };
            (0..each).map(ask).filter(|late| *late).count()
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    is_share(injected(&gateway, "delay") as usize, threads * each, 0.5);
    assert!(delayed >= injected(&gateway, "delay") as usize, "each of them took its time: {delayed}");
    assert_eq!(gateway.metrics().sum("ringway_faults_delayed", &[]), 0.0);
}

#[test]
fn only_requests_with_the_headers_suffer() {
    let origin = Origin::start(parts::says("ok"));
    let gateway =
        gateway(&origin, "{ abort: 418, headers: { x-chaos: \"1\", x-who: \"*\" }, until: UNTIL }", "");
    let mut client = gateway.connect();
    for (headers, status) in [
        ("X-Chaos: 1\r\nX-Who: me\r\n", 418),
        ("X-Chaos: 2\r\nX-Who: me\r\n", 200),
        ("X-Chaos: 1\r\n", 200),
        ("", 200),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        client.response().expect(status);
    }
}

#[test]
fn a_call_of_grpc_is_aborted_with_its_code() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = gateway(&origin, "{ abort: grpc:not_found, until: UNTIL }", "");
    let mut client = gateway.connect();
    client.send(
        "POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n",
    );
    let response = client.response().expect(200);
    assert_eq!(response.header("grpc-status").as_deref(), Some("5"));
    assert!(response.header("grpc-message").unwrap().starts_with("fault_injected"), "{:?}", response.head);
    assert_eq!(client.get("/").expect(404).reason(), "fault_injected", "who speaks HTTP gets its status");
    assert!(origin.seen().is_empty());
}

#[test]
fn the_deadline_counts_a_delay_in() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = gateway(&origin, "{ delay: 60s, abort: 503, until: UNTIL }", ", timeout: 200ms");
    let began = Instant::now();
    assert_eq!(gateway.get("/").expect(504).reason(), "exchange_timeout");
    assert!((Duration::from_millis(190)..Duration::from_secs(10)).contains(&began.elapsed()));
    assert!(origin.seen().is_empty());
}

#[test]
fn a_delay_comes_before_an_abort_and_a_body_does_not_get_in_the_way() {
    let origin = Origin::start(parts::echoes);
    let faults = "{ delay: 200ms, headers: { x-late: \"*\" }, until: UNTIL }, \
                  { abort: 503, headers: { x-bad: \"*\" }, until: UNTIL }";
    let gateway = gateway(&origin, faults, "");
    let mut client = gateway.connect();
    for (headers, status, least_ms) in
        [("X-Late: 1\r\n", 200, 199), ("X-Bad: 1\r\n", 503, 0), ("X-Late: 1\r\nX-Bad: 1\r\n", 503, 199)]
    {
        let began = Instant::now();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: 5\r\n\r\nhello"));
        client.response().expect(status);
        assert!(began.elapsed() >= Duration::from_millis(least_ms), "{headers}: {:?}", began.elapsed());
    }
    client.get("/").expect(200);
}

#[test]
fn a_client_that_leaves_ends_its_delay() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = gateway(&origin, "{ delay: 5m, until: UNTIL }", "");
    let delayed = |gateway: &Gateway| gateway.metrics().sum("ringway_faults_delayed", &[]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until_true("it to be delayed", || delayed(&gateway) == 1.0);
    client.reset();
    until_true("its delay to end", || delayed(&gateway) == 0.0);
    assert!(gateway.metrics().labelled("client_gone") >= 1.0);
    assert!(origin.seen().is_empty());
}

#[test]
fn a_fault_ends_on_time_without_a_reload() {
    let origin = Origin::start(parts::says("ok"));
    let over = format!("{{ abort: 503, until: {} }}", until(3));
    let gateway = gateway(&origin, &over, "");
    assert_eq!(gateway.get("/").expect(503).reason(), "fault_injected");
    until_true("its time to be over", || gateway.get("/").status == 200);
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    assert_eq!(gateway.metrics().sum(names::CONFIG_GENERATION, &[]), 1.0);
}

#[test]
fn a_route_that_answers_by_itself_has_faults_too() {
    let text = "listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", routes: all }\nroutes:\n  \
                - { name: all, path: /**, respond: { status: 204 }, faults: [ { abort: 500, until: UNTIL } ] }\n";
    let gateway = Gateway::start(&text.replace("UNTIL", &until(3600)));
    let mut client = Client::connect(gateway.address("web"));
    assert_eq!(client.get("/").expect(500).reason(), "fault_injected");
    assert_eq!(client.get("/-/probe").expect(200).text(), "0", "other routes have none");
}
