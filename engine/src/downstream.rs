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

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Address, Lease, Nanos, Stream, now};

use crate::accept::OpenListener;
use crate::body::Incoming;
use crate::exchange::pace::finish_sending;
use crate::exchange::{self, Next};
use crate::forwarded::{HopLines, PeerText, Scheme};
use crate::proxy_protocol::{self, Progress};
use crate::reason::Reason;
use crate::snapshot::ListenerPlan;
use crate::tunnel;
use crate::worker::{Current, DRAIN_IDLE, Worker};

/// What may still be on its way to the client when its next request is read.
const UNSENT_MAX: usize = 32 << 10;
/// Exchanges of one connection before others have their turn, however many wait.
const TURN: u32 = 64;
/// What is thrown away of a refused request at most, before the connection is cut.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// How long a connection may take over its PROXY protocol header at most; less where the listener wants heads sooner.
const PROXY_HEADER_MAX: Duration = Duration::from_secs(5);

/// A client's connection, shared by its task and the worker's list.
pub(crate) struct Downstream {
    pub stream: Stream,
    pub open: Rc<OpenListener>,
    /// Of whoever connected, or whom the PROXY protocol names; `None`: a Unix socket.
    pub peer: Cell<Option<IpAddr>>,
    pub requests: Cell<u32>,
    /// When it fell idle; [`Nanos::NEVER`] during an exchange.
    idle_since: Cell<Nanos>,
}

/// What a peer's address looks like in headers and logs, made once.
pub(crate) struct Hop {
    pub text: PeerText,
    pub lines: HopLines,
}

impl Downstream {
    /// No further exchange is begun after the current one.
    pub fn is_closing(&self, draining: bool) -> bool {
        draining || self.open.is_closing()
    }

    /// Ends the wait for a request, at once where it has lasted `idle` already, else when it will have.
    pub fn close_if_idle(&self, now: Nanos, idle: Duration) {
        let since = self.idle_since.get();
        if since != Nanos::NEVER {
            self.stream.set_deadline(since.after(idle).max(now));
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, open: Rc<OpenListener>, stream: Stream) {
    let peer = match stream.peer() {
        Ok(Address::Ip(ip)) => Some(ip.ip().to_canonical()),
        _ => None,
    };
    let connection = Rc::new(Downstream {
        stream,
        open,
        peer: Cell::new(peer),
        requests: Cell::new(0),
        idle_since: Cell::new(now()),
    });
    let place = worker.enter(connection.clone());
    worker.stats.connections_open.up();
    let guard = Leave { worker: worker.clone(), connection: connection.clone(), place };
    run(&worker, &connection).await;
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

async fn run(worker: &Rc<Worker>, connection: &Downstream) {
    let Some(mut rest) = after_proxy_protocol(worker, connection).await else { return };
    let text = PeerText::new(connection.peer.get());
    let hop = Hop { text, lines: HopLines::new(&text, Scheme::Http) };
    loop {
        let first = match rest.take() {
            Some(lease) => lease,
            None => match idle(worker, connection).await {
                Some(lease) => lease,
                None if connection.stream.unsent() == 0 => return,
                // In a slot, since it is rare and would make every connection's task larger.
                None => return worker.slots.run(|| finish(worker, connection)).await,
            },
        };
        match worker.slots.run(|| exchange::run(worker, connection, &hop, first)).await {
            Next::Idle(bytes) => rest = bytes,
            Next::Close => {
                // Whoever does not read must not keep the connection open by that.
                let linger_ms = plan_of(&worker.current_of(&connection.open), connection).timeouts.linger_ms;
                connection.stream.set_deadline(now().after(Duration::from_millis(linger_ms)));
                let _ = connection.stream.flushed().await;
                return;
            }
            Next::Drain(body) => match worker.slots.run(|| drain(worker, connection, body)).await {
                Some(bytes) => rest = bytes,
                None => return linger(worker, connection).await,
            },
            Next::Linger => return linger(worker, connection).await,
            Next::Tunnel(tunnel) => {
                return worker.slots.run(|| tunnel::run(worker, connection, *tunnel)).await;
            }
        }
        if connection.requests.get().is_multiple_of(TURN) {
            others_first().await;
        }
        // Rare, so in a slot, as `finish`.
        if connection.stream.unsent() > UNSENT_MAX
            && worker.slots.run(|| taken(worker, connection)).await.is_err()
        {
            connection.stream.reset_on_close();
            return;
        }
    }
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
    finish_sending(connection, rate_min, Nanos::NEVER, UNSENT_MAX).await
}

/// Waits for the first bytes of a request. `None`: the client has gone, or has waited too long; nothing is said.
async fn idle(worker: &Worker, connection: &Downstream) -> Option<Lease> {
    let timeouts = plan_of(&worker.current_of(&connection.open), connection).timeouts;
    let now = now();
    connection.idle_since.set(now);
    worker.stats.connections_idle.up();
    connection.stream.set_deadline(now.after(Duration::from_millis(timeouts.idle_ms)));
    if connection.is_closing(worker.draining.get()) {
        connection.close_if_idle(now, DRAIN_IDLE);
    }
    let received = connection.stream.recv().await;
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
    let _ = finish_sending(connection, rate_min, deadline, 0).await;
}

/// The plan of the listener a connection came by, in what [`Worker::current_of`] has just returned. Not for anything
/// older: places change with the snapshot.
fn plan_of<'a>(current: &'a Current, connection: &Downstream) -> &'a ListenerPlan {
    &current.snapshot.listeners[connection.open.place.get()]
}

/// Reads the PROXY protocol header where the listener wants one from this peer. `None`: the connection is refused.
/// Otherwise the bytes that came after the header, if any.
async fn after_proxy_protocol(worker: &Worker, connection: &Downstream) -> Option<Option<Lease>> {
    let current = worker.current_of(&connection.open);
    let plan = plan_of(&current, connection);
    if plan.proxy_protocol.is_empty() {
        return Some(None);
    }
    let trusted = connection.peer.get().is_none_or(|peer| plan.expects_proxy_protocol(peer));
    let within = Duration::from_millis(plan.timeouts.head_ms).min(PROXY_HEADER_MAX);
    drop(current);
    connection.stream.set_deadline(now().after(within));
    let mut bytes: Option<Lease> = None;
    loop {
        let more = connection.stream.recv().await.ok().filter(|lease| !lease.is_end())?;
        let mut lease = match bytes.take() {
            None => more,
            Some(before) => before.joined(&more),
        };
        let progress = match proxy_protocol::parse(&lease) {
            Ok(progress) if trusted => progress,
            // `P` may be the beginning of POST.
            Ok(Progress::Partial) if lease.len() < proxy_protocol::V1_PREFIX.len() => Progress::Partial,
            // Someone who may not speak for others: what is no PROXY header is served as it is.
            Err(proxy_protocol::ProxyRefusal::NotProxyProtocol) if !trusted => return Some(Some(lease)),
            _ => {
                worker.stats.proxy_protocol_refused.increment();
                return None;
            }
        };
        match progress {
            Progress::Partial => bytes = Some(lease),
            Progress::Complete { consumed, source, .. } => {
                if let Some(source) = source {
                    connection.peer.set(Some(source.ip().to_canonical()));
                }
                lease.advance(consumed);
                return Some((!lease.is_empty()).then_some(lease));
            }
        }
    }
}

/// Reads the rest of a body that nobody wants. `None`: it broke a rule or took too long; else what came after it.
async fn drain(worker: &Worker, connection: &Downstream, mut body: Box<Incoming>) -> Option<Option<Lease>> {
    let timeouts = plan_of(&worker.current_of(&connection.open), connection).timeouts;
    connection.stream.set_deadline(now().after(Duration::from_millis(timeouts.linger_ms)));
    loop {
        let data = poll_fn(|cx| body.poll_next(cx, &connection.stream)).await.ok()?;
        if data.is_none() {
            return Some(body.rest());
        }
    }
}

/// After a refusal: sends FIN, then reads and throws away what still comes, within bounds, so that the client reads
/// the answer rather than a reset (RFC 9112 §9.6).
async fn linger(worker: &Worker, connection: &Downstream) {
    let timeouts = plan_of(&worker.current_of(&connection.open), connection).timeouts;
    let stream = &connection.stream;
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
