//! How exchanges ended, counted for whoever judges endpoints: where `eject` says so, and nowhere else.
//!
//! | counts | when |
//! |---|---|
//! | a response of 500 to 599, but not 501 and 505 | its head came: a failure |
//! | any other response | its head came: a success |
//! | a call of gRPC that is answered 200 | it ended: by its status |
//! | no connection, no response in time, a reset, what is no HTTP | a failure |
//! | a body that breaks off | a failure more |
//! | a tunnel, a TCP connection | its endpoint took it: a success |
//!
//! What ended for reasons of ours or of the client's counts as nothing.

use std::sync::Arc;

use ringway_runtime::now;

use super::{Lent, Service};
use crate::balance::{Address, Outcome};
use crate::outcomes::{Outcomes, Reporter};
use crate::reason::Reason;
use crate::snapshot::ServicePlan;

/// What is counted of one endpoint.
pub(super) struct Reported {
    address: Address,
    outcomes: Arc<Outcomes>,
}

/// How far an exchange has been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// As it ends, by its outcome.
    AtEnd,
    /// As it ends, as a failure.
    AsFailure,
    /// It has been.
    Done,
}

/// A response's status speaks against its endpoint.
pub(crate) fn is_failure(status: u16) -> bool {
    matches!(status, 500..600) && !matches!(status, 501 | 505)
}

/// A call's code does: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
pub(crate) fn is_failing(code: u8) -> bool {
    matches!(code, 2 | 4 | 13 | 14 | 15)
}

impl Service {
    /// Counts for the endpoints that are there, if they are judged; those that stay count on.
    pub fn report(&self, plan: &ServicePlan, reporter: &Reporter) {
        let mut reported = self.reported.borrow_mut();
        let Some(eject) = &plan.eject else { return reported.clear() };
        let balancer = self.balancer.borrow();
        let mut now_there = Vec::new();
        for slot in balancer.slots() {
            let (place, Some(address)) = (slot.0 as usize, balancer.address(slot)) else { continue };
            if now_there.len() <= place {
                now_there.resize_with(place + 1, || None);
            }
            let known = reported.get_mut(place).and_then(Option::take);
            let fits = |known: &Reported| {
                known.address == *address && known.outcomes.run_max() == eject.run_max() as usize
            };
            now_there[place] = Some(known.filter(fits).unwrap_or_else(|| Reported {
                address: address.clone(),
                outcomes: reporter.begin(&plan.name, address, eject.run_max()),
            }));
        }
        *reported = now_there;
    }
}

impl Lent {
    /// The head of a response has this status.
    #[inline]
    pub(super) fn count_head(&mut self, status: u16, is_call: bool) {
        let fails = is_failure(status);
        if fails || !is_call || status != 200 {
            self.count(!fails);
        }
    }

    /// Counts now, and not again as it ends.
    #[inline]
    pub(super) fn count(&mut self, succeeded: bool) {
        self.counts = Counts::Done;
        let reported = self.service.reported.borrow();
        let Some(Some(to)) = reported.get(self.slot.0 as usize) else { return };
        match succeeded {
            true => to.outcomes.succeeded(now().0, self.head_after_ns / 1000),
            false => to.outcomes.failed(now().0),
        }
    }

    /// A call ended with this code, if it said one.
    pub fn call_ended(&mut self, code: Option<u8>) {
        if self.counts == Counts::AtEnd && code.is_some_and(is_failing) {
            self.counts = Counts::AsFailure;
        }
    }

    /// A response that had begun did not come to its end.
    pub fn broke_off(&mut self, reason: Reason) {
        if matches!(
            reason,
            Reason::UpstreamReset
                | Reason::UpstreamClosed
                | Reason::UpstreamBadResponse
                | Reason::UpstreamIdleTimeout
        ) {
            self.count(false);
        }
    }

    /// It ends: counts what was not counted yet.
    #[inline]
    pub(super) fn count_end(&mut self) {
        match (self.counts, self.outcome) {
            (Counts::Done, _) | (_, Outcome::Abandoned | Outcome::Outrun) => {}
            (Counts::AtEnd, Outcome::Answered) => self.count(true),
            (Counts::AsFailure, _) | (_, Outcome::Failed | Outcome::Refused) => self.count(false),
        }
    }
}
