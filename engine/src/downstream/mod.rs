//! A downstream connection: PROXY protocol, then exchange after exchange until one of them ends it.
//!
//! ```text
//! proxy protocol -> idle <-> exchange -> idle ...
//!                               |-> draining -> idle         (answered without its body, which is thrown away)
//!                               |-> lingering -> closed      (refused: what still comes is thrown away for a while)
//!                               |-> tunnel -> closed         (switched protocols)
//! ```
//!
//! Invariant: while idle the connection holds no buffer, and its task holds no exchange.

mod bytes;
mod establish;

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use ringway_runtime::{Address, Lease, Nanos, Stream, now};

use crate::accept::OpenListener;
use crate::body::Incoming;
use crate::exchange::pace::finish_sending;
use crate::exchange::{self, Next};
use crate::forwarded::{HopLines, PeerText, Scheme};
use crate::link::Link;
use crate::reason::Reason;
use crate::snapshot::ListenerPlan;
use crate::tls::ClientIdentity;
use crate::worker::{Current, DRAIN_IDLE, Worker};
use crate::{http2, tunnel};
use establish::{Carries, Established, establish};

/// What may still be on its way to the client when its next request is read.
const UNSENT_MAX: usize = 32 << 10;
/// Exchanges of one connection before others have their turn, however many wait.
const TURN: u32 = 64;
/// What is thrown away of a refused request at most, before the connection is cut.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// A client's connection, shared by its task and the worker's list.
pub(crate) struct Downstream {
    /// Set once the connection is established: what comes before HTTP is over.
    link: OnceCell<Link>,
    pub open: Rc<OpenListener>,
    /// Of whoever connected, or whom the PROXY protocol names; `None`: a Unix socket.
    pub peer: Cell<Option<IpAddr>>,
    pub requests: Cell<u32>,
    /// When it fell idle; [`Nanos::NEVER`] during an exchange.
    idle_since: Cell<Nanos>,
    /// Whom to wake when the connection is to end: HTTP/2 says so before it does.
    closing: Cell<Option<Waker>>,
}

/// What a peer's address looks like in headers and logs, made once.
pub(crate) struct Hop {
    pub text: PeerText,
    pub lines: HopLines,
    /// Who the client is by its certificate.
    pub client: Option<Box<Client>>,
}

/// A client that showed a certificate.
pub(crate) struct Client {
    pub identity: ClientIdentity,
    /// The field that tells endpoints, where they are told.
    pub field: Option<String>,
}

impl Client {
    fn of(link: &Link, plan: &ListenerPlan) -> Option<Box<Client>> {
        let Link::Tls(session) = link else { return None };
        let identity = session.client()?;
        let told = plan.tls.as_ref().is_some_and(|tls| tls.client_cert_header);
        let field = told.then(|| identity.field());
        Some(Box::new(Client { identity, field }))
    }
}

impl Downstream {
    /// No further exchange is begun after the current one.
    pub fn is_closing(&self, draining: bool) -> bool {
        draining || self.open.is_closing()
    }

    /// The client's connection.
    #[inline]
    pub fn link(&self) -> &Link {
        match self.link.get() {
            Some(link) => link,
            None => unreachable!("what comes before HTTP is over"),
        }
    }

    /// Ends the wait for a request, at once where it has lasted `idle` already, else when it will have.
    pub fn close_if_idle(&self, now: Nanos, idle: Duration) {
        if let Some(waker) = self.closing.take() {
            waker.wake();
        }
        let since = self.idle_since.get();
        if let Some(link) = self.link.get().filter(|_| since != Nanos::NEVER) {
            link.set_deadline(since.after(idle).max(now));
        }
    }

    /// Wakes when [`Downstream::is_closing`] comes to hold.
    pub fn notify_on_close(&self, waker: &Waker) {
        self.closing.set(Some(waker.clone()));
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, open: Rc<OpenListener>, stream: Stream) {
    let peer = match stream.peer() {
        Ok(Address::Ip(ip)) => Some(ip.ip().to_canonical()),
        _ => None,
    };
    let connection = Rc::new(Downstream {
        link: OnceCell::new(),
        open,
        peer: Cell::new(peer),
        requests: Cell::new(0),
        idle_since: Cell::new(Nanos::NEVER),
        closing: Cell::new(None),
    });
    let place = worker.enter(connection.clone());
    worker.stats.connections_open.up();
    let guard = Leave { worker: worker.clone(), connection: connection.clone(), place };
    run(&worker, &connection, stream).await;
    drop(guard);
}

/// Takes the connection off the worker's list however its task ends.
struct Leave {
    worker: Rc<Worker>,
    connection: Rc<Downstream>,
    place: u32,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.worker.leave(self.place);
        self.worker.stats.connections_open.down();
        self.connection.open.left();
    }
}

/// Whether the client's address may have another connection; one that may not is reset.
fn admits(connection: &Downstream, plan: &ListenerPlan, stream: &Stream) -> bool {
    let Some((rate, client)) = plan.limits.client_rate.zip(connection.peer.get()) else { return true };
    let admitted = connection.open.arrivals().of_client(now().0, rate, client, 1) == 1;
    if !admitted {
        connection.open.counters.borrow().refused.increment();
        stream.reset_on_close();
    }
    admitted
}

async fn run(worker: &Rc<Worker>, connection: &Rc<Downstream>, stream: Stream) {
    {
        let current = worker.current_of(&connection.open);
        let plan = plan_of(&current, connection);
        // Where the PROXY protocol is spoken, it is not known yet who comes.
        if plan.proxy_protocol.is_empty() && !admits(connection, plan, &stream) {
            return;
        }
    }
    let established = match plan_of(&worker.current_of(&connection.open), connection).is_plain() {
        true => Some(Established { link: Link::Plain(stream), rest: None, carries: Carries::Http1 }),
        // In a slot, since it is large and soon over.
        false => worker.slots.run(|| establish(worker, connection, stream)).await,
    };
    let Some(Established { link, mut rest, carries }) = established else { return };
    let scheme = if link.is_tls() { Scheme::Https } else { Scheme::Http };
    let client = Client::of(&link, plan_of(&worker.current_of(&connection.open), connection));
    let _ = connection.link.set(link);
    if let Carries::Bytes(bytes) = carries {
        return worker.slots.run(|| bytes::carry(worker, connection, bytes, rest)).await;
    }
    let text = PeerText::new(connection.peer.get());
    let hop = Hop { text, lines: HopLines::new(&text, scheme), client };
    if let Carries::Http2 = carries {
        return worker.slots.run(|| http2::server::serve(worker, connection, hop, rest)).await;
    }
    let link = connection.link();
    loop {
        let first = match rest.take() {
            Some(lease) => lease,
            None => match idle(worker, connection).await {
                Some(lease) => lease,
                None if link.unsent() == 0 => return worker.slots.run(|| close(worker, connection)).await,
                // In a slot, since it is rare and would make every connection's task larger.
                None => return worker.slots.run(|| finish(worker, connection)).await,
            },
        };
        // Only where nothing was asked yet, and never under TLS, where ALPN has said what it is.
        if connection.requests.get() == 0 && scheme == Scheme::Http && first.first() == Some(&b'P') {
            match worker.slots.run(|| prior_knowledge(worker, connection, first)).await {
                Some((true, bytes)) => {
                    return worker
                        .slots
                        .run(|| http2::server::serve(worker, connection, hop, Some(bytes)))
                        .await;
                }
                Some((false, bytes)) => rest = Some(bytes),
                None => return,
            }
        } else {
            rest = Some(first);
        }
        let Some(first) = rest.take() else { return };
        match worker.slots.run(|| exchange::run(worker, connection, link, &hop, Ok(first))).await {
            Next::Idle(bytes) => rest = bytes,
            Next::Close => return worker.slots.run(|| close(worker, connection)).await,
            Next::Drain(body) => match worker.slots.run(|| drain(worker, connection, body)).await {
                Some(bytes) => rest = bytes,
                None => return linger(worker, connection).await,
            },
            Next::Linger => return linger(worker, connection).await,
            Next::Tunnel(tunnel) => {
                return worker.slots.run(|| tunnel::run(worker, link, *tunnel)).await;
            }
        }
        if connection.requests.get().is_multiple_of(TURN) {
            others_first().await;
        }
        // Rare, so in a slot, as `finish`.
        if link.unsent() > UNSENT_MAX && worker.slots.run(|| taken(worker, connection)).await.is_err() {
            link.reset_on_close();
            return;
        }
    }
}

/// Whether HTTP/2 begins here by prior knowledge (RFC 9113 §3.3), and what has arrived; more of it is waited for while
/// it could be either. `None`: nothing more came.
async fn prior_knowledge(worker: &Worker, connection: &Downstream, first: Lease) -> Option<(bool, Lease)> {
    /// The preface's first line, which no request of HTTP/1.1 has.
    const ENOUGH: usize = 16;
    let head_ms = plan_of(&worker.current_of(&connection.open), connection).timeouts.head_ms;
    connection.link().set_deadline(now().after(Duration::from_millis(head_ms)));
    let mut bytes = first;
    while bytes.len() < ENOUGH && http2::PREFACE.starts_with(&bytes) {
        let more = connection.link().recv().await.ok().filter(|lease| !lease.is_end())?;
        bytes = bytes.joined(&more);
    }
    Some((bytes.starts_with(&http2::PREFACE[..ENOUGH]), bytes))
}

/// Ends a connection of which nothing more is wanted: what was sent is taken, TLS says that it was the last.
async fn close(worker: &Worker, connection: &Downstream) {
    // Whoever does not read must not keep the connection open by that.
    let linger_ms = plan_of(&worker.current_of(&connection.open), connection).timeouts.linger_ms;
    let link = connection.link();
    link.set_deadline(now().after(Duration::from_millis(linger_ms)));
    if link.is_tls() {
        link.shutdown_write();
    }
    let _ = link.flushed().await;
}

/// Lets the worker's other tasks run: a client that pipelines without pause would never give way by itself.
async fn others_first() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Waits until the client has taken enough of its answers to be given more.
#[cold]
async fn taken(worker: &Worker, connection: &Downstream) -> Result<(), Reason> {
    let rate_min =
        plan_of(&worker.current_of(&connection.open), connection).timeouts.rate_bytes_per_second_min;
    finish_sending(connection.link(), rate_min, Nanos::NEVER, UNSENT_MAX).await
}

/// Waits for the first bytes of a request. `None`: the client has gone, or has waited too long; nothing is said.
async fn idle(worker: &Worker, connection: &Downstream) -> Option<Lease> {
    let timeouts = plan_of(&worker.current_of(&connection.open), connection).timeouts;
    let now = now();
    connection.idle_since.set(now);
    worker.stats.connections_idle.up();
    connection.link().set_deadline(now.after(Duration::from_millis(timeouts.idle_ms)));
    if connection.is_closing(worker.draining.get()) {
        connection.close_if_idle(now, DRAIN_IDLE);
    }
    let received = connection.link().recv().await;
    worker.stats.connections_idle.down();
    connection.idle_since.set(Nanos::NEVER);
    received.ok().filter(|lease| !lease.is_end())
}

/// A client that has finished sending still gets what is on its way to it, as long as it takes it.
async fn finish(worker: &Worker, connection: &Downstream) {
    let current = worker.current_of(&connection.open);
    let plan = plan_of(&current, connection);
    let (rate_min, idle_ms) = (plan.timeouts.rate_bytes_per_second_min, plan.timeouts.idle_ms);
    drop(current);
    let deadline = now().after(Duration::from_millis(idle_ms));
    let _ = finish_sending(connection.link(), rate_min, deadline, 0).await;
}

/// The plan of the listener a connection came by, in what [`Worker::current_of`] has just returned. Not for anything
/// older: places change with the snapshot.
fn plan_of<'a>(current: &'a Current, connection: &Downstream) -> &'a ListenerPlan {
    &current.snapshot.listeners[connection.open.place.get()]
}

/// Reads the rest of a body that nobody wants. `None`: it broke a rule or took too long; else what came after it.
async fn drain(worker: &Worker, connection: &Downstream, mut body: Box<Incoming>) -> Option<Option<Lease>> {
    let timeouts = plan_of(&worker.current_of(&connection.open), connection).timeouts;
    connection.link().set_deadline(now().after(Duration::from_millis(timeouts.linger_ms)));
    loop {
        let data = poll_fn(|cx| body.poll_next(cx, connection.link())).await.ok()?;
        if data.is_none() {
            return Some(body.rest());
        }
    }
}

/// After a refusal: sends FIN, then reads and throws away what still comes, within bounds, so that the client reads
/// the answer rather than a reset (RFC 9112 §9.6).
async fn linger(worker: &Worker, connection: &Downstream) {
    let timeouts = plan_of(&worker.current_of(&connection.open), connection).timeouts;
    let stream = connection.link();
    stream.set_deadline(now().after(Duration::from_millis(timeouts.linger_ms)));
    if stream.flushed().await.is_err() {
        return;
    }
    stream.shutdown_write();
    let mut thrown = 0;
    while thrown < LINGER_BYTES_MAX {
        match stream.recv().await {
            Ok(lease) if !lease.is_end() => thrown += lease.len(),
            _ => return,
        }
    }
}
