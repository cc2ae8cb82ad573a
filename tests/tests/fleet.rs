//! Limits of a fleet: two gateways and one store, which is slow, paused, killed, or wants a password.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Response};
use prost::Message;
use ringway_tests::http2::{Asked, Origin as Store, Reply};
use ringway_tests::origins::parts;
use ringway_tests::redis::Redis;
use ringway_tests::{Client, Gateway, Origin, wait};

const TEXT: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ] }
fleets:
  main: { {{store}} }
routes:
  - { name: free, path: /free, to: app }
  - { name: few, path: /few, to: app, rate_limit: { rate: 5/min, burst: 5, per: "header:x-user", fleet: main } }
  - { name: many, path: /many, to: app, rate_limit: { rate: 200/s, burst: 200, per: "header:x-user", fleet: main } }
"#;

fn gateway(origin: &Origin, store: &str) -> Gateway {
    Gateway::start_with(TEXT, &[("origin", &origin.endpoint()), ("store", store)])
}

fn redis_at(redis: &Redis) -> String {
    format!("redis: \"redis://{}\"", redis.address())
}

fn up(gateway: &Gateway) -> bool {
    gateway.metrics().sum("ringway_fleet_up", &[("fleet", "main")]) == 1.0
}

#[track_caller]
fn wait_until_up(gateways: &[&Gateway]) {
    wait::until_true("the store to be asked", || gateways.iter().all(|gateway| up(gateway)));
}

fn asks(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().sum("ringway_fleet_asks_total", &[("fleet", "main"), ("result", result)])
}

/// Once the store is asked again its workers hear of it by asking: until then each has been told for how long not to.
#[track_caller]
fn asks_again(gateway: &Gateway) {
    let (before, mut user) = (asks(gateway, "granted"), 0);
    wait::until_true("workers to ask the store again", || {
        user += 1;
        ask(gateway, "/few", &format!("stranger-{user}"), 8);
        asks(gateway, "granted") >= before + 10.0
    });
}

/// Statuses of so many requests on one connection.
fn ask(gateway: &Gateway, path: &str, user: &str, count: usize) -> Vec<u16> {
    let mut client = gateway.connect();
    (0..count).map(|_| status(&mut client, path, user)).collect()
}

fn status(client: &mut Client, path: &str, user: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nX-User: {user}\r\n\r\n");
    client.send(request).response().status
}

fn passed(statuses: &[u16]) -> usize {
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

/// What two gateways let through of as much as four clients can ask, and the longest that one of them waited.
fn flood(gateways: [&Gateway; 2], user: &str, lasting: Duration) -> (usize, Duration) {
    let until = Instant::now() + lasting;
    let one = |address: SocketAddr| {
        let (mut client, mut through, mut longest) = (Client::connect(address), 0, Duration::ZERO);
        while Instant::now() < until {
            let began = Instant::now();
            through += passed(&[status(&mut client, "/many", user)]);
            longest = longest.max(began.elapsed());
        }
        (through, longest)
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = [0, 1, 0, 1]
            .map(|at: usize| gateways[at].address("web"))
            .map(|address| scope.spawn(move || one(address)))
            .into();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .fold((0, Duration::ZERO), |(sum, longest), (through, waited)| {
                (sum + through, longest.max(waited))
            })
    })
}

/// In hand at most: two gateways of two workers, a quarter of a second's worth each.
const IN_HAND: usize = 4 * 50;
/// What a busy machine may take longer than it should.
const SLACK: Duration = Duration::from_millis(400);

#[test]
fn two_gateways_hold_one_limit_together() {
    let Some(redis) = Redis::start() else { return };
    let origin = Origin::start(parts::says("ok"));
    let (one, two) = (gateway(&origin, &redis_at(&redis)), gateway(&origin, &redis_at(&redis)));
    wait_until_up(&[&one, &two]);
    // Five a minute are five, wherever they are asked.
    let few = [(&one, 3), (&two, 3), (&one, 3), (&two, 3)];
    let through: usize =
        few.iter().map(|(gateway, count)| passed(&ask(gateway, "/few", "anna", *count))).sum();
    assert_eq!(through, 5);
    assert_eq!(passed(&ask(&two, "/few", "bert", 3)), 3, "another key has its own");
    // Most requests never wait for the store.
    let before = asks(&two, "granted");
    assert_eq!(passed(&ask(&two, "/many", "emil", 150)), 150);
    let asked = asks(&two, "granted") - before;
    assert!(asked < 30.0, "{asked} asks for 150 requests");
    // 200 a second and as many at once.
    let began = Instant::now();
    let (through, _) = flood([&one, &two], "anna", Duration::from_secs(3));
    let most = 200 + (200.0 * began.elapsed().as_secs_f64()) as usize + IN_HAND;
    assert!(through <= most, "{through} of at most {most}");
    assert!(through >= 700, "only {through} of about 800");
    assert_eq!(asks(&one, "unavailable") + asks(&two, "unavailable"), 0.0);
    // Keys name nobody.
    assert!(!redis.keys().contains("anna") && redis.keys().contains("ringway:"), "{}", redis.keys());
}

#[test]
fn a_paused_store_is_no_outage_and_its_limit_holds_again_once_it_goes_on() {
    let Some(redis) = Redis::start() else { return };
    let origin = Origin::start(parts::says("ok"));
    let (one, two) = (gateway(&origin, &redis_at(&redis)), gateway(&origin, &redis_at(&redis)));
    wait_until_up(&[&one, &two]);
    assert_eq!(passed(&ask(&one, "/few", "anna", 9)), 5);
    std::thread::scope(|scope| {
        // In the midst of a flood.
        let flooded = scope.spawn(|| flood([&one, &two], "carl", Duration::from_secs(3)));
        std::thread::sleep(Duration::from_millis(700));
        redis.pause();
        wait::until_true("the store to be given up", || !up(&one) && !up(&two));
        one.admin("/readyz").expect(200);
        // Each gateway holds the limit by itself, and nobody waits any more.
        let began = Instant::now();
        assert_eq!(passed(&ask(&two, "/few", "anna", 9)), 5);
        assert!(began.elapsed() < 2 * SLACK, "{:?}", began.elapsed());
        let (through, longest) = flooded.join().unwrap();
        // Twice the limit at most, by two nodes' own.
        assert!((600..=2 * (200 + 200 * 3) + 2 * IN_HAND).contains(&through), "{through}");
        assert!(longest < Duration::from_millis(50) + SLACK, "somebody waited {longest:?}");
    });
    redis.resume();
    wait_until_up(&[&one, &two]);
    [&one, &two].into_iter().for_each(asks_again);
    let through = passed(&ask(&one, "/few", "dora", 4)) + passed(&ask(&two, "/few", "dora", 4));
    assert_eq!(through, 5, "the fleet's limit holds again");
    for gateway in [&one, &two] {
        let said = gateway.stderr();
        assert!(said.contains("fleet main: its store does not answer (no answer within 50 ms)"), "{said}");
        assert!(said.contains("fleet main: its store answers again"), "{said}");
    }
}

#[test]
fn a_killed_store_is_no_outage_and_a_new_one_is_taken() {
    let Some(mut redis) = Redis::start() else { return };
    let origin = Origin::start(parts::says("ok"));
    let (one, two) = (gateway(&origin, &redis_at(&redis)), gateway(&origin, &redis_at(&redis)));
    wait_until_up(&[&one, &two]);
    assert_eq!(passed(&ask(&one, "/few", "anna", 9)), 5);
    redis.kill();
    let began = Instant::now();
    assert_eq!(passed(&ask(&two, "/few", "anna", 9)), 5);
    assert!(began.elapsed() < 2 * SLACK, "{:?}", began.elapsed());
    wait::until_true("the store to be given up", || !up(&two));
    two.admin("/readyz").expect(200);
    // It has forgotten the script, and all that was counted.
    redis.start_again();
    wait_until_up(&[&one, &two]);
    [&one, &two].into_iter().for_each(asks_again);
    let through = passed(&ask(&one, "/few", "bert", 4)) + passed(&ask(&two, "/few", "bert", 4));
    assert_eq!(through, 5);
}

#[test]
fn a_gateway_starts_without_its_store() {
    let Some(mut redis) = Redis::start() else { return };
    redis.kill();
    let origin = Origin::start(parts::says("ok"));
    let gateway = gateway(&origin, &redis_at(&redis));
    assert_eq!(passed(&ask(&gateway, "/few", "anna", 9)), 5);
    assert!(!up(&gateway));
    redis.start_again();
    wait_until_up(&[&gateway]);
    asks_again(&gateway);
    assert_eq!(passed(&ask(&gateway, "/few", "anna", 9)), 5, "the fleet knows nothing of what was before");
}

#[test]
fn a_password_is_used_and_never_told() {
    let Some(redis) = Redis::with_password(Some("hunter%2")) else { return };
    let origin = Origin::start(parts::says("ok"));
    let url = format!("redis: \"redis://:hunter%252@{}/3\"", redis.address());
    let field = format!("redis: \"redis://{}/3\", password: \"hunter%2\"", redis.address());
    for store in [url, field] {
        let gateway = gateway(&origin, &store);
        wait_until_up(&[&gateway]);
        assert!(passed(&ask(&gateway, "/few", "anna", 9)) <= 5);
        let shown = gateway.admin("/config").expect(200).text();
        assert!(
            shown.contains("[redacted]") && shown.contains(&format!("redis://{}/3", redis.address())),
            "{shown}"
        );
        for told in [shown, gateway.stderr(), gateway.admin("/metrics").text()] {
            assert!(!told.contains("hunter"), "{told}");
        }
    }
    // A wrong one, and one that can't be read.
    let store = format!("redis: \"redis://:wrong-word@{}\"", redis.address());
    let gateway = gateway(&origin, &store);
    wait::until_true("the trouble to be told", || gateway.stderr().contains("its store does not answer"));
    assert_eq!(passed(&ask(&gateway, "/few", "anna", 9)), 5);
    assert!(!gateway.stderr().contains("wrong-word"), "{}", gateway.stderr());
    let bad = TEXT.replace("{{store}}", "redis: \"redis://:wrong-word@a b\"");
    let ended = Gateway::try_start(&bad, &[("origin", &origin.endpoint())]).unwrap_err();
    assert!(ended.stderr.contains("bad-url") || ended.stderr.contains("no spaces"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("wrong-word"), "{}", ended.stderr);
}

#[test]
fn a_reload_takes_another_store_and_keeps_what_is_counted() {
    let (Some(redis), Some(other)) = (Redis::start(), Redis::start()) else { return };
    let origin = Origin::start(parts::says("ok"));
    let mut gateway = gateway(&origin, &redis_at(&redis));
    wait_until_up(&[&gateway]);
    assert_eq!(passed(&ask(&gateway, "/few", "anna", 9)), 5);
    let granted = asks(&gateway, "granted");
    gateway.reload(&TEXT.replace("{ name: free,", "{ name: gratis,"));
    assert_eq!(passed(&ask(&gateway, "/few", "anna", 9)), 0, "the same store goes on");
    gateway.set("store", &redis_at(&other));
    gateway.reload(TEXT);
    wait::until_true("the other store to be asked", || other.keys().contains("probe") || up(&gateway));
    wait_until_up(&[&gateway]);
    assert_eq!(passed(&ask(&gateway, "/few", "bert", 9)), 5);
    assert!(other.keys().contains("ringway:"), "{}", other.keys());
    assert!(asks(&gateway, "granted") > granted);
}

// A rate limit service, as far as it is spoken with.

#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct RateLimitResponse {
    #[prost(int32, tag = "1")]
    overall_code: i32,
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, optional, tag = "4")]
    duration_until_reset: Option<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// Lets ten hits of anna pass for good, and is silent when told so.
fn service() -> (Store, Arc<AtomicU32>, Arc<AtomicBool>) {
    let (hits, silent) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, is_silent) = (hits.clone(), silent.clone());
    let reply = move |asked: &Asked| {
        assert_eq!(asked.head.uri().path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
        let request = RateLimitRequest::decode(&asked.body[5..]).unwrap();
        assert_eq!(request.domain, "edge");
        let entries: Vec<(&str, &str)> = request.descriptors[0]
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
            .collect();
        let over = match &entries[..] {
            [("limit", "#probe")] => false,
            [("limit", limit), ("header:x-user", "anna")] => {
                assert!(limit.contains("few") || limit.contains("many"), "{limit}");
                counted.fetch_add(request.hits_addend, Ordering::SeqCst) + request.hits_addend > 10
            }
            other => panic!("{other:?}"),
        };
        let code = if over { 2 } else { 1 };
        let status = Status { code, duration_until_reset: Some(Span { seconds: 40 }) };
        let message = RateLimitResponse { overall_code: code, statuses: vec![status] }.encode_to_vec();
        let mut framed = vec![0];
        framed.extend((message.len() as u32).to_be_bytes());
        framed.extend(message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let after = if is_silent.load(Ordering::SeqCst) { Duration::from_secs(3) } else { Duration::ZERO };
        Reply { head, body: vec![framed], trailers: Some(trailers), after, ..Reply::default() }
    };
    (Store::start(reply), hits, silent)
}

#[test]
fn a_rate_limit_service_is_asked_as_envoy_asks_it() {
    let (service, hits, silent) = service();
    let origin = Origin::start(parts::says("ok"));
    let store = format!("rls: \"{}\", domain: edge", service.address);
    let (one, two) = (gateway(&origin, &store), gateway(&origin, &store));
    wait_until_up(&[&one, &two]);
    let through = passed(&ask(&one, "/few", "anna", 7)) + passed(&ask(&two, "/few", "anna", 7));
    assert_eq!(through, 10, "its limit holds, not ours");
    // What it said holds for a while: it is not asked for each that it refuses.
    let before = hits.load(Ordering::SeqCst);
    assert_eq!(passed(&ask(&one, "/few", "anna", 30)) + passed(&ask(&two, "/few", "anna", 30)), 0);
    let after = hits.load(Ordering::SeqCst);
    assert!(after <= before + 4, "asked {} times for what was refused", after - before);
    let refused =
        one.connect().send("GET /few HTTP/1.1\r\nHost: a\r\nX-User: anna\r\n\r\n").response().expect(429);
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=40).contains(&wait), "{wait}");
    // Silent: as with any store.
    silent.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert_eq!(passed(&ask(&one, "/many", "anna", 50)), 50);
    assert!(began.elapsed() < 2 * SLACK, "{:?}", began.elapsed());
    wait::until_true("it to be given up", || !up(&one));
    silent.store(false, Ordering::SeqCst);
    wait_until_up(&[&one, &two]);
}
