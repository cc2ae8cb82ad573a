//! The generator tells the truth: what it reports is what arithmetic says of an origin with known behaviour.

#![allow(clippy::print_stderr, reason = "figures for who reads a failure")]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{load, number, report, serve};

/// One at a time: each of these measures.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close(value: f64, wanted: f64, share: f64) -> bool {
    (value / wanted - 1.0).abs() <= share
}

/// A server that answers nothing in one second of ten: a request due at u of it waits 1 - u, so a tenth of all wait,
/// evenly from 0 to 1 s. One request in a hundred waits more than 0.9 s, one in a thousand more than 0.99 s.
#[test]
fn a_stalled_second_shows_in_the_tail_and_a_closed_loop_hides_it() {
    let _alone = alone();
    let origin = serve("--stall '1s every 10s'");
    let url = format!("http://127.0.0.1:{}/", origin.port);
    let (code, open) = report(&format!("run {url} --rate 1k --connections 1 --duration 20s --warmup 0s"));
    assert_eq!(code, 0, "{}", open["invalid_because"]);
    assert_eq!(number(&open, "requests"), 20_000.0);
    let p99 = number(&open, "response_time_us.p99");
    let p99_9 = number(&open, "response_time_us.p99_9");
    // Behind the stall 1000 requests are answered one after the other; each waits for those before it as well, which
    // the service time's own figures say how long that takes.
    eprintln!("p99 {p99} us, p99.9 {p99_9} us, service p50 {}", number(&open, "service_time_us.p50"));
    assert!(close(p99, 900_000.0, 0.05), "p99 {p99} us");
    assert!(close(p99_9, 990_000.0, 0.05), "p99.9 {p99_9} us");
    assert!(number(&open, "waiting_us.p99") > 800_000.0);

    let (_, closed) = report(&format!("saturate {url} --connections 1 --duration 10s --warmup 0s"));
    let hidden = number(&closed, "response_time_us.p99_9");
    assert!(hidden < 10_000.0, "a closed loop saw {hidden} us");
    assert!(closed["notes"][0].as_str().is_some_and(|note| note.contains("hide queueing")));
}

#[test]
fn a_constant_delay_is_that_at_every_percentile() {
    let _alone = alone();
    let origin = serve("--delay 5ms");
    let line = format!("run http://127.0.0.1:{}/ --rate 500 --duration 4s --connections 32", origin.port);
    // What is promised is promised on an idle machine: one of three runs has to find it so.
    let names = ["p50", "p90", "p95", "p99", "mean"];
    let exact = |found: &serde_json::Value| {
        names
            .iter()
            .all(|name| (5000.0..6000.0).contains(&number(found, &format!("response_time_us.{name}"))))
    };
    let mut found = report(&line);
    for _ in 0..2 {
        if found.0 != 0 || !exact(&found.1) {
            eprintln!("once more: {}", found.1["response_time_us"]);
            found = report(&line);
        }
    }
    let (code, found) = found;
    assert_eq!(code, 0, "{}", found["invalid_because"]);
    assert_eq!(number(&found, "requests"), 2000.0);
    assert!(exact(&found), "{}", found["response_time_us"]);
    // The last few of a busy machine may be later; never earlier.
    assert!(number(&found, "response_time_us.max") >= 5000.0);
}

#[test]
fn poisson_arrivals_come_at_the_asked_rate_and_the_same_seed_gives_the_same_number() {
    let _alone = alone();
    let origin = serve("");
    let line = format!(
        "run http://127.0.0.1:{}/ --rate 2k --duration 3s --warmup 0s --arrivals poisson --seed 5 --threads 2",
        origin.port
    );
    let (first, again) = (report(&line).1, report(&line).1);
    let requests = number(&first, "requests");
    assert!((5700.0..6300.0).contains(&requests), "{requests}");
    assert_eq!(requests, number(&again, "requests"));
    assert_eq!(number(&first, "dropped"), 0.0);
}

#[test]
fn memory_grows_neither_with_the_number_of_requests_nor_with_time() {
    let _alone = alone();
    let origin = serve("");
    let line = format!(
        "saturate http://127.0.0.1:{}/ --duration 11s --warmup 0s --connections 16 --threads 8 --out -",
        origin.port
    );
    let mut child = std::process::Command::new(common::BINARY)
        .args(common::words(&line))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let begun = std::time::Instant::now();
    // Both while it runs: putting the report together at the end takes memory of its own.
    let peak_after = |seconds: u64| {
        std::thread::sleep(std::time::Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        kib.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).expect("its peak")
    };
    let (early, late) = (peak_after(4), peak_after(10));
    assert!(child.wait().expect("it ends").success());
    // By then each thread has the histograms that go round; one a second and thread would be 10 MiB more.
    assert!(late < early + 5120, "{early} KiB after four seconds, {late} KiB after ten");
}

#[test]
fn the_rate_that_keeps_an_objective_is_found() {
    let _alone = alone();
    // Ten connections with answers after 5 ms carry 2000 requests a second and no more.
    let origin = serve("--delay 5ms");
    let line = format!(
        "find http://127.0.0.1:{}/ --slo p90<20ms --from 800 --to 5k --duration 1s --warmup 0s --timeout 1s --connections 10 --quiet",
        origin.port
    );
    let find = || {
        let output = load(&line);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate =
            said.rsplit(": ").next().and_then(|text| text.trim().strip_suffix("/s")?.parse::<f64>().ok());
        rate.ok_or_else(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    };
    // As above: one of three on a machine that may be busy.
    let found = find().or_else(|_| find()).or_else(|_| find());
    let rate = found.unwrap_or_else(|said| panic!("{said}"));
    assert!((1500.0..2100.0).contains(&rate), "{rate}");
}

#[test]
fn a_run_ends_with_its_last_answer_also_when_there_was_a_backlog() {
    let _alone = alone();
    let origin = serve("--delay 50ms");
    for line in ["run --rate 100 --connections 2", "saturate --connections 2"] {
        let begun = std::time::Instant::now();
        let url = format!("http://127.0.0.1:{}/", origin.port);
        let found = report(&format!("{line} {url} --duration 500ms --warmup 0s --timeout 10s")).1;
        assert!(number(&found, "ok") >= 18.0 && number(&found, "dropped") == 0.0, "{found}");
        assert!(begun.elapsed().as_secs() < 5, "{line} took {:?}", begun.elapsed());
    }
}
