//! Merges what workers count of each endpoint.
//!
//! Sums of a worker only grow, and end with the endpoint there; a worker that begins anew (the endpoint came back, or its
//! terms are others) brings sums of its own. So what is new since the last look is told by each pair of worker and
//! endpoint, and added.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_engine::balance::Address;
use ringway_engine::outcomes::{Counting, Outcomes, Sums};

use super::judge::Seen;

/// What all workers count.
#[derive(Default)]
pub(super) struct Workers {
    counted: BTreeMap<Arc<str>, BTreeMap<Address, Counted>>,
}

/// One endpoint.
#[derive(Default)]
struct Counted {
    workers: Vec<(Arc<Outcomes>, Sums)>,
    /// By workers that count no more as well.
    answered_at_ns: u64,
}

impl Workers {
    /// Workers that began to count.
    pub fn take_in(&mut self, counting: impl Iterator<Item = Counting>) {
        for one in counting {
            let of_service = self.counted.entry(one.service).or_default();
            of_service.entry(one.address).or_default().workers.push((one.outcomes, Sums::default()));
        }
    }

    /// Whether a success of this endpoint is waited for too.
    pub fn set_probed(&self, service: &Arc<str>, address: &Address, probed: bool) {
        let counted = self.counted.get(service).and_then(|of_service| of_service.get(address));
        let workers = counted.into_iter().flat_map(|counted| &counted.workers);
        workers.for_each(|(outcomes, _)| outcomes.set_probed(probed));
    }

    /// Lets go of workers that count no more.
    pub fn let_go(&mut self) {
        self.counted.retain(|_, of_service| {
            of_service.retain(|_, counted| {
                counted.workers.retain(|(outcomes, _)| Arc::strong_count(outcomes) > 1);
                !counted.workers.is_empty()
            });
            !of_service.is_empty()
        });
    }

    /// What was seen of an endpoint since the last look.
    pub fn seen(&mut self, service: &Arc<str>, address: &Address) -> Seen {
        let counted = self.counted.get_mut(service).and_then(|of_service| of_service.get_mut(address));
        counted.map_or_else(Seen::default, Counted::seen)
    }
}

impl Counted {
    fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        for (outcomes, before) in &mut self.workers {
            let now = outcomes.sums();
            seen.answered += now.answered.wrapping_sub(before.answered);
            seen.failed += now.failed.wrapping_sub(before.failed);
            seen.latency_us = seen.latency_us.wrapping_add(now.latency_us.wrapping_sub(before.latency_us));
            seen.failed_at_ns.extend(outcomes.failed_at_ns());
            *before = now;
        }
        // After all failures: none is seen without a success before it, whichever worker had that.
        for (outcomes, _) in &self.workers {
            self.answered_at_ns = self.answered_at_ns.max(outcomes.answered_at_ns());
        }
        seen.answered_at_ns = self.answered_at_ns;
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_engine::outcomes::counting;

    #[test]
    fn workers_are_added_up_and_only_what_is_new_is_told() {
        let address = Address::Ip(([127, 0, 0, 1], 80).into());
        let (service, mut workers): (Arc<str>, _) = ("app".into(), Workers::default());
        let (one, other) = (counting(&service, &address, 4), counting(&service, &address, 4));
        workers.take_in([one.clone(), other.clone()].into_iter());
        one.outcomes.succeeded(10, 100);
        one.outcomes.failed(20);
        other.outcomes.failed(15);
        other.outcomes.failed(25);
        let seen = workers.seen(&service, &address);
        assert_eq!((seen.answered, seen.failed, seen.latency_us, seen.answered_at_ns), (1, 3, 100, 10));
        let mut at = seen.failed_at_ns;
        at.sort();
        assert_eq!(at, [15, 20, 25]);
        other.outcomes.succeeded(30, 50);
        let seen = workers.seen(&service, &address);
        assert_eq!((seen.answered, seen.failed, seen.latency_us, seen.answered_at_ns), (1, 0, 50, 30));
        // A worker that begins anew: what it saw before is over, but for when it was last answered.
        drop(other);
        let again = counting(&service, &address, 4);
        workers.take_in([again.clone()].into_iter());
        workers.let_go();
        again.outcomes.failed(40);
        let seen = workers.seen(&service, &address);
        assert_eq!((seen.answered, seen.failed, seen.answered_at_ns), (0, 1, 30));
        assert_eq!(workers.seen(&"none".into(), &address).failed, 0);
    }
}
