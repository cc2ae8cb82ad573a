//! Datagrams: sessions, answers, bounds.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_tests::{Gateway, names, peers, ports, wait};

const UDP: &str = "listeners:\n  - { name: web, address: \"0.0.0.0:{{web}}\", udp: { to: app } }\nservices:\n  app: { endpoints: [ {{endpoints}} ] }\n";

/// The same without its listener, whose place another one keeps.
const WITHOUT: &str = "listeners:\n  - { name: other, address: \"127.0.0.1:{{other}}\", udp: { to: app } }\nservices:\n  app: { endpoints: [ {{endpoints}} ] }\n";

/// Says back what comes, after its own name; remembers from where it came.
struct Endpoint {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Endpoint {
    fn start(name: &'static str) -> Endpoint {
        Endpoint::on(UdpSocket::bind("127.0.0.1:0").unwrap(), name)
    }

    fn on(socket: UdpSocket, name: &'static str) -> Endpoint {
        let address = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            while let Ok((len, from)) = socket.recv_from(&mut bytes) {
                into.lock().unwrap().push(from);
                let answer = [name.as_bytes(), &bytes[..len]].concat();
                let _ = socket.send_to(&answer[..answer.len().min(65507)], from);
            }
        });
        Endpoint { address, seen }
    }

    fn sessions(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().collect::<std::collections::BTreeSet<_>>().len()
    }
}

fn start(text: &str, endpoints: &[&Endpoint]) -> Gateway {
    let endpoints: Vec<String> = endpoints.iter().map(|one| one.address.to_string()).collect();
    Gateway::start_with(text, &[("endpoints", &endpoints.join(", "))])
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    socket
}

/// One that says nothing by itself.
fn silent(text: &str) -> (UdpSocket, Gateway) {
    let endpoint = client();
    let address = endpoint.local_addr().unwrap().to_string();
    let gateway = Gateway::start_with(text, &[("endpoints", &address)]);
    (endpoint, gateway)
}

/// What comes next, and from whom.
#[track_caller]
fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65536];
    let (len, from) = socket.recv_from(&mut bytes).unwrap();
    bytes.truncate(len);
    (bytes, from)
}

#[track_caller]
fn reload(gateway: &mut Gateway, text: &str) {
    let generation = |gateway: &Gateway| gateway.metrics().sum(names::CONFIG_GENERATION, &[]);
    let old = generation(gateway);
    gateway.replace_config(text);
    gateway.signal("HUP");
    wait::until_true("the reload", || generation(gateway) > old);
}

fn count(gateway: &Gateway, name: &str) -> f64 {
    gateway.metrics().sum(&format!("ringway_udp_{name}"), &[])
}

fn dropped(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metrics().sum("ringway_udp_dropped_total", &[("reason", reason)])
}

#[track_caller]
fn ask(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    socket.send_to(bytes, to).unwrap();
    let (answer, from) = next(socket);
    assert_eq!(from, to, "an answer from elsewhere");
    answer
}

#[test]
fn answers_come_from_where_was_asked_and_go_to_who_asked() {
    let endpoint = Endpoint::start("a");
    let gateway = start(UDP, &[&endpoint]);
    let port = gateway.address("web").port();
    let clients: Vec<UdpSocket> = (0..20).map(|_| client()).collect();
    for round in 0..3u8 {
        for (n, socket) in clients.iter().enumerate() {
            let host = [127, 0, 0, 1 + (n % 3) as u8];
            let bytes = [round, n as u8];
            assert_eq!(ask(socket, SocketAddr::from((host, port)), &bytes), [b'a', round, n as u8]);
        }
    }
    for host in [[127, 0, 0, 9], [127, 0, 0, 1]] {
        assert_eq!(ask(&clients[0], SocketAddr::from((host, port)), b"?"), b"a?");
    }
    assert_eq!(endpoint.sessions(), 20, "a session keeps its socket");
    for len in [1, 1000, 1500, 9000, 65000] {
        let answer = ask(&clients[0], SocketAddr::from(([127, 0, 0, 1], port)), &vec![b'z'; len]);
        assert_eq!(answer.len(), len + 1);
    }
    assert_eq!((count(&gateway, "sessions_total"), count(&gateway, "sessions_active")), (20.0, 20.0));
    for way in ["received_total", "upstream_sent_total", "upstream_received_total", "sent_total"] {
        assert_eq!(count(&gateway, way), 67.0, "{way}");
    }
    assert_eq!(count(&gateway, "dropped_total"), 0.0);
}

#[test]
fn what_leaves_together_keeps_its_borders() {
    let (endpoint, gateway) = silent(UDP);
    let (one, other) = (client(), client());
    let sizes = [64, 64, 64, 20, 0, 1200, 1200, 1500, 1500, 9000, 64, 64];
    let bytes = |n: usize| vec![n as u8; sizes[n % sizes.len()]];
    for round in 0..5 {
        let burst = round * 24..(round + 1) * 24;
        for n in burst.clone() {
            let socket = if n % 8 < 5 { &one } else { &other };
            socket.send_to(&bytes(n), gateway.address("web")).unwrap();
        }
        // Those of one client keep their order; each goes back to who sent it.
        let mut came: Vec<_> = burst.clone().map(|_| next(&endpoint)).collect();
        for (bytes, session) in &came {
            endpoint.send_to(bytes, session).unwrap();
        }
        came.sort_by_key(|(_, session)| *session);
        let mut sent: Vec<Vec<u8>> = burst.clone().filter(|n| n % 8 < 5).map(bytes).collect();
        sent.extend(burst.clone().filter(|n| n % 8 >= 5).map(bytes));
        if came[0].0 != sent[0] {
            sent.rotate_left(15);
        }
        assert!(came.iter().map(|(bytes, _)| bytes).eq(&sent));
        for n in burst {
            let socket = if n % 8 < 5 { &one } else { &other };
            assert_eq!(next(socket), (bytes(n), gateway.address("web")));
        }
    }
    assert_eq!((count(&gateway, "sent_total"), count(&gateway, "dropped_total")), (120.0, 0.0));
}

#[test]
fn what_is_too_long_to_be_sent_is_dropped_whole_and_version_6_is_answered_too() {
    let endpoint = Endpoint::start("a");
    let gateway = start(&UDP.replace("0.0.0.0", "[::]"), &[&endpoint]);
    let to = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, gateway.address("web").port()));
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    assert_eq!(ask(&socket, to, b"x"), b"ax");
    // Version 4, by which the endpoint is reached, has room for 65507 bytes.
    socket.send_to(&[0; 65520], to).unwrap();
    wait::until_true("it to be counted", || dropped(&gateway, "too_long") == 1.0);
    assert_eq!(ask(&socket, to, b"y"), b"ay");
    assert_eq!(endpoint.seen.lock().unwrap().len(), 2);
}

#[test]
fn sessions_end_when_they_are_idle_and_are_bounded() {
    let endpoint = Endpoint::start("a");
    let text = UDP.replace("to: app }", "to: app, idle: 900ms, sessions: 5 }");
    let text = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}\n{text}");
    let gateway = start(&text, &[&endpoint]);
    let to = gateway.address("web");
    let clients: Vec<UdpSocket> = (0..8).map(|_| client()).collect();
    let refused = clients
        .iter()
        .filter(|socket| {
            socket.set_read_timeout(Some(Duration::from_millis(120))).unwrap();
            socket.send_to(b"x", to).unwrap();
            socket.recv(&mut [0; 10]).is_err()
        })
        .count();
    let active = || count(&gateway, "sessions_active");
    assert_eq!((refused, active(), dropped(&gateway, "sessions")), (3, 5.0, 3.0));
    wait::until_true("the sessions to end", || active() == 0.0);
    assert_eq!(ask(&clients[7], to, b"y"), b"ay");
    // One that is used goes on.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(ask(&clients[7], to, b"y"), b"ay");
    }
    assert_eq!(active(), 1.0);
    assert_eq!(count(&gateway, "sessions_total"), 6.0);
}

#[test]
fn endpoints_are_shared_out_by_hash_and_kept() {
    let (a, b, c) = (Endpoint::start("a"), Endpoint::start("b"), Endpoint::start("c"));
    let mut gateway = start(UDP, &[&a, &b, &c]);
    let to = gateway.address("web");
    let clients: Vec<UdpSocket> = (0..90).map(|_| client()).collect();
    let which = |socket: &UdpSocket| ask(socket, to, b"?")[0];
    let before: Vec<u8> = clients.iter().map(which).collect();
    let mut counts = BTreeMap::new();
    before.iter().for_each(|name| *counts.entry(*name).or_insert(0) += 1);
    assert!(counts.len() == 3 && counts.values().all(|count| (12..50).contains(count)), "{counts:?}");
    // A reload that takes an endpoint away leaves sessions where they are; new ones go to those that are left.
    gateway.set("endpoints", &format!("{}, {}", a.address, b.address));
    reload(&mut gateway, UDP);
    assert_eq!(clients.iter().map(which).collect::<Vec<_>>(), before);
    assert!((0..30).all(|_| which(&client()) != b'c'));
}

#[test]
fn strangers_are_not_heard() {
    let endpoint = Endpoint::start("a");
    let gateway = start(UDP, &[&endpoint]);
    let socket = client();
    assert_eq!(ask(&socket, gateway.address("web"), b"x"), b"ax");
    let session = endpoint.seen.lock().unwrap()[0];
    client().send_to(b"forged", session).unwrap();
    assert_eq!(ask(&socket, gateway.address("web"), b"y"), b"ay");
}

#[test]
fn who_meets_an_endpoint_that_is_not_there_is_balanced_anew() {
    let gone = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let here = Endpoint::start("b");
    let endpoints = format!("{gone}, {}", here.address);
    let gateway = Gateway::start_with(UDP, &[("endpoints", &endpoints)]);
    let to = gateway.address("web");
    let answered_by = |socket: &UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        wait::until("an answer", wait::PATIENCE, || {
            socket.send_to(b"?", to).unwrap();
            let mut answer = [0; 9];
            socket.recv(&mut answer).ok().map(|_| answer[0])
        })
    };
    let clients: Vec<UdpSocket> = (0..40).map(|_| client()).collect();
    assert!(clients.iter().all(|socket| answered_by(socket) == b'b'));
    // Those that come while it is known to be gone don't meet it.
    let failed = count(&gateway, "sessions_failed_total");
    assert!((1.0..=8.0).contains(&failed), "{failed}");
    let failures = gateway.metrics().sum("ringway_upstream_connect_failures_total", &[("service", "app")]);
    assert!(failures >= failed);
    let _back = Endpoint::on(UdpSocket::bind(gone).unwrap(), "a");
    wait::until_true("new ones to be sent there again", || answered_by(&client()) == b'a');
    assert!(clients.iter().all(|socket| answered_by(socket) == b'b'), "a session keeps its endpoint");
}

#[test]
fn a_removed_listener_hears_nobody_and_its_answers_still_come() {
    for host in ["0.0.0.0", "127.0.0.1"] {
        let text = UDP.replace("0.0.0.0", host);
        let (endpoint, mut gateway) = silent(&text);
        let to = gateway.address("web");
        let asked = client();
        asked.send_to(b"?", to).unwrap();
        let (_, session) = next(&endpoint);
        reload(&mut gateway, WITHOUT);
        for _ in 0..20 {
            let late = client();
            late.connect(to).unwrap();
            late.send(b"anybody?").unwrap();
            let error = late.recv(&mut [0; 9]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        endpoint.send_to(b"late", session).unwrap();
        assert_eq!(next(&asked), (b"late".to_vec(), to));
    }
}

#[test]
fn a_listener_comes_back_while_answers_of_its_last_life_still_leave() {
    let (endpoint, mut gateway) = silent(UDP);
    let to = gateway.address("web");
    let asked = client();
    asked.send_to(b"?", to).unwrap();
    let (_, session) = next(&endpoint);
    reload(&mut gateway, WITHOUT);
    reload(&mut gateway, UDP);
    for n in 0..30u8 {
        let socket = client();
        socket.send_to(&[n], to).unwrap();
        let (bytes, session) = next(&endpoint);
        endpoint.send_to(&bytes, session).unwrap();
        assert_eq!(next(&socket), (vec![n], to));
    }
    endpoint.send_to(b"late", session).unwrap();
    assert_eq!(next(&asked), (b"late".to_vec(), to));
}

#[test]
fn a_drain_serves_who_is_known_until_nothing_more_is_said() {
    let (endpoint, mut gateway) = silent(&UDP.replace("to: app }", "to: app, idle: 2s }"));
    let to = gateway.address("web");
    let asked = client();
    asked.send_to(b"?", to).unwrap();
    let (_, session) = next(&endpoint);
    gateway.signal("TERM");
    wait::until_true("new ones to be refused", || {
        client().send_to(b"new", to).unwrap();
        dropped(&gateway, "draining") > 0.0
    });
    endpoint.send_to(b"late", session).unwrap();
    assert_eq!(next(&asked), (b"late".to_vec(), to));
    asked.send_to(b"more?", to).unwrap();
    while next(&endpoint) != (b"more?".to_vec(), session) {}
    endpoint.send_to(b"more", session).unwrap();
    assert_eq!(next(&asked), (b"more".to_vec(), to));
    assert!(gateway.wait_for_exit(wait::PATIENCE).success());
    assert!(gateway.stderr().contains("nothing was cut"), "{}", gateway.stderr());
}

#[test]
fn a_drain_cuts_sessions_that_are_not_idle_in_time() {
    let endpoint = Endpoint::start("a");
    let mut gateway = start(&format!("drain_timeout: 300ms\n{UDP}"), &[&endpoint]);
    assert_eq!(ask(&client(), gateway.address("web"), b"x"), b"ax");
    assert!(gateway.terminate().success());
    assert!(gateway.stderr().contains("1 connections and sessions were cut"), "{}", gateway.stderr());
}

#[test]
fn each_session_has_a_line_at_its_end() {
    let endpoint = Endpoint::start("a");
    let text = UDP.replace("to: app }", "to: app, idle: 300ms }");
    for format in ["json", "common"] {
        let gateway = start(&format!("access_log: {{ to: stdout, format: {format} }}\n{text}"), &[&endpoint]);
        let socket = client();
        for _ in 0..2 {
            assert_eq!(ask(&socket, gateway.address("web"), b"xyz"), b"axyz");
        }
        wait::until_true("the line", || gateway.stdout().ends_with('\n'));
        let line = gateway.stdout();
        if format == "common" {
            let request = format!("] \"UDP - {}\" 0 8 \"-\" \"-\" - - ", endpoint.address);
            assert!(line.starts_with("127.0.0.1 - - [") && line.contains(&request), "{line}");
            continue;
        }
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["protocol"], &line["listener"]), (&"UDP".into(), &"web".into()), "{line}");
        assert_eq!((&line["client"], &line["service"]), (&"127.0.0.1".into(), &"app".into()), "{line}");
        assert_eq!(line["endpoint"], endpoint.address.to_string(), "{line}");
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&6.into(), &8.into()), "{line}");
        assert!(line["duration_ms"].as_f64() >= Some(300.0) && line.get("reason").is_none(), "{line}");
    }
}

/// Answers each question with one A record, 192.0.2.7.
fn resolver() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut question) {
            let end = 12 + question[12..len].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
            let mut answer = question[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

#[test]
fn dig_gets_its_answer() {
    if !peers::has("dig") {
        return;
    }
    let gateway = Gateway::start_with(UDP, &[("endpoints", &resolver().to_string())]);
    let port = gateway.address("web").port().to_string();
    for host in ["127.0.0.1", "127.0.0.2"] {
        let said = peers::run(Command::new("dig").args([
            &format!("@{host}"),
            "-p",
            &port,
            "+short",
            "+tries=1",
            "a.example",
        ]));
        assert_eq!(said.trim(), "192.0.2.7");
    }
}
