//! What an exchange holds of an endpoint, and giving it back.

use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Nanos, now};

use super::admission::Admission;
use super::connecting::{Connected, Error};
use super::pool::{Counted, Idle, State};
use super::reporting::Counts;
use super::{By, Service};
use crate::balance::{Outcome, Slot};
use crate::http2;
use crate::link::Link;
use crate::local_reply::LocalReply;
use crate::retry::Cause;

/// There is no connection, and what the client is told.
pub(crate) struct Unreached {
    pub reply: LocalReply,
    /// `None`: asking another endpoint would not help.
    pub cause: Option<Cause>,
    /// Who was asked.
    pub slot: Option<Slot>,
    /// There is no endpoint that was not tried before.
    pub nobody_else: bool,
}

impl Unreached {
    pub(super) fn nobody(reply: LocalReply) -> Unreached {
        Unreached { reply, cause: None, slot: None, nobody_else: false }
    }

    pub(super) fn nobody_else(reply: LocalReply) -> Unreached {
        Unreached { nobody_else: true, ..Unreached::nobody(reply) }
    }
}

/// A connection to an endpoint, or a stream on one, for one exchange. Dropping it closes it.
pub(crate) struct Lent {
    pub(super) service: Rc<Service>,
    /// Which endpoint.
    pub slot: Slot,
    link: Option<Link>,
    /// Of a connection, not of a stream.
    counted: Option<Counted>,
    /// What it may be asked by; given back last.
    admission: Option<Admission>,
    /// It has carried an exchange before; of a stream: its connection has.
    pub reused: bool,
    pub endpoint: Rc<str>,
    /// What the balancer is told at the end.
    pub outcome: Outcome,
    sent_at: Nanos,
    /// How long after the try that it is beside this one was sent, in microseconds; zero where it is beside none.
    pub behind_us: u64,
    pub(super) head_after_ns: u64,
    /// For whoever judges the endpoint.
    pub(super) counts: Counts,
}

impl Lent {
    /// Nothing yet of an endpoint that is to be asked.
    pub(super) fn begin(
        service: &Rc<Service>,
        slot: Slot,
        endpoint: Rc<str>,
        admission: Option<Admission>,
    ) -> Lent {
        service.counters.active.up();
        Lent {
            service: service.clone(),
            slot,
            link: None,
            counted: None,
            admission,
            reused: false,
            endpoint,
            outcome: Outcome::Abandoned,
            sent_at: Nanos::NEVER,
            behind_us: 0,
            head_after_ns: 0,
            counts: Counts::AtEnd,
        }
    }

    /// A connection from the pool.
    pub(super) fn pooled(&mut self, (link, counted): (Link, Counted)) {
        (self.link, self.counted, self.reused) = (Some(link), Some(counted), true);
        self.service.counters.reuses.increment();
    }

    /// A connection of one's own that was made now.
    pub(super) fn connected(&mut self, connected: Connected) {
        (self.link, self.counted) = (Some(connected.link), Some(connected.counted));
    }

    /// A stream, and whether its connection has carried any before.
    pub(super) fn stream(&mut self, (stream, reused): (http2::Stream, bool)) {
        (self.link, self.reused) = (Some(Link::Http2(Box::new(stream))), reused);
        if reused {
            self.service.counters.reuses.increment();
        }
    }

    /// There is no connection to this endpoint.
    pub(super) fn unreached(mut self, error: Error, by: By<'_>) -> Unreached {
        // Who has no time left says nothing about an endpoint.
        let is_ours = error.is_ours() || now() >= by.deadline;
        self.outcome = match now() >= by.try_at {
            _ if is_ours => Outcome::Abandoned,
            true => Outcome::Failed,
            false => Outcome::Refused,
        };
        let cause = match error.is_refusal() {
            _ if is_ours => None,
            true => Some(Cause::Refused),
            false => Some(Cause::Connect),
        };
        Unreached { reply: error.reply(by.deadline), cause, slot: Some(self.slot), nobody_else: false }
    }

    /// The connection or stream.
    #[inline]
    pub fn link(&self) -> &Link {
        match &self.link {
            Some(link) => link,
            None => unreachable!("a connection is lent out connected"),
        }
    }

    /// It did not answer in time: whether a connection that others use too still lives is to be found out.
    pub fn suspect(&self) {
        if let Some(stream) = self.link().stream() {
            stream.doubt();
        }
    }

    /// Whose endpoint it is.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Another endpoint answered first.
    pub fn outrun(&mut self, now: Nanos) {
        self.outcome = Outcome::Outrun;
        self.head_after_ns = self.asked_for(now).as_nanos() as u64;
    }

    /// How long ago the request began to be sent.
    pub fn asked_for(&self, now: Nanos) -> Duration {
        now.since(self.sent_at)
    }

    /// The request begins to be sent.
    pub fn sending(&mut self, now: Nanos) {
        self.sent_at = now;
        self.service.counters.requests.increment();
    }

    /// A connection begins to be made: how long that took is all there is to know of a tunnel.
    pub(super) fn connecting(&mut self, now: Nanos) {
        self.sent_at = now;
    }

    /// The endpoint took a connection for bytes that are not HTTP.
    pub fn taken(&mut self) {
        self.outcome = Outcome::Answered;
        self.head_after_ns = self.asked_for(now()).as_nanos() as u64;
        self.count(true);
        if self.admission.is_some() {
            self.sample(200);
        }
    }

    /// The response's head was read, of this status; returns how long it took. `is_call`: a call of gRPC, which tells at
    /// its end how it went.
    pub fn answered(&mut self, now: Nanos, status: u16, is_call: bool) -> Duration {
        self.outcome = Outcome::Answered;
        let head_after = now.since(self.sent_at);
        self.head_after_ns = head_after.as_nanos() as u64;
        self.service.counters.response_head.record(head_after.as_micros() as u64);
        self.count_head(status, is_call);
        self.sample(status);
        head_after
    }

    /// What the head says to a limit that is found. Some statuses say that there was too much already.
    fn sample(&mut self, status: u16) {
        let limited = self.service.limited.borrow();
        let Some(samples) = limited.samples() else { return };
        match status {
            502..=504 => samples.failed(limited.worker),
            _ => samples.answered(limited.worker, self.head_after_ns),
        }
        if limited.is_until_head() {
            self.admission = None;
        }
    }

    /// Writes the field that leads the client back to this endpoint.
    pub fn put_cookie(&self, secure: bool, out: &mut Vec<u8>) {
        self.service.put_cookie(self.slot, secure, out);
    }

    /// The exchange is complete and the connection may carry another.
    pub fn give_back(mut self) {
        // A stream ends with its exchange.
        let (Some(link), Some(mut counted)) = (self.link.take(), self.counted.take()) else { return };
        let mut pools = self.service.pools.borrow_mut();
        let pool = &mut pools[self.slot.0 as usize];
        let live = self.service.balancer.borrow().address(self.slot).is_some();
        let wanted = pool.is_wanted();
        if live
            && !wanted
            && pool.idle.len() < self.service.idle_max.get() as usize
            && link.is_quiet()
            && link.unsent() == 0
        {
            link.set_deadline(Nanos::NEVER);
            link.watch();
            counted.becomes(State::Idle);
            pool.idle.push(Idle { link, since: now(), counted });
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.count_end();
        let service = &self.service;
        service.counters.active.down();
        let latency = self.head_after_ns;
        let (now, random) = (now(), service.random());
        if matches!(self.outcome, Outcome::Failed | Outcome::Refused) {
            let limited = service.limited.borrow();
            limited.samples().into_iter().for_each(|samples| samples.failed(limited.worker));
        }
        service.balancer.borrow_mut().ended(self.slot, now.0, latency, self.outcome, random);
    }
}
