//! Limits that hold for the node: what a service and an endpoint are asked at most, and who waits, is refused or shed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ringway_tests::client::To;
use ringway_tests::origins::{Behaviour, parts};
use ringway_tests::{Client, Gateway, Origin, process, wait};

/// What an origin has before it: how many at once, and in which order they came. It answers nobody until it is let.
#[derive(Clone, Default)]
struct Crowd(Arc<(Mutex<Inner>, Condvar)>);

#[derive(Default)]
struct Inner {
    now: usize,
    most: usize,
    came: Vec<String>,
    /// So many may be answered; `None`: all.
    let_go: Option<usize>,
    gone: usize,
}

impl Crowd {
    fn held() -> Crowd {
        let crowd = Crowd::default();
        crowd.0.0.lock().unwrap().let_go = Some(0);
        crowd
    }

    /// Answers each after `pause`, once it is let.
    fn behaviour(&self, pause: Duration) -> impl Behaviour {
        let crowd = self.clone();
        move |connection| loop {
            let seen = connection.request()?;
            let target = seen.head.start.split(' ').nth(1).unwrap_or_default().to_owned();
            let (inner, changed) = &*crowd.0;
            let mut inner = inner.lock().unwrap();
            inner.now += 1;
            inner.most = inner.most.max(inner.now);
            inner.came.push(target);
            changed.notify_all();
            while inner.let_go.is_some_and(|most| inner.gone >= most) {
                inner = changed.wait(inner).unwrap();
            }
            inner.gone += 1;
            drop(inner);
            std::thread::sleep(pause);
            crowd.0.0.lock().unwrap().now -= 1;
            connection.answer("ok")?;
        }
    }

    /// Answers each as `how` says: after so long, with these bytes.
    fn behaviour_as(
        &self,
        how: impl Fn(usize) -> (Duration, &'static [u8]) + Send + Sync + 'static,
    ) -> impl Behaviour {
        let (crowd, came) = (self.clone(), AtomicUsize::new(0));
        move |connection| loop {
            connection.request()?;
            let (pause, answer) = how(came.fetch_add(1, SeqCst));
            {
                let mut inner = crowd.0.0.lock().unwrap();
                inner.now += 1;
                inner.most = inner.most.max(inner.now);
            }
            std::thread::sleep(pause);
            {
                let mut inner = crowd.0.0.lock().unwrap();
                inner.now -= 1;
                inner.gone += 1;
            }
            connection.send(answer)?;
        }
    }

    fn let_go(&self, more: usize) {
        let (inner, changed) = &*self.0;
        let mut inner = inner.lock().unwrap();
        inner.let_go = Some(inner.let_go.unwrap_or(0) + more);
        changed.notify_all();
    }

    fn wait_for(&self, count: usize) -> Vec<String> {
        let (inner, changed) = &*self.0;
        let (inner, late) = changed
            .wait_timeout_while(inner.lock().unwrap(), wait::PATIENCE, |inner| inner.came.len() < count)
            .unwrap();
        assert!(!late.timed_out(), "wanted {count}, came {:?}", inner.came);
        inner.came.clone()
    }

    fn came(&self) -> usize {
        self.0.0.lock().unwrap().came.len()
    }

    fn most(&self) -> usize {
        self.0.0.lock().unwrap().most
    }
}

/// One service with these fields in front of `{{origin}}`, asked by so many workers.
fn text(workers: u32, service: &str) -> String {
    format!(
        "runtime: {{ workers: {workers}, backend: {{{{backend}}}}, pin: false }}\n\
         listeners:\n  - {{ name: web, address: \"127.0.0.1:{{{{web}}}}\", routes: all }}\n\
         services:\n  app: {{ endpoints: [ \"{{{{origin}}}}\" ], {service} }}\n\
         routes:\n  - {{ name: all, path: /**, to: app }}\n"
    )
}

fn start(crowd: &Crowd, workers: u32, service: &str) -> (Gateway, Origin) {
    let origin = Origin::start(crowd.behaviour(Duration::ZERO));
    let gateway = Gateway::start_with(&text(workers, service), &[("origin", &origin.endpoint())]);
    (gateway, origin)
}

fn ask(gateway: &Gateway, target: &str) -> Client {
    let mut client = gateway.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

fn waiting(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("ringway_breaker_in_use", &[("limit", "pending")])
}

fn until_waiting(gateway: &Gateway, count: f64) {
    wait::until_true("that so many wait", || waiting(gateway) == count);
}

#[test]
fn eight_workers_never_ask_more_than_allowed_and_use_all_of_it() {
    const CLIENTS: usize = 40;
    const EACH: usize = 50;
    let (crowd, pause) = (Crowd::default(), Duration::from_millis(5));
    let origin = Origin::start(crowd.behaviour(pause));
    let text = text(8, "breaker: { requests: 10, wait: 20s }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = gateway.connect();
                for _ in 0..EACH {
                    client.get("/").expect(200);
                }
            });
        }
    });
    let took = began.elapsed();
    assert_eq!(crowd.most(), 10);
    // Ten at a time; the machine may be busy with other things, and a sleep takes longer than it says.
    let ideal = pause * (CLIENTS * EACH / 10) as u32;
    assert!(took < ideal * 4, "{took:?} for what could take {ideal:?}");
    wait::until_true("all permits to be back", || {
        gateway.metrics().sum("ringway_breaker_in_use", &[("limit", "requests")]) == 0.0
    });
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("ringway_breaker_limit", &[("service", "app"), ("limit", "requests")]), 10.0);
    assert!(metrics.sum("ringway_breaker_queued_total", &[("service", "app")]) > 100.0);
}

#[test]
fn a_permit_that_is_given_back_goes_to_one_who_waits_on_whichever_core() {
    let crowd = Crowd::held();
    let (gateway, _origin) = start(&crowd, 8, "breaker: { requests: 1, wait: 20s }");
    let mut clients: Vec<Client> = (0..24).map(|_| ask(&gateway, "/")).collect();
    until_waiting(&gateway, 23.0);
    for served in 1..24 {
        crowd.let_go(1);
        assert_eq!(crowd.wait_for(served + 1).len(), served + 1, "one for each that was given back");
    }
    crowd.let_go(1);
    for client in &mut clients {
        client.response().expect(200);
    }
    assert_eq!((crowd.most(), waiting(&gateway)), (1, 0.0));
}

#[test]
fn who_waited_for_a_turn_counts_as_one_pick() {
    let crowd = Crowd::held();
    let service = "balance: ring_hash, hash_by: \"header:x-user\", breaker: { requests: 1, wait: 20s }";
    let origins = [(); 2].map(|()| Origin::start(crowd.behaviour(Duration::ZERO)));
    let endpoints = [origins[0].endpoint(), origins[1].endpoint()];
    let text = text(2, service).replace("\"{{origin}}\"", "\"{{one}}\", \"{{two}}\"");
    let gateway = Gateway::start_with(&text, &[("one", &endpoints[0]), ("two", &endpoints[1])]);
    let mut clients: Vec<Client> = (0..6).map(|_| ask(&gateway, "/")).collect();
    until_waiting(&gateway, 5.0);
    crowd.let_go(6);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!(gateway.metrics().sum("ringway_balance_keyless_total", &[]), 6.0);
}

#[test]
fn beyond_the_line_requests_are_refused_at_once_and_in_it_when_their_time_is_over() {
    let crowd = Crowd::held();
    let (gateway, _origin) = start(&crowd, 2, "breaker: { requests: 1, pending: 2, wait: 400ms }");
    let mut first = ask(&gateway, "/first");
    crowd.wait_for(1);
    let began = Instant::now();
    let mut queued: Vec<Client> = (0..2).map(|_| ask(&gateway, "/queued")).collect();
    until_waiting(&gateway, 2.0);
    let refused = gateway.get("/refused").expect(503);
    assert_eq!(
        (refused.reason().as_str(), refused.header("retry-after")),
        ("breaker_pending", Some("1".into()))
    );
    for client in &mut queued {
        assert_eq!(client.response().expect(503).reason(), "breaker_wait");
    }
    assert!(began.elapsed() >= Duration::from_millis(400));
    crowd.let_go(2);
    first.response().expect(200);
    gateway.get("/next").expect(200);
    let metrics = gateway.metrics();
    for (limit, count) in [("pending", 1.0), ("wait", 2.0)] {
        assert_eq!(metrics.sum("ringway_breaker_refused_total", &[("limit", limit)]), count, "{limit}");
    }
}

#[test]
fn without_a_line_what_is_too_much_is_refused() {
    let crowd = Crowd::held();
    let (gateway, _origin) = start(&crowd, 2, "breaker: { requests: 2, pending: 0 }");
    let mut held: Vec<Client> = (0..2).map(|_| ask(&gateway, "/")).collect();
    crowd.wait_for(2);
    assert_eq!(gateway.get("/").expect(503).reason(), "breaker_requests");
    crowd.let_go(3);
    for client in &mut held {
        client.response().expect(200);
    }
    gateway.get("/").expect(200);
}

#[test]
fn who_left_makes_room_for_another() {
    let crowd = Crowd::held();
    let (gateway, _origin) = start(&crowd, 2, "breaker: { requests: 1, pending: 1, wait: 20s }");
    let mut first = ask(&gateway, "/first");
    crowd.wait_for(1);
    let gone = ask(&gateway, "/gone");
    until_waiting(&gateway, 1.0);
    gone.reset();
    until_waiting(&gateway, 0.0);
    let mut second = ask(&gateway, "/second");
    until_waiting(&gateway, 1.0);
    crowd.let_go(2);
    first.response().expect(200);
    second.response().expect(200);
    assert_eq!(crowd.wait_for(2), ["/first", "/second"]);
}

#[test]
fn first_come_is_first_served_until_the_line_is_too_long() {
    let crowd = Crowd::held();
    let (gateway, _origin) = start(&crowd, 2, "breaker: { requests: 1, wait: 2s }");
    let line = |targets: [&'static str; 3], pause: Duration| {
        let clients: Vec<Client> = targets
            .into_iter()
            .map(|target| {
                let (before, came) = (waiting(&gateway), crowd.came());
                let client = ask(&gateway, target);
                match target == targets[0] {
                    true => drop(crowd.wait_for(came + 1)),
                    false => until_waiting(&gateway, before + 1.0),
                }
                std::thread::sleep(pause);
                client
            })
            .collect();
        clients
    };
    let mut clients = line(["/a", "/b", "/c"], Duration::ZERO);
    crowd.let_go(3);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!(crowd.wait_for(3), ["/a", "/b", "/c"]);
    // The second of these has waited more than half of what it may when the third comes and the first ends.
    let mut clients = line(["/1", "/2", "/3"], Duration::from_millis(600));
    crowd.let_go(3);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!(crowd.wait_for(6)[3..], ["/1", "/3", "/2"]);
}

#[test]
fn the_deadline_of_the_exchange_holds_in_the_line() {
    let crowd = Crowd::held();
    let origin = Origin::start(crowd.behaviour(Duration::ZERO));
    let text = text(2, "breaker: { requests: 1, wait: 20s }")
        .replace("routes:\n", "routes:\n  - { name: timed, path: /timed, to: app, timeout: 200ms }\n");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut first = ask(&gateway, "/");
    crowd.wait_for(1);
    assert_eq!(gateway.get("/timed").expect(504).reason(), "exchange_timeout");
    crowd.let_go(1);
    first.response().expect(200);
    assert_eq!(crowd.came(), 1);
}

#[test]
fn a_raised_limit_lets_in_who_waits() {
    let crowd = Crowd::held();
    let (mut gateway, _origin) = start(&crowd, 4, "breaker: { requests: 1, wait: 20s }");
    let mut clients: Vec<Client> = (0..6).map(|_| ask(&gateway, "/")).collect();
    until_waiting(&gateway, 5.0);
    gateway.reload(&text(4, "breaker: { requests: 4, wait: 20s }"));
    crowd.wait_for(4);
    until_waiting(&gateway, 2.0);
    crowd.let_go(6);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!(crowd.most(), 4);
}

#[test]
fn an_endpoint_that_has_as_much_as_it_may_leaves_the_rest_to_another() {
    let crowds = [Crowd::held(), Crowd::held()];
    let origins: Vec<Origin> =
        crowds.iter().map(|crowd| Origin::start(crowd.behaviour(Duration::ZERO))).collect();
    let text = text(4, "balance: random, breaker: { pending: 0, endpoint: { requests: 2 } }")
        .replace("[ \"{{origin}}\" ]", "[ \"{{one}}\", \"{{other}}\" ]");
    let endpoints = [("one", &*origins[0].endpoint()), ("other", &*origins[1].endpoint())];
    let gateway = Gateway::start_with(&text, &endpoints);
    let mut clients: Vec<Client> = (0..4).map(|_| ask(&gateway, "/")).collect();
    crowds.iter().for_each(|crowd| drop(crowd.wait_for(2)));
    assert_eq!(gateway.get("/").expect(503).reason(), "breaker_requests", "all endpoints together");
    crowds.iter().for_each(|crowd| crowd.let_go(2));
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert!(crowds.iter().all(|crowd| crowd.most() == 2));
}

#[test]
fn an_endpoint_without_a_connection_to_spare_leaves_the_rest_to_another() {
    let crowd = Crowd::held();
    let origins = [(); 2].map(|()| Origin::start(crowd.behaviour(Duration::ZERO)));
    let endpoints = [origins[0].endpoint(), origins[1].endpoint()];
    let text = text(8, "balance: random, breaker: { endpoint: { connections: 2 } }");
    let text = text.replace("\"{{origin}}\"", "\"{{one}}\", \"{{two}}\"");
    let gateway = Gateway::start_with(&text, &[("one", &endpoints[0]), ("two", &endpoints[1])]);
    let mut clients = Vec::new();
    for count in 1..=4 {
        clients.push(ask(&gateway, "/"));
        crowd.wait_for(count);
    }
    assert_eq!(gateway.get("/").expect(503).reason(), "pool_full");
    crowd.let_go(4);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!((origins[0].accepted(), origins[1].accepted()), (2, 2));
}

#[test]
fn a_tunnel_goes_to_an_endpoint_that_has_a_connection_to_spare() {
    let origins = [(); 2].map(|()| {
        Origin::start(|connection: &mut ringway_tests::origins::Connection| {
            loop {
                let bytes = connection.read_some()?;
                connection.send(bytes)?;
            }
        })
    });
    let text = "runtime: { workers: 8, backend: {{backend}}, pin: false }\n\
                listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", tcp: { to: app } }\n\
                services:\n  app: { endpoints: [ \"{{one}}\", \"{{two}}\" ], balance: random, \
                breaker: { endpoint: { connections: 3 } } }\n";
    let endpoints = [origins[0].endpoint(), origins[1].endpoint()];
    let gateway = Gateway::start_with(text, &[("one", &endpoints[0]), ("two", &endpoints[1])]);
    let mut open: Vec<Client> = (0..6).map(|_| gateway.connect()).collect();
    for client in &mut open {
        client.send("hi");
        assert_eq!(client.read_bytes(2), b"hi");
    }
}

#[test]
fn who_needs_one_connection_more_than_there_may_be_waits_for_it() {
    let crowd = Crowd::held();
    let (gateway, _origin) = start(&crowd, 2, "breaker: { connections: 1, wait: 20s }");
    let mut clients: Vec<Client> = (0..3).map(|_| ask(&gateway, "/")).collect();
    until_waiting(&gateway, 2.0);
    crowd.let_go(3);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
}

#[test]
fn retries_under_way_are_bounded_beside_their_budget() {
    let crowd = Crowd::held();
    let busy = Origin::start(|connection: &mut ringway_tests::origins::Connection| {
        loop {
            connection.request()?;
            connection.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    let good = Origin::start(crowd.behaviour(Duration::ZERO));
    // The good one is asked only where the other one has failed.
    let text = text(8, "breaker: { retries: 1 }, retry_budget: { floor: 1000/s }")
        .replace("\"{{origin}}\"", "\"{{busy}}\", { address: \"{{good}}\", priority: 1 }")
        .replace("to: app }", "to: app, retries: { when: [ 503 ], backoff: 1ms } }");
    let gateway = Gateway::start_with(&text, &[("busy", &busy.endpoint()), ("good", &good.endpoint())]);
    let mut first = ask(&gateway, "/");
    crowd.wait_for(1);
    ask(&gateway, "/").response().expect(503);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("ringway_breaker_refused_total", &[("limit", "retries")]), 1.0);
    assert_eq!(metrics.sum("ringway_upstream_retries_refused_total", &[("reason", "breaker")]), 1.0);
    crowd.let_go(2);
    first.response().expect(200);
    ask(&gateway, "/").response().expect(200);
}

#[test]
fn connections_of_all_workers_count_together_and_waiting_requests_get_what_is_given_back() {
    let crowd = Crowd::held();
    let service = "breaker: { connections: 2, requests: 100, wait: 20s }";
    let (gateway, origin) = start(&crowd, 8, service);
    let mut clients: Vec<Client> = (0..8).map(|_| ask(&gateway, "/")).collect();
    crowd.wait_for(2);
    crowd.let_go(8);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!((crowd.most(), crowd.came()), (2, 8));
    drop(origin);
}

#[test]
fn connections_hold_for_tunnels() {
    let origin = Origin::start(|connection: &mut ringway_tests::origins::Connection| {
        loop {
            let bytes = connection.read_some()?;
            connection.send(bytes)?;
        }
    });
    let text = "runtime: { workers: 8, backend: {{backend}}, pin: false }\n\
                listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", tcp: { to: app } }\n\
                services:\n  app: { endpoints: [ \"{{origin}}\" ], breaker: { connections: 2 } }\n";
    let gateway = Gateway::start_with(text, &[("origin", &origin.endpoint())]);
    let tunnel = || {
        let mut client = gateway.connect();
        client.send("hi");
        client
    };
    let mut open: Vec<Client> = (0..2).map(|_| tunnel()).collect();
    open.iter_mut().for_each(|client| assert_eq!(client.read_bytes(2), b"hi"));
    // The reset may come before the kernel has told of the connection.
    if let Ok(mut client) = Client::try_connect(gateway.address("web")) {
        let _ = client.try_send("hi");
        client.expect_closed();
    }
    open.pop();
    wait::until_true("a connection to be over", || {
        gateway.metrics().sum("ringway_breaker_in_use", &[("limit", "connections")]) == 1.0
    });
    assert_eq!(tunnel().read_bytes(2), b"hi");
}

#[test]
fn connect_is_a_request_for_as_long_as_its_tunnel_lives() {
    let origin = Origin::start(|connection: &mut ringway_tests::origins::Connection| {
        loop {
            let bytes = connection.read_some()?;
            connection.send(bytes)?;
        }
    });
    let text = |pending| {
        text(2, &format!("breaker: {{ requests: 1, pending: {pending} }}"))
            .replace("routes: all }", "connect: true, routes: all }")
    };
    let mut gateway = Gateway::start_with(&text(0), &[("origin", &origin.endpoint())]);
    let connect = |gateway: &Gateway| {
        let mut client = gateway.connect();
        client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
        client
    };
    let is_tunnel = |client: &mut Client| {
        client.response_to_connect().expect(200);
        client.send("hi");
        assert_eq!(client.read_bytes(2), b"hi");
    };
    let mut first = connect(&gateway);
    is_tunnel(&mut first);
    assert_eq!(connect(&gateway).response_to_connect().expect(503).reason(), "breaker_requests");
    assert_eq!(gateway.get("/").expect(503).reason(), "breaker_requests");
    drop(first);
    wait::until_true("the tunnel to be over", || {
        gateway.metrics().sum("ringway_breaker_in_use", &[("limit", "requests")]) == 0.0
    });
    let mut second = connect(&gateway);
    is_tunnel(&mut second);
    // Where there is a line, it waits in it.
    gateway.reload(&text(1));
    let mut third = connect(&gateway);
    until_waiting(&gateway, 1.0);
    drop(second);
    is_tunnel(&mut third);
}

const PRIORITIES: &str = r#"
runtime: { workers: 2, backend: {{backend}}, pin: false, memory: {{memory}} }
overload: { memory: {{share}}, loop_lag: none }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { name: low, path: /low, to: app, priority: low }
  - { name: normal, path: /normal, to: app }
  - { name: high, path: /high, to: app, priority: high }
  - { name: critical, path: /critical, to: app, priority: critical }
  - { name: health, path: /healthz, respond: { body: ok } }
"#;

#[test]
fn what_is_low_is_shed_first_and_what_is_critical_never() {
    let origin = Origin::start(parts::says("ok"));
    let values = [("origin", &*origin.endpoint()), ("memory", "8GiB"), ("share", "50%")];
    let mut gateway = Gateway::start_with(PRIORITIES, &values);
    // What reloads and answers take of memory is taken then.
    (0..3).for_each(|_| gateway.reload(PRIORITIES));
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for target in ["/low", "/normal", "/high", "/critical", "/healthz"] {
        clients.entry(target).or_insert_with(|| gateway.connect()).get(target).expect(200);
    }
    let cases = [
        // How much the process uses of what it may (shedding begins at 50%, and a third of the rest is a step), what is
        // shed, and whether it is ready.
        (0.58, &["/low"][..], 200),
        (0.75, &["/low", "/normal"][..], 200),
        (0.92, &["/low", "/normal", "/high"][..], 200),
        (1.3, &["/low", "/normal", "/high"][..], 503),
        (0.3, &[][..], 200),
    ];
    for (place, shed, ready) in cases {
        let used = process::resident(gateway.pid()) >> 10;
        gateway.set("memory", &format!("{}KiB", (used as f64 / place) as u64));
        gateway.reload(PRIORITIES);
        let settled = |clients: &mut BTreeMap<&str, Client>| {
            clients.iter_mut().all(|(target, client)| {
                let response = client.get(target);
                let expected = if shed.contains(target) { 503 } else { 200 };
                if response.status == 503 {
                    assert_eq!(response.reason(), "overloaded");
                    assert_eq!(response.header("retry-after").as_deref(), Some("1"));
                }
                assert!(response.status == 200 || !matches!(*target, "/critical" | "/healthz"));
                response.status == expected
            })
        };
        wait::until_true("the pressure", || {
            settled(&mut clients) && gateway.admin("/readyz").status == ready
        });
    }
    let metrics = gateway.metrics();
    assert!(metrics.sum("ringway_shed_total", &[("priority", "low")]) >= 4.0);
    assert!(metrics.sum("ringway_route_shed_total", &[("route", "normal")]) >= 3.0);
    assert_eq!(metrics.sum("ringway_route_shed_total", &[("route", "critical")]), 0.0);
}

#[test]
fn a_loop_that_is_late_sheds_what_is_low() {
    let origin = Origin::start(parts::says("ok"));
    let text =
        PRIORITIES.replace("overload: { memory: {{share}}, loop_lag: none }", "overload: { loop_lag: 2ms }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint()), ("memory", "8GiB")]);
    let mut low = gateway.connect();
    low.get("/low").expect(200);
    let pid = gateway.pid();
    // Others have the core most of the time.
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let halting = std::thread::spawn({
        let over = over.clone();
        move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                process::signal(pid, "STOP");
                std::thread::sleep(Duration::from_millis(60));
                process::signal(pid, "CONT");
                std::thread::sleep(Duration::from_millis(4));
            }
        }
    });
    let mut refused = None;
    wait::until_true("something to be shed", || {
        let response = low.get("/low");
        refused = (response.status == 503).then_some(response);
        refused.is_some()
    });
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    halting.join().unwrap();
    assert_eq!(refused.unwrap().reason(), "overloaded");
    assert!(gateway.metrics().sum("ringway_shed_total", &[("priority", "low")]) >= 1.0);
    wait::until_true("that it ends", || low.get("/low").status == 200);
}

#[test]
fn under_full_pressure_new_connections_wait_but_not_at_a_listener_of_critical_routes() {
    let origin = Origin::start(parts::says("ok"));
    let text = PRIORITIES.replace(
        "services:",
        "  - { name: health, address: \"127.0.0.1:{{health}}\", routes: [ health ] }\nservices:",
    );
    let values = [("origin", &*origin.endpoint()), ("memory", "16MiB"), ("share", "1%")];
    let mut gateway = Gateway::start_with(&text.replace("{{share}}", "none"), &values);
    gateway.reload(&text);
    wait::until_true("full pressure on both workers", || {
        gateway.metrics().sum("ringway_worker_pressure", &[]) == 8.0
    });
    assert_eq!(gateway.admin("/readyz").status, 503);
    let told = gateway.admin("/readyz").text();
    assert!(
        told.contains(
            "overloaded: all requests but critical ones are shed, and new connections wait (memory"
        ),
        "{told}"
    );
    let began = Instant::now();
    for _ in 0..40 {
        Client::connect(gateway.address("health")).get("/healthz").expect(200);
    }
    let critical = began.elapsed();
    let began = Instant::now();
    for _ in 0..40 {
        gateway.get("/low").expect(503);
    }
    let others = began.elapsed();
    assert!(others > critical + Duration::from_millis(500), "{others:?}, critical ones {critical:?}");
}

#[test]
fn streams_do_not_use_up_a_limit_that_is_found() {
    let origin = Origin::start(|connection: &mut ringway_tests::origins::Connection| {
        loop {
            connection.request()?;
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")?;
        }
    });
    let text = text(8, "concurrency: { min: 2 }, breaker: { pending: 0 }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let open: Vec<Client> = (0..12)
        .map(|_| {
            let mut client = ask(&gateway, "/");
            client.response_to_head().expect(200);
            client
        })
        .collect();
    assert_eq!(open.len(), 12);
}

#[test]
fn a_limit_that_is_found_stays_near_what_a_slow_origin_can_do() {
    // Eight at once, ten milliseconds each; who comes beyond that waits there.
    let (crowd, room) = (Crowd::default(), Arc::new((Mutex::new(8usize), Condvar::new())));
    let at_work = room.clone();
    let counted = crowd.clone();
    let origin = Origin::start(move |connection: &mut ringway_tests::origins::Connection| {
        loop {
            connection.request()?;
            {
                let mut inner = counted.0.0.lock().unwrap();
                inner.now += 1;
                inner.most = inner.most.max(inner.now);
            }
            let (free, changed) = &*at_work;
            let mut free = changed.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap();
            *free -= 1;
            drop(free);
            std::thread::sleep(Duration::from_millis(10));
            *at_work.0.lock().unwrap() += 1;
            changed.notify_one();
            counted.0.0.lock().unwrap().now -= 1;
            connection.answer("ok")?;
        }
    });
    let text = text(2, "concurrency: { min: 2, tolerance: 50% }, breaker: { wait: 20s }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let until = Instant::now() + Duration::from_secs(8);
    let (mut limits, mut served) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut served) = (gateway.connect(), 0);
                    while Instant::now() < until {
                        client.get("/").expect(200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200));
            limits.push(gateway.metrics().sum("ringway_breaker_limit", &[("limit", "requests")]));
            if limits.len() == 15 {
                crowd.0.0.lock().unwrap().most = 0;
            }
        }
        served = clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>();
    });
    let settled = &limits[15..];
    assert!(settled.iter().all(|limit| (5.0..=40.0).contains(limit)), "{limits:?}");
    assert!(crowd.most() <= 40, "{} of 64 at the origin at once", crowd.most());
    // Eight at a time in 10 ms are 800 a second; sleeps take longer than they say.
    assert!(served > 1500, "{served} served; {limits:?}");
}

/// Requests without pause on so many connections, until it is dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn on(gateway: &Gateway, clients: usize) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        for _ in 0..clients {
            let (ends, mut client) = (ends.clone(), gateway.connect());
            std::thread::spawn(move || {
                while !ends.load(SeqCst) && client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() {
                    let Ok(_) = client.try_response(To::Get) else { return };
                }
            });
        }
        Load(ends)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn aimd_allows_one_more_while_all_is_well_and_a_tenth_less_when_it_is_slow_or_fails() {
    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    const WELL: u8 = 0;
    const SLOW: u8 = 1;
    const FAILS: u8 = 2;
    /// From the most that is allowed to the least, a tenth less each time.
    const FALL: [f64; 8] = [26.0, 23.0, 20.0, 18.0, 16.0, 14.0, 12.0, 10.0];
    let (crowd, mood) = (Crowd::default(), Arc::new(AtomicU8::new(WELL)));
    let now = mood.clone();
    let origin = Origin::start(crowd.behaviour_as(move |n| match now.load(SeqCst) {
        SLOW => (Duration::from_millis(150), GOOD),
        // A fifth; a twentieth is well.
        FAILS if n % 5 == 0 => (Duration::from_millis(2), BUSY),
        WELL if n % 20 == 0 => (Duration::from_millis(2), BUSY),
        _ => (Duration::from_millis(2), GOOD),
    }));
    let service =
        "concurrency: { mode: aimd, min: 10, max: 26, latency: 75ms, failures: 10% }, breaker: { wait: 20s }";
    let gateway = Gateway::start_with(&text(4, service), &[("origin", &origin.endpoint())]);
    let limit = || gateway.metrics().sum("ringway_breaker_limit", &[("limit", "requests")]);
    assert_eq!(limit(), 20.0);
    let _load = Load::on(&gateway, 60);
    for trouble in [SLOW, FAILS] {
        mood.store(WELL, SeqCst);
        wait::until_true("it to rise", || limit() == 26.0);
        mood.store(trouble, SeqCst);
        wait::until_true("it to fall", || {
            let limit = limit();
            assert!(FALL.contains(&limit), "{limit}");
            limit == 10.0
        });
        assert!(crowd.most() <= 26, "{}", crowd.most());
        let inner = || crowd.0.0.lock().unwrap();
        wait::until_true("those that were let in before to be answered", || {
            let mut inner = inner();
            inner.most = 0;
            inner.now <= 10
        });
        let before = inner().gone;
        wait::until_true("as many again, and more", || inner().gone >= before + 40);
        assert_eq!((crowd.most(), limit()), (10, 10.0));
    }
}
