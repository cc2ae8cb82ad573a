//! A request's body on its way to the upstream, alongside the wait for the response.
//!
//! Streamed with backpressure: at most [`WINDOW`] bytes wait for a slow upstream before the client is no longer read.
//! When the upstream fails, the upload stops and the response (it may have been sent before) has its chance. What has gone
//! by may be kept, to be sent again to another endpoint; the rest then follows as it comes.

use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, SendList, now};

use super::Stop;
use super::failed::Failed;
use super::pace::Pace;
use super::replay::Kept;
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
    /// What has gone by, where it may have to be sent again.
    kept: Option<Box<Kept>>,
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
    pub kept: Option<Box<Kept>>,
}

impl Upload {
    /// Begins, the head having been sent.
    pub fn new(body: Incoming, outgoing: Outgoing, from: &Link, to: &Link, bounds: Bounds) -> Upload {
        let pace = Pace::new(bounds.rate_min, now(), 0);
        from.set_deadline(pace.due().min(bounds.deadline));
        to.set_deadline(now().after(bounds.stall).min(bounds.deadline));
        Upload {
            body,
            outgoing,
            pace,
            deadline: bounds.deadline,
            stall: bounds.stall,
            state: State::Going,
            kept: bounds.kept,
        }
    }

    /// Whether all that has gone by is at hand: in what came with the head, of which `first` is the body's, or kept.
    pub fn is_replayable(&self, first: Option<&Lease>) -> bool {
        let at_hand = first.map_or(0, |first| first.len() as u64);
        self.body.received <= at_hand || self.kept.as_ref().is_some_and(|kept| kept.copied().is_some())
    }

    /// What has gone by once more, for another link, and the body's end if that has come.
    pub fn again(&self, first: Option<&Lease>, outgoing: Outgoing) -> SendList {
        let mut list = SendList::new();
        if let Some(first) = first {
            let len = self.body.received.min(first.len() as u64) as usize;
            if len > 0 {
                outgoing.push(&mut list, first.slice(0..len));
            }
        }
        if let Some(copied) = self.kept.as_ref().and_then(|kept| kept.copied())
            && !copied.is_empty()
        {
            outgoing.push(&mut list, Lease::copy_of(copied));
        }
        if self.body.is_done() {
            outgoing.finish(&mut list, self.body.trailers());
        }
        list
    }

    /// Begins anew to another endpoint, with what has gone by.
    pub fn replay(&mut self, first: Option<&Lease>, outgoing: Outgoing, from: &Link, to: &Link) {
        self.outgoing = outgoing;
        to.send(self.again(first, outgoing));
        self.state = if self.body.is_done() { State::Done } else { State::Going };
        if self.state == State::Done {
            to.end(self.body.trailers());
            return;
        }
        self.pace.restart(now(), self.body.received);
        from.set_deadline(self.pace.due().min(self.deadline));
        to.set_deadline(now().after(self.stall).min(self.deadline));
    }

    /// What came after the body, before it is said to be the next request's.
    pub fn trailers(&self) -> Option<&http1::Trailers> {
        self.body.trailers()
    }

    /// What is kept, which is not kept on.
    pub fn take_kept(&mut self) -> Option<Box<Kept>> {
        self.kept.take()
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
    pub fn rest(&mut self) -> Option<Lease> {
        self.body.rest()
    }

    /// Moves what can be moved. Ready once the upload has ended or failed; `Err` is the client's fault, or
    /// an endpoint's that takes nothing.
    pub fn poll(&mut self, cx: &mut Context<'_>, from: &Link, to: &Link) -> Poll<Result<(), Failed>> {
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
                    Some(stop) => return Poll::Ready(Err(stop.into())),
                    None => continue,
                },
                Poll::Ready(Err(Broken::Refused(refusal))) => {
                    return Poll::Ready(Err(Stop::from(refusal).into()));
                }
                Poll::Ready(Err(Broken::Ended | Broken::Reset)) => {
                    return Poll::Ready(Err(Stop::from(Reason::ClientGone).into()));
                }
            };
            let mut list = SendList::new();
            match data {
                Some(data) => {
                    if let Some(kept) = &mut self.kept {
                        kept.push(&data, self.body.received);
                    }
                    self.outgoing.push(&mut list, data);
                }
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
    pub fn upstream_late(&self, to: &Link) -> Option<Failed> {
        if now() >= self.deadline {
            return Some(Stop::from(Reason::ExchangeTimeout).into());
        }
        if to.is_behind(WINDOW, RUNS_MAX) {
            return Some(self.stalled());
        }
        to.set_deadline(now().after(self.stall).min(self.deadline));
        None
    }

    fn stalled(&self) -> Failed {
        match now() >= self.deadline {
            true => Stop::from(Reason::ExchangeTimeout).into(),
            false => Failed::Upstream(Reason::UpstreamStalled),
        }
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
