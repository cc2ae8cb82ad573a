//! How many requests to one service may be retries: a share of those under way, and a floor for each second.
//!
//! Each worker lends out its share of its own requests; what all workers lend is then no more than that share of all
//! of them. A retry holds its part from the decision, through its wait, to its answer, so waits make no room for more. The
//! floor is one for the node. Its time is one atomic word, looked at by whoever finds its share lent, and written only
//! when a retry is let through: as often a second as the floor allows. Invariant: at any time at most `share` of the
//! requests under way are retries, but for those of the floor, of which any `t` seconds see at most `floor * (t + 1)`.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A budget as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPlan {
    /// Parts per million of the requests under way.
    pub share_ppm: u32,
    /// A second, on the node.
    pub floor: u32,
}

/// One worker's part of a service's budget.
#[derive(Debug, Default)]
pub struct Budget {
    active: Cell<u32>,
    lent: Cell<u32>,
}

/// Out of what a retry is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The share; [`Budget::give_back`] it.
    Share,
    /// The floor.
    Floor,
}

impl Budget {
    /// A request begins.
    #[inline]
    pub fn began(&self) {
        self.active.set(self.active.get() + 1);
    }

    /// It ended.
    #[inline]
    pub fn ended(&self) {
        debug_assert!(self.active.get() > 0, "what ends began");
        self.active.set(self.active.get().saturating_sub(1));
    }

    /// Lets one more try through, if it may be.
    pub fn take(&self, plan: &BudgetPlan, floor: &Floor, now_ns: u64) -> Option<Taken> {
        let share = u64::from(self.active.get()) * u64::from(plan.share_ppm) / 1_000_000;
        if u64::from(self.lent.get()) < share {
            self.lent.set(self.lent.get() + 1);
            return Some(Taken::Share);
        }
        floor.take(plan.floor, now_ns).then_some(Taken::Floor)
    }

    /// The try is over.
    pub fn give_back(&self, taken: Taken) {
        if taken == Taken::Share {
            debug_assert!(self.lent.get() > 0, "what is given back was lent");
            self.lent.set(self.lent.get().saturating_sub(1));
        }
    }

    /// Requests under way.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Retries of the share under way.
    pub fn lent(&self) -> u32 {
        self.lent.get()
    }
}

/// The floor of a service on this node, shared by its workers: until when what it allows has been taken.
#[derive(Debug, Default)]
pub struct Floor(AtomicU64);

/// How far ahead of time it may be taken.
const AHEAD_NS: u64 = 1_000_000_000;

impl Floor {
    /// Takes one of `rate` a second.
    fn take(&self, rate: u32, now_ns: u64) -> bool {
        if rate == 0 {
            return false;
        }
        let each = AHEAD_NS / u64::from(rate);
        let mut taken_until = self.0.load(Relaxed);
        loop {
            // The clock begins at zero, where nothing has been taken yet.
            let next = taken_until.max(now_ns) + each;
            if next > now_ns + AHEAD_NS {
                return false;
            }
            match self.0.compare_exchange_weak(taken_until, next, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(other) => taken_until = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: BudgetPlan = BudgetPlan { share_ppm: 200_000, floor: 10 };
    const SECOND: u64 = 1_000_000_000;

    fn spent(floor: &Floor, now_ns: u64) {
        while floor.take(PLAN.floor, now_ns) {}
    }

    #[test]
    fn a_fifth_of_what_is_under_way_may_be_retries() {
        let (budget, floor) = (Budget::default(), Floor::default());
        spent(&floor, 0);
        (0..14).for_each(|_| budget.began());
        assert_eq!(budget.take(&PLAN, &floor, 0), Some(Taken::Share));
        assert_eq!(budget.take(&PLAN, &floor, 0), Some(Taken::Share));
        assert_eq!(budget.take(&PLAN, &floor, 0), None, "2.8 are two");
        budget.give_back(Taken::Share);
        assert_eq!(budget.take(&PLAN, &floor, 0), Some(Taken::Share));
    }

    #[test]
    fn the_floor_comes_back_with_time_and_not_beyond_a_second() {
        let floor = Floor::default();
        let count = |now_ns| (0..1000).filter(|_| floor.take(10, now_ns)).count();
        assert_eq!(count(5 * SECOND), 10);
        assert_eq!(count(5 * SECOND + SECOND / 10 - 1), 0);
        assert_eq!(count(5 * SECOND + SECOND / 10), 1);
        assert_eq!(count(3600 * SECOND), 10);
    }

    #[test]
    fn who_has_no_floor_has_the_share_alone() {
        let (budget, floor) = (Budget::default(), Floor::default());
        let plan = BudgetPlan { floor: 0, ..PLAN };
        assert_eq!(budget.take(&plan, &floor, SECOND), None);
        (0..5).for_each(|_| budget.began());
        assert_eq!(budget.take(&plan, &floor, SECOND), Some(Taken::Share));
    }

    /// Random arrivals, waits and ends on one to eight workers, with a virtual clock.
    #[test]
    fn no_arrivals_on_any_number_of_workers_exceed_it() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let workers: Vec<Budget> = (0..random.usize(1..=8)).map(|_| Budget::default()).collect();
            let plan = BudgetPlan { share_ppm: random.u32(0..=1_000_000), floor: random.u32(0..=50) };
            let floor = Floor::default();
            let (began_ns, mut now_ns) = (random.u64(0..SECOND), 0);
            let mut retrying: Vec<(usize, Taken)> = Vec::new();
            let mut of_floor: Vec<u64> = Vec::new();
            for _ in 0..2000 {
                now_ns = now_ns.max(began_ns) + random.u64(0..SECOND / 100);
                let at = random.usize(..workers.len());
                match random.u32(..4) {
                    0 => workers[at].began(),
                    1 if workers[at].active() > workers[at].lent() => workers[at].ended(),
                    2 if !retrying.is_empty() => {
                        let (at, taken) = retrying.swap_remove(random.usize(..retrying.len()));
                        workers[at].give_back(taken);
                    }
                    _ => {
                        let before: u64 = workers.iter().map(|one| u64::from(one.lent())).sum();
                        let active: u64 = workers.iter().map(|one| u64::from(one.active())).sum();
                        match workers[at].take(&plan, &floor, now_ns) {
                            Some(Taken::Share) => {
                                retrying.push((at, Taken::Share));
                                let own = u64::from(workers[at].active()) * u64::from(plan.share_ppm);
                                assert!(u64::from(workers[at].lent()) * 1_000_000 <= own, "seed {seed}");
                                assert!(before < active, "seed {seed}");
                            }
                            Some(Taken::Floor) => of_floor.push(now_ns),
                            None => {}
                        }
                    }
                }
            }
            for (first, from) in of_floor.iter().enumerate() {
                for (last, to) in of_floor.iter().enumerate().skip(first) {
                    let count = (last - first) as u64;
                    let allowed = u64::from(plan.floor) * (to - from + SECOND) / SECOND + 1;
                    assert!(count <= allowed, "seed {seed}: {count} in {} ns", to - from);
                }
            }
        }
    }

    #[test]
    fn threads_that_take_at_once_do_not_exceed_the_floor() {
        let floor = Floor::default();
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..10_000).filter(|_| floor.take(100, 7 * SECOND)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
