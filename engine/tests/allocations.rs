//! No heap allocation for a plaintext keep-alive request once the worker is warm, and no more than two, which rustls
//! makes, under TLS; on both drivers.
//!
//! A binary with this one test: the allocator counts for the whole process, so nothing else may run in it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringway_engine::Engine;
use ringway_runtime::counting::{self, Counting};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 8;
const WARM_UP_ROUNDS: usize = 100;
const ROUNDS: usize = 500;
const ATTEMPTS: usize = 4;
const BODY_BYTES: usize = 1024;
/// One for what rustls decrypted, one for the record it made.
const TLS_ALLOCATIONS_MAX: f64 = 2.0;

const BARE: &str = "GET /v1/orders/7 HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

const BROWSER: &str = "GET /v1/orders/7?expand=lines&page=2 HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    Connection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/shop/basket?step=2\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    Priority: u=0, i\r\n\r\n";

const UPLOAD: &str =
    "POST /v1/orders HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 11\r\n\r\nhello world";

const RETRIED: &str = "GET /retried/7 HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

const RETRIED_UPLOAD: &str =
    "POST /retried HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 11\r\n\r\nhello world";

/// With a key to hash and to split by, and a cookie that has to be set.
const BALANCED: &str =
    "GET /balanced/7 HTTP/1.1\r\nHost: api.example.com\r\nCookie: user=5; to=unknown\r\n\r\n";

const REWRITTEN: &str = "GET /old/./a%2db?x=1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

const OWN_ANSWER: &str = "GET /healthz HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

const NO_ROUTE: &str = "GET /nothing HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

#[test]
fn a_warm_worker_allocates_nothing_for_a_request() {
    counting::ignore_this_thread();
    let (origin, other) = (origin(), origin());
    for backend in backends() {
        let engine = Engine::start(&config(backend, origin, other), Vec::new()).expect("an engine");
        let driver = engine.handles().workers()[0].driver.clone();
        let gateway = engine.handles().bound()[0].1.expect("an address");
        let mut clients: Vec<Client> =
            (0..CONNECTIONS).map(|_| Box::new(connect(gateway)) as Client).collect();
        let requests = [
            ("bare", BARE),
            ("browser", BROWSER),
            ("upload", UPLOAD),
            ("rewritten", REWRITTEN),
            ("balanced by key, cookie and subset", BALANCED),
            ("may be retried and hedged", RETRIED),
            ("upload that may be retried", RETRIED_UPLOAD),
            ("own answer", OWN_ANSWER),
            ("no route", NO_ROUTE),
        ];
        for (_, request) in requests {
            exchange(&mut clients, request, WARM_UP_ROUNDS);
        }
        // What a worker does each second is warm as well then.
        #[expect(clippy::disallowed_methods, reason = "on the test's thread")]
        std::thread::sleep(Duration::from_millis(2200));
        for (name, request) in requests {
            exchange(&mut clients, request, WARM_UP_ROUNDS);
            if let Err((allocations, first)) = measured(&mut clients, request) {
                panic!(
                    "{driver}: {allocations} allocations in {} exchanges ({name}), the first of them here:\n{first}",
                    ROUNDS * CONNECTIONS
                );
            }
        }
        drop(clients);
        let secure = engine.handles().bound()[1].1.expect("an address");
        let mut clients: Vec<Client> =
            (0..CONNECTIONS).map(|_| Box::new(connect_tls(secure)) as Client).collect();
        for (name, request) in [("bare", BARE), ("browser", BROWSER), ("own answer", OWN_ANSWER)] {
            exchange(&mut clients, request, WARM_UP_ROUNDS);
            let before = counting::counted();
            exchange(&mut clients, request, ROUNDS);
            let each = (counting::counted() - before) as f64 / (ROUNDS * CONNECTIONS) as f64;
            eprintln!("{driver}: {each:.3} allocations for each exchange under TLS ({name})");
            assert!(each < TLS_ALLOCATIONS_MAX + 0.01, "{driver}: {each} allocations each ({name})");
        }
        drop(clients);
        drop(engine);
    }
}

/// Whether these exchanges allocate nothing; else how often, and where first. Growth is rare but may come late, when
/// more requests than ever are under way at once and one more upstream connection is made; so there are several
/// attempts. What allocates for each request, or each hundredth, fails in all of them.
fn measured(clients: &mut [Client], request: &str) -> Result<(), (u64, String)> {
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        counting::arm();
        let before = counting::counted();
        exchange(clients, request, ROUNDS);
        let allocations = counting::counted() - before;
        let first = counting::first().unwrap_or_default();
        if allocations == 0 {
            return Ok(());
        }
        last = Err((allocations, first));
    }
    last
}

/// The driver that `auto` picks here, and epoll.
fn backends() -> [&'static str; 2] {
    ["auto", "epoll"]
}

fn config(backend: &str, origin: SocketAddr, other: SocketAddr) -> ringway_config::model::Config {
    let text = format!(
        "runtime: {{ workers: 1, backend: {backend}, pin: false }}\n\
         listeners:\n\
         - {{ name: web, address: 127.0.0.1:0, routes: all }}\n\
         - {{ name: secure, address: 127.0.0.1:0, routes: all, tls: {{ certificates: [ {{ cert: ../config/tests/tls/site.crt, key: ../config/tests/tls/site.key }} ] }} }}\n\
         services:\n\x20 orders: {{ endpoints: [ \"{origin}\" ], eject: {{}}, breaker: {{ requests: 1000, connections: 1000, endpoint: {{ requests: 900 }} }} }}\n\x20 balanced:\n\
         \x20   endpoints: [ {{ address: \"{origin}\", labels: {{ v: a }} }}, {{ address: \"{other}\", priority: 1, labels: {{ v: b }} }} ]\n\
         \x20   balance: ring_hash\n\x20   hash_by: cookie:user\n\x20   sticky: {{ cookie: to, ttl: 1h }}\n\x20   slow_start: 30s\n\
         routes:\n\
         - {{ path: /v1/orders/**, to: orders, timeout: 30s, rate_limit: [ {{ rate: 1000000/s, per: client_ip }}, {{ rate: 60000000/min, per: [ host, method ] }} ], concurrency_limit: {{ requests: 1000, per: client_ip }} }}\n\
         - {{ path: /balanced/**, split_by: cookie:user, to: [ {{ service: balanced, subset: {{ v: a }} }}, {{ service: balanced, subset: {{ v: b }} }}, {{ service: balanced }} ] }}\n\
         - {{ path: /old/**, to: orders, rewrite: {{ path: /new/** }} }}\n\
         - {{ path: /retried/**, to: orders, timeout: 30s, retries: {{ attempts: 2, when: [ connect, reset, timeout, 503 ], per_try_timeout: 10s }}, hedge: {{ at_least: 5s }} }}\n\
         - {{ path: /healthz, respond: {{ status: 200, body: ok }} }}\n"
    );
    let loaded = ringway_config::load_str("allocations.yaml", &text, &|_| None);
    loaded.unwrap_or_else(|report| panic!("{:?}", report.diagnostics)).config
}

fn connect(gateway: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(gateway).expect("the gateway accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A connection of whatever kind.
type Client = Box<dyn Talks>;

trait Talks: Read + Write {}
impl<T: Read + Write> Talks for T {}

fn connect_tls(gateway: SocketAddr) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file("../config/tests/tls/ca.crt").expect("a certificate"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "site.example".try_into().expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    rustls::StreamOwned::new(session, connect(gateway))
}

/// Sends the request on every connection, then reads every response, `rounds` times.
fn exchange(clients: &mut [Client], request: &str, rounds: usize) {
    for _ in 0..rounds {
        for client in clients.iter_mut() {
            client.write_all(request.as_bytes()).expect("the gateway reads");
        }
        for client in clients.iter_mut() {
            read_message(&mut **client);
        }
    }
}

/// Reads one message framed by Content-Length.
fn read_message(stream: &mut (impl Read + ?Sized)) -> Option<()> {
    let mut bytes = Vec::with_capacity(4096);
    let mut chunk = [0; 4096];
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().expect("a number"));
            assert!(bytes.len() <= head + 4 + length, "more than one message");
            if bytes.len() == head + 4 + length {
                return Some(());
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) if bytes.is_empty() => return None,
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            end => panic!("{end:?} within a message: {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

/// Answers every request with a body of one KiB.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let body = "x".repeat(BODY_BYTES);
    let response =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n{body}");
    std::thread::spawn(move || {
        counting::ignore_this_thread();
        for stream in listener.incoming().flatten() {
            let response = response.clone();
            std::thread::spawn(move || {
                counting::ignore_this_thread();
                serve(stream, &response);
            });
        }
    });
    address
}

fn serve(mut stream: TcpStream, response: &str) {
    let _ = stream.set_nodelay(true);
    while read_message(&mut stream).is_some() {
        if stream.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}
