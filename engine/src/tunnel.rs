//! After the switch: bytes both ways, until both sides have ended or nothing has moved for too long.
//!
//! A tunnel holds the two connections and nothing of the exchange or snapshot it came from, so it lives through any
//! number of reloads. A FIN of one side is passed on to the other once what came before it is sent.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, Splice, Spliced, now, scarce};

use crate::carried::Carried;
use crate::exchange::Permit;
use crate::link::Link;
use crate::reason::Reason;
use crate::upstream::Lent;
use crate::websocket::Frames;
use crate::worker::Worker;

/// Bytes that may wait for a slow side before the other is no longer read.
const WINDOW: usize = 128 << 10;
/// The same where buffers are scarce.
const WINDOW_SCARCE: usize = 32 << 10;

/// A way is spliced once it had so many more leases that filled their buffers than others.
const FULL_LEASES: u32 = 8;
/// Pieces below this are no cheaper than leases.
const SMALL: usize = 16 << 10;
/// So many of them in a row end a splice.
const SMALL_PIECES: u32 = 8;

/// What is left of an exchange that switched protocols.
pub(crate) struct Tunnel {
    pub upstream: Lent,
    /// What each side sent already, for the other.
    pub to_upstream: Option<Lease>,
    pub to_downstream: Option<Lease>,
    pub idle: Duration,
    pub is_websocket: bool,
    /// It counts among requests at once.
    pub permits: Vec<Permit>,
    pub seen: Carried,
}

/// Carries bytes until the tunnel ends.
pub(crate) async fn run(worker: &Rc<Worker>, client: &Link, tunnel: Tunnel) {
    worker.stats.tunnels_open.up();
    let (_open, _counted) = (Open(worker), tunnel.permits);
    let (down, up) = (client, tunnel.upstream.link());
    let mut ways = [Way::new(down, up, tunnel.to_upstream), Way::new(up, down, tunnel.to_downstream)];
    if tunnel.is_websocket {
        ways.iter_mut().for_each(|way| way.frames = Some(Frames::default()));
    }
    let mut parting = worker.until_parting.place();
    loop {
        // Both, since each way waits for one side only, and one of them may have ended already.
        let deadline = now().after(tunnel.idle);
        down.set_deadline(deadline);
        up.set_deadline(deadline);
        // Each turn that moved something begins the idle time anew.
        let ended = poll_fn(|cx| {
            if parting.poll(cx).is_ready() || worker.parting.get() {
                return Poll::Ready(true);
            }
            let moved = [ways[0].poll(cx), ways[1].poll(cx)];
            match moved {
                // A side that fails in reading takes nothing either.
                [Moved::Broken, _] | [_, Moved::Broken] => Poll::Ready(true),
                [Moved::Over, Moved::Over] => Poll::Ready(true),
                [Moved::Some, _] | [_, Moved::Some] => Poll::Ready(false),
                _ => Poll::Pending,
            }
        })
        .await;
        let (bytes_in, bytes_out) =
            (std::mem::take(&mut ways[0].carried), std::mem::take(&mut ways[1].carried));
        worker.stats.upstream_sent.add(bytes_in);
        worker.stats.downstream_sent.add(bytes_out);
        tunnel.seen.count(bytes_in, bytes_out);
        let spliced = ways.iter_mut().map(|way| std::mem::take(&mut way.spliced)).sum();
        worker.stats.spliced.add(spliced);
        if ended && worker.parting.get() {
            tunnel.seen.ended(Reason::DrainCut.name());
            return part(worker, &mut ways).await;
        }
        if ended {
            tunnel.seen.ended(match ways.iter().all(|way| way.ended) {
                true => "",
                false => poll_fn(|cx| Poll::Ready(broken_by(cx, down, deadline))).await,
            });
            for way in &ways {
                let _ = way.to.flushed().await;
                // What broke off must not look whole; silence alone breaks nothing.
                if !way.ended && now() < deadline {
                    way.to.reset_on_close();
                }
            }
            return;
        }
    }
}

/// The time to drain is over: says so where it is a WebSocket, and ends each side once what came for it is sent. What
/// they say to that is read, so that no reset overtakes it.
async fn part(worker: &Worker, ways: &mut [Way<'_>; 2]) {
    let deadline = now().after(PART_MAX);
    let masks = [Some(worker.random.borrow_mut().u32(..)), None];
    ways.iter().for_each(|way| way.to.set_deadline(deadline));
    for (way, mask) in ways.iter_mut().zip(masks).filter(|(way, _)| !way.is_over()) {
        way.land().await;
        if let Some(frame) = way.frames.and_then(|frames| frames.going_away(mask)) {
            way.to.send(Lease::copy_of(&frame));
        }
        if way.to.flushed().await.is_ok() {
            way.to.shutdown_write();
        }
    }
    for way in ways.iter().filter(|way| !way.is_over()) {
        while matches!(way.from.recv().await, Ok(lease) if !lease.is_end()) {}
    }
}

/// How long the two sides have to end, within what the drain allows for that.
const PART_MAX: Duration = Duration::from_millis(400);

/// Why a tunnel ended in which both sides have not.
fn broken_by(cx: &mut Context<'_>, down: &Link, deadline: Nanos) -> &'static str {
    if now() >= deadline {
        return IDLE;
    }
    let client_has = down.poll_broken(cx).is_ready()
        || matches!(down.poll_flushed(cx), Poll::Ready(Err(_)))
        || matches!(down.poll_recv(cx), Poll::Ready(Err(_)));
    if client_has { Reason::ClientGone.name() } else { Reason::UpstreamReset.name() }
}

/// What ended a tunnel in which nothing moved.
const IDLE: &str = "tunnel_idle";

struct Open<'a>(&'a Worker);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats.tunnels_open.down();
    }
}

/// One direction.
struct Way<'a> {
    from: &'a Link,
    to: &'a Link,
    early: Option<Lease>,
    ended: bool,
    /// Its end takes nothing more.
    broken: bool,
    carried: u64,
    spliced: u64,
    /// How far it is from changing over: full leases less others, or small pieces in a row.
    score: u32,
    /// Of the piece under way, the bytes that are sent.
    piece: usize,
    /// Of a WebSocket, as long as all of it went by here.
    frames: Option<Frames>,
    /// Set while it is spliced.
    splice: Option<Splice<'a>>,
}

enum Moved {
    Some,
    Nothing,
    /// Nothing more goes this way; what goes the other may still come to its end.
    Over,
    Broken,
}

impl<'a> Way<'a> {
    fn new(from: &'a Link, to: &'a Link, early: Option<Lease>) -> Way<'a> {
        Way {
            from,
            to,
            early,
            ended: false,
            broken: false,
            carried: 0,
            spliced: 0,
            score: 0,
            piece: 0,
            frames: None,
            splice: None,
        }
    }

    fn is_over(&self) -> bool {
        self.ended || self.broken
    }

    fn break_off(&mut self) -> Moved {
        self.broken = true;
        Moved::Over
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Moved {
        if self.is_over() {
            return Moved::Over;
        }
        if self.splice.is_some() {
            return self.poll_spliced(cx);
        }
        // A failed send is told nowhere else, and what is sent after it goes nowhere.
        if let Poll::Ready(Err(_)) = self.to.poll_flushed_to(cx, usize::MAX) {
            return self.break_off();
        }
        let unsent = self.to.unsent();
        if unsent > WINDOW_SCARCE && (unsent > WINDOW || scarce()) {
            match self.to.poll_flushed(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.break_off(),
                Poll::Pending => return Moved::Nothing,
            }
        }
        let lease = match self.early.take() {
            Some(lease) => lease,
            None => match self.from.poll_recv(cx) {
                Poll::Ready(Ok(lease)) => lease,
                Poll::Ready(Err(_)) => return Moved::Broken,
                Poll::Pending => return self.begin_splice(cx),
            },
        };
        if !lease.is_end() {
            self.carried += lease.len() as u64;
            if let Some(frames) = &mut self.frames {
                frames.pass(&lease);
            }
            self.weigh(&lease);
            self.to.send(lease);
            return Moved::Some;
        }
        match self.to.poll_flushed(cx) {
            Poll::Ready(Ok(())) => self.end(),
            Poll::Ready(Err(_)) => self.break_off(),
            // The end is told again by the next receive.
            Poll::Pending => Moved::Nothing,
        }
    }

    fn end(&mut self) -> Moved {
        self.to.shutdown_write();
        self.ended = true;
        Moved::Some
    }

    /// Counts towards a splice; stops receiving when it is to come.
    fn weigh(&mut self, lease: &Lease) {
        let (Link::Plain(from), Link::Plain(to)) = (self.from, self.to) else { return };
        if self.score >= FULL_LEASES {
            return;
        }
        let is_full = lease.len() >= from.buffer_size();
        self.score = if is_full { self.score + 1 } else { self.score.saturating_sub(1) };
        if self.score == FULL_LEASES && Splice::suits(from, to) {
            from.stop_receiving();
        }
    }

    /// All that came as leases is handed on: if a splice is to come, it begins once that is sent.
    fn begin_splice(&mut self, cx: &mut Context<'_>) -> Moved {
        let (Link::Plain(from), Link::Plain(to)) = (self.from, self.to) else { return Moved::Nothing };
        if !from.has_stopped() {
            return Moved::Nothing;
        }
        match to.poll_flushed(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return self.break_off(),
            Poll::Pending => return Moved::Nothing,
        }
        self.score = 0;
        match Splice::new(from, to) {
            Ok(splice) => {
                self.frames = None;
                self.splice = Some(splice);
            }
            Err(_) => from.resume_receiving(),
        }
        Moved::Some
    }

    fn poll_spliced(&mut self, cx: &mut Context<'_>) -> Moved {
        let Some(splice) = &mut self.splice else { return Moved::Nothing };
        match splice.poll(cx) {
            Poll::Ready(Ok(Spliced::Sent(bytes))) => {
                self.carried += bytes as u64;
                self.spliced += bytes as u64;
                self.piece += bytes;
                // A piece may be sent bit by bit; its size is what was there to be read at once.
                if splice.is_empty() {
                    self.score = if self.piece < SMALL { self.score + 1 } else { 0 };
                    self.piece = 0;
                    if self.score == SMALL_PIECES {
                        self.end_splice();
                    }
                }
                Moved::Some
            }
            Poll::Ready(Ok(Spliced::End)) => self.end(),
            Poll::Ready(Ok(Spliced::Refused)) => {
                self.end_splice();
                Moved::Some
            }
            Poll::Ready(Err(_)) => Moved::Broken,
            Poll::Pending => Moved::Nothing,
        }
    }

    /// Sends what is in a pipe, and goes on through leases.
    async fn land(&mut self) {
        while let Some(splice) = self.splice.as_mut().filter(|splice| !splice.is_empty()) {
            let Ok(Spliced::Sent(bytes)) = poll_fn(|cx| splice.poll(cx)).await else { break };
            self.carried += bytes as u64;
        }
        if self.splice.is_some() {
            self.end_splice();
        }
    }

    /// On through leases.
    fn end_splice(&mut self) {
        self.splice = None;
        self.score = 0;
        if let Link::Plain(from) = self.from {
            from.resume_receiving();
        }
    }
}
