//! The admin API: what runs, how it is, what it counts; and what is changed by hand (`control`), which is the only part
//! that changes anything.
//!
//! Beside the line, on the background thread. Everything is bounded: connections, heads, how long one may live.
//! A connection beyond the bound waits in the backlog. Secrets never get here: the configuration was redacted when
//! it was applied.

mod control;
mod guard;

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringway_engine::engine::{Strain, WorkerInfo};
use ringway_engine::overload::Pressure;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::process;
pub use control::{Control, Ends, Running};

use crate::status::{Phase, Status};

/// Open connections.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head.
const HEAD_MAX: usize = 16 * 1024;
/// A head, and an idle keep-alive connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection is asked to end after this long, whatever it does ...
const LIFE_MAX: Duration = Duration::from_secs(300);
/// ... and ended after this much more.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no descriptors left), so that nothing spins.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// What Prometheus calls its text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "\
Ringway admin

/livez     200 while the process runs
/readyz    200 while traffic is served; tells why the last reload failed, and which certificates don't come
/metrics   counters, Prometheus text
/config    the running configuration, JSON, secrets redacted
/config/drift  what differs between what runs and the file, JSON
/services  services and endpoints, how they stand and why, JSON; /services/NAME is one of them
/overrides what is changed by hand, JSON; `ringway ctl` changes it
/workers   what each core is doing, JSON
/version   which build this is, JSON
";

/// Where the answers come from.
#[derive(Clone)]
pub struct Sources {
    /// Phase, configuration, reloads.
    pub status: Arc<Status>,
    /// What each worker is doing.
    pub workers: Arc<dyn Fn() -> Vec<WorkerInfo> + Send + Sync>,
    /// Appends, as Prometheus text, what everything but the process and its configuration counts.
    pub metrics: Arc<dyn Fn(&mut String) + Send + Sync>,
    /// Appends what else there is to tell of what runs, to `/readyz`.
    pub notes: Arc<dyn Fn(&mut String) + Send + Sync>,
    /// How hard it is for the workers.
    pub strain: Arc<dyn Fn() -> Strain + Send + Sync>,
    /// What is changed by hand.
    pub control: Arc<dyn Control>,
    /// The version of the binary.
    pub version: &'static str,
}

/// Binds the admin address. Apart from [`serve`], so that a second instance is refused before anything starts.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the runtime ends. Must run within tokio.
pub async fn serve(listener: std::net::TcpListener, sources: Sources) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let sources = sources.clone();
        tokio::spawn(async move {
            connection(stream, peer, sources).await;
            drop(slot);
        });
    }
}

/// A broken connection is the peer's own affair: nothing is reported.
async fn connection(stream: TcpStream, peer: SocketAddr, sources: Sources) {
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let sources = sources.clone();
        async move {
            let response = match control::answer(request, &sources, Ends { peer, local }).await {
                Ok(response) => response,
                Err(other) => answer(other.method(), other.uri().path(), &sources),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    if tokio::time::timeout(LIFE_MAX, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_WORDS, connection).await;
    }
}

/// All that only tells of what is at hand.
fn answer(method: &Method, path: &str, sources: &Sources) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    match path {
        "/" => reply(StatusCode::OK, TEXT, INDEX),
        "/livez" => reply(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" => {
            let strain = (sources.strain)();
            let mut text = sources.status.describe();
            put_strain(&strain, &mut text);
            (sources.notes)(&mut text);
            reply(readiness(sources.status.phase(), &strain), TEXT, text)
        }
        "/metrics" => reply(StatusCode::OK, METRICS, metrics(sources)),
        "/config" => pretty(&sources.status.config()),
        "/workers" => pretty(&workers(&(sources.workers)())),
        "/version" => pretty(&json!({ "name": "ringway", "version": sources.version })),
        _ => problem(StatusCode::NOT_FOUND, "There is no such page; / lists what there is."),
    }
}

/// A bad newer file does not make what runs unready; nor does shedding some, as long as new connections are taken.
fn readiness(phase: Phase, strain: &Strain) -> StatusCode {
    match phase {
        Phase::Serving if strain.pressure.sheds_connections() => StatusCode::SERVICE_UNAVAILABLE,
        Phase::Serving => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What is shed, and why.
fn put_strain(strain: &Strain, text: &mut String) {
    if strain.pressure == Pressure::None {
        return;
    }
    let word = if strain.pressure.sheds_connections() { "overloaded" } else { "degraded" };
    let _ = write!(text, "\n{word}: {} (", strain.pressure.words());
    match strain.memory == strain.pressure {
        true => {
            let mib = |bytes: u64| bytes >> 20;
            let of = strain.memory_cap.map_or(String::new(), |cap| format!(" of {} MiB", mib(cap)));
            let _ = write!(text, "memory: {} MiB{of}", mib(strain.memory_used));
        }
        false => {
            let _ = write!(text, "a worker's loop is {} ms late", strain.lag_us / 1000);
        }
    }
    text.push_str(")\n");
}

fn metrics(sources: &Sources) -> String {
    let mut text = String::with_capacity(16 * 1024);
    (sources.metrics)(&mut text);
    sources.status.metrics(&mut text);
    process::metrics(&mut text);
    text
}

fn workers(workers: &[WorkerInfo]) -> Value {
    let one = |worker: &WorkerInfo| {
        let counters: serde_json::Map<String, Value> =
            worker.counters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "id": worker.id,
            "core": worker.core,
            "driver": worker.driver,
            "last_turn_us": worker.last_turn_us,
            "counters": counters,
        })
    };
    json!({ "workers": workers.iter().map(one).collect::<Vec<_>>() })
}

fn pretty(value: &Value) -> Response<Full<Bytes>> {
    pretty_with(StatusCode::OK, value)
}

fn pretty_with(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    // `Value` displays itself without failing, `{:#}` with line breaks.
    reply(status, JSON, format!("{value:#}\n"))
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response =
        problem(StatusCode::METHOD_NOT_ALLOWED, "This page has other methods; Allow lists them.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    reply(status, "application/problem+json", format!("{body}\n"))
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overrides::{Override, Refused, Wanted, What};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn sources() -> Sources {
        let worker = WorkerInfo {
            id: 0,
            core: Some(3),
            driver: "epoll".into(),
            last_turn_us: 12,
            counters: vec![("connections", 7)],
        };
        Sources {
            status: Arc::new(Status::new(json!({ "role": "gateway" }), Duration::ZERO)),
            workers: Arc::new(move || vec![worker.clone()]),
            metrics: Arc::new(|out| out.push_str("ringway_requests_total 3\n")),
            notes: Arc::new(|out| out.push_str("\ncertificate a.example has not come yet\n")),
            strain: Arc::new(Strain::default),
            control: Arc::new(Nothing),
            version: "1.2.3",
        }
    }

    /// One service, nothing changed; a change gets the number 7.
    struct Nothing;

    impl Control for Nothing {
        fn services(&self) -> Vec<Value> {
            vec![json!({ "name": "app" })]
        }

        fn drift(&self) -> Value {
            json!({ "drift": false })
        }

        fn list(&self) -> Vec<Override> {
            vec![]
        }

        fn add(&self, _: Wanted, peer: SocketAddr) -> Result<Override, Refused> {
            let what = What::Split { route: "r".into(), weights: vec![] };
            Ok(Override { id: 7, what, by: peer.ip().to_string(), since_s: 0, until_s: 60 })
        }

        fn remove(&self, id: u64, _: SocketAddr) -> Result<Override, Refused> {
            Err(Refused::Unknown(format!("there is no override {id}")))
        }
    }

    /// What comes back for these bytes, until the connection ends.
    async fn exchange(sources: &Sources, request: &str) -> String {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(serve(listener, sources.clone()));
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("a response");
        serving.abort();
        response
    }

    async fn get(sources: &Sources, path: &str) -> String {
        exchange(sources, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await
    }

    #[tokio::test]
    async fn each_page_answers() {
        let sources = sources();
        sources.status.enter(Phase::Serving);
        for (path, expected) in [
            ("/", "/metrics   counters"),
            ("/livez", "alive"),
            ("/readyz", "ready, configuration 1\n\ncertificate a.example has not come yet\n"),
            ("/metrics", "\r\nringway_requests_total 3\n# HELP ringway_ready"),
            ("/metrics", "\nprocess_open_fds "),
            ("/config?pretty", "\"role\": \"gateway\""),
            ("/workers", "\"core\": 3"),
            ("/workers", "\"connections\": 7"),
            ("/version", "\"version\": \"1.2.3\""),
        ] {
            let response = get(&sources, path).await;
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {response}");
            assert!(response.contains(expected), "{path}: {response}");
        }
    }

    #[tokio::test]
    async fn readiness_follows_the_phase_and_not_the_last_reload() {
        let sources = sources();
        assert!(get(&sources, "/readyz").await.starts_with("HTTP/1.1 503 "));
        sources.status.enter(Phase::Serving);
        sources.status.failed("gateway.yaml:1:1: error: no".into());
        let response = get(&sources, "/readyz").await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(response.contains("gateway.yaml:1:1: error: no"), "{response}");
        sources.status.enter(Phase::Draining);
        assert!(get(&sources, "/readyz").await.starts_with("HTTP/1.1 503 "));
        assert!(get(&sources, "/livez").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn readiness_says_what_is_shed_and_ends_when_connections_wait() {
        let mut sources = sources();
        sources.status.enter(Phase::Serving);
        let strain = Strain { pressure: Pressure::Low, lag_us: 150_000, ..Strain::default() };
        sources.strain = Arc::new(move || strain);
        let response = get(&sources, "/readyz").await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        let told = "degraded: requests of low priority are shed (a worker's loop is 150 ms late)\n";
        assert!(response.contains(told), "{response}");
        let (memory_used, memory_cap) = (120 << 20, Some(100 << 20));
        let strain =
            Strain { pressure: Pressure::Full, memory: Pressure::Full, lag_us: 0, memory_used, memory_cap };
        sources.strain = Arc::new(move || strain);
        let response = get(&sources, "/readyz").await;
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
        assert!(response.contains("new connections wait (memory: 120 MiB of 100 MiB)\n"), "{response}");
    }

    #[tokio::test]
    async fn what_is_unknown_or_would_write_is_refused_with_a_problem() {
        let response = get(&sources(), "/quit").await;
        assert!(response.starts_with("HTTP/1.1 404 Not Found\r\n"), "{response}");
        assert!(response.contains("application/problem+json"), "{response}");
        let request = "POST /config HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        let response = exchange(&sources(), request).await;
        assert!(response.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{response}");
        assert!(response.contains("allow: GET, HEAD\r\n"), "{response}");
    }

    /// A request with a body as `ringway ctl` sends it, with these headers too.
    async fn post(path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        exchange(&sources(), &request).await
    }

    #[tokio::test]
    async fn what_is_changed_by_hand_is_shown_and_changed() {
        for (path, expected) in [
            ("/services", "\"name\": \"app\""),
            ("/services/app", "\"name\": \"app\""),
            ("/overrides", "\"overrides\": []"),
            ("/config/drift", "\"drift\": false"),
        ] {
            let response = get(&sources(), path).await;
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.contains(expected), "{response}");
        }
        assert!(get(&sources(), "/services/other").await.starts_with("HTTP/1.1 404 "));
        assert!(get(&sources(), "/overrides/other").await.starts_with("HTTP/1.1 404 "));
        let body = r#"{ "route": "r", "weights": [ { "service": "a", "weight": 1 } ], "for": "1m" }"#;
        let response = post("/overrides/split", "", body).await;
        assert!(response.starts_with("HTTP/1.1 201 Created\r\n"), "{response}");
        assert!(response.contains("\"id\": 7") && response.contains("\"by\": \"127.0.0.1\""), "{response}");
        let request = "DELETE /overrides/9 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let response = exchange(&sources(), request).await;
        assert!(response.starts_with("HTTP/1.1 404 ") && response.contains("override 9"), "{response}");
    }

    #[tokio::test]
    async fn a_change_that_is_not_meant_is_refused_with_a_problem() {
        let good = r#"{ "route": "r", "delay": "1s", "for": "1m" }"#;
        let long = format!("{{ \"route\": \"{}\" }}", "x".repeat(70_000));
        for (path, headers, body, status) in [
            ("/overrides/fault", "Origin: https://evil.example\r\n", good, 403),
            ("/overrides/fault", "Sec-Fetch-Site: cross-site\r\n", good, 403),
            ("/overrides/fault", "", "{}", 422),
            ("/overrides/fault", "", &long, 413),
            ("/overrides", "", good, 405),
            ("/overrides/7", "", good, 405),
            ("/services", "", good, 405),
            ("/config/drift", "", good, 405),
            ("/overrides/other", "", good, 405),
        ] {
            let response = post(path, headers, body).await;
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {response}");
            assert!(response.contains("application/problem+json"), "{path}: {response}");
        }
        let request = "DELETE /overrides/7 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        assert!(exchange(&sources(), request).await.starts_with("HTTP/1.1 421 "));
        let request = "GET /overrides/fault HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert!(exchange(&sources(), request).await.contains("allow: POST\r\n"));
    }

    #[tokio::test]
    async fn head_has_the_length_but_no_body() {
        let request = "HEAD /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let response = exchange(&sources(), request).await;
        assert!(response.contains("content-length: 6\r\n") && response.ends_with("\r\n\r\n"), "{response}");
    }

    #[tokio::test]
    async fn an_oversized_head_is_refused() {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(HEAD_MAX * 2));
        let response = exchange(&sources(), &request).await;
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    }
}
