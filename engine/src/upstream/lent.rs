//! What an exchange holds of an endpoint, and giving it back.

use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Nanos, now};

use super::Service;
use super::connecting::{Connected, Error};
use super::pool::{Counted, Idle, State};
use super::reporting::Counts;
use crate::balance::{Outcome, Slot};
use crate::http2;
use crate::link::Link;
use crate::local_reply::LocalReply;

/// A connection to an endpoint, or a stream on one, for one exchange. Dropping it closes it.
pub(crate) struct Lent {
    pub(super) service: Rc<Service>,
    pub(super) slot: Slot,
    link: Option<Link>,
    /// Of a connection, not of a stream.
    counted: Option<Counted>,
    /// It has carried an exchange before; of a stream: its connection has.
    pub reused: bool,
    pub endpoint: Rc<str>,
    /// What the balancer is told at the end.
    pub outcome: Outcome,
    sent_at: Nanos,
    pub(super) head_after: Duration,
    /// For whoever judges the endpoint.
    pub(super) counts: Counts,
}

impl Lent {
    /// Nothing yet of an endpoint that is to be asked.
    pub(super) fn begin(service: &Rc<Service>, slot: Slot, endpoint: Rc<str>) -> Lent {
        service.counters.active.up();
        Lent {
            service: service.clone(),
            slot,
            link: None,
            counted: None,
            reused: false,
            endpoint,
            outcome: Outcome::Abandoned,
            sent_at: Nanos::NEVER,
            head_after: Duration::ZERO,
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

    /// There is no connection to this endpoint. `Err`: the exchange ends with that; else another endpoint may be asked.
    pub(super) fn failed(
        mut self,
        error: Error,
        deadline: Nanos,
        is_last: bool,
    ) -> Result<(Slot, LocalReply), LocalReply> {
        // Who has no time left says nothing about an endpoint.
        let is_ours = error.is_ours() || now() >= deadline;
        self.outcome = if is_ours { Outcome::Abandoned } else { Outcome::Refused };
        let reply = error.reply(deadline);
        if is_last || !error.is_refusal() { Err(reply) } else { Ok((self.slot, reply)) }
    }

    /// The connection or stream.
    #[inline]
    pub fn link(&self) -> &Link {
        match &self.link {
            Some(link) => link,
            None => unreachable!("a connection is lent out connected"),
        }
    }

    /// The request begins to be sent.
    pub fn sending(&mut self, now: Nanos) {
        self.sent_at = now;
        self.service.counters.requests.increment();
    }

    /// The endpoint took a connection for bytes that are not HTTP.
    pub(super) fn taken(&mut self) {
        self.outcome = Outcome::Answered;
        self.count(true);
    }

    /// The response's head was read, of this status; returns how long it took. `is_call`: a call of gRPC, which tells at
    /// its end how it went.
    pub fn answered(&mut self, now: Nanos, status: u16, is_call: bool) -> Duration {
        self.outcome = Outcome::Answered;
        self.head_after = now.since(self.sent_at);
        self.service.counters.response_head.record(self.head_after.as_micros() as u64);
        self.count_head(status, is_call);
        self.head_after
    }

    /// The exchange is complete and the connection may carry another.
    pub fn give_back(mut self) {
        // A stream ends with its exchange.
        let (Some(link), Some(mut counted)) = (self.link.take(), self.counted.take()) else { return };
        let mut pools = self.service.pools.borrow_mut();
        let pool = &mut pools[self.slot.0 as usize];
        let live = self.service.balancer.borrow().address(self.slot).is_some();
        if live
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
        let latency = self.head_after.as_nanos() as u64;
        let (now, random) = (now(), service.random());
        service.balancer.borrow_mut().ended(self.slot, now.0, latency, self.outcome, random);
    }
}
