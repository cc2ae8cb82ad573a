//! Listeners for datagrams: a session for each client's address, which keeps its endpoint while it lives.
//!
//! ```text
//! client --> listening socket --> session (by source address) --> connected socket --> endpoint
//! client <-- listening socket, from where it was sent to <----- session <------------- endpoint, nobody else
//! ```
//!
//! A session ends after its idle time, or when its listener has gone and its drain is over. Invariant: a datagram that
//! comes back goes to the session's client and nobody else, and no more sessions live than the listener allows.

mod table;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Batch, Datagram, Local, Nanos, UdpSocket, now, sleep_until, spawn};

use crate::accept::OpenListener;
use crate::carried::Carried;
use crate::snapshot::Mode;
use crate::worker::Worker;

/// Datagrams taken at once.
const BATCH: usize = 16;

/// One listener's sessions on one worker.
struct Sessions {
    socket: UdpSocket,
    /// By who sends. Not hashed: strangers choose the keys.
    live: RefCell<BTreeMap<SocketAddr, Rc<Session>>>,
    /// Whom to wake when the last one has ended.
    emptied: Cell<Option<Waker>>,
}

struct Session {
    socket: UdpSocket,
    /// Where the client sends to, and so where answers come from.
    local: Option<Local>,
    /// When it ends if nothing more comes.
    until: Cell<Nanos>,
    seen: Carried,
}

/// Serves a listener's socket on this worker until the listener closes and its sessions have ended.
pub(crate) async fn run(worker: Rc<Worker>, open: Rc<OpenListener>, socket: UdpSocket) {
    let sessions = Rc::new(Sessions { socket, live: RefCell::default(), emptied: Cell::default() });
    let mut batch = Batch::new(BATCH);
    loop {
        let event = poll_fn(|cx| {
            // Once it closes, datagrams of those that are known are still carried.
            if open.poll_closing(cx).is_ready() && sessions.live.borrow().is_empty() {
                return Poll::Ready(None);
            }
            sessions.emptied.set(Some(cx.waker().clone()));
            sessions.socket.poll_recv(cx, &mut batch).map(Some)
        })
        .await;
        match event {
            None => return,
            // A client that has gone, told by ICMP: its session ends by itself.
            Some(Err(_)) => {}
            Some(Ok(())) => {
                for datagram in batch.iter() {
                    arrived(&worker, &open, &sessions, &datagram);
                }
            }
        }
    }
}

fn arrived(worker: &Rc<Worker>, open: &Rc<OpenListener>, sessions: &Rc<Sessions>, datagram: &Datagram<'_>) {
    let stats = &worker.stats;
    stats.downstream_received.add(datagram.bytes.len() as u64);
    stats.udp_received.increment();
    let Some(client) = datagram.from else { return };
    let current = worker.current_of(open);
    let Mode::Udp(plan) = &current.snapshot.listeners[open.place.get()].mode else { return };
    let known = sessions.live.borrow().get(&client).cloned();
    let session = match known {
        Some(session) => session,
        None if open.is_closing() || worker.draining.get() => return stats.udp_dropped.increment(),
        None if sessions.live.borrow().len() >= plan.sessions_max as usize => {
            return stats.udp_sessions_refused.increment();
        }
        None => {
            let random = if plan.split.is_split() { worker.random.borrow_mut().u32(..) } else { 0 };
            let id = plan.split.pick(random);
            let service = &current.services[id.0 as usize];
            let endpoints = service.udp_endpoints();
            let picked = table::pick(client, &endpoints, seed());
            let Some(endpoint) = picked.map(|place| endpoints[place].0) else {
                return stats.udp_dropped.increment();
            };
            let Ok(socket) = UdpSocket::connect(endpoint) else { return stats.udp_dropped.increment() };
            let mut seen = Carried::begun(worker, open, "UDP", Some(client.ip()), now());
            seen.goes_to(&current.snapshot.service(id).name);
            seen.taken_by(|| endpoint.to_string().into());
            let session =
                Rc::new(Session { socket, local: datagram.to, until: Cell::new(Nanos::NEVER), seen });
            sessions.live.borrow_mut().insert(client, session.clone());
            stats.udp_sessions.increment();
            stats.udp_sessions_active.up();
            let idle = Duration::from_millis(plan.idle_ms);
            session.until.set(now().after(idle));
            spawn(answer(worker.clone(), sessions.clone(), session.clone(), client, idle));
            session
        }
    };
    session.until.set(now().after(Duration::from_millis(plan.idle_ms)));
    let sent = session.socket.send(datagram.bytes, None, None, datagram.segment);
    match sent {
        Ok(true) if !datagram.cut => {
            stats.upstream_sent.add(datagram.bytes.len() as u64);
            session.seen.count(datagram.bytes.len() as u64, 0);
        }
        _ => stats.udp_dropped.increment(),
    }
}

/// The same on every worker, so that a client that lands on another one keeps its endpoint; no stranger knows it.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| fastrand::u64(..))
}

/// Carries what the endpoint says to the session's client, until the session's time is over.
async fn answer(
    worker: Rc<Worker>,
    sessions: Rc<Sessions>,
    session: Rc<Session>,
    client: SocketAddr,
    idle: Duration,
) {
    let mut timer = sleep_until(session.until.get());
    loop {
        let more = poll_fn(|cx| {
            let mut batch = worker.udp_batch.borrow_mut();
            let batch = batch.get_or_insert_with(|| Batch::new(BATCH));
            match session.socket.poll_recv(cx, batch) {
                Poll::Ready(Ok(())) => {
                    for datagram in batch.iter() {
                        pass_back(&worker, &sessions, &session, client, &datagram);
                    }
                    session.until.set(now().after(idle));
                    return Poll::Ready(true);
                }
                // Nobody is there now; there may be again.
                Poll::Ready(Err(_)) => {
                    worker.stats.udp_dropped.increment();
                    return Poll::Ready(true);
                }
                Poll::Pending => {}
            }
            loop {
                timer.move_to(session.until.get());
                if Pin::new(&mut timer).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if now() >= session.until.get() {
                    return Poll::Ready(false);
                }
            }
        })
        .await;
        if !more {
            break;
        }
    }
    sessions.live.borrow_mut().remove(&client);
    if let Some(waker) = sessions.emptied.take() {
        waker.wake();
    }
    worker.stats.udp_sessions_active.down();
    session.seen.ended("");
}

fn pass_back(
    worker: &Worker,
    sessions: &Sessions,
    session: &Session,
    client: SocketAddr,
    datagram: &Datagram<'_>,
) {
    let stats = &worker.stats;
    stats.upstream_received.add(datagram.bytes.len() as u64);
    match sessions.socket.send(datagram.bytes, Some(client), session.local, datagram.segment) {
        Ok(true) if !datagram.cut => {
            stats.udp_sent.increment();
            stats.downstream_sent.add(datagram.bytes.len() as u64);
            session.seen.count(0, datagram.bytes.len() as u64);
        }
        _ => stats.udp_dropped.increment(),
    }
}
