//! Rate limits and concurrency limits, end to end: on eight workers, over reloads, and however an exchange ends.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use ringway_tests::http2::Session;
use ringway_tests::origins::parts;
use ringway_tests::wait::until_true;
use ringway_tests::{Gateway, Origin};

const HEAD: &str = r#"
runtime: { workers: 8, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
"#;

fn start(routes: &str, origin: &Origin) -> Gateway {
    Gateway::start_with(&format!("{HEAD}{routes}"), &[("origin", &origin.endpoint())])
}

fn decisions(gateway: &Gateway, limit: &str, outcome: &str) -> f64 {
    gateway.metrics().sum("ringway_limit_decisions_total", &[("limit", limit), ("outcome", outcome)])
}

#[test]
fn five_a_minute_are_five_on_eight_workers() {
    let origin = Origin::start(parts::says("ok"));
    let routes = "  - { name: login, path: /**, to: app, rate_limit: { rate: 5/min, per: header:x-user, wait: 500ms } }\n";
    let gateway = start(routes, &origin);
    let mut passed = 0;
    for _ in 0..60 {
        // A connection each: the kernel gives them to different workers.
        let mut client = gateway.connect();
        for _ in 0..2 {
            client.send("GET /login HTTP/1.1\r\nHost: a.example\r\nX-User: one\r\n\r\n");
            let answer = client.response();
            assert_eq!(answer.header("ratelimit-policy").as_deref(), Some("\"login\";q=5;w=60"));
            if answer.status == 200 {
                passed += 1;
                continue;
            }
            assert_eq!(
                answer.header("ratelimit").as_deref().map(|told| &told[..13]),
                Some("\"login\";r=0;t")
            );
            let after: u64 =
                answer.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default();
            assert!((1..=12).contains(&after), "{after}");
            assert_eq!(answer.expect(429).reason(), "rate_limited");
        }
    }
    assert_eq!(passed, 5);
    let mut client = gateway.connect();
    client.send("GET /login HTTP/1.1\r\nHost: a.example\r\nX-User: two\r\n\r\n");
    client.response().expect(200);
    until_true("each to be counted", || decisions(&gateway, "login", "limited") == 115.0);
    assert_eq!(decisions(&gateway, "login", "allowed"), 6.0);
}

#[test]
fn a_limit_is_one_on_eight_workers_and_lets_its_rate_through() {
    const RATE: f64 = 400.0;
    const BURST: f64 = 800.0;
    let origin = Origin::start(parts::says("ok"));
    let routes =
        "  - { name: api, path: /**, rate_limit: { rate: 400/s, burst: 800 }, respond: { status: 200 } }\n";
    let gateway = start(routes, &origin);
    let (passed, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let times = Mutex::new((None::<Instant>, Instant::now()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
                times.lock().unwrap().0.get_or_insert_with(Instant::now);
                while !over.load(Ordering::Relaxed) {
                    for client in &mut clients {
                        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
                    }
                    for client in &mut clients {
                        let answer = client.response();
                        passed.fetch_add(u64::from(answer.status == 200), Ordering::Relaxed);
                    }
                }
                times.lock().unwrap().1 = Instant::now();
            });
        }
        std::thread::sleep(Duration::from_secs(4));
        over.store(true, Ordering::Relaxed);
    });
    let (begun, ended) = *times.lock().unwrap();
    let seconds = ended.duration_since(begun.expect("it began")).as_secs_f64();
    let passed = passed.load(Ordering::Relaxed) as f64;
    let unsure = gateway.metrics().sum("ringway_limit_unsure_total", &[("limit", "api")]);
    let asks = gateway.metrics().sum("ringway_limit_asks_total", &[("limit", "api")]);
    let may = BURST + RATE * seconds;
    eprintln!("{passed} passed of {may:.0} in {seconds:.2} s, {unsure} unsure, {asks} asks");
    assert!(passed <= may + BURST / 8.0 + RATE * 0.002 + unsure, "{passed} of {may}, {unsure} unsure");
    assert!(passed >= 0.98 * may, "{passed} of {may}");
}

#[test]
fn what_one_limit_refuses_is_not_charged_to_the_others() {
    let origin = Origin::start(parts::says("ok"));
    let routes = "  - { name: r, path: /**, to: app, rate_limit: [ { name: all, rate: 100/h, wait: 500ms }, \
                  { name: each, rate: 2/h, per: header:x-user, wait: 500ms } ] }\n";
    let gateway = start(routes, &origin);
    let mut client = gateway.connect();
    let mut ask = |user: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-User: {user}\r\n\r\n"));
        client.response()
    };
    let policy = "\"all\";q=100;w=3600, \"each\";q=2;w=3600";
    for _ in 0..10 {
        assert_eq!(ask("one").header("ratelimit-policy").as_deref(), Some(policy));
    }
    // A letter that gives back may be on its way.
    until_true("what was taken to come back", || {
        let answer = ask("one").expect(429);
        answer.header("ratelimit").is_some_and(|told| told.starts_with("\"all\";r=97;"))
    });
    let told = ask("two").expect(200).header("ratelimit").unwrap_or_default();
    assert!(told.starts_with("\"all\";r=97;t=36, \"each\";r=1;t=1800"), "{told}");
}

#[test]
fn costs_are_by_method_and_by_what_a_service_tells() {
    const DEAR: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Cost: 50\r\n\r\n";
    let origin = Origin::start(parts::sends(DEAR));
    let routes = "  - { name: a, path: /a/**, to: app, rate_limit: { rate: 10/h, cost: { POST: 5, OPTIONS: 0 }, wait: 500ms } }\n  \
                  - { name: b, path: /b/**, to: app, rate_limit: { rate: 60/h, cost_header: X-Cost, wait: 500ms } }\n";
    let gateway = start(routes, &origin);
    let mut client = gateway.connect();
    let mut ask = |method: &str, path: &str| {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"));
        client.response()
    };
    ask("POST", "/a/").expect(200);
    ask("POST", "/a/").expect(200);
    ask("GET", "/a/").expect(429);
    assert_eq!(
        ask("OPTIONS", "/a/").expect(200).header("x-cost").as_deref(),
        Some("50"),
        "nobody reads it there"
    );
    assert_eq!(ask("GET", "/b/").expect(200).header("x-cost"), None, "it is for us");
    ask("GET", "/b/").expect(200);
    // 40 are owed now.
    until_true("what was told to be owed", || ask("GET", "/b/").status == 429);
    let after = ask("GET", "/b/").expect(429).header("retry-after").unwrap_or_default();
    assert!(after.parse::<u64>().is_ok_and(|seconds| (2000..=6000).contains(&seconds)), "{after}");
}

#[test]
fn requests_at_once_are_bounded_and_given_back_however_they_end() {
    let origin = Origin::start(|connection: &mut ringway_tests::origins::Connection| {
        let seen = connection.request()?;
        if seen.head.start.contains(" /slow") {
            connection.until_ended()?;
        }
        connection.answer("ok")
    });
    let routes = "  - { name: two, path: /**, to: app, concurrency_limit: { requests: 2, wait: 500ms } }\n";
    let gateway = start(routes, &origin);
    for round in 1..=3 {
        let mut slow: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
        for client in &mut slow {
            client.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
        }
        until_true("two under way", || decisions(&gateway, "two", "allowed") >= 2.0 * f64::from(round));
        let answer = gateway.get("/").expect(429);
        assert_eq!(
            (answer.reason().as_str(), answer.header("retry-after").as_deref()),
            ("concurrency_limited", Some("1"))
        );
        slow.into_iter().for_each(|client| client.reset());
        until_true("both to be given back", || {
            gateway.metrics().sum("ringway_limit_keys", &[("limit", "two")]) == 0.0
        });
    }
}

#[test]
fn what_is_counted_outlives_a_reload_and_a_new_rate_holds() {
    let origin = Origin::start(parts::says("ok"));
    let with = |rate: &str| {
        format!(
            "{HEAD}  - {{ name: api, path: /**, to: app, rate_limit: {{ rate: {rate}, wait: 500ms }} }}\n"
        )
    };
    let mut gateway = Gateway::start_with(&with("3/h"), &[("origin", &origin.endpoint())]);
    let passed = |gateway: &Gateway| (0..12).filter(|_| gateway.get("/").status == 200).count();
    assert_eq!(passed(&gateway), 3);
    gateway.reload(&with("3/h, dry_run: false"));
    assert_eq!(passed(&gateway), 0, "what was spent is not forgotten");
    gateway.reload(&with("3/h, dry_run: true"));
    assert_eq!(passed(&gateway), 12);
    until_true("what would have been refused to be counted", || {
        decisions(&gateway, "api", "dry_run") == 12.0
    });
    gateway.reload(&with("100/s, burst: 5"));
    until_true("the new rate to let through", || gateway.get("/").status == 200);
}

#[test]
fn callers_of_grpc_are_told_that_resources_are_exhausted() {
    let origin = Origin::start(parts::says("ok"));
    let routes = "  - { name: calls, path: /**, to: app, rate_limit: { rate: 1/h, wait: 500ms } }\n";
    let gateway = start(routes, &origin);
    gateway.get("/").expect(200);
    let session = Session::connect(gateway.address("web"));
    let call = Request::post("http://a.example/test.Kinds/Unary").header("content-type", "application/grpc");
    let answer = session.ask(call.body(()).unwrap(), &[b"\0\0\0\0\0"], None);
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("8")));
    assert!(answer.header("grpc-message").is_some_and(|told| told.starts_with("rate_limited")), "{answer:?}");
    assert_eq!(answer.header("ratelimit-policy"), Some("\"calls\";q=1;w=3600"));
}

#[test]
fn routes_that_share_a_limit_share_its_bucket() {
    let origin = Origin::start(parts::says("ok"));
    let text = format!(
        "rate_limits: {{ both: {{ rate: 4/h, per: header:x-user, missing: deny, wait: 500ms }} }}\n{HEAD}  \
         - {{ name: a, path: /a, to: app, rate_limit: both }}\n  - {{ name: b, path: /b, to: app, rate_limit: [ both ] }}\n"
    );
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    let mut ask = |path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nX-User: 1\r\n\r\n"));
        client.response().status
    };
    let answers: Vec<u16> = ["/a", "/b", "/a", "/b", "/a", "/b"].into_iter().map(&mut ask).collect();
    assert_eq!(answers, [200, 200, 200, 200, 429, 429]);
    gateway.get("/a").expect(429);
}

#[test]
fn responses_tell_in_the_fields_that_are_asked_for() {
    let origin = Origin::start(parts::says("ok"));
    let route = |tell: &str| {
        format!(
            "  - {{ name: {tell}, path: /{tell}, to: app, rate_limit: {{ rate: 2/h, tell: {tell}, wait: 500ms }} }}\n"
        )
    };
    let tells = ["ratelimit", "x-ratelimit", "both", "nothing"];
    let gateway = start(&tells.map(route).concat(), &origin);
    for tell in tells {
        // One more in half an hour.
        for (left, status) in [("1", 200), ("0", 200), ("0", 429), ("0", 429)] {
            let answer = gateway.get(&format!("/{tell}")).expect(status);
            let of = |name: &str| answer.header(name);
            let now = matches!(tell, "ratelimit" | "both");
            let policy = format!("\"{tell}\";q=2;w=3600");
            assert_eq!(of("ratelimit-policy"), now.then_some(policy), "{tell}");
            let told = of("ratelimit");
            let expected = format!("\"{tell}\";r={left};t=");
            assert!(
                told.is_some() == now && told.is_none_or(|told| told.starts_with(&expected)),
                "{answer:?}"
            );
            let once = matches!(tell, "x-ratelimit" | "both");
            assert_eq!(of("x-ratelimit-limit"), once.then(|| "2".into()), "{tell}");
            assert_eq!(of("x-ratelimit-remaining"), once.then(|| left.into()), "{tell}");
            let reset = of("x-ratelimit-reset");
            let soon =
                |reset: String| reset.parse().is_ok_and(|seconds: u64| (1700..=1800).contains(&seconds));
            assert!(reset.is_some() == once && reset.is_none_or(soon), "{answer:?}");
            assert_eq!(of("retry-after").is_some(), status == 429, "{tell}: whatever it tells");
        }
    }
}

#[test]
fn of_several_limits_the_old_fields_tell_of_the_one_with_least_left() {
    let origin = Origin::start(parts::says("ok"));
    let routes = "  - { name: r, path: /**, to: app, rate_limit: [ { name: all, rate: 6/h, tell: both, wait: 500ms }, \
                  { name: each, rate: 5/h, per: header:x-user, tell: x-ratelimit, wait: 500ms }, \
                  { name: quiet, rate: 4/h, tell: nothing, wait: 500ms } ] }\n";
    let gateway = start(routes, &origin);
    // Of all 5, 4, 3 and 2 are left, of each 4, 3, 4 and 4, and of quiet always less, which nobody is told.
    for (user, limit, left) in [("one", "5", "4"), ("one", "5", "3"), ("two", "6", "3"), ("three", "6", "2")]
    {
        let mut client = gateway.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-User: {user}\r\n\r\n"));
        let answer = client.response().expect(200);
        assert_eq!(answer.header("ratelimit-policy").as_deref(), Some("\"all\";q=6;w=3600"));
        assert_eq!(answer.header("x-ratelimit-limit").as_deref(), Some(limit));
        assert_eq!(answer.header("x-ratelimit-remaining").as_deref(), Some(left));
    }
}
