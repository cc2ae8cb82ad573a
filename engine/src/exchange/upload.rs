//! A request's body on its way to the upstream, alongside the wait for the response.
//!
//! Streamed with backpressure: at most [`WINDOW`] bytes wait for a slow upstream before the client is no longer read.
//! When the upstream fails, the upload stops and the response (it may have been sent before) has its chance.

use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Nanos, SendList, now};

use super::Stop;
use super::pace::Pace;
use crate::body::{Broken, Incoming, Outgoing};
use crate::http1;
use crate::link::Link;
use crate::reason::Reason;

/// Bytes that may wait for the upstream.
pub(super) const WINDOW: usize = 64 << 10;
/// Runs of bytes that may: chunks can be of one byte.
pub(super) const RUNS_MAX: usize = 1024;

/// A body under way.
pub(super) struct Upload {
    body: Incoming,
    outgoing: Outgoing,
    pace: Pace,
    /// When the whole exchange must be over.
    deadline: Nanos,
    /// How long the upstream may take nothing.
    stall: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Going,
    /// All of it was handed over.
    Done,
    /// The upstream takes no more, or the client sends no more.
    GivenUp,
}

/// How an upload is bounded.
pub(super) struct Bounds {
    pub rate_min: u32,
    pub deadline: Nanos,
    pub stall: Duration,
}

impl Upload {
    /// Begins, the head having been sent.
    pub fn new(body: Incoming, outgoing: Outgoing, from: &Link, to: &Link, bounds: Bounds) -> Upload {
        let pace = Pace::new(bounds.rate_min, now(), 0);
        from.set_deadline(pace.due().min(bounds.deadline));
        to.set_deadline(now().after(bounds.stall).min(bounds.deadline));
        Upload { body, outgoing, pace, deadline: bounds.deadline, stall: bounds.stall, state: State::Going }
    }

    /// All of it was handed over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Still going.
    pub fn is_going(&self) -> bool {
        self.state == State::Going
    }

    /// The rest of it is not waited for.
    pub fn give_up(&mut self) {
        self.state = State::GivenUp;
    }

    /// Bytes of the body received.
    pub fn received(&self) -> u64 {
        self.body.received
    }

    /// What came after the body.
    pub fn rest(&mut self) -> Option<ringway_runtime::Lease> {
        self.body.rest()
    }

    /// Moves what can be moved. Ready once the upload has ended or failed; `Err` is the client's fault.
    pub fn poll(&mut self, cx: &mut Context<'_>, from: &Link, to: &Link) -> Poll<Result<(), Stop>> {
        while self.state == State::Going {
            if to.is_behind(WINDOW, RUNS_MAX) {
                match to.poll_flushed(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                        return Poll::Ready(Err(self.stalled()));
                    }
                    Poll::Ready(Err(_)) => {
                        self.state = State::GivenUp;
                        break;
                    }
                    Poll::Pending => {
                        // The wait is the upstream's doing.
                        self.pace.restart(now(), self.body.received);
                        return Poll::Pending;
                    }
                }
            }
            let data = match self.body.poll_next(cx, from) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(data)) => data,
                Poll::Ready(Err(Broken::TimedOut)) => match self.late(from) {
                    Some(stop) => return Poll::Ready(Err(stop)),
                    None => continue,
                },
                Poll::Ready(Err(Broken::Refused(refusal))) => return Poll::Ready(Err(refused(refusal))),
                Poll::Ready(Err(Broken::Ended | Broken::Reset)) => {
                    return Poll::Ready(Err(Reason::ClientGone.into()));
                }
            };
            let mut list = SendList::new();
            match data {
                Some(data) => self.outgoing.push(&mut list, data),
                None => {
                    self.outgoing.finish(&mut list, self.body.trailers());
                    self.state = State::Done;
                    from.set_deadline(Nanos::NEVER);
                }
            }
            to.send(list);
            if self.state == State::Done {
                to.end(self.body.trailers());
            }
            to.set_deadline(now().after(self.stall).min(self.deadline));
        }
        Poll::Ready(Ok(()))
    }

    /// The upstream's deadline passed during the upload: `None` if it is the client we wait for.
    pub fn upstream_late(&self, to: &Link) -> Option<Stop> {
        if now() >= self.deadline {
            return Some(Reason::ExchangeTimeout.into());
        }
        if to.is_behind(WINDOW, RUNS_MAX) {
            return Some(self.stalled());
        }
        to.set_deadline(now().after(self.stall).min(self.deadline));
        None
    }

    fn stalled(&self) -> Stop {
        if now() >= self.deadline { Reason::ExchangeTimeout.into() } else { Reason::UpstreamStalled.into() }
    }

    /// The client's deadline passed: too slow, or the next window begins.
    fn late(&mut self, from: &Link) -> Option<Stop> {
        let now = now();
        if now >= self.deadline {
            return Some(Reason::ExchangeTimeout.into());
        }
        if self.pace.is_too_slow(now, self.body.received) {
            return Some(Reason::BodyRateTooLow.into());
        }
        from.set_deadline(self.pace.due().min(self.deadline));
        None
    }
}

fn refused(refusal: http1::Refusal) -> Stop {
    refusal.into()
}
