//! What an operator sees: the admin API, the access log, signals, exit codes.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_tests::gateway::PLAIN;
use ringway_tests::names;
use ringway_tests::origins::parts;
use ringway_tests::wait::until_true;
use ringway_tests::{Gateway, Origin, binary};
use serde_json::Value;

#[test]
fn the_admin_api_tells_life_readiness_version_workers_and_configuration() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    for path in ["/livez", "/readyz", "/version", "/workers", "/config", "/metrics"] {
        gateway.admin(path).expect(200);
    }
    assert_eq!(gateway.admin("/nothing").status, 404);
    let workers = gateway.admin("/workers").json();
    let text = workers.to_string();
    let wanted = std::env::var("RINGWAY_TEST_BACKEND").unwrap_or_default();
    match wanted.as_str() {
        "io_uring" | "epoll" => assert!(text.contains(&wanted), "{text}"),
        _ => assert!(text.contains("io_uring") || text.contains("epoll"), "{text}"),
    }
    assert!(gateway.admin("/config").text().contains(&origin.endpoint()));
}

#[test]
fn requests_are_counted_once_each() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    for _ in 0..10 {
        client.get("/").expect(200);
    }
    gateway.get("/-/probe").expect(200);
    until_true("eleven requests in the metrics", || gateway.metrics().sum(names::REQUESTS, &[]) == 11.0);
    assert_eq!(gateway.metrics().sum(names::REQUESTS, &[("route", "all")]), 10.0);
}

#[test]
fn a_local_reply_has_one_reason_everywhere() {
    let dead = format!("127.0.0.1:{}", ringway_tests::ports::free());
    let text = format!("access_log: {{ to: stdout }}\n{PLAIN}");
    let gateway = Gateway::start_with(&text, &[("origin", &dead)]);
    let reason = gateway.get("/").expect(502).reason();
    until_true("the reason in the metrics", || gateway.metrics().sum(names::LOCAL_REPLIES, &[]) >= 1.0);
    assert!(gateway.metrics().labelled(&reason) >= 1.0, "{reason} is not in the metrics");
    until_true("the reason in the log", || gateway.stdout().contains(&reason));
    let endpoint = format!("\"endpoint\":\"{dead}\"");
    until_true("who refused in the log", || gateway.stdout().contains(&endpoint));
    assert_eq!(gateway.metrics().sum("ringway_upstream_retries_total", &[]), 0.0, "there is no other to ask");
}

#[test]
fn log_lines_are_json_and_hide_credentials() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!("access_log: {{ format: json, to: \"{{{{dir}}}}/access.log\" }}\n{PLAIN}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let log = gateway.dir().join("access.log");
    let mut client = gateway.connect();
    client.send(
        "GET /a?access_token=hunter2&password=hunter2&api_key=hunter2&x=1 HTTP/1.1\r\nHost: a.example\r\n\
         Authorization: Bearer hunter2\r\nCookie: session=hunter2\r\nUser-Agent: quote\" back\\slash \x1b\r\n\r\n",
    );
    // The escape character makes it a bad request; the next one is good.
    let _ = client.response().expect(400);
    let mut client = gateway.connect();
    client.send(
        "GET /b?access_token=hunter2&token=hunter2&x=1 HTTP/1.1\r\nHost: a.example\r\n\
         Authorization: Bearer hunter2\r\nCookie: session=hunter2\r\nUser-Agent: quote\" back\\slash\r\n\
         Referer: https://user:hunter2@b.example/?access_token=hunter2\r\n\r\n",
    );
    client.response().expect(200);
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    until_true("two lines in the log", || read().lines().count() >= 2);
    assert!(read().contains("\"method\":\"GET\",\"target\":\"/b?"), "{}", read());
    for line in read().lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(value["status"].is_u64(), "{line}");
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
    assert!(!read().contains("hunter2"), "{}", read());
}

/// More than a second long, so that the fractions of both clocks have met in every way.
#[test]
fn log_lines_tell_the_time_of_the_wall_clock() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!("access_log: {{ to: \"{{{{dir}}}}/access.log\" }}\n{PLAIN}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    let mut sent = Vec::new();
    for _ in 0..32 {
        sent.push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64());
        client.get("/").expect(200);
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = gateway.dir().join("access.log");
    let times = || -> Vec<f64> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| second_of_day(line["time"].as_str().unwrap())).collect()
    };
    until_true("a line for each request", || times().len() == sent.len());
    for (logged, sent) in times().into_iter().zip(sent) {
        let late = (logged - sent).rem_euclid(86_400.0);
        assert!(!(0.3..86_399.9).contains(&late), "sent at {sent}, logged {late} s later");
    }
}

/// Of `2026-01-31T12:34:56.789012Z`.
fn second_of_day(time: &str) -> f64 {
    let clock = time.split_once('T').unwrap().1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

#[test]
fn usr1_reopens_the_log() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!("access_log: {{ to: \"{{{{dir}}}}/access.log\" }}\n{PLAIN}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let (log, rotated) = (gateway.dir().join("access.log"), gateway.dir().join("access.log.1"));
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    gateway.get("/first").expect(200);
    until_true("the first line", || lines(&log) == 1);
    std::fs::rename(&log, &rotated).unwrap();
    gateway.signal("USR1");
    until_true("a new file", || log.exists());
    gateway.get("/second").expect(200);
    until_true("the second line in the new file", || lines(&log) == 1);
    assert_eq!(lines(&rotated), 1);
}

#[test]
fn the_common_log_format_is_one_line_each() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!("access_log: {{ format: common, to: stdout }}\n{PLAIN}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    gateway.get("/common?x=1").expect(200);
    until_true("the line", || gateway.stdout().contains("\"GET /common?x=1 HTTP/1.1\" 200 2"));
    assert!(gateway.stdout().starts_with("127.0.0.1 - - ["), "{}", gateway.stdout());
}

#[test]
fn a_second_instance_on_the_same_ports_is_refused() {
    let origin = Origin::start(parts::says("ok"));
    let first = Gateway::in_front_of(&origin);
    let web = first.value("web").unwrap_or_default().to_owned();
    let ended = Gateway::try_start(PLAIN, &[("origin", &origin.endpoint()), ("web", &web)])
        .map(|_| ())
        .expect_err("a second instance runs on the same port");
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.stderr.contains(&web) && ended.stderr.contains("web"), "{}", ended.stderr);
    for _ in 0..20 {
        first.get("/").expect(200);
    }
}

#[test]
fn a_bad_configuration_is_not_started_and_every_problem_told() {
    let ended = Gateway::try_start(
        r#"
listeners:
  - { name: web, adress: "127.0.0.1:{{web}}" }
services:
  app: { endpoints: [ "127.0.0.1:1" ], balance: rond_robin }
routes:
  - { path: /**, to: ap }
"#,
        &[],
    )
    .map(|_| ())
    .expect_err("a bad configuration runs");
    assert_eq!(ended.code, Some(names::EXIT_CONFIG), "{}", ended.stderr);
    for hint in ["address", "round_robin", "app"] {
        assert!(ended.stderr.contains(hint), "no {hint} in\n{}", ended.stderr);
    }
    assert!(ended.stderr.contains("gateway.yaml:"), "no place in\n{}", ended.stderr);
}

#[test]
fn check_exits_with_78_and_diff_and_explain_speak() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.yaml"), dir.path().join("bad.yaml"));
    let text = "listeners:\n  - { name: web, address: 127.0.0.1:8080 }\nservices:\n  \
                app: { endpoints: [ 127.0.0.1:9001 ] }\nroutes:\n  - { name: all, path: /**, to: app }\n";
    std::fs::write(&good, text).unwrap();
    std::fs::write(&bad, text.replace("to: app", "to: apq, tiemout: 5s")).unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(binary::path()).args(arguments).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, said) = run(&["check".as_ref(), good.as_os_str()]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["check".as_ref(), bad.as_os_str()]);
    assert_eq!(code, Some(names::EXIT_CONFIG), "{said}");
    assert!(said.contains("apq") && said.contains("tiemout") && said.contains("bad.yaml:6:"), "{said}");
    let url = "GET http://a.example/b";
    let (code, said) = run(&["explain".as_ref(), "-c".as_ref(), good.as_os_str(), url.as_ref()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("all") && said.contains("app"), "{said}");
    let other = dir.path().join("other.yaml");
    std::fs::write(&other, text.replace("9001", "9002")).unwrap();
    let (code, said) = run(&["diff".as_ref(), good.as_os_str(), other.as_os_str()]);
    assert!(code.is_some(), "{said}");
    assert!(said.contains("9002"), "{said}");
    let (code, said) = run(&["schema".as_ref()]);
    assert_eq!(code, Some(0));
    serde_json::from_str::<Value>(&said).expect("the schema is JSON");
}

#[test]
fn a_second_term_ends_it_at_once() {
    let origin = Origin::start(parts::stalls);
    let text = format!("drain_timeout: 60s\n{PLAIN}");
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
    gateway.signal("TERM");
    until_true("the listener to be closed", || {
        ringway_tests::Client::try_connect(gateway.address("web")).is_err()
    });
    gateway.signal("TERM");
    gateway.wait_for_exit(Duration::from_secs(2));
}

#[test]
fn an_idle_gateway_uses_no_processor() {
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = gateway.connect();
            client.get("/").expect(200);
            client
        })
        .collect();
    let before = ringway_tests::process::cpu_time(gateway.pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = ringway_tests::process::cpu_time(gateway.pid()) - before;
    assert!(
        used <= Duration::from_millis(100),
        "{used:?} in two idle seconds with {} clients",
        clients.len()
    );
}

#[test]
fn each_driver_can_be_forced_and_is_named() {
    for backend in ["epoll", "io_uring"] {
        let origin = Origin::start(parts::says("ok"));
        let text = format!("runtime: {{ workers: 1, backend: {backend}, pin: false }}{PLAIN}");
        match Gateway::try_start(&text, &[("origin", &origin.endpoint())]) {
            Ok(gateway) => {
                gateway.get("/").expect(200);
                assert!(gateway.admin("/workers").text().contains(backend));
            }
            Err(ended) if backend == "io_uring" && ended.stderr.contains("io_uring") => {
                eprintln!("skipped: io_uring is refused here:\n{}", ended.stderr);
            }
            Err(ended) => panic!("{backend}: {ended:#?}"),
        }
    }
}
