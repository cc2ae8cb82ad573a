//! What clients see when endpoints misbehave, with and without what Ringway does about it. The load is that of
//! `ringway-load`, whose latencies count from when a request was due, so nothing that stalls can hide.
//!
//! `cargo test -p ringway-tests --test resilience -- --nocapture` prints the table of docs/resilience.md.

#![expect(clippy::print_stdout, reason = "the table is what one runs this for")]

use std::time::{Duration, Instant};

use ringway_tests::gateway::Gateway;
use ringway_tests::generator::{Figures, Generator};
use ringway_tests::origins::{Behaviour, Origin, parts};
use ringway_tests::ports;

/// Three endpoints of one service.
const THREE: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}" }
services:
  app: { endpoints: [ "{{one}}", "{{two}}", "{{three}}" ], balance: round_robin {{service}} }
routes:
  - { name: all, path: /**, to: app {{route}} }
"#;

/// What a service whose endpoints may misbehave is given.
const EJECT: &str = ", eject: { consecutive: 5, latency: 3x, interval: 1s, base: 2s }, retry_budget: { share: 50%, floor: 50/s }";
const RETRY: &str = ", retries: { attempts: 2, when: [ connect, reset, timeout, 503 ], per_try_timeout: 2s }";

const RATE: u32 = 300;
const SECONDS: u32 = 4;

/// Answers 503 while `bad` says so.
fn answers_503_while(bad: impl Fn() -> bool + Send + Sync + 'static) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        match bad() {
            false => connection.answer("well")?,
            true => connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
}

/// Takes so long for each answer.
fn answers_after(delay: Duration) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        std::thread::sleep(delay);
        connection.answer("late")?;
    }
}

/// What clients saw of two good endpoints and `third`.
fn seen(third: &Origin, service: &str, route: &str) -> Figures {
    let (one, two) = (Origin::start(parts::says("one")), Origin::start(parts::says("two")));
    let values = [
        ("one", one.endpoint()),
        ("two", two.endpoint()),
        ("three", third.endpoint()),
        ("service", service.to_owned()),
        ("route", route.to_owned()),
    ];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = Gateway::start_with(THREE, &values);
    Generator::start(gateway.address("web"), "/", RATE, SECONDS, &["-c", "64", "--timeout", "5s"]).figures()
}

fn told(what: &str, figures: &Figures) {
    let ms = |figure| figures.response_ms(figure);
    let failed = figures.failed_share() * 100.0;
    println!("| {what} | {failed:.2}% | {:.1} | {:.1} | {:.1} |", ms("p50"), ms("p90"), ms("p99"));
}

fn both(what: &str, third: &Origin) -> (Figures, Figures) {
    let (without, with) = (seen(third, "", ""), seen(third, EJECT, RETRY));
    told(&format!("{what}, without"), &without);
    told(&format!("{what}, with"), &with);
    (without, with)
}

#[test]
fn an_endpoint_that_always_fails_is_hardly_noticed() {
    let third = Origin::start(answers_503_while(|| true));
    let (without, with) = both("one of three always answers 503", &third);
    assert!((0.30..0.37).contains(&without.failed_share()), "{}", without.why());
    assert_eq!(with.failed(), 0, "{}", with.why());
}

#[test]
fn an_endpoint_that_is_slow_delays_only_the_first() {
    let third = Origin::start(answers_after(Duration::from_millis(500)));
    let (without, with) = both("one of three takes 500 ms", &third);
    assert!(without.response_ms("p90") > 490.0, "{}", without.report["response_time_us"]);
    assert!(with.response_ms("p50") < 100.0, "{}", with.report["response_time_us"]);
    assert_eq!(with.failed(), 0, "{}", with.why());
    // Some of the first second, and probes.
    let slow = |figures: &Figures| figures.response_ms("p90") > 490.0;
    assert!(slow(&without) && !slow(&with), "{}", with.report["response_time_us"]);
}

#[test]
fn an_endpoint_that_flaps_is_made_up_for() {
    let began = Instant::now();
    let third =
        Origin::start(answers_503_while(move || (began.elapsed().as_millis() / 500).is_multiple_of(2)));
    let (without, with) = both("one of three fails every other half second", &third);
    assert!((0.10..0.25).contains(&without.failed_share()), "{}", without.why());
    assert_eq!(with.failed(), 0, "{}", with.why());
}

/// Endpoints that are gateways themselves: what SIGTERM does to a server that drains as it should.
const ENDPOINT: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}" }
routes:
  - { name: all, path: /**, respond: { body: well } }
"#;

#[test]
fn a_rolling_restart_under_load_fails_no_request() {
    let addresses: Vec<String> = (0..3).map(|_| ports::free().to_string()).collect();
    let start = |port: &String| Gateway::start_with(ENDPOINT, &[("web", port)]);
    let mut endpoints: Vec<Gateway> = addresses.iter().map(start).collect();
    let at = |place: usize| format!("127.0.0.1:{}", addresses[place]);
    let (one, two, three) = (at(0), at(1), at(2));
    let values = [("one", &*one), ("two", &*two), ("three", &*three), ("service", EJECT), ("route", RETRY)];
    let front = Gateway::start_with(THREE, &values);
    let generator = Generator::start(front.address("web"), "/", 2000, 8, &["-c", "64"]);
    for _ in 0..2 {
        for (place, port) in addresses.iter().enumerate() {
            assert!(endpoints[place].terminate().success());
            endpoints[place] = start(port);
        }
    }
    let figures = generator.figures();
    let said = front.admin("/metrics").text();
    let lines = said.lines().filter(|line| line.contains("retries") || line.contains("local_replies"));
    let lines: Vec<&str> = lines.filter(|line| !line.ends_with(" 0")).collect();
    assert!(figures.requests > 15_000, "{} requests", figures.requests);
    assert_eq!(figures.failed(), 0, "{} {lines:#?}", figures.why());
    told("a rolling restart at 2,000 requests/s", &figures);
}
