//! How often a client's address may come: connections and datagrams beyond its rate go nowhere, on all workers together.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ringway_tests::origins::parts;
use ringway_tests::{Gateway, Origin, wait};
use socket2::{Domain, Socket, Type};

const HTTP: &str = r#"
runtime: { workers: 8, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all, limits: { client_rate: { rate: 5/h, burst: 6 } } }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { name: all, path: /**, to: app }
"#;

/// A connection from this address of ours.
fn from(ip: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((ip, 0)).into())?;
    socket.connect_timeout(&to.into(), wait::PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    Ok(stream)
}

/// Says `bytes`, and whether anything but a reset came back.
fn is_served(stream: io::Result<TcpStream>, bytes: &[u8]) -> bool {
    let asked = stream.and_then(|mut stream| {
        stream.write_all(bytes)?;
        stream.read(&mut [0; 1])
    });
    match asked {
        Ok(count) => count == 1,
        Err(error) => {
            let reset = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            assert!(reset, "{error}");
            false
        }
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

fn served(gateway: &Gateway, ip: [u8; 4], count: usize, bytes: &[u8]) -> usize {
    (0..count).filter(|_| is_served(from(ip, gateway.address("web")), bytes)).count()
}

fn refused(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("ringway_connections_refused_total", &[("listener", "web")])
}

#[test]
fn an_address_connects_as_often_as_it_may_whichever_workers_it_reaches() {
    let origin = Origin::start(parts::says("ok"));
    let mut gateway = Gateway::start_with(HTTP, &[("origin", &origin.endpoint())]);
    assert_eq!(served(&gateway, [127, 0, 0, 2], 20, GET), 6);
    assert_eq!(refused(&gateway), 14.0);
    assert_eq!(served(&gateway, [127, 0, 0, 3], 4, GET), 4, "another address has its own");
    // What is known of addresses outlives a reload, and another rate holds from now on.
    gateway.reload(&HTTP.replace("path: /**,", "path: /**, timeout: 5s,"));
    assert_eq!(served(&gateway, [127, 0, 0, 2], 3, GET), 0);
    assert_eq!(served(&gateway, [127, 0, 0, 3], 9, GET), 2);
    gateway.reload(&HTTP.replace("rate: 5/h, burst: 6", "rate: 5/h, burst: 6, per: client_ip/24/64"));
    assert_eq!(served(&gateway, [127, 0, 0, 4], 5, GET) + served(&gateway, [127, 0, 0, 5], 5, GET), 6);
    gateway.reload(&HTTP.replace(", limits: { client_rate: { rate: 5/h, burst: 6 } }", ""));
    assert_eq!(served(&gateway, [127, 0, 0, 2], 9, GET), 9);
}

#[test]
fn where_the_proxy_protocol_is_spoken_it_says_whose_rate_it_is() {
    let origin = Origin::start(parts::says("ok"));
    let text = HTTP.replace("routes: all,", "routes: all, proxy_protocol: [ 127.0.0.0/8 ],");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let on_behalf_of = |client: &str| {
        let mut bytes = format!("PROXY TCP4 {client} 192.0.2.1 5000 80\r\n").into_bytes();
        bytes.extend_from_slice(GET);
        served(&gateway, [127, 0, 0, 1], 9, &bytes)
    };
    assert_eq!(on_behalf_of("198.51.100.1"), 6);
    assert_eq!(on_behalf_of("198.51.100.2"), 6);
    assert_eq!(on_behalf_of("198.51.100.1"), 0);
    assert_eq!(refused(&gateway), 15.0);
}

#[test]
fn connections_that_carry_bytes_have_the_same_rate() {
    let origin = Origin::start(parts::says("ok"));
    let text = HTTP.replace("routes: all,", "tcp: { to: app },").replace("/**, to: app", "/**, respond: {}");
    let text = text.replace(
        "listeners:\n",
        "listeners:\n  - { name: other, address: \"127.0.0.1:{{other}}\", routes: all }\n",
    );
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    assert_eq!(served(&gateway, [127, 0, 0, 2], 10, GET), 6);
    assert_eq!(served(&gateway, [127, 0, 0, 3], 10, GET), 6);
}

const UDP: &str = r#"
runtime: { workers: 8, backend: {{backend}}, pin: false }
listeners:
  - name: web
    address: "127.0.0.1:{{web}}"
    udp: { to: app, rate: { rate: 60/h, burst: 70 }, client_rate: { rate: 60/h, burst: 20 } }
services:
  app: { endpoints: [ "{{origin}}" ] }
"#;

fn dropped(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metrics().sum("ringway_udp_dropped_total", &[("reason", reason)])
}

/// Sends so many by several sockets of an address, a few at a time, so that none is lost on the way.
fn send(gateway: &Gateway, ip: [u8; 4], count: usize) {
    let sockets: Vec<UdpSocket> = (0..5).map(|_| UdpSocket::bind((IpAddr::from(ip), 0)).unwrap()).collect();
    for n in 0..count {
        sockets[n % sockets.len()].send_to(b"0123456789", gateway.address("web")).unwrap();
        if n % 10 == 9 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn datagrams_beyond_a_clients_rate_are_dropped_and_cost_others_nothing() {
    let origin = UdpSocket::bind("127.0.0.1:0").unwrap();
    origin.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let gateway = Gateway::start_with(UDP, &[("origin", &origin.local_addr().unwrap().to_string())]);
    let arrived = || {
        let mut bytes = [0; 100];
        std::iter::from_fn(|| origin.recv(&mut bytes).ok()).inspect(|len| assert_eq!(*len, 10)).count()
    };
    send(&gateway, [127, 0, 0, 2], 120);
    assert_eq!(arrived(), 20);
    wait::until_true("them to be counted", || dropped(&gateway, "client_rate") == 100.0);
    assert_eq!(dropped(&gateway, "rate"), 0.0, "what a client may not send costs the others nothing");
    send(&gateway, [127, 0, 0, 3], 15);
    assert_eq!(arrived(), 15);
    // 35 of the 70 that all together may send are left.
    for last in 4..8 {
        send(&gateway, [127, 0, 0, last], 15);
    }
    assert_eq!(arrived(), 35);
    wait::until_true("them to be counted", || dropped(&gateway, "rate") == 25.0);
}
