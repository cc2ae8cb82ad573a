//! Before `balance`: whether a service and an endpoint of it may be asked once more, and waiting for a turn where not.
//!
//! Each try holds a permit of the service's gate and one of its endpoint's ledger, until what was lent for it is dropped:
//! so no limit is exceeded, whatever is tried again or hedged. An endpoint's is taken first: whoever lacks only that
//! never holds what others wait for.

use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Nanos, now};
use smallvec::SmallVec;

use super::connecting::Error;
use super::{By, Lent, Service, Unreached, Wanted};
use crate::balance::{Picked, Slot};
use crate::breaker::{Door, Ended, EndpointShare, Samples, ServiceShare, Tally};
use crate::observe::Refusal;
use crate::reason::Reason;

/// Endpoints that are looked at for one try before it waits.
pub(super) const FULL_MAX: usize = 64;

/// What limits a service, as one worker knows it.
#[derive(Default)]
pub(super) struct Limited {
    pub worker: usize,
    pub door: Option<Rc<Door>>,
    pub share: Option<Arc<ServiceShare>>,
}

/// What a try holds: a permit of the service, and one of the endpoint. Dropping it gives them back, and wakes whoever
/// waits for one.
pub(crate) struct Admission(Rc<EndpointPart>);

/// An endpoint's limits and those of its service, as one worker holds them.
pub(super) struct EndpointPart {
    worker: usize,
    share: Arc<EndpointShare>,
    door: Option<Rc<Door>>,
    service: Option<Arc<ServiceShare>>,
}

/// A place among the retries under way. Dropping it gives it back.
pub(crate) struct RetryPlace(Option<Arc<Tally>>);

/// Why a try may not begin.
pub(super) enum Refused {
    /// The service has as many requests as it may, or others wait for their turn.
    Requests,
    /// Each endpoint has as many as it may.
    Endpoints,
    /// Waiting would not help.
    Unreached(Unreached),
}

impl Limited {
    /// Takes over what all workers share.
    pub fn set(&mut self, worker: usize, share: Option<&Arc<ServiceShare>>) {
        self.worker = worker;
        let gate = share.and_then(|share| share.gate.as_ref());
        let same = match (&self.door, gate) {
            (Some(door), Some(gate)) => Arc::ptr_eq(door.gate(), gate),
            (door, gate) => door.is_none() && gate.is_none(),
        };
        if !same {
            self.door = gate.map(|gate| Door::new(gate.clone(), worker));
        }
        self.share = share.cloned();
    }

    /// Connections of the service as a whole.
    pub fn connections(&self) -> Option<&Tally> {
        self.share.as_ref().map(|share| &*share.connections)
    }

    pub fn samples(&self) -> Option<&Samples> {
        self.share.as_ref()?.samples.as_deref()
    }

    /// A try counts until the head of its answer has come, and not to its end.
    pub fn is_until_head(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.until_head)
    }
}

impl EndpointPart {
    /// Of an endpoint of this service. `None`: as it was.
    pub fn fitting(
        before: Option<&EndpointPart>,
        limited: &Limited,
        share: &Arc<EndpointShare>,
    ) -> Option<Self> {
        let of = |share: &Option<Arc<ServiceShare>>| share.as_ref().map(Arc::as_ptr);
        let is_same = before.is_some_and(|before| {
            Arc::ptr_eq(&before.share, share) && of(&before.service) == of(&limited.share)
        });
        (!is_same).then(|| EndpointPart {
            worker: limited.worker,
            share: share.clone(),
            door: limited.door.clone(),
            service: limited.share.clone(),
        })
    }

    /// Connections that count together with one to this endpoint: its own, and all of the service.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let all = self.service.as_ref().map(|service| &*service.connections);
        [Some(&*self.share.connections), all].into_iter().flatten()
    }

    #[inline]
    fn take(&self) -> bool {
        self.share.requests.as_ref().is_none_or(|requests| requests.take(self.worker))
    }

    #[inline]
    fn give(&self) {
        if let Some(requests) = &self.share.requests {
            requests.give(self.worker);
        }
    }
}

impl Service {
    /// An endpoint for a try, where the limits leave room. With a `turn` it goes before those who wait.
    #[inline]
    pub(super) fn admit(self: &Rc<Service>, wanted: Wanted<'_>, turn: bool) -> Result<Lent, Refused> {
        let limited = self.limited.borrow();
        match &limited.door {
            Some(door) => self.admit_by(door, wanted, turn),
            None => self.choose(wanted).map(|picked| self.lend(picked, None)).map_err(Refused::Unreached),
        }
    }

    fn admit_by(self: &Rc<Service>, door: &Door, wanted: Wanted<'_>, turn: bool) -> Result<Lent, Refused> {
        if !turn && !door.may_pass() {
            return Err(Refused::Requests);
        }
        let picked = self.choose(wanted).map_err(Refused::Unreached)?;
        let (picked, part) = match self.take_endpoint(picked.slot) {
            Some(part) => (picked, part),
            None => match self.take_another(wanted, picked.slot) {
                Some(another) => another,
                // Where the service has none left either, a turn is what it takes.
                None if door.gate().requests.available() == 0 => return Err(Refused::Requests),
                None => return Err(Refused::Endpoints),
            },
        };
        if !door.take() {
            part.give();
            return Err(Refused::Requests);
        }
        Ok(self.lend(picked, Some(Admission(part))))
    }

    /// Takes an endpoint's permit, if it has one to give.
    #[inline]
    fn take_endpoint(&self, slot: Slot) -> Option<Rc<EndpointPart>> {
        let pools = self.pools.borrow();
        pools[slot.0 as usize].part.as_ref().filter(|part| part.take()).cloned()
    }

    /// Another endpoint than those that have as many requests as they may; one that was tried where no other is left.
    #[cold]
    fn take_another(&self, wanted: Wanted<'_>, first: Slot) -> Option<(Picked, Rc<EndpointPart>)> {
        let mut full: SmallVec<[Slot; 8]> = SmallVec::from_slice(&[first]);
        for tried in [wanted.tried, &[]] {
            while full.len() < FULL_MAX {
                let passed_over: SmallVec<[Slot; 8]> = full.iter().chain(tried).copied().collect();
                let Some(picked) = self.pick(wanted.asked, &passed_over) else { break };
                match self.take_endpoint(picked.slot) {
                    Some(part) => return Some((picked, part)),
                    None => full.push(picked.slot),
                }
            }
            if wanted.wish.elsewhere {
                break;
            }
        }
        None
    }

    /// Waits until there is room, if anybody waits for the try. Its place is given up when the time is over, or its
    /// client is gone. `since` is when the try began to wait for whatever it was, if it did.
    pub(super) async fn wait_for_room(
        self: &Rc<Service>,
        wanted: Wanted<'_>,
        mut refused: Refused,
        by: By<'_>,
        since: &mut Option<Nanos>,
    ) -> Result<Lent, Unreached> {
        if let Refused::Unreached(unreached) = refused {
            return Err(unreached);
        }
        let door = self.limited.borrow().door.clone();
        let place = door.as_ref().filter(|_| by.client.is_some()).and_then(|door| door.join());
        let (Some(door), Some(mut place)) = (door, place) else {
            return Err(self.refuse(&refused, Refusal::Full));
        };
        if since.is_none() {
            self.counters.breaking().queued.increment();
        }
        let since = *since.get_or_insert(now());
        let until = until(&door, since, by);
        loop {
            let ended = match refused {
                Refused::Requests if place.may_try() => Ended::Turn,
                Refused::Requests => place.turn(until, by.client).await,
                Refused::Endpoints => place.step_aside(until, by.client).await,
                Refused::Unreached(unreached) => return Err(unreached),
            };
            match ended {
                Ended::Turn => match self.admit(wanted, true) {
                    Ok(lent) => {
                        self.counters.breaking().waited.record(now().since(since).as_micros() as u64);
                        return Ok(lent);
                    }
                    Err(Refused::Requests) => {
                        place.missed();
                        refused = Refused::Requests;
                    }
                    Err(other) => refused = other,
                },
                Ended::Late if now() >= by.deadline => return Err(unreached(Reason::ExchangeTimeout)),
                Ended::Late => return Err(self.refuse(&refused, Refusal::Late)),
                Ended::Gone => return Err(unreached(Reason::ClientGone)),
            }
        }
    }

    /// Whether it is worth waiting for a connection: the limit is reached, and requests of this service may wait.
    pub(super) fn may_wait_on(&self, error: Error, by: By<'_>, since: &mut Option<Nanos>) -> bool {
        let limited = self.limited.borrow();
        let Some(door) = limited.door.as_ref().filter(|_| matches!(error, Error::Full)) else { return false };
        let since = *since.get_or_insert(now());
        by.client.is_some() && door.gate().waiting_max() > 0 && now() < until(door, since, by)
    }

    /// Waits a moment for a connection, as one of those that wait.
    pub(super) async fn step_aside(&self, by: By<'_>) -> Result<(), Unreached> {
        let door = self.limited.borrow().door.clone();
        let Some(mut place) = door.and_then(|door| door.join()) else {
            return Err(self.refuse(&Refused::Endpoints, Refusal::Full));
        };
        match place.step_aside(by.deadline.min(by.try_at), by.client).await {
            Ended::Turn => Ok(()),
            Ended::Late if now() >= by.deadline => Err(unreached(Reason::ExchangeTimeout)),
            Ended::Late => Err(self.refuse(&Refused::Endpoints, Refusal::Late)),
            Ended::Gone => Err(unreached(Reason::ClientGone)),
        }
    }

    /// What the client is told, and counted.
    fn refuse(&self, refused: &Refused, how: Refusal) -> Unreached {
        let breaking = self.counters.breaking();
        let limited = self.limited.borrow();
        let may_wait = limited.door.as_ref().is_some_and(|door| door.gate().waiting_max() > 0);
        let (reason, refusal) = match (refused, how) {
            (_, Refusal::Late) => (Reason::BreakerWait, Refusal::Late),
            (Refused::Endpoints, _) if !may_wait => (Reason::BreakerEndpoints, Refusal::Endpoints),
            _ if !may_wait => (Reason::BreakerRequests, Refusal::Requests),
            _ => (Reason::BreakerPending, Refusal::Full),
        };
        breaking.refused[refusal as usize].increment();
        unreached(reason)
    }

    /// A place among the retries that the service may have under way.
    pub fn retry_place(&self) -> Option<RetryPlace> {
        let limited = self.limited.borrow();
        let Some(retries) = limited.share.as_ref().map(|share| &share.retries) else {
            return Some(RetryPlace(None));
        };
        if retries.max() == u32::MAX {
            return Some(RetryPlace(None));
        }
        if retries.take() {
            return Some(RetryPlace(Some(retries.clone())));
        }
        self.counters.breaking().refused[Refusal::Retries as usize].increment();
        None
    }
}

/// Another endpoint would not change it.
fn unreached(reason: Reason) -> Unreached {
    Unreached::nobody(reason.into())
}

/// How long a try that began to wait at `since` may.
fn until(door: &Door, since: Nanos, by: By<'_>) -> Nanos {
    Nanos(since.0.saturating_add(door.gate().wait_ns())).min(by.deadline).min(by.try_at)
}

impl Drop for Admission {
    #[inline]
    fn drop(&mut self) {
        self.0.give();
        if let Some(door) = &self.0.door {
            door.give();
        }
    }
}

impl Drop for RetryPlace {
    fn drop(&mut self) {
        if let Some(retries) = &self.0 {
            retries.give();
        }
    }
}
