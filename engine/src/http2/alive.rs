//! Whether an endpoint's connection still lives: a PING, and the time in which it must be answered (RFC 9113 §6.7).
//!
//! ```text
//! quiet -- a stream was in vain for too long, or the time of `keep_alive` passes --> asked
//!   ^                                                                                 | |
//!   +---------------------------------- answered ------------------------------------+ +-- not in time --> dead
//! ```
//!
//! While it is asked for a stream's sake, the connection takes no more streams: if the way is dead they would be in vain.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Nanos, Sleep, now, sleep_until};

/// How long the answer to a PING may take.
const PONG_WITHIN: Duration = Duration::from_secs(2);
/// Between two PINGs for streams' sakes: endpoints take too many for an attack.
const DOUBTS_APART: Duration = Duration::from_secs(10);

/// What streams and the task of their connection tell each other.
#[derive(Default)]
pub(super) struct Pulse {
    /// Streams under way.
    pub active: Cell<u32>,
    /// A stream was in vain.
    doubt: Cell<bool>,
    /// That is being looked into.
    pub doubted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pulse {
    /// A stream was in vain for too long.
    pub fn doubt(&self) {
        self.doubt.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Asks, on the connection's task.
pub(super) struct Alive {
    every: Option<Duration>,
    asked: bool,
    due: Option<Sleep>,
    doubted_at: Nanos,
}

impl Alive {
    /// `every_ms` of zero: only where there is doubt.
    pub fn new(every_ms: u64) -> Alive {
        let every = (every_ms > 0).then(|| Duration::from_millis(every_ms));
        Alive { every, asked: false, due: None, doubted_at: Nanos(0) }
    }

    /// Ready when a PING was not answered in time.
    pub fn poll(&mut self, cx: &mut Context<'_>, pings: &mut h2::PingPong, pulse: &Pulse) -> Poll<()> {
        if pulse.waker.borrow().as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            pulse.waker.replace(Some(cx.waker().clone()));
        }
        if self.asked && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
            (self.asked, self.due) = (false, None);
            pulse.doubted.set(false);
        }
        if !self.asked {
            let now = now();
            let apart = self.doubted_at == Nanos(0) || now.since(self.doubted_at) >= DOUBTS_APART;
            if pulse.doubt.take() && apart {
                self.doubted_at = now;
                pulse.doubted.set(true);
                self.ask(pings);
            } else if let Some(every) = self.every.filter(|_| pulse.active.get() > 0) {
                let due = self.due.get_or_insert_with(|| sleep_until(now.after(every)));
                if Pin::new(due).poll(cx).is_ready() {
                    self.ask(pings);
                }
            } else {
                self.due = None;
            }
            if self.asked {
                let _ = pings.poll_pong(cx);
            }
        }
        match &mut self.due {
            Some(due) if self.asked => Pin::new(due).poll(cx),
            _ => Poll::Pending,
        }
    }

    fn ask(&mut self, pings: &mut h2::PingPong) {
        self.asked = pings.send_ping(h2::Ping::opaque()).is_ok();
        self.due = self.asked.then(|| sleep_until(now().after(PONG_WITHIN)));
    }
}
