//! Datagrams: sessions, answers, bounds.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_tests::{Gateway, names, peers, wait};

const UDP: &str = "listeners:\n  - { name: web, address: \"0.0.0.0:{{web}}\", udp: { to: app } }\nservices:\n  app: { endpoints: [ {{endpoints}} ] }\n";

/// Says back what comes, after its own name; remembers from where it came.
struct Endpoint {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Endpoint {
    fn start(name: &'static str) -> Endpoint {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
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

#[track_caller]
fn ask(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    socket.send_to(bytes, to).unwrap();
    let mut answer = vec![0; 65536];
    let (len, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from, to, "an answer from elsewhere");
    answer.truncate(len);
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
    assert_eq!(endpoint.sessions(), 20, "a session keeps its socket");
    for len in [1, 1000, 1500, 9000, 65000] {
        let answer = ask(&clients[0], SocketAddr::from(([127, 0, 0, 1], port)), &vec![b'z'; len]);
        assert_eq!(answer.len(), len + 1);
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("ringway_udp_sessions_total", &[]), 20.0);
    assert_eq!(metrics.sum("ringway_udp_sessions_active", &[]), 20.0);
    assert_eq!(metrics.sum("ringway_udp_dropped_total", &[]), 0.0);
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
    let active = || gateway.metrics().sum("ringway_udp_sessions_active", &[]);
    assert_eq!((refused, active()), (3, 5.0));
    assert_eq!(gateway.metrics().sum("ringway_udp_sessions_refused_total", &[]), 3.0);
    wait::until_true("the sessions to end", || active() == 0.0);
    assert_eq!(ask(&clients[7], to, b"y"), b"ay");
    // One that is used goes on.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(ask(&clients[7], to, b"y"), b"ay");
    }
    assert_eq!(active(), 1.0);
    assert_eq!(gateway.metrics().sum("ringway_udp_sessions_total", &[]), 6.0);
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
    let generation = |gateway: &Gateway| gateway.metrics().sum(names::CONFIG_GENERATION, &[]);
    let old = generation(&gateway);
    gateway.replace_config(UDP);
    gateway.signal("HUP");
    wait::until_true("the reload", || generation(&gateway) > old);
    assert_eq!(clients.iter().map(which).collect::<Vec<_>>(), before);
    assert!((0..30).all(|_| which(&client()) != b'c'));
}

#[test]
fn nobody_there_is_counted_and_strangers_are_not_heard() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start_with(UDP, &[("endpoints", &gone.to_string())]);
    let socket = client();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.send_to(b"x", gateway.address("web")).unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err());
    wait::until_true("it to be counted", || gateway.metrics().sum("ringway_udp_dropped_total", &[]) >= 1.0);
    let endpoint = Endpoint::start("a");
    let gateway = start(UDP, &[&endpoint]);
    let socket = client();
    assert_eq!(ask(&socket, gateway.address("web"), b"x"), b"ax");
    let session = endpoint.seen.lock().unwrap()[0];
    client().send_to(b"forged", session).unwrap();
    assert_eq!(ask(&socket, gateway.address("web"), b"y"), b"ay");
}

#[test]
fn a_drain_ends_with_sessions_under_way() {
    let endpoint = Endpoint::start("a");
    let mut gateway = start(UDP, &[&endpoint]);
    assert_eq!(ask(&client(), gateway.address("web"), b"x"), b"ax");
    assert!(gateway.terminate().success());
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
