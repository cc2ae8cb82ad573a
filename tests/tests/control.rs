//! Changing what runs by hand: `ringway ctl`, the admin API under it, and what becomes of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ringway_tests::origins::parts;
use ringway_tests::wait::until_true;
use ringway_tests::{Client, Gateway, Origin, binary};
use serde_json::Value;

const TWO: &str = r#"
# What is said here stays.
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }   # one
services:
  app: { endpoints: [ "{{one}}", "{{two}}" ] }
  one: { endpoints: [ "{{one}}" ] }
  two: { endpoints: [ "{{two}}" ] }
routes:
  - { name: both, path: /both, to: app }
  - name: shifted   # by hand
    path: /shifted
    to:
      - { service: one, weight: 100 }   # most
      - { service: two, weight: 0 }     # none yet
"#;

/// Two origins that say who they are, and a gateway in front of them.
fn start() -> (Gateway, [Origin; 2]) {
    let origins = [Origin::start(parts::says("one")), Origin::start(parts::says("two"))];
    let values = [("one", origins[0].endpoint()), ("two", origins[1].endpoint())];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    (Gateway::start_with(TWO, &values), origins)
}

/// What a `ringway ctl` said, and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn ctl_at(address: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary::path());
    command.args(["ctl", "--admin", address]).args(arguments).env("USER", "tester");
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn try_ctl(gateway: &Gateway, arguments: &[&str]) -> Said {
    ctl_at(&gateway.address("admin").to_string(), arguments)
}

/// What it said, having ended well.
#[track_caller]
fn ctl(gateway: &Gateway, arguments: &[&str]) -> String {
    let said = try_ctl(gateway, arguments);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    said.out
}

/// Who answers a number of requests, each once.
fn answered_by(gateway: &Gateway, path: &str) -> Vec<String> {
    let mut names: Vec<String> = (0..32).map(|_| gateway.get(path).expect(200).text()).collect();
    names.sort();
    names.dedup();
    names
}

fn active(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metrics().sum("ringway_overrides_active", &[("kind", kind)])
}

/// State and reason of an endpoint, as `ctl endpoints` tells it.
fn state(gateway: &Gateway, endpoint: &str) -> (String, String) {
    let all: Value = serde_json::from_str(&ctl(gateway, &["endpoints", "app", "--json"])).expect("JSON");
    let endpoints = all["endpoints"].as_array().expect("a list");
    let one = endpoints.iter().find(|one| one["address"] == endpoint).expect("the endpoint");
    (one["state"].as_str().unwrap().to_owned(), one["why"].as_str().unwrap().to_owned())
}

#[test]
fn an_endpoint_is_ejected_drained_and_pinned_at_once_until_cleared() {
    let (gateway, origins) = start();
    let one = origins[0].endpoint();
    assert_eq!(answered_by(&gateway, "/both"), ["one", "two"]);
    for (order, expected) in [("eject", "ejected_by_hand"), ("drain", "draining")] {
        let said = ctl(&gateway, &[order, "app", &one, "--for", "10m"]);
        assert!(said.contains(order) && said.contains(&one) && said.contains("until "), "{said}");
        until_true("the workers to know", || answered_by(&gateway, "/both") == ["two"]);
        for _ in 0..3 {
            assert_eq!(answered_by(&gateway, "/both"), ["two"]);
        }
        assert_eq!(answered_by(&gateway, "/shifted"), ["one"], "another service's endpoint is another one");
        let (state, why) = state(&gateway, &one);
        assert_eq!(state, expected);
        assert!(why.contains("by hand of tester (127.0.0.1:") && why.contains(", until 20"), "{why}");
        assert_eq!(active(&gateway, "endpoint"), 1.0);
        let table = ctl(&gateway, &["endpoints"]);
        assert!(table.contains("SERVICE") && table.contains(expected), "{table}");
    }
    ctl(&gateway, &["pin", "app", &one, "--for", "10m"]);
    until_true("it to be pinned", || answered_by(&gateway, "/both") == ["one", "two"]);
    assert_eq!(state(&gateway, &one).0, "pinned");
    assert_eq!(active(&gateway, "endpoint"), 1.0, "one order replaces the other");
    ctl(&gateway, &["clear", "app", &one]);
    assert_eq!(state(&gateway, &one), ("admitting".to_owned(), String::new()));
    assert_eq!(active(&gateway, "endpoint"), 0.0);
    assert_eq!(try_ctl(&gateway, &["clear", "app", &one]).code, 65, "nothing is left to clear");
    let said = gateway.stderr();
    assert!(
        said.contains("changed by hand of tester (127.0.0.1:") && said.contains("ended by hand of"),
        "{said}"
    );
}

#[test]
fn an_order_ends_by_itself() {
    let (gateway, origins) = start();
    ctl(&gateway, &["eject", "app", &origins[0].endpoint(), "--for", "2s"]);
    until_true("the workers to know", || answered_by(&gateway, "/both") == ["two"]);
    until_true("it to be over", || answered_by(&gateway, "/both") == ["one", "two"]);
    until_true("nothing to be left of it", || active(&gateway, "endpoint") == 0.0);
    assert_eq!(try_ctl(&gateway, &["drift"]).code, 0);
}

#[test]
fn a_split_is_shifted_until_its_time_is_over_and_drift_tells_of_it() {
    let (gateway, _origins) = start();
    assert_eq!(answered_by(&gateway, "/shifted"), ["one"]);
    let said = ctl(&gateway, &["drift"]);
    assert!(said.contains("is what runs"), "{said}");
    ctl(&gateway, &["split", "shifted", "two=100", "one=0", "--for", "4s"]);
    until_true("the workers to know", || answered_by(&gateway, "/shifted") == ["two"]);
    let counted = gateway.metrics().sum("ringway_http_requests_total", &[("service", "two")]);
    assert!(counted >= 32.0, "it counts for the service it went to: {counted}");
    let drift = try_ctl(&gateway, &["drift"]);
    assert_eq!(drift.code, 1);
    assert!(
        drift.out.contains("split of route shifted: one=0 two=100") && drift.out.contains("tester"),
        "{}",
        drift.out
    );
    let json: Value = serde_json::from_str(&gateway.admin("/config/drift").expect(200).text()).unwrap();
    assert_eq!((&json["drift"], &json["overrides"][0]["kind"]), (&true.into(), &"split".into()));
    assert_eq!(json["file"]["state"], "runs");
    until_true("it to be over", || answered_by(&gateway, "/shifted") == ["one"]);
    until_true("no drift to be left", || try_ctl(&gateway, &["drift"]).code == 0);
}

#[test]
fn a_split_in_between_goes_to_both_and_the_last_order_counts() {
    let (gateway, _origins) = start();
    ctl(&gateway, &["split", "shifted", "one=50", "two=50", "--for", "1h"]);
    until_true("the workers to know", || answered_by(&gateway, "/shifted") == ["one", "two"]);
    ctl(&gateway, &["split", "shifted", "one=0", "two=1", "--for", "1h"]);
    until_true("the workers to know", || answered_by(&gateway, "/shifted") == ["two"]);
    assert_eq!(active(&gateway, "split"), 1.0);
    ctl(&gateway, &["clear", "--route", "shifted"]);
    until_true("the file's to count again", || answered_by(&gateway, "/shifted") == ["one"]);
}

#[test]
fn a_fault_is_started_and_stopped_and_ends_by_itself() {
    let (gateway, _origins) = start();
    let status = || gateway.get("/both").status;
    ctl(&gateway, &["fault", "start", "both", "--abort", "503", "--for", "1m"]);
    until_true("the fault to come up", || status() == 503);
    assert_eq!(gateway.get("/both").reason(), "fault_injected");
    assert_eq!(gateway.get("/shifted").status, 200);
    assert_eq!(active(&gateway, "fault"), 1.0);
    ctl(&gateway, &["fault", "stop", "both"]);
    until_true("it to be stopped", || status() == 200);
    let began = std::time::Instant::now();
    ctl(
        &gateway,
        &["fault", "start", "both", "--abort", "grpc:unavailable", "--share", "100%", "--for", "2s"],
    );
    until_true("the fault to come up", || status() == 503);
    until_true("it to be over", || status() == 200);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let header = ["fault", "start", "both", "--delay", "300ms", "-H", "x-chaos: 1", "--for", "1m"];
    ctl(&gateway, &header);
    let took = |headers: &str| {
        let began = std::time::Instant::now();
        let mut client = gateway.connect();
        client.send(format!("GET /both HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).response().expect(200);
        began.elapsed()
    };
    until_true("the delay to come up", || took("x-chaos: 1\r\n") >= Duration::from_millis(299));
    assert!(took("x-chaos: 2\r\n") < Duration::from_millis(299));
}

#[test]
fn what_is_changed_outlives_reloads_while_what_it_is_about_is_there() {
    let (mut gateway, origins) = start();
    ctl(&gateway, &["eject", "app", &origins[0].endpoint(), "--for", "1h"]);
    ctl(&gateway, &["split", "shifted", "one=0", "two=1", "--for", "1h"]);
    ctl(&gateway, &["fault", "start", "both", "--abort", "503", "-H", "x-chaos: 1", "--for", "1h"]);
    let as_changed = |gateway: &Gateway| {
        answered_by(gateway, "/both") == ["two"] && answered_by(gateway, "/shifted") == ["two"]
    };
    until_true("the workers to know", || as_changed(&gateway));
    gateway.reload(&format!("drain_timeout: 4s\n{TWO}"));
    assert!(as_changed(&gateway));
    assert_eq!(
        [active(&gateway, "endpoint"), active(&gateway, "split"), active(&gateway, "fault")],
        [1.0; 3]
    );
    // The route goes elsewhere, the endpoint and the other route are gone: that is said, and nothing is left.
    let without = TWO
        .replace("app: { endpoints: [ \"{{one}}\", ", "app: { endpoints: [ ")
        .replace("name: both", "name: other")
        .replace("      - { service: two, weight: 0 }     # none yet\n", "");
    gateway.reload(&without);
    until_true("nothing to be left", || {
        [active(&gateway, "endpoint"), active(&gateway, "split"), active(&gateway, "fault")] == [0.0; 3]
    });
    let said = gateway.stderr();
    for why in ["the endpoint is gone", "goes to other services", "no route both any more"] {
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn what_a_page_in_a_browser_could_send_is_refused() {
    let (gateway, _origins) = start();
    let body = r#"{ "route": "both", "abort": "503", "for": "1m" }"#;
    let admin = gateway.address("admin");
    let post = |headers: &str| {
        let mut client = Client::connect(admin);
        let length = body.len();
        client.send(format!(
            "POST /overrides/fault HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ));
        let response = client.response();
        assert!(!response.json()["detail"].as_str().unwrap_or_default().is_empty() || response.status == 201);
        response.status
    };
    let json = "Content-Type: application/json\r\n";
    for (headers, status) in [
        (format!("Host: {admin}\r\n{json}Origin: https://evil.example\r\n"), 403),
        (format!("Host: {admin}\r\n{json}Origin: http://{admin}\r\n"), 403),
        (format!("Host: {admin}\r\n{json}Sec-Fetch-Site: cross-site\r\n"), 403),
        (format!("Host: rebound.example\r\n{json}"), 421),
        (format!("Host: {admin}\r\nContent-Type: text/plain\r\n"), 415),
        (format!("Host: {admin}\r\n"), 415),
    ] {
        assert_eq!(post(&headers), status, "{headers}");
    }
    assert_eq!(active(&gateway, "fault"), 0.0);
    assert_eq!(post(&format!("Host: {admin}\r\n{json}")), 201, "what ctl sends is taken");
    assert_eq!(active(&gateway, "fault"), 1.0);
}

#[test]
fn a_configuration_may_forbid_changes() {
    let origin = Origin::start(parts::says("ok"));
    let text = "admin: { address: \"127.0.0.1:{{admin}}\", writes: none }\n".to_owned()
        + ringway_tests::gateway::PLAIN;
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let start = ["fault", "start", "all", "--abort", "503", "--for", "1m"];
    let said = try_ctl(&gateway, &start);
    assert_eq!(said.code, 77, "{}", said.err);
    assert!(said.err.contains("writes: none"), "{}", said.err);
    ctl(&gateway, &["services"]);
    gateway.reload(&text.replace("writes: none", "writes: local"));
    ctl(&gateway, &start);
}

fn write_ctl(file: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary::path());
    command.args(["ctl", "-c"]).arg(file).args(arguments).env_remove("RINGWAY_ADMIN");
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[test]
fn what_is_written_keeps_comments_and_is_what_runs_then() {
    let (gateway, origins) = start();
    let file = gateway.config_path();
    let before = std::fs::read_to_string(&file).unwrap();
    let said = write_ctl(&file, &["split", "shifted", "one=0", "two=7", "--write"]);
    assert_eq!(said.code, 0, "{}", said.err);
    until_true("the file to be reloaded", || answered_by(&gateway, "/shifted") == ["two"]);
    let after = std::fs::read_to_string(&file).unwrap();
    let expected = before
        .replace("weight: 100 }   # most", "weight: 0 }   # most")
        .replace("weight: 0 }     # none yet", "weight: 7 }     # none yet");
    assert_eq!(after, expected);
    assert_eq!(try_ctl(&gateway, &["drift"]).code, 0, "it is no drift");

    let said = write_ctl(&file, &["fault", "start", "shifted", "--abort", "503", "--for", "1h", "--write"]);
    assert_eq!(said.code, 0, "{}", said.err);
    until_true("the file to be reloaded", || gateway.get("/shifted").status == 503);
    let with_fault = std::fs::read_to_string(&file).unwrap();
    let added: Vec<&str> = with_fault.lines().filter(|line| !expected.contains(line)).collect();
    assert_eq!(added.len(), 1, "{with_fault}");
    assert!(added[0].starts_with("    faults: [ { abort: 503, until: 20"), "{added:?}");
    let said = write_ctl(&file, &["fault", "stop", "shifted", "--write"]);
    assert_eq!(said.code, 0, "{}", said.err);
    until_true("the file to be reloaded", || gateway.get("/shifted").status == 200);

    let before = std::fs::read_to_string(&file).unwrap();
    for (arguments, code) in [
        (&["split", "both", "app=1", "--write"][..], 65),
        (&["split", "nobody", "app=1", "--write"], 65),
        (&["fault", "stop", "both", "--write"], 65),
        (&["drain", "app", &origins[0].endpoint(), "--write"], 2),
    ] {
        let said = write_ctl(&file, arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(!said.err.is_empty());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "what can't be written changes nothing");
    assert_eq!(try_ctl(&gateway, &["split", "shifted", "one=1", "two=1", "--write"]).code, 2, "-c is needed");
}

#[test]
fn drift_tells_of_a_file_that_was_refused_and_of_what_waits_for_a_restart() {
    let (mut gateway, _origins) = start();
    gateway.replace_config(&TWO.replace("to: app", "to: ap"));
    gateway.signal("HUP");
    until_true("the reload to fail", || try_ctl(&gateway, &["drift"]).out.contains("failed:"));
    let said = try_ctl(&gateway, &["drift"]);
    assert_eq!(said.code, 1);
    assert!(
        said.out.contains("has errors and does not run") && said.out.contains("did you mean `app`?"),
        "{}",
        said.out
    );
    let restart = format!("runtime: {{ workers: 3, backend: {{{{backend}}}}, pin: false }}\n{TWO}");
    gateway.reload(&restart);
    let said = try_ctl(&gateway, &["drift"]);
    assert_eq!(said.code, 1);
    assert!(
        said.out.contains("waits for a restart") && said.out.contains("runtime.workers: 2 -> 3"),
        "{}",
        said.out
    );
}

#[test]
fn what_is_asked_wrongly_is_answered_with_a_remedy_and_an_exit_code() {
    let (gateway, origins) = start();
    let one = origins[0].endpoint();
    for (arguments, code, expected) in [
        (&["fault", "start", "nobody", "--delay", "1s", "--for", "1m"][..], 65, "known: both"),
        (&["fault", "start", "both", "--for", "1m"], 2, "--delay"),
        (&["fault", "start", "both", "--delay", "1s"], 2, "--for"),
        (
            &["fault", "start", "both", "--delay", "1s", "--share", "10", "--for", "1m"],
            2,
            "write a percentage",
        ),
        (&["fault", "start", "both", "--abort", "200", "--for", "1m"], 2, "grpc:unavailable"),
        (&["fault", "start", "both", "--delay", "1s", "--for", "25h"], 65, "more than 24h"),
        (&["fault", "stop", "both"], 65, "no fault"),
        (&["split", "both", "app=1", "--for", "1m"], 65, "nothing to shift"),
        (&["split", "shifted", "one=1", "--for", "1m"], 65, "goes to two too"),
        (&["split", "shifted", "one", "--for", "1m"], 2, "orders=90"),
        (&["eject", "nobody", &one, "--for", "1m"], 65, "known: app, one, two"),
        (&["eject", "app", "127.0.0.1:1", "--for", "1m"], 65, &one),
        (&["eject", "app", &one], 2, "--for"),
        (&["endpoints", "nobody"], 65, "no such service"),
        (&["clear"], 2, "<SERVICE>"),
    ] {
        let said = try_ctl(&gateway, arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(expected), "{arguments:?}: {}", said.err);
    }
    assert_eq!(try_ctl(&gateway, &["drift"]).code, 0, "nothing of that changed anything");
}

#[test]
fn nobody_and_somebody_else_are_told_apart() {
    let (gateway, _origins) = start();
    let nobody = format!("127.0.0.1:{}", ringway_tests::ports::free());
    let said = ctl_at(&nobody, &["services"]);
    assert_eq!(said.code, 69);
    assert!(said.err.contains("nothing listens") && said.err.contains("--admin"), "{}", said.err);
    let said = ctl_at(&gateway.address("web").to_string(), &["drift"]);
    assert_eq!(said.code, 76, "{}", said.err);
    assert_eq!(ctl_at("nowhere", &["drift"]).code, 2);
    let table = ctl(&gateway, &["services"]);
    assert!(table.starts_with("SERVICE") && table.contains("app") && table.contains("2/2"), "{table}");
}
