//! The origin against plain sockets of the standard library.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::behaviour::{Failure, Stall};
use super::delay::Delay;
use super::*;

fn serve(behaviour: Behaviour) -> Running {
    start(&Server { behaviour, ..Server::default() }).expect("a server")
}

fn small(size: usize) -> Behaviour {
    Behaviour { size, ..Behaviour::default() }
}

struct Client {
    reader: BufReader<TcpStream>,
}

/// A status line, the fields, the body.
struct Got {
    status: u16,
    fields: String,
    body: Vec<u8>,
}

impl Client {
    fn new(running: &Running) -> Client {
        let stream = TcpStream::connect(running.ip().expect("TCP")).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
        Client { reader: BufReader::new(stream) }
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    fn get(&mut self, target: &str) -> Got {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.answer(true)
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.reader.read_line(&mut head).expect("a line") > 0, "the end, after {head:?}");
        }
        head
    }

    fn answer(&mut self, has_body: bool) -> Got {
        let fields = self.head();
        let status = fields[9..12].parse().expect("a status");
        let length = fields
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.reader.read_exact(&mut body).expect("a body");
        Got { status, fields, body }
    }

    /// All that still comes.
    fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| rest)
    }
}

fn pattern(size: usize) -> Vec<u8> {
    b"0123456789abcdef".iter().copied().cycle().take(size).collect()
}

#[test]
fn a_connection_serves_one_request_after_another_on_both_drivers() {
    for backend in [Choice::Auto, Choice::Epoll] {
        let running = start(&Server { backend, ..Server::default() }).unwrap();
        let mut client = Client::new(&running);
        for _ in 0..100 {
            let got = client.get("/");
            assert_eq!((got.status, got.body), (200, pattern(1024)));
        }
        drop(client);
        assert_eq!(running.stop().unwrap(), Counts { requests: 100, failed: 0, connections: 1 });
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_bodies_passed() {
    let running = serve(small(10));
    let mut client = Client::new(&running);
    let mut batch = String::from("\r\n");
    for number in 0..200 {
        batch.push_str(&format!("GET /?size={number} HTTP/1.1\r\nHost: x\r\n\r\n"));
        batch.push_str("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        batch.push_str("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    }
    client.send(&batch);
    for number in 0..200 {
        assert_eq!(client.answer(true).body, pattern(number));
        assert_eq!(client.answer(true).body, pattern(10));
        assert_eq!(client.answer(true).body, pattern(10));
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_its_body_late() {
    let running = serve(small(5));
    let mut client = Client::new(&running);
    for byte in "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n".chars() {
        client.send(&byte.to_string());
        std::thread::sleep(Duration::from_micros(300));
    }
    client.send("ab");
    std::thread::sleep(Duration::from_millis(5));
    client.send("cd");
    assert_eq!(client.answer(true).body, b"01234");
}

#[test]
fn a_long_body_comes_whole_in_either_framing() {
    for chunked in [false, true] {
        let server = Server { behaviour: small(5_000_000), chunked, ..Server::default() };
        let running = start(&server).unwrap();
        let mut client = Client::new(&running);
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let fields = client.head();
        assert_eq!(fields.contains("chunked"), chunked);
        let rest = client.rest().unwrap();
        let body = if chunked { dechunked(&rest) } else { rest };
        assert!(body == pattern(5_000_000), "{} bytes", body.len());
    }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a size line");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).expect("a size");
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        assert_eq!(&bytes[end + 2 + size..][..2], b"\r\n");
        bytes = &bytes[end + 4 + size..];
        if size == 0 {
            assert!(bytes.is_empty());
            return body;
        }
    }
}

#[test]
fn head_is_answered_without_the_body() {
    let running = serve(small(70_000));
    let mut client = Client::new(&running);
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.answer(false).fields.contains("Content-Length: 70000\r\n"));
    }
    assert_eq!(client.get("/").body.len(), 70_000);
}

#[test]
fn a_client_that_waits_to_continue_is_told_to() {
    let running = serve(small(5));
    let mut client = Client::new(&running);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ab");
    assert_eq!(client.answer(true).body, b"01234");
}

#[test]
fn the_connection_ends_when_the_client_says_so() {
    let running = serve(small(3));
    for (request, kept) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        let mut client = Client::new(&running);
        client.send(request);
        let got = client.answer(true);
        let said = if kept { "Connection: keep-alive\r\n" } else { "Connection: close\r\n" };
        assert!(got.fields.contains(said), "{}", got.fields);
        match kept {
            true => assert_eq!(client.get("/").status, 200),
            false => assert_eq!(client.rest().unwrap(), b""),
        }
    }
}

#[test]
fn a_query_asks_for_its_own_answer_and_too_much_is_refused() {
    let running = serve(small(3));
    let mut client = Client::new(&running);
    let begin = Instant::now();
    let got = client.get("/x?delay=20ms&size=2KiB&status=404&other=1");
    assert!(begin.elapsed() >= Duration::from_millis(20));
    assert_eq!((got.status, got.body), (404, pattern(2048)));
    assert_eq!(client.get("/x?status=204").body, b"");
    assert_eq!(client.get("/x").body, b"012");
    assert_eq!(client.get("/?size=2GiB").status, 400);
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn hostile_heads_are_refused_and_the_connection_ends() {
    let running = serve(small(3));
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    let too_large = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(100_000));
    for (request, status) in [
        (too_large, 431),
        (with("Content-Length: x"), 400),
        (with("Content-Length: 3\r\nTransfer-Encoding: chunked"), 400),
        (with("Transfer-Encoding: chunked") + "zz\r\n", 400),
        ("NONSENSE\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
    ] {
        let mut client = Client::new(&running);
        client.send(&request);
        let got = client.answer(true);
        assert_eq!(got.status, status, "{}", got.fields);
        assert!(got.fields.contains("Connection: close\r\n"));
        assert_eq!(client.rest().unwrap(), b"");
    }
    assert_eq!(Client::new(&running).get("/").status, 200);
}

#[test]
fn a_constant_delay_is_never_short_and_hardly_long() {
    let running = serve(Behaviour { delay: Delay::read("5ms").unwrap(), ..small(10) });
    let mut client = Client::new(&running);
    let mut took: Vec<Duration> = (0..60)
        .map(|_| {
            let begin = Instant::now();
            client.get("/");
            begin.elapsed()
        })
        .collect();
    took.sort_unstable();
    assert!(took[0] >= Duration::from_millis(5), "{:?}", took[0]);
    assert!(took[30] < Duration::from_millis(6), "median {:?}", took[30]);
}

#[test]
fn a_stall_holds_back_what_arrives_in_it() {
    let stall = Stall::read("200ms every 400ms").unwrap();
    let running = serve(Behaviour { stall: Some(stall), ..small(10) });
    let begin = Instant::now();
    let mut client = Client::new(&running);
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_millis(900) {
        let asked = Instant::now();
        client.get("/");
        longest = longest.max(asked.elapsed());
    }
    assert!((180..300).contains(&longest.as_millis()), "{longest:?}");
}

#[test]
fn the_share_asked_for_fails_with_the_status_asked_for() {
    let behaviour = Behaviour { fail: 0.2, fail_with: Failure::Status(418), ..small(10) };
    let running = serve(behaviour);
    let mut client = Client::new(&running);
    let failed = (0..1000).filter(|_| client.get("/").status == 418).count();
    assert!((150..250).contains(&failed), "{failed}");
    assert_eq!(running.stop().unwrap().failed, failed as u64);
}

#[test]
fn other_failures_are_a_reset_half_an_answer_and_silence() {
    let failing = |fail_with| serve(Behaviour { fail: 1.0, fail_with, ..small(100) });
    let ask = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    let running = failing(Failure::Reset);
    let mut client = Client::new(&running);
    client.send(ask);
    assert_eq!(client.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);

    let running = failing(Failure::Truncate);
    let mut client = Client::new(&running);
    client.send(ask);
    assert!(client.head().contains("Content-Length: 100\r\n"));
    assert_eq!(client.rest().unwrap(), pattern(50));

    let running = failing(Failure::Hang);
    let mut client = Client::new(&running);
    client.reader.get_mut().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    client.send(ask);
    assert_eq!(client.rest().unwrap_err().kind(), ErrorKind::WouldBlock);
    client.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn an_echo_returns_every_byte_after_its_delay() {
    let behaviour = Behaviour { delay: Delay::read("5ms").unwrap(), ..Behaviour::default() };
    let running = start(&Server { behaviour, protocol: Protocol::Echo, ..Server::default() }).unwrap();
    let mut client = Client::new(&running);
    for number in 0..20 {
        let begin = Instant::now();
        let text = format!("piece {number}");
        client.send(&text);
        let mut back = vec![0; text.len()];
        client.reader.read_exact(&mut back).unwrap();
        assert_eq!(back, text.as_bytes());
        assert!(begin.elapsed() >= Duration::from_millis(5));
    }
    client.send("last");
    client.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"last");
}

#[test]
fn several_threads_share_a_port_and_a_taken_port_is_an_error() {
    let running = start(&Server { threads: 2, ..Server::default() }).unwrap();
    let mut clients: Vec<_> = (0..40).map(|_| Client::new(&running)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    let again = start(&Server { address: running.address.clone(), threads: 2, ..Server::default() });
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
    let Counts { requests, connections, .. } = running.stop().unwrap();
    assert_eq!((requests, connections), (40, 40));
}

#[test]
fn a_unix_socket_is_served_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("origin");
    let server = Server { address: Address::Unix(path.clone()), threads: 2, ..Server::default() };
    let running = start(&server).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    running.stop().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_client_that_never_reads_holds_no_more_than_its_bound() {
    let running = serve(small(1 << 20));
    let mut deaf = Client::new(&running);
    deaf.reader.get_mut().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let ask = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    while deaf.reader.get_mut().write_all(ask.as_bytes()).is_ok() {}
    assert!(running.counts().requests < 100, "{:?}", running.counts());
    assert_eq!(Client::new(&running).get("/").status, 200);
}
