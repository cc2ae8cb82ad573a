//! A connection to an endpoint that speaks HTTP/2, shared by the streams of one worker.
//!
//! A task of its own moves its frames. The connection counts its streams ([`Place`]) and is not asked for more than the
//! endpoint or the configuration allows. It ends once nobody keeps it and its last stream has ended. Invariant: a stream
//! is opened only on a connection that has room, so that none waits inside `h2`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use h2::client::SendRequest;
use ringway_runtime::{Draft, Lease, Nanos, SendList, TokioIo, Wire, now, sleep_until, spawn};

use super::alive::{Alive, Pulse};
use super::piece::{Meter, Piece};
use super::stream::{Scheme, Stream};
use crate::link::Link;
use crate::observe::ServiceCounters;
use crate::snapshot::Http2Plan;
use crate::waiters::Waiters;

/// A connection to an endpoint.
pub(crate) struct Peer {
    send: RefCell<SendRequest<Piece>>,
    scheme: Scheme,
    pulse: Rc<Pulse>,
    streams_max: u32,
    unsent: Rc<Cell<usize>>,
    /// It has ended, or takes no more streams.
    gone: Rc<Cell<bool>>,
    idle_since: Cell<Nanos>,
    /// It has carried a stream.
    used: Cell<bool>,
    /// Who waits for room on any connection to this endpoint.
    waiting: Rc<Waiters>,
}

/// One stream's place on a connection. Dropping it makes room.
pub(crate) struct Place(Rc<Peer>);

impl Place {
    /// Its connection takes no more streams.
    pub fn retire(&self) {
        self.0.retire();
    }

    /// Its stream was in vain for too long: whether the connection still lives is found out.
    pub fn doubt(&self) {
        self.0.pulse.doubt();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let peer = &self.0;
        peer.pulse.active.set(peer.pulse.active.get() - 1);
        peer.idle_since.set(now());
        peer.waiting.wake_all();
    }
}

impl Peer {
    /// Begins HTTP/2 on a connection and waits for the endpoint's settings, by `deadline`: how many streams it takes is
    /// not known before. `kept` is dropped when the connection is over, before those who wait are woken.
    pub async fn begin(
        link: Link,
        plan: &Http2Plan,
        counters: Arc<ServiceCounters>,
        waiting: Rc<Waiters>,
        deadline: Nanos,
        kept: impl Sized + 'static,
    ) -> io::Result<Rc<Peer>> {
        let scheme = if link.is_tls() { Scheme::Https } else { Scheme::Http };
        link.set_deadline(Nanos::NEVER);
        let heard = Rc::<Heard>::default();
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(plan.window)
            .initial_connection_window_size(plan.connection_window)
            .max_header_list_size(HEAD_BYTES_MAX)
            // Until its settings say otherwise, or that there is no limit.
            .initial_max_send_streams(0)
            .max_concurrent_reset_streams(RESETS_REMEMBERED);
        let (send, mut connection) = builder
            .handshake::<_, Piece>(TokioIo::new(Hearing { link, heard: heard.clone() }))
            .await
            .map_err(io::Error::other)?;
        let gone = Rc::new(Cell::new(false));
        let peer = Rc::new(Peer {
            send: RefCell::new(send),
            scheme,
            pulse: Rc::default(),
            streams_max: plan.streams,
            unsent: Rc::default(),
            gone: gone.clone(),
            idle_since: Cell::new(now()),
            used: Cell::new(false),
            waiting: waiting.clone(),
        });
        let over = heard.clone();
        let pulse = peer.pulse.clone();
        let mut alive = Alive::new(plan.keep_alive_ms);
        spawn(async move {
            let mut pings = connection.ping_pong();
            let is_dead = poll_fn(|cx| {
                let doubted = pulse.doubted.get();
                if let Some(pings) = &mut pings
                    && alive.poll(cx, pings, &pulse).is_ready()
                {
                    return Poll::Ready(true);
                }
                if doubted && !pulse.doubted.get() {
                    waiting.wake_all();
                }
                Pin::new(&mut connection).poll(cx).map(|_| false)
            })
            .await;
            if is_dead {
                counters.pings_unanswered.increment();
            }
            // How it ended is told to its streams.
            drop((pings, connection));
            gone.set(true);
            over.tell();
            drop(kept);
            waiting.wake_all();
        });
        let mut patience = sleep_until(deadline);
        poll_fn(|cx| {
            if peer.is_gone() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if peer.room() > 0 {
                return Poll::Ready(Ok(peer.clone()));
            }
            heard.0.replace(Some(cx.waker().clone()));
            Pin::new(&mut patience).poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// A stream, where there is room for one. Whether the connection has carried any before.
    pub fn open(self: &Rc<Peer>) -> Option<(Stream, bool)> {
        if !self.has_room() {
            return None;
        }
        self.pulse.active.set(self.pulse.active.get() + 1);
        let place = Place(self.clone());
        let send = self.send.borrow().clone();
        let stream =
            Stream::to_endpoint(send, self.scheme, Meter::of(self.unsent.clone(), UNSENT_MAX), place);
        Some((stream, self.used.replace(true)))
    }

    /// It has ended, or takes no more streams.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// No more streams: one of them met its end.
    pub fn retire(&self) {
        self.gone.set(true);
    }

    /// Streams under way.
    pub fn active(&self) -> u32 {
        self.pulse.active.get()
    }

    /// Since when there have been none.
    pub fn idle_since(&self) -> Nanos {
        self.idle_since.get()
    }

    /// Another stream may be opened.
    pub fn has_room(&self) -> bool {
        !self.is_gone() && !self.pulse.doubted.get() && self.active() < self.room()
    }

    /// More than three quarters of its room is taken: another connection is worth opening.
    pub fn is_nearly_full(&self) -> bool {
        self.pulse.doubted.get() || self.active() * 4 >= self.room() * 3
    }

    fn room(&self) -> u32 {
        let theirs = u32::try_from(self.send.borrow().current_max_send_streams()).unwrap_or(u32::MAX);
        theirs.min(self.streams_max)
    }
}

/// Bytes that may wait for an endpoint on all streams of a connection.
const UNSENT_MAX: usize = 1 << 20;
/// As a response's head over HTTP/1.1.
const HEAD_BYTES_MAX: u32 = 32 << 10;
/// Streams we reset whose late frames are still taken for what they are.
const RESETS_REMEMBERED: usize = 64;

/// Who waits for an endpoint's settings, the first thing that comes of it (RFC 9113 §3.4), or for the connection's end.
#[derive(Default)]
struct Heard(RefCell<Option<Waker>>);

impl Heard {
    fn tell(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// An endpoint's connection as `h2` reads and writes it.
struct Hearing {
    link: Link,
    heard: Rc<Heard>,
}

impl Wire for Hearing {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        let received = self.link.poll_recv(cx);
        // Whoever waits has their turn once h2 has taken it in.
        if received.is_ready() {
            self.heard.tell();
        }
        received
    }

    fn send(&mut self, list: SendList) {
        self.link.send(list);
    }

    fn poll_flushed_to(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        self.link.poll_flushed_to(cx, bytes)
    }

    fn draft(&self) -> Draft {
        self.link.draft()
    }

    fn shutdown_write(&mut self) {
        self.link.shutdown_write();
    }

    fn set_deadline(&mut self, deadline: Nanos) {
        self.link.set_deadline(deadline);
    }
}
