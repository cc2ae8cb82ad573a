//! What comes before requests: PROXY protocol, what the client speaks, TLS.
//!
//! ```text
//! proxy protocol -> by the listener's mode:   http         (TLS) -> requests
//!                                             tcp          (TLS) -> bytes
//!                                             passthrough  ClientHello -> bytes
//!                                             auto         first bytes -> any of these
//! ```
//!
//! Invariant: what was looked at is handed on whole, and each wait has an end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Address, Lease, Nanos, Stream, now};

use super::{Downstream, plan_of};
use crate::accept::OpenListener;
use crate::carried::Carried;
use crate::detect::{Hello, Spoken, hello, spoken};
use crate::link::Link;
use crate::proxy_protocol::{self, Progress};
use crate::reason::Reason;
use crate::routing::{Headers, RouteQuery};
use crate::snapshot::{ActionPlan, Mode, TcpPlan};
use crate::tls;
use crate::worker::{Current, Worker};

/// How long a connection may take over its PROXY protocol header at most; less where the listener wants heads sooner.
const PROXY_HEADER_MAX: Duration = Duration::from_secs(5);

/// A connection of which it is known what it carries.
pub(super) struct Established {
    pub link: Link,
    /// What has arrived of it.
    pub rest: Option<Lease>,
    pub carries: Carries,
}

/// What a connection carries.
pub(super) enum Carries {
    Http1,
    Http2,
    /// Bytes; rare beside the others, so that it is kept apart.
    Bytes(Box<Bytes>),
}

/// Where bytes are carried, and between whom.
pub(super) struct Bytes {
    pub to: TcpPlan,
    pub ends: Ends,
    pub seen: Carried,
}

/// Who connected, and where to.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    pub source: Option<SocketAddr>,
    pub destination: Option<SocketAddr>,
}

/// What a connection is found to be. `None`: it is refused, or has ended.
pub(super) async fn establish(
    worker: &Rc<Worker>,
    connection: &Downstream,
    stream: Stream,
) -> Option<Established> {
    let began = now();
    let (rest, ends) = after_proxy_protocol(worker, connection, &stream).await?;
    // Made only for what is carried as bytes.
    let seen = || Carried::begun(worker, &connection.open, "TCP", connection.peer.get(), began);
    let current = worker.current_of(&connection.open);
    let plan = plan_of(&current, connection);
    if !plan.proxy_protocol.is_empty() && !super::admits(connection, plan, &stream) {
        return None;
    }
    match &plan.mode {
        Mode::Http => {
            let (link, rest, http2) = under_tls(worker, connection, &current, stream, rest).await?;
            let carries = if http2 { Carries::Http2 } else { Carries::Http1 };
            Some(Established { link, rest, carries })
        }
        Mode::Tcp(to) => {
            let (link, rest, _) = under_tls(worker, connection, &current, stream, rest).await?;
            Some(Established { link, rest, carries: bytes_to(to, ends, seen()) })
        }
        // Connections are never accepted there.
        Mode::Udp(_) => None,
        Mode::Passthrough => {
            let handshake = Duration::from_millis(plan.timeouts.handshake_ms);
            let mut seen = seen();
            let (to, hello) =
                by_name(worker, connection, &current, &stream, rest, handshake, &mut seen).await?;
            Some(Established {
                link: Link::Plain(stream),
                rest: Some(hello),
                carries: bytes_to(&to, ends, seen),
            })
        }
        Mode::Auto { opaque, detect_ms, opaque_ports } => {
            let bytes = |link, rest| Established { link, rest, carries: bytes_to(opaque, ends, seen()) };
            if ends.destination.is_some_and(|to| opaque_ports.contains(&to.port())) {
                return Some(bytes(Link::Plain(stream), rest));
            }
            let waits = Waits {
                silent: Duration::from_millis(*detect_ms),
                http: Duration::from_millis(plan.timeouts.head_ms),
            };
            let link = Link::Plain(stream);
            let (found, rest) = listen(&link, rest, waits).await?;
            let (link, rest, found) = match (found, link, &plan.tls) {
                (Spoken::Tls, Link::Plain(stream), Some(_)) => {
                    let (link, rest, http2) = under_tls(worker, connection, &current, stream, rest).await?;
                    if http2 {
                        return Some(Established { link, rest, carries: Carries::Http2 });
                    }
                    let (found, rest) = listen(&link, rest, waits).await?;
                    (link, rest, found)
                }
                (found, link, _) => (link, rest, found),
            };
            Some(match found {
                Spoken::Http1 | Spoken::LikelyHttp => Established { link, rest, carries: Carries::Http1 },
                Spoken::Http2 => Established { link, rest, carries: Carries::Http2 },
                Spoken::Tls | Spoken::Opaque | Spoken::Unclear => bytes(link, rest),
            })
        }
    }
}

fn bytes_to(to: &TcpPlan, ends: Ends, seen: Carried) -> Carries {
    Carries::Bytes(Box::new(Bytes { to: to.clone(), ends, seen }))
}

/// How long a client is listened to.
#[derive(Clone, Copy)]
struct Waits {
    /// Who says nothing that tells.
    silent: Duration,
    /// Who has begun like a request.
    http: Duration,
}

/// Listens until it is clear what is spoken, or for as long as is worth it. `None`: the client has gone.
async fn listen(link: &Link, mut rest: Option<Lease>, waits: Waits) -> Option<(Spoken, Option<Lease>)> {
    let began = now();
    loop {
        let found = rest.as_ref().map_or(Spoken::Unclear, |bytes| spoken(bytes));
        let wait = match found {
            Spoken::Unclear => waits.silent,
            Spoken::LikelyHttp => waits.http,
            _ => return Some((found, rest)),
        };
        link.set_deadline(began.after(wait));
        match link.recv().await {
            Ok(more) if !more.is_end() => {
                rest = Some(match rest {
                    Some(before) => before.joined(&more),
                    None => more,
                });
            }
            // It may still want to hear something.
            Ok(_) if rest.is_some() => return Some((found, rest)),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Some((found, rest)),
            _ => return None,
        }
    }
}

/// TLS where the listener speaks it. What comes of it, and whether HTTP/2 was agreed on.
async fn under_tls(
    worker: &Rc<Worker>,
    connection: &Downstream,
    current: &Current,
    stream: Stream,
    rest: Option<Lease>,
) -> Option<(Link, Option<Lease>, bool)> {
    let plan = plan_of(current, connection);
    let Some(tls) = &plan.tls else { return Some((Link::Plain(stream), rest, false)) };
    let http = plan.mode.serves_http();
    let session = shake_hands(worker, &connection.open, tls, stream, rest, http).await?;
    let http2 = session.session().alpn_protocol() == Some(tls::ALPN_HTTP2);
    Some((Link::Tls(Box::new(session)), None, http2))
}

/// TLS, within its time and with a bounded number of others.
async fn shake_hands(
    worker: &Worker,
    open: &OpenListener,
    plan: &tls::ServerPlan,
    stream: Stream,
    mut rest: Option<Lease>,
    http: bool,
) -> Option<tls::Stream> {
    let deadline = now().after(Duration::from_millis(plan.handshake_ms));
    stream.set_deadline(deadline);
    if rest.is_none() {
        rest = Some(stream.recv().await.ok().filter(|lease| !lease.is_end())?);
    }
    if http && rest.as_ref().is_some_and(|first| first.first().is_some_and(u8::is_ascii_uppercase)) {
        worker.stats.local_replies.count("plain_http_on_tls", 400);
        stream.send(PLAIN_HTTP_ON_TLS.as_bytes());
        let _ = stream.flushed().await;
        stream.shutdown_write();
        // What still comes is read, so that the answer is not lost in a reset.
        while matches!(stream.recv().await, Ok(lease) if !lease.is_end()) {}
        return None;
    }
    if let Err(error) = first_record(&stream, &mut rest).await {
        worker.stats.cut.count(tls::Failed::from(error).name(), 0);
        return None;
    }
    let proof = proof_wanted(worker, &stream, &mut rest).await;
    let Some(_turn) = open.handshakes.enter(plan.handshakes_max, deadline).await else {
        worker.stats.cut.count("tls_handshake_timeout", 0);
        return None;
    };
    if let Some(proof) = proof {
        // The certificate was all that was wanted (RFC 8737 §3).
        if let Ok(session) = tls::Stream::accept(stream, &proof.config, rest).await {
            worker.stats.tls_proofs.increment();
            session.close();
            let _ = session.raw().flushed().await;
        }
        return None;
    }
    match tls::Stream::accept(stream, &plan.config, rest).await {
        Ok(session) => {
            worker.stats.tls_handshakes.increment();
            if session.is_resumed() {
                worker.stats.tls_resumptions.increment();
            }
            Some(session)
        }
        Err(failed) => {
            worker.stats.cut.count(failed.name(), 0);
            None
        }
    }
}

/// Waits for the whole of the first record, in which nearly every ClientHello comes: who sends half of one has no turn, and
/// holds up nobody. What is wrong with it is for the handshake to say.
async fn first_record(stream: &Stream, rest: &mut Option<Lease>) -> std::io::Result<()> {
    const HANDSHAKE: u8 = 0x16;
    const RECORD_BYTES_MAX: usize = 16 << 10;
    let Some(mut bytes) = rest.take() else { return Ok(()) };
    loop {
        let length = match bytes.get(..5) {
            Some(&[HANDSHAKE, _, _, high, low]) => usize::from(u16::from_be_bytes([high, low])),
            Some(_) => 0,
            None if bytes.first() == Some(&HANDSHAKE) => RECORD_BYTES_MAX,
            None => 0,
        };
        if length > RECORD_BYTES_MAX || bytes.len() >= 5 + length {
            *rest = Some(bytes);
            return Ok(());
        }
        let more = stream.recv().await?;
        if more.is_end() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = bytes.joined(&more);
    }
}

/// The proof that a client wants in place of a service, where an authority may be about to look for one. `rest` is what was
/// read until that was clear.
async fn proof_wanted(worker: &Worker, stream: &Stream, rest: &mut Option<Lease>) -> Option<tls::ProofPlan> {
    let challenges = worker.challenges().filter(|challenges| challenges.are_in_handshakes())?;
    let mut bytes = rest.take()?;
    let name = loop {
        match hello(&bytes) {
            Hello::Whole { name, wants_proof } => break name.filter(|_| wants_proof),
            Hello::Malformed => break None,
            Hello::Partial => match stream.recv().await {
                Ok(more) if !more.is_end() => bytes = bytes.joined(&more),
                // Whoever shakes hands meets it again, and tells.
                _ => break None,
            },
        }
    };
    *rest = Some(bytes);
    challenges.proof(&name?).cloned()
}

/// Said to who speaks HTTP where TLS is spoken.
const PLAIN_HTTP_ON_TLS: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 83\r\nConnection: close\r\n\r\n\
    400 Bad Request\nThis port speaks TLS: ask with https://.\nreason: plain_http_on_tls\n";

/// Where the name that a ClientHello asks for is routed, and the bytes read until then.
async fn by_name(
    worker: &Worker,
    connection: &Downstream,
    current: &Current,
    stream: &Stream,
    mut rest: Option<Lease>,
    within: Duration,
    seen: &mut Carried,
) -> Option<(TcpPlan, Lease)> {
    stream.set_deadline(now().after(within));
    let refuse = |seen: &Carried, reason| {
        worker.stats.cut.count(reason, 0);
        seen.ended(reason);
        None
    };
    loop {
        let (name, bytes) = match rest.take() {
            Some(bytes) => match hello(&bytes) {
                Hello::Whole { name, .. } => (name, bytes),
                Hello::Malformed => return refuse(seen, "tls_hello_malformed"),
                Hello::Partial => {
                    let more = stream.recv().await.ok().filter(|lease| !lease.is_end());
                    let Some(more) = more else { return refuse(seen, "tls_hello_unfinished") };
                    rest = Some(bytes.joined(&more));
                    continue;
                }
            },
            None => {
                rest = stream.recv().await.ok().filter(|lease| !lease.is_end());
                if rest.is_none() {
                    seen.ended(Reason::ClientGone.name());
                    return None;
                }
                continue;
            }
        };
        seen.asked_for(|| name.clone());
        let plan = plan_of(current, connection);
        let query = RouteQuery {
            host: name.as_deref().unwrap_or_default().as_bytes(),
            path: b"/",
            query: b"",
            method: b"CONNECT",
        };
        let Ok(matched) = plan.router.route(&query, &Nothing) else {
            return refuse(seen, "tls_name_not_routed");
        };
        let ActionPlan::Forward(to) = &current.snapshot.route(matched.route).action else {
            return refuse(seen, "tls_name_not_routed");
        };
        return Some((
            TcpPlan { split: current.split(matched.route, &to.split, worker).clone(), proxy_protocol: None },
            bytes,
        ));
    }
}

/// A ClientHello has no header fields.
struct Nothing;

impl Headers for Nothing {
    fn any_value(&self, _: &str, _: impl FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

/// Reads the PROXY protocol header where the listener wants one from this peer. `None`: the connection is refused.
/// Otherwise the bytes that came after the header, if any, and who it came from.
async fn after_proxy_protocol(
    worker: &Worker,
    connection: &Downstream,
    stream: &Stream,
) -> Option<(Option<Lease>, Ends)> {
    let current = worker.current_of(&connection.open);
    let plan = plan_of(&current, connection);
    let ip = |address| match address {
        Ok(Address::Ip(ip)) => Some(ip),
        _ => None,
    };
    let mut ends = Ends { source: ip(stream.peer()), destination: ip(stream.local()) };
    if plan.proxy_protocol.is_empty() {
        return Some((None, ends));
    }
    let trusted = connection.peer.get().is_none_or(|peer| plan.expects_proxy_protocol(peer));
    let within = Duration::from_millis(plan.timeouts.head_ms).min(PROXY_HEADER_MAX);
    drop(current);
    stream.set_deadline(now().after(within));
    let mut bytes: Option<Lease> = None;
    loop {
        let more = stream.recv().await.ok().filter(|lease| !lease.is_end())?;
        let mut lease = match bytes.take() {
            None => more,
            Some(before) => before.joined(&more),
        };
        let progress = match proxy_protocol::parse(&lease) {
            Ok(progress) if trusted => progress,
            // `P` may be the beginning of POST.
            Ok(Progress::Partial) if lease.len() < proxy_protocol::V1_PREFIX.len() => Progress::Partial,
            // Someone who may not speak for others: what is no PROXY header is served as it is.
            Err(proxy_protocol::ProxyRefusal::NotProxyProtocol) if !trusted => {
                stream.set_deadline(Nanos::NEVER);
                return Some((Some(lease), ends));
            }
            _ => {
                worker.stats.proxy_protocol_refused.increment();
                return None;
            }
        };
        match progress {
            Progress::Partial => bytes = Some(lease),
            Progress::Complete { consumed, source, destination } => {
                if let Some(source) = source {
                    connection.peer.set(Some(source.ip().to_canonical()));
                    ends = Ends { source: Some(source), destination };
                }
                lease.advance(consumed);
                stream.set_deadline(Nanos::NEVER);
                return Some(((!lease.is_empty()).then_some(lease), ends));
            }
        }
    }
}
