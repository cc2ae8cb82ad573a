//! Listeners for datagrams: a session for each client's address, which keeps its endpoint while it lives.
//!
//! ```text
//! client --> listening socket --> session (by source address) --> connected socket --> endpoint
//! client <-- listening socket, from where it was sent to <----- session <------------- endpoint, nobody else
//! ```
//!
//! A session ends after its idle time, or when its endpoint says (by ICMP) that nobody is there; its client's next
//! datagram then begins another. Once the listener closes nobody new is served: a listener that is removed hears nothing
//! more, one that drains still hears its sessions' clients. Invariant: a datagram that comes back goes to the session's
//! client and nobody else, and no more sessions live than the listener allows.

mod allowance;
mod table;

use allowance::Allowance;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Batch, Datagram, Local, Nanos, Outbox, UdpSocket, now, sleep_until, spawn};

use crate::accept::OpenListener;
use crate::balance::{Asked, Outcome};
use crate::carried::Carried;
use crate::observe::Dropped;
use crate::reason::Reason;
use crate::snapshot::{Mode, Part, UdpPlan};
use crate::upstream::{Lent, Service};
use crate::worker::{Current, Worker};

/// Datagrams taken at once.
const BATCH: usize = 32;
/// Room for each: the longest there is, or what the kernel puts together of several.
const ROOM: usize = 64 << 10;
/// Batches that had come before a listener closed and are served still, at most.
const LAST_BATCHES: usize = 64;

/// One listener's sessions on one worker.
struct Sessions {
    /// Before `open`, and so closed before that says that the address is free.
    socket: UdpSocket,
    open: Rc<OpenListener>,
    worker: Rc<Worker>,
    /// By who sends. Not hashed: strangers choose the keys.
    live: RefCell<BTreeMap<SocketAddr, Rc<Session>>>,
    /// What endpoints said in this turn of the loop; leaves together.
    answers: RefCell<Outbox>,
    /// Nobody new is served.
    closed: Cell<bool>,
    /// The listener's task, for when there are answers or the last session has ended.
    waker: Cell<Option<Waker>>,
}

struct Session {
    client: SocketAddr,
    socket: UdpSocket,
    /// Where the client last sent to, and so where answers come from.
    local: Cell<Option<Local>>,
    service: Rc<Service>,
    idle: Cell<Duration>,
    /// When it ends if nothing more comes.
    until: Cell<Nanos>,
    /// Its endpoint is not there.
    refused: Cell<bool>,
    seen: Carried,
    waker: Cell<Option<Waker>>,
}

/// What a listener's task has to do.
enum Event {
    Came,
    Closing,
    Ended,
}

/// Serves a listener's socket on this worker until the listener closes and its sessions have ended.
pub(crate) async fn run(worker: Rc<Worker>, open: Rc<OpenListener>, socket: UdpSocket) {
    let sessions = Rc::new(Sessions {
        socket,
        open,
        worker,
        live: RefCell::default(),
        answers: RefCell::default(),
        closed: Cell::new(false),
        waker: Cell::default(),
    });
    let mut batch = Batch::new(BATCH, ROOM);
    let mut requests = Outbox::default();
    loop {
        match poll_fn(|cx| sessions.poll(cx, &mut batch)).await {
            Event::Came => sessions.carry(&batch, &mut requests),
            Event::Closing => {
                let may_linger = sessions.worker.draining.get() || sessions.socket.stop_hearing().is_ok();
                for _ in 0..LAST_BATCHES {
                    match sessions.socket.try_recv(&mut batch) {
                        Ok(()) => sessions.carry(&batch, &mut requests),
                        Err(_) => break,
                    }
                }
                sessions.closed.set(true);
                if !may_linger {
                    // It would take what others are to get.
                    sessions.live.borrow().values().for_each(|session| session.end());
                }
            }
            Event::Ended => return,
        }
    }
}

impl Sessions {
    fn poll(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<Event> {
        self.waker.set(Some(cx.waker().clone()));
        self.send_answers();
        if self.open.poll_closing(cx).is_ready() {
            if !self.closed.get() {
                return Poll::Ready(Event::Closing);
            }
            if self.live.borrow().is_empty() {
                return Poll::Ready(Event::Ended);
            }
        }
        // An error is about a client that has gone; its session ends by itself.
        self.socket.poll_recv(cx, batch).map(|_| Event::Came)
    }

    /// Carries what clients sent to their sessions' endpoints: what one client sent in a row leaves together.
    fn carry(self: &Rc<Self>, batch: &Batch, requests: &mut Outbox) {
        let stats = &self.worker.stats;
        stats.udp_received.add(batch.cut() as u64);
        stats.udp_dropped.add(Dropped::TooLong, batch.cut());
        let current = self.worker.current_of(&self.open);
        let Mode::Udp(plan) = &current.snapshot.listeners[self.open.place.get()].mode else { return };
        let mut session: Option<Rc<Session>> = None;
        let mut allowance = Allowance::of(batch, plan, self.open.arrivals(), stats);
        for datagram in batch.iter() {
            stats.udp_received.add(datagram.count() as u64);
            stats.downstream_received.add(datagram.bytes.len() as u64);
            let Some(client) = datagram.from else { continue };
            let Some(datagram) = allowance.next(datagram) else { continue };
            if session.as_ref().is_none_or(|session| session.client != client || session.refused.get()) {
                if let Some(before) = session.take() {
                    self.send_requests(&before, requests);
                }
                match self.session(&current, plan, client) {
                    Ok(found) => session = Some(found),
                    Err(why) => stats.udp_dropped.add(why, datagram.count()),
                }
            }
            let Some(session) = &session else { continue };
            session.local.set(datagram.to);
            if !requests.push(&datagram, None, None) {
                self.send_requests(session, requests);
                requests.push(&datagram, None, None);
            }
        }
        if let Some(last) = session {
            self.send_requests(&last, requests);
        }
    }

    fn send_requests(&self, session: &Rc<Session>, requests: &mut Outbox) {
        let stats = &self.worker.stats;
        let sent = session.socket.send(requests, |error, count| {
            if is_unreachable(error) {
                session.refuse();
            }
            stats.udp_dropped.add(why_not_sent(error), count);
        });
        stats.udp_upstream_sent.add(sent.datagrams as u64);
        stats.upstream_sent.add(sent.bytes as u64);
        session.seen.count(sent.bytes as u64, 0);
        if session.refused.get() {
            self.forget(session);
        }
    }

    fn session(
        self: &Rc<Self>,
        current: &Current,
        plan: &UdpPlan,
        client: SocketAddr,
    ) -> Result<Rc<Session>, Dropped> {
        let known = self.live.borrow().get(&client).cloned();
        let session = match known {
            Some(session) => session,
            None if self.closed.get() => return Err(Dropped::Draining),
            None if self.live.borrow().len() >= plan.sessions_max as usize => return Err(Dropped::Sessions),
            None => self.begin(current, plan, client)?,
        };
        session.idle.set(Duration::from_millis(plan.idle_ms));
        session.heard();
        Ok(session)
    }

    fn begin(
        self: &Rc<Self>,
        current: &Current,
        plan: &UdpPlan,
        client: SocketAddr,
    ) -> Result<Rc<Session>, Dropped> {
        let stats = &self.worker.stats;
        let random = if plan.split.is_split() { self.worker.random.borrow_mut().u32(..) } else { 0 };
        let Part { service: id, view } = plan.split.pick(random);
        let service = &current.services[id.0 as usize];
        let score = |endpoint, weight| table::score(client, endpoint, weight, seed());
        let asked = Asked { view, hash: Some(table::hash(client, seed())), stick: None };
        let (endpoint, mut lent) = service.lend_by_score(&asked, score).ok_or(Dropped::NoEndpoint)?;
        service.counters.connects.increment();
        let socket = UdpSocket::connect(endpoint).map_err(|error| {
            service.counters.connect_failures.increment();
            match is_unreachable(&error) {
                true => {
                    lent.outcome = Outcome::Refused;
                    Dropped::Unreachable
                }
                false => Dropped::NoSocket,
            }
        })?;
        let mut seen = Carried::begun(&self.worker, &self.open, "UDP", Some(client.ip()), now());
        seen.goes_to(&current.snapshot.service(id).name);
        seen.taken_by(|| lent.endpoint.clone());
        let session = Rc::new(Session {
            client,
            socket,
            local: Cell::default(),
            service: service.clone(),
            idle: Cell::default(),
            until: Cell::new(Nanos::NEVER),
            refused: Cell::new(false),
            seen,
            waker: Cell::default(),
        });
        self.live.borrow_mut().insert(client, session.clone());
        stats.udp_sessions.increment();
        stats.udp_sessions_active.up();
        spawn(answer(self.clone(), session.clone(), lent));
        Ok(session)
    }

    /// Puts what an endpoint said to what leaves next.
    fn pass_back(&self, session: &Session, datagram: &Datagram<'_>) {
        let stats = &self.worker.stats;
        stats.udp_upstream_received.add(datagram.count() as u64);
        stats.upstream_received.add(datagram.bytes.len() as u64);
        session.seen.count(0, datagram.bytes.len() as u64);
        let put = || self.answers.borrow_mut().push(datagram, Some(session.client), session.local.get());
        if !put() {
            self.send_answers();
            put();
        }
    }

    fn send_answers(&self) {
        let stats = &self.worker.stats;
        let sent = self.socket.send(&mut self.answers.borrow_mut(), |error, count| {
            stats.udp_dropped.add(why_not_sent(error), count);
        });
        stats.udp_sent.add(sent.datagrams as u64);
        stats.downstream_sent.add(sent.bytes as u64);
    }

    /// What its client sends next begins a session.
    fn forget(&self, session: &Rc<Session>) {
        let mut live = self.live.borrow_mut();
        if live.get(&session.client).is_some_and(|known| Rc::ptr_eq(known, session)) {
            live.remove(&session.client);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Session {
    fn heard(&self) {
        if !self.refused.get() {
            self.until.set(now().after(self.idle.get()));
        }
    }

    fn refuse(&self) {
        self.refused.set(true);
        self.end();
    }

    fn end(&self) {
        self.until.set(Nanos(0));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Carries what the endpoint says to the session's client, until the session's time is over.
async fn answer(sessions: Rc<Sessions>, session: Rc<Session>, mut lent: Lent) {
    let stats = &sessions.worker.stats;
    let mut timer = sleep_until(session.until.get());
    poll_fn(|cx| {
        session.waker.set(Some(cx.waker().clone()));
        let mut batch = sessions.worker.udp_batch.borrow_mut();
        let batch = batch.get_or_insert_with(|| Batch::new(BATCH, ROOM));
        while let Poll::Ready(came) = session.socket.poll_recv(cx, batch) {
            match came {
                Ok(()) => {
                    stats.udp_dropped.add(Dropped::TooLong, batch.cut());
                    batch.iter().for_each(|datagram| sessions.pass_back(&session, &datagram));
                    sessions.wake();
                    session.heard();
                    lent.outcome = Outcome::Answered;
                }
                Err(error) if is_unreachable(&error) => session.refuse(),
                Err(_) => {}
            }
        }
        timer.move_to(session.until.get());
        Pin::new(&mut timer).poll(cx)
    })
    .await;
    if session.refused.get() {
        lent.outcome = Outcome::Refused;
        session.service.counters.connect_failures.increment();
        stats.udp_sessions_failed.increment();
        session.seen.ended(Reason::UpstreamConnectRefused.name());
    } else {
        session.seen.ended("");
    }
    stats.udp_sessions_active.down();
    sessions.forget(&session);
    sessions.wake();
}

/// What ICMP said of whom was sent to, or routes say.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    )
}

fn why_not_sent(error: &io::Error) -> Dropped {
    match error.raw_os_error() {
        _ if is_unreachable(error) => Dropped::Unreachable,
        Some(EAGAIN | ENOBUFS) => Dropped::NoRoom,
        Some(EMSGSIZE) => Dropped::TooLong,
        _ => Dropped::NotSent,
    }
}

const EAGAIN: i32 = 11;
const EMSGSIZE: i32 = 90;
const ENOBUFS: i32 = 105;

/// The same on every worker, so that a client that lands on another one keeps its endpoint; no stranger knows it.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| fastrand::u64(..))
}
