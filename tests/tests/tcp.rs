//! Bytes that are not HTTP: listeners for them, and telling what is spoken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ringway_tests::http2::Session;
use ringway_tests::origins::parts;
use ringway_tests::tls::{self, Authority};
use ringway_tests::{Gateway, Origin, names, wait};

const TCP: &str = "listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", tcp: { to: app } }\nservices:\n  app: { endpoints: [ \"{{origin}}\" ] }\n";

const ONE_WORKER: &str = "runtime: { workers: 1, backend: {{backend}}, pin: false }";

/// Sends back what comes until the end, then says `bye` and ends too.
fn echo() -> String {
    origin(|mut socket| {
        let mut piece = [0; 64 << 10];
        while let Ok(read @ 1..) = socket.read(&mut piece) {
            if socket.write_all(&piece[..read]).is_err() {
                return;
            }
        }
        let _ = socket.write_all(b"bye");
    })
}

fn origin(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(socket));
        }
    });
    address
}

fn connect(gateway: &Gateway) -> TcpStream {
    let socket = TcpStream::connect(gateway.address("web")).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    socket
}

fn read_exactly(socket: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    let gateway = Gateway::start_with(TCP, &[("origin", &echo())]);
    let mut socket = connect(&gateway);
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut socket, 5), b"hello");
    socket.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye");
    wait::until_true("the tunnel to end", || gateway.metrics().sum("ringway_tunnels_active", &[]) == 0.0);
}

#[test]
fn many_bytes_arrive_as_they_were_sent() {
    let gateway = Gateway::start_with(TCP, &[("origin", &echo())]);
    let sent: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let socket = connect(&gateway);
    let mut writing = socket.try_clone().unwrap();
    let bytes = sent.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(&bytes).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    (&socket).read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got[..sent.len()] == sent && &got[sent.len()..] == b"bye");
}

#[test]
fn who_takes_nothing_holds_the_other_side_back() {
    let flood = origin(|mut socket| while socket.write_all(&[b'x'; 64 << 10]).is_ok() {});
    let gateway = Gateway::start_with(TCP, &[("origin", &flood)]);
    let sockets: Vec<TcpStream> = (0..8).map(|_| connect(&gateway)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let before = ringway_tests::process::resident(gateway.pid());
    std::thread::sleep(Duration::from_millis(500));
    let grown = ringway_tests::process::resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    for mut socket in sockets {
        assert_eq!(read_exactly(&mut socket, 1 << 20).len(), 1 << 20);
    }
}

/// Sends `count` bytes to each who connects, then reads to the end of what they send.
fn fountain(count: usize) -> String {
    origin(move |mut socket| {
        let piece = [b'x'; 64 << 10];
        let mut left = count;
        while left > 0 {
            let Ok(written) = socket.write(&piece[..left.min(piece.len())]) else { return };
            left -= written;
        }
        let _ = socket.read_to_end(&mut Vec::new());
    })
}

fn spliced(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("ringway_spliced_bytes_total", &[])
}

fn nothing_is_open(gateway: &Gateway) {
    wait::until_true("the tunnels to end", || {
        let metrics = gateway.metrics();
        metrics.sum("ringway_tunnels_active", &[]) == 0.0
            && metrics.sum("ringway_worker_pipes", &[]) <= 16.0 * 8.0
    });
}

#[test]
fn a_flood_is_spliced_and_what_is_small_is_not() {
    const MANY: usize = 32 << 20;
    let serves = origin(|mut socket| {
        let piece = vec![b'x'; MANY];
        let mut asked = [0; 1];
        while let Ok(1) = socket.read(&mut asked) {
            let answer = if asked[0] == b'm' { &piece[..] } else { &piece[..1024] };
            if socket.write_all(answer).is_err() {
                return;
            }
        }
    });
    let gateway = Gateway::start_with(TCP, &[("origin", &serves)]);
    let mut socket = connect(&gateway);
    let mut ask = |what: &[u8], count| {
        socket.write_all(what).unwrap();
        assert_eq!(read_exactly(&mut socket, count), vec![b'x'; count]);
    };
    for _ in 0..20 {
        ask(b"1", 1024);
    }
    assert_eq!(spliced(&gateway), 0.0);
    ask(b"m", MANY);
    // The first of these may still be spliced.
    for _ in 0..20 {
        ask(b"1", 1024);
    }
    let flood = spliced(&gateway);
    assert!(flood > MANY as f64 / 2.0, "{flood} of {MANY} bytes");
    for _ in 0..100 {
        ask(b"1", 1024);
    }
    assert_eq!(spliced(&gateway), flood, "small answers go through leases");
    ask(b"m", MANY);
    assert!(spliced(&gateway) - flood > MANY as f64 / 2.0);
    drop(socket);
    nothing_is_open(&gateway);
    let sent = gateway.metrics().sum("ringway_downstream_sent_bytes_total", &[]);
    assert_eq!(sent, (2 * MANY + 140 * 1024) as f64, "each byte is counted once");
}

#[test]
fn the_endpoint_may_end_a_flood_first_and_still_hear_the_client() {
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let told = std::sync::Arc::new(told);
    let ends = origin(move |mut socket| {
        let _ = socket.write_all(&vec![b'x'; 16 << 20]);
        let _ = socket.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        let _ = told.lock().unwrap().send(rest.len());
    });
    let gateway = Gateway::start_with(TCP, &[("origin", &ends)]);
    let mut socket = connect(&gateway);
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 16 << 20);
    socket.write_all(&vec![b'y'; 16 << 20]).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(heard.recv_timeout(wait::PATIENCE).unwrap(), 16 << 20);
    assert!(spliced(&gateway) > 16.0 * f64::from(1 << 20));
    nothing_is_open(&gateway);
}

#[test]
fn a_flood_that_nobody_takes_ends_after_its_time() {
    let text = TCP.replace("tcp: { to: app }", "tcp: { to: app }, timeouts: { tunnel_idle: 400ms }");
    let gateway = Gateway::start_with(&text, &[("origin", &fountain(usize::MAX))]);
    let mut socket = connect(&gateway);
    read_exactly(&mut socket, 16 << 20);
    assert!(spliced(&gateway) > 0.0);
    wait::until_true("the tunnel to be given up", || {
        gateway.metrics().sum("ringway_tunnels_active", &[]) == 0.0
    });
    nothing_is_open(&gateway);
}

#[test]
fn a_reset_in_the_middle_of_a_flood_ends_both_sides() {
    let gateway = Gateway::start_with(TCP, &[("origin", &fountain(usize::MAX))]);
    for _ in 0..20 {
        let mut socket = connect(&gateway);
        read_exactly(&mut socket, 4 << 20);
        // With bytes unread the close is a reset.
        drop(socket);
    }
    nothing_is_open(&gateway);
    let resets = origin(|mut socket| {
        let _ = socket.write_all(&vec![b'x'; 8 << 20]);
        // What the client sent is never read.
    });
    let gateway = Gateway::start_with(TCP, &[("origin", &resets)]);
    for _ in 0..20 {
        let mut socket = connect(&gateway);
        socket.write_all(b"unread").unwrap();
        let mut got = vec![0; 1 << 20];
        while let Ok(1..) = socket.read(&mut got) {}
    }
    nothing_is_open(&gateway);
}

#[test]
fn more_slow_readers_than_pipes_are_served_all_the_same() {
    const READERS: usize = 300;
    // Enough for a splice to begin, and some more for the pipe to fill.
    const FIRST: usize = 768 << 10;
    const REST: usize = 512 << 10;
    // Socket buffers so small that pipes fill, and that the kernel has memory for all of them.
    let tcp = TCP.replace("tcp:", "socket: { send_buffer: 32KiB }, tcp:");
    let text = format!("{ONE_WORKER}\n{tcp}");
    let gateway = Gateway::start_with(&text, &[("origin", &fountain(FIRST + REST))]);
    let small = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(32 << 10).unwrap();
        socket.connect(&gateway.address("web").into()).unwrap();
        let socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        socket
    };
    let mut sockets: Vec<TcpStream> = (0..READERS).map(|_| small()).collect();
    for socket in &mut sockets {
        read_exactly(socket, FIRST);
    }
    let pipes = |gateway: &Gateway| gateway.metrics().sum("ringway_worker_pipes", &[]);
    wait::until_true("the pipes to be taken", || pipes(&gateway) > 200.0);
    read_exactly(&mut connect(&gateway), FIRST + REST);
    assert!(pipes(&gateway) <= 256.0);
    for mut socket in sockets {
        read_exactly(&mut socket, REST);
    }
    nothing_is_open(&gateway);
}

#[test]
fn where_descriptors_are_few_they_are_left_to_connections() {
    const MANY: usize = 8 << 20;
    let asked = origin(|mut socket| {
        let mut word = [0];
        while let Ok(1) = socket.read(&mut word) {
            if socket.write_all(&vec![b'x'; MANY]).is_err() {
                return;
            }
        }
    });
    let text = format!("{ONE_WORKER}\n{TCP}");
    let gateway = Gateway::start_under(&text, &[("origin", &asked)], Some(120)).unwrap();
    let ask = |socket: &mut TcpStream| {
        socket.write_all(b"?").unwrap();
        read_exactly(socket, MANY);
    };
    let mut sockets: Vec<TcpStream> = (0..30).map(|_| connect(&gateway)).collect();
    wait::until_true("all to be carried", || gateway.metrics().sum("ringway_tunnels_active", &[]) == 30.0);
    sockets.iter_mut().for_each(ask);
    assert_eq!(spliced(&gateway), 0.0, "more than half of the descriptors are in use");
    drop(sockets);
    nothing_is_open(&gateway);
    ask(&mut connect(&gateway));
    assert!(spliced(&gateway) > 0.0);
}

#[test]
fn a_flood_goes_on_while_draining_and_is_cut_at_its_end() {
    let text = format!("drain_timeout: 1s\n{TCP}");
    let mut gateway = Gateway::start_with(&text, &[("origin", &fountain(usize::MAX))]);
    let (mut reads, mut stalls) = (connect(&gateway), connect(&gateway));
    read_exactly(&mut stalls, 4 << 20);
    read_exactly(&mut reads, 4 << 20);
    gateway.signal("TERM");
    let began = Instant::now();
    read_exactly(&mut reads, 16 << 20);
    let mut piece = vec![0; 1 << 20];
    while let Ok(1..) = reads.read(&mut piece) {}
    assert!((Duration::from_millis(700)..Duration::from_secs(10)).contains(&began.elapsed()));
    assert!(gateway.wait_for_exit(wait::PATIENCE).success());
}

#[test]
fn a_silent_connection_ends_after_its_time() {
    let text = TCP.replace("tcp: { to: app }", "tcp: { to: app }, timeouts: { tunnel_idle: 300ms }");
    let gateway = Gateway::start_with(&text, &[("origin", &echo())]);
    let mut socket = connect(&gateway);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        socket.write_all(b"x").unwrap();
        assert_eq!(read_exactly(&mut socket, 1), b"x");
    }
    let began = Instant::now();
    let _ = socket.read_to_end(&mut Vec::new());
    assert!((Duration::from_millis(250)..Duration::from_secs(3)).contains(&began.elapsed()));
}

#[test]
fn endpoints_are_told_who_connected() {
    let told = origin(|mut socket| {
        let mut piece = [0; 256];
        let read = socket.read(&mut piece).unwrap_or(0);
        let _ = socket.write_all(&piece[..read]);
    });
    for (form, expected) in
        [("v1", &b"PROXY TCP4 127.0.0.1 127.0.0.1 "[..]), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c")]
    {
        let text = TCP.replace("to: app }", &format!("to: app, proxy_protocol: {form} }}"));
        let gateway = Gateway::start_with(&text, &[("origin", &told)]);
        let mut socket = connect(&gateway);
        let mut got = Vec::new();
        socket.read_to_end(&mut got).unwrap();
        assert!(got.starts_with(expected), "{form}: {got:?}");
        let ports = [socket.local_addr().unwrap().port(), gateway.address("web").port()];
        match form {
            "v1" => assert!(got.ends_with(format!("{} {}\r\n", ports[0], ports[1]).as_bytes()), "{got:?}"),
            _ => {
                assert!(got.ends_with(&[ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat()), "{got:?}")
            }
        }
        // What the listener itself is told is passed on.
        let text = text.replace("tcp:", "proxy_protocol: [ 127.0.0.0/8 ], tcp:");
        let gateway = Gateway::start_with(&text, &[("origin", &told)]);
        let mut socket = connect(&gateway);
        socket.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.2 7 443\r\n").unwrap();
        let mut got = Vec::new();
        socket.read_to_end(&mut got).unwrap();
        match form {
            "v1" => assert_eq!(got, b"PROXY TCP4 192.0.2.7 198.51.100.2 7 443\r\n"),
            _ => assert_eq!(&got[16..], [192, 0, 2, 7, 198, 51, 100, 2, 0, 7, 1, 187]),
        }
    }
}

#[test]
fn weights_and_refusals_are_minded() {
    let says = |word: &'static str| origin(move |mut socket| drop(socket.write_all(word.as_bytes())));
    let text = "listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", tcp: { to: [ { service: a, weight: 3 }, { service: b, weight: 1 } ] } }\nservices:\n  \
         a: { endpoints: [ \"{{a}}\" ] }\n  b: { endpoints: [ 127.0.0.1:1, \"{{b}}\" ] }\n";
    let gateway = Gateway::start_with(text, &[("a", &says("a")), ("b", &says("b"))]);
    let mut counts = [0, 0];
    for _ in 0..200 {
        let mut word = String::new();
        connect(&gateway).read_to_string(&mut word).unwrap();
        counts[usize::from(word == "b")] += 1;
    }
    assert!((100..=185).contains(&counts[0]), "{counts:?}");
    let nobody = Gateway::start_with(TCP, &[("origin", "127.0.0.1:1")]);
    assert!(connect(&nobody).read_to_end(&mut Vec::new()).is_err(), "a reset tells that nobody was there");
    wait::until_true("it to be counted", || {
        let labels = [("reason", "upstream_connect_refused")];
        nobody.metrics().sum("ringway_exchanges_cut_total", &labels) == 1.0
    });
}

#[test]
fn tls_ends_at_the_listener_or_begins_at_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["a.example"]);
    let path = folder.path().display().to_string();
    let text = TCP.replace(
        "tcp:",
        "tls: { certificates: [ { cert: \"{{tls}}/site.crt\", key: \"{{tls}}/site.key\" } ] }, tcp:",
    );
    let ends = Gateway::start_with(&text, &[("origin", &echo()), ("tls", &path)]);
    let mut stream = tls::connect(ends.address("web"), &ca.client(&[], None), "a.example").unwrap();
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut stream, 5), b"hello");
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(read_exactly(&mut stream, 3), b"bye");
    // Plain to us, TLS to the endpoint, which is the listener above.
    let text =
        TCP.replace("\"{{origin}}\" ]", "\"{{origin}}\" ], tls: { ca: \"{{tls}}/ca.crt\", name: a.example }");
    let origin = ends.address("web").to_string();
    let begins = Gateway::start_with(&text, &[("origin", &origin), ("tls", &path)]);
    let mut socket = connect(&begins);
    socket.write_all(b"again").unwrap();
    assert_eq!(read_exactly(&mut socket, 5), b"again");
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_exactly(&mut socket, 3), b"bye");
}

#[test]
fn connections_live_through_reloads_and_end_with_the_drain() {
    let mut gateway = Gateway::start_with(TCP, &[("origin", &echo())]);
    let mut socket = connect(&gateway);
    for text in [TCP.replace("tcp:", "timeouts: { linger: 2s }, tcp:"), TCP.replace("{{web}}", "{{other}}")] {
        let generation = |gateway: &Gateway| gateway.metrics().sum(names::CONFIG_GENERATION, &[]);
        let before = generation(&gateway);
        gateway.replace_config(&text);
        gateway.signal("HUP");
        wait::until_true("the reload", || generation(&gateway) > before);
        socket.write_all(b"still").unwrap();
        assert_eq!(read_exactly(&mut socket, 5), b"still");
    }
    gateway.signal("TERM");
    socket.write_all(b"there").unwrap();
    assert_eq!(read_exactly(&mut socket, 5), b"there");
    drop(socket);
    assert!(gateway.wait_for_exit(wait::PATIENCE).success());
}

/// The lines of a gateway that logs to its standard output, once there are so many.
fn lines(gateway: &Gateway, count: usize) -> Vec<serde_json::Value> {
    wait::until_true("the lines", || gateway.stdout().lines().count() >= count);
    let text = gateway.stdout();
    assert_eq!(text.lines().count(), count, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn logged(text: &str) -> String {
    format!("access_log: {{ to: stdout }}\n{text}")
}

#[test]
fn each_connection_has_a_line_that_says_how_it_ended() {
    let endpoint = echo();
    let text = TCP.replace("tcp: { to: app }", "tcp: { to: app }, timeouts: { tunnel_idle: 300ms }");
    let gateway = Gateway::start_with(&logged(&text), &[("origin", &endpoint)]);
    let mut socket = connect(&gateway);
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut socket, 5), b"hello");
    assert!(gateway.stdout().is_empty(), "told at its end");
    socket.shutdown(Shutdown::Write).unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    let line = lines(&gateway, 1).remove(0);
    for (field, expected) in [
        ("listener", "web"),
        ("client", "127.0.0.1"),
        ("peer", "127.0.0.1"),
        ("protocol", "TCP"),
        ("service", "app"),
        ("endpoint", &endpoint),
    ] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &8.into()), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0 && line.get("reason").is_none(), "{line}");
    assert!(line.get("status").is_none() && line.get("server_name").is_none(), "{line}");
    // One that nothing moves on.
    connect(&gateway).read_to_end(&mut Vec::new()).unwrap_or_default();
    let line = lines(&gateway, 2).remove(1);
    assert_eq!((&line["reason"], &line["bytes_in"]), (&"tunnel_idle".into(), &0.into()), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() >= 300.0, "{line}");
    // One that its client resets.
    let mut socket = connect(&gateway);
    socket.write_all(b"x").unwrap();
    assert_eq!(read_exactly(&mut socket, 1), b"x");
    reset(socket);
    assert_eq!(lines(&gateway, 3)[2]["reason"], "client_gone");
}

/// Closes a connection with a reset.
fn reset(socket: TcpStream) {
    let socket = socket2::Socket::from(socket);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn endpoints_that_fail_are_named_in_the_line() {
    let nobody = Gateway::start_with(&logged(TCP), &[("origin", "127.0.0.1:1")]);
    let _ = connect(&nobody).read_to_end(&mut Vec::new());
    let line = lines(&nobody, 1).remove(0);
    assert_eq!((&line["reason"], &line["service"]), (&"upstream_connect_refused".into(), &"app".into()));
    let resets = origin(|mut socket| {
        let _ = socket.read(&mut [0; 1]);
        reset(socket);
    });
    let gateway = Gateway::start_with(&logged(TCP), &[("origin", &resets)]);
    let mut socket = connect(&gateway);
    socket.write_all(b"x").unwrap();
    let _ = socket.read_to_end(&mut Vec::new());
    let line = lines(&gateway, 1).remove(0);
    assert_eq!((&line["reason"], &line["endpoint"]), (&"upstream_reset".into(), &resets.into()), "{line}");
}

#[test]
fn what_a_drain_cuts_is_told_too() {
    let text = format!("drain_timeout: 200ms\n{}", logged(TCP));
    let mut gateway = Gateway::start_with(&text, &[("origin", &echo())]);
    let mut socket = connect(&gateway);
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut socket, 5), b"hello");
    gateway.terminate();
    let line = lines(&gateway, 1).remove(0);
    assert_eq!((&line["reason"], &line["bytes_out"]), (&"drain_cut".into(), &5.into()), "{line}");
}

#[test]
fn the_line_has_the_name_that_tls_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["a.example"]);
    let path = folder.path().display().to_string();
    let text = "listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", tls: passthrough, routes: [ a ] }\n  \
         - { name: other, address: \"127.0.0.1:{{other}}\", routes: all }\n  \
         - { name: ends, address: \"127.0.0.1:{{ends}}\", tcp: { to: plain }, tls: { certificates: [ { cert: \"{{tls}}/site.crt\", key: \"{{tls}}/site.key\" } ] } }\n\
         services:\n  app: { endpoints: [ \"127.0.0.1:{{ends}}\" ] }\n  plain: { endpoints: [ \"{{origin}}\" ] }\n\
         routes:\n  - { name: a, hosts: [ a.example ], to: app }\n";
    let gateway = Gateway::start_with(&logged(text), &[("origin", &echo()), ("tls", &path)]);
    let mut stream = tls::connect(gateway.address("web"), &ca.client(&[], None), "a.example").unwrap();
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut stream, 5), b"hello");
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let both = lines(&gateway, 2);
    for (listener, service) in [("web", "app"), ("ends", "plain")] {
        let line = both.iter().find(|line| line["listener"] == listener).unwrap();
        assert_eq!(
            (&line["server_name"], &line["service"]),
            (&"a.example".into(), &service.into()),
            "{line}"
        );
    }
    // Decrypted bytes where TLS ends, all of them where it passes.
    let bytes =
        |listener| both.iter().find(|line| line["listener"] == listener).unwrap()["bytes_in"].as_u64();
    assert!(bytes("ends") == Some(5) && bytes("web") > Some(100), "{both:?}");
    assert!(tls::connect(gateway.address("web"), &ca.client(&[], None), "b.example").is_err());
    let line = lines(&gateway, 3).remove(2);
    assert_eq!((&line["server_name"], &line["reason"]), (&"b.example".into(), &"tls_name_not_routed".into()));
}

const AUTO: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", protocol: auto, tcp: { to: bytes }, routes: all, detect: { timeout: 100ms } }
services:
  app: { endpoints: [ "{{origin}}" ] }
  bytes: { endpoints: [ "{{bytes}}" ] }
routes:
  - { name: all, path: /**, to: app }
"#;

#[test]
fn what_is_spoken_is_told_by_how_it_begins() {
    let origin_http = Origin::start(parts::echoes);
    let gateway = Gateway::start_with(AUTO, &[("origin", &origin_http.endpoint()), ("bytes", &echo())]);
    assert!(gateway.get("/x").expect(200).text().starts_with("GET /x HTTP/1.1"));
    assert!(Session::connect(gateway.address("web")).get("/y").text().starts_with("GET /y HTTP/1.1"));
    for bytes in [
        &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
        b"EHLO a.example\r\n",
        b"PING\r\n",
        &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0],
    ] {
        let mut socket = connect(&gateway);
        socket.write_all(bytes).unwrap();
        assert_eq!(read_exactly(&mut socket, bytes.len()), bytes);
    }
    // Malformed HTTP is HTTP, however it is cut.
    for bytes in
        [&b"GET  / HTTP/1.1\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"BREW / HTTP/9.9\r\n\r\n"]
    {
        for size in [1, bytes.len()] {
            let mut client = gateway.connect();
            client.send_in_pieces(bytes, size, Duration::from_millis(2)).unwrap();
            let status = client.response().status;
            assert!(matches!(status, 400 | 505), "{status}");
        }
    }
}

#[test]
fn who_is_silent_hears_the_server_first() {
    let origin_http = Origin::start(parts::echoes);
    let greets = origin(|mut socket| {
        let _ = socket.write_all(b"220 mail.example ready\r\n");
        let _ = socket.read(&mut [0; 100]);
    });
    let gateway = Gateway::start_with(AUTO, &[("origin", &origin_http.endpoint()), ("bytes", &greets)]);
    let began = Instant::now();
    let mut socket = connect(&gateway);
    assert_eq!(read_exactly(&mut socket, 24), b"220 mail.example ready\r\n");
    assert!((Duration::from_millis(80)..Duration::from_secs(2)).contains(&began.elapsed()));
    // On a port that is said to be opaque nobody waits, and nothing is taken for HTTP.
    let port = gateway.address("web").port();
    drop(gateway);
    let text = AUTO.replace("timeout: 100ms", &format!("timeout: 5s, opaque_ports: [ {port} ]"));
    let values = [("origin", origin_http.endpoint()), ("bytes", greets), ("web", port.to_string())];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = Gateway::start_with(&text, &values);
    let began = Instant::now();
    let mut socket = connect(&gateway);
    socket.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(read_exactly(&mut socket, 24), b"220 mail.example ready\r\n");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn tls_is_ended_where_there_is_a_certificate_and_looked_into_again() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["a.example"]);
    let path = folder.path().display().to_string();
    let origin_http = Origin::start(parts::echoes);
    let text = AUTO.replace(
        "routes: all,",
        "routes: all, tls: { certificates: [ { cert: \"{{tls}}/site.crt\", key: \"{{tls}}/site.key\" } ] },",
    );
    let values = [("origin", origin_http.endpoint()), ("bytes", echo()), ("tls", path)];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = Gateway::start_with(&text, &values);
    let mut stream = tls::connect(gateway.address("web"), &ca.client(&[], None), "a.example").unwrap();
    assert!(tls::get(&mut stream, "/x").unwrap().contains("GET /x HTTP/1.1"));
    let mut stream = tls::connect(gateway.address("web"), &ca.client(&[], None), "a.example").unwrap();
    stream.write_all(b"\0\0bytes").unwrap();
    assert_eq!(read_exactly(&mut stream, 7), b"\0\0bytes");
    assert!(gateway.get("/plain").expect(200).text().contains("GET /plain"));
}

/// Urgent data stops splice(2) for good where a receive goes on: the rest must come, and its end after it.
#[test]
fn a_byte_of_urgent_data_loses_nothing_that_comes_after_it() {
    let (heard, hears) = std::sync::mpsc::channel();
    let endpoint = origin(move |mut socket| {
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all);
        let _ = heard.send(all);
    });
    let gateway = Gateway::start_with(&format!("{ONE_WORKER}\n{TCP}"), &[("origin", &endpoint)]);
    let mut socket = connect(&gateway);
    let flood = vec![b'a'; 4 << 20];
    socket.write_all(&flood).unwrap();
    wait::until_true("the flood to be spliced", || spliced(&gateway) > 0.0);
    socket2::SockRef::from(&socket).send_out_of_band(b"!").unwrap();
    socket.write_all(b"after it").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let all = hears.recv_timeout(wait::PATIENCE).unwrap();
    assert_eq!((all.len(), &all[flood.len()..]), (flood.len() + 8, &b"after it"[..]));
}

/// Nothing is read of an endpoint that ended its side, so only a failed send says that it has gone.
#[test]
fn who_only_sends_hears_that_the_endpoint_has_gone() {
    let endpoint = origin(|mut socket| {
        let _ = socket.read(&mut [0; 5]);
    });
    let gateway = Gateway::start_with(TCP, &[("origin", &endpoint)]);
    let mut socket = connect(&gateway);
    let begun = Instant::now();
    while socket.write_all(b"hello").is_ok() {
        assert!(begun.elapsed() < wait::PATIENCE, "it is written into nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    wait::until_true("the tunnel to end", || gateway.metrics().sum("ringway_tunnels_active", &[]) == 0.0);
}
