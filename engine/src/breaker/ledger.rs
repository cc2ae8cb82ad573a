//! Permits of one limit, shared by all workers without a cache line that each of them writes for each request.
//!
//! ```text
//!            batches, when a stock is empty or overfull
//!   free  <------------------------------------------>  stock of worker 0 <--> its requests
//!                                                       stock of worker 1 <--> its requests
//! ```
//!
//! A permit is free, in a worker's stock, or held by a request. A worker takes from its own stock and gives back to it:
//! one atomic step on a cache line that is otherwise its own. Where its stock is empty it takes several from what is
//! free; where nothing is free, one from another's stock. So permits in stocks are never lost to who needs them.
//!
//! Invariant: permits are only ever moved, each move taking before it gives: so no more than `max` are held at any
//! moment, whatever the workers do at once. A lowered limit is a debt: `free` is negative until so many have come back.
//!
//! How early it may refuse: only where one look along all places found each of them empty. What is being moved at that
//! very moment may be missed: at most one batch (an eighth of the limit by all workers together) by each other worker
//! that is in the midst of moving one. Whoever gives one back looks for waiting requests after that, so nobody who waits
//! is missed by it.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::SeqCst};

/// A worker's stock is never larger, so that a large limit is not spread thin.
const STOCK_MAX: u32 = 64;

/// Alone on its cache lines (two, since processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Alone<T>(pub T);

/// See the module. Every step is sequentially consistent: the gate relies on "given back, then looked for who waits"
/// and "known to wait, then looked for permits" never missing each other.
#[derive(Debug)]
pub(crate) struct Ledger {
    free: Alone<AtomicI64>,
    max: Alone<AtomicU32>,
    stocks: Box<[Alone<AtomicU32>]>,
}

impl Ledger {
    pub fn new(max: u32, workers: usize) -> Ledger {
        Ledger {
            free: Alone(AtomicI64::new(max.into())),
            max: Alone(AtomicU32::new(max)),
            stocks: (0..workers.max(1)).map(|_| Alone::default()).collect(),
        }
    }

    /// The limit.
    pub fn max(&self) -> u32 {
        self.max.0.load(SeqCst)
    }

    /// Takes a permit for `worker`, from wherever one is.
    #[inline]
    pub fn take(&self, worker: usize) -> bool {
        self.take_own(worker) || self.take_free(worker) || self.take_others(worker)
    }

    /// Gives one back.
    #[inline]
    pub fn give(&self, worker: usize) {
        let stock = self.stocks[worker].0.fetch_add(1, SeqCst) + 1;
        if stock > self.stock_max() || self.free.0.load(SeqCst) < 0 {
            self.give_surplus(worker);
        }
    }

    #[inline]
    pub(super) fn take_own(&self, worker: usize) -> bool {
        take_from(&self.stocks[worker].0)
    }

    /// Takes several from what is free: one to use, the others to keep. The less is left, the fewer.
    #[cold]
    pub(super) fn take_free(&self, worker: usize) -> bool {
        let (workers, most) = (self.stocks.len() as i64, i64::from(self.stock_max()) / 2);
        let kept = |free: i64| (free / (8 * workers)).min(most);
        let mut taken = 0;
        let some = self.free.0.fetch_update(SeqCst, SeqCst, |free| {
            taken = 1 + kept(free);
            (free > 0).then(|| free - taken)
        });
        if some.is_ok() && taken > 1 {
            self.stocks[worker].0.fetch_add((taken - 1) as u32, SeqCst);
        }
        some.is_ok()
    }

    /// Takes one from the stock of another worker.
    #[cold]
    pub(super) fn take_others(&self, worker: usize) -> bool {
        let (before, after) = self.stocks.split_at(worker);
        after.iter().chain(before).any(|stock| stock.0.load(SeqCst) > 0 && take_from(&stock.0))
    }

    /// Gives back what is more than half a stock; everything while there is a debt.
    #[cold]
    pub(super) fn give_surplus(&self, worker: usize) {
        let kept = if self.free.0.load(SeqCst) < 0 { 0 } else { self.stock_max().div_ceil(2) };
        let stock = &self.stocks[worker].0;
        if let Ok(before) = stock.fetch_update(SeqCst, SeqCst, |stock| (stock > kept).then_some(kept)) {
            self.free.0.fetch_add(i64::from(before - kept), SeqCst);
        }
    }

    /// Changes the limit. One thread at a time: the engine does it under its lock.
    pub fn resize(&self, max: u32) {
        let before = self.max.0.swap(max, SeqCst);
        let free = self.free.0.fetch_add(i64::from(max) - i64::from(before), SeqCst);
        if free + i64::from(max) < i64::from(before) {
            for worker in 0..self.stocks.len() {
                self.give_surplus(worker);
            }
        }
    }

    /// How many could be taken now.
    pub fn available(&self) -> u64 {
        self.in_stocks() + self.free.0.load(SeqCst).max(0) as u64
    }

    /// How many are held; of a scrape, so what moves meanwhile may be counted twice or not at all.
    pub fn in_use(&self) -> u64 {
        let unused = self.in_stocks() as i64 + self.free.0.load(SeqCst);
        (i64::from(self.max()) - unused).max(0) as u64
    }

    fn in_stocks(&self) -> u64 {
        self.stocks.iter().map(|stock| u64::from(stock.0.load(SeqCst))).sum()
    }

    #[inline]
    fn stock_max(&self) -> u32 {
        (self.max() / (8 * self.stocks.len() as u32)).clamp(1, STOCK_MAX)
    }
}

#[inline]
fn take_from(stock: &AtomicU32) -> bool {
    stock.fetch_update(SeqCst, SeqCst, |stock| stock.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_small_limit_is_exact_on_any_number_of_workers() {
        for workers in 1..=8 {
            for max in [0, 1, 5, 10, 63] {
                let ledger = Ledger::new(max, workers);
                let taken = (0..200).filter(|turn| ledger.take(turn % workers)).count();
                assert_eq!(taken as u32, max, "{workers} workers");
                assert_eq!((ledger.available(), ledger.in_use()), (0, u64::from(max)));
            }
        }
    }

    #[test]
    fn a_large_limit_is_exact_too_and_stocks_stay_small() {
        let ledger = Ledger::new(10_000, 8);
        assert!((0..3000).all(|turn| ledger.take(turn % 8)));
        assert!(ledger.in_stocks() <= 8 * u64::from(STOCK_MAX), "{}", ledger.in_stocks());
        assert!((0..7000).all(|_| ledger.take(5)), "what others keep is found");
        assert!(!ledger.take(5) && !ledger.take(0));
    }

    #[test]
    fn a_worker_that_takes_and_gives_touches_nothing_but_its_own() {
        let ledger = Ledger::new(1000, 4);
        assert!(ledger.take(0));
        let free = ledger.free.0.load(SeqCst);
        ledger.give(0);
        for _ in 0..1000 {
            assert!(ledger.take_own(0));
            ledger.give(0);
        }
        assert_eq!(ledger.free.0.load(SeqCst), free);
    }

    #[test]
    fn a_lowered_limit_is_a_debt_that_is_paid_first() {
        let ledger = Ledger::new(10, 2);
        assert!((0..10).all(|turn| ledger.take(turn % 2)));
        ledger.resize(4);
        assert_eq!(ledger.in_use(), 10);
        for _ in 0..6 {
            ledger.give(0);
            assert!(!ledger.take(0) && !ledger.take(1), "the debt comes first");
        }
        ledger.give(1);
        assert!(ledger.take(0) && !ledger.take(0));
        ledger.resize(6);
        assert!(ledger.take(1) && ledger.take(1) && !ledger.take(1));
    }

    #[test]
    fn what_is_in_stocks_is_taken_back_when_the_limit_is_lowered() {
        let ledger = Ledger::new(1000, 2);
        assert!(ledger.take(0) && ledger.take(1));
        ledger.resize(2);
        assert_eq!((ledger.available(), ledger.in_use()), (0, 2));
    }

    #[test]
    fn threads_never_hold_more_than_the_limit_and_leave_all_of_it() {
        for (workers, max) in [(2, 1), (4, 3), (8, 10), (8, 100)] {
            let ledger = Ledger::new(max, workers);
            let (held, most, got) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            std::thread::scope(|scope| {
                for worker in 0..workers {
                    let (ledger, held, most, got) = (&ledger, &held, &most, &got);
                    scope.spawn(move || {
                        let mut mine = 0u32;
                        let mut dice = fastrand::Rng::with_seed(worker as u64);
                        for _ in 0..20_000 {
                            if dice.bool() && ledger.take(worker) {
                                most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                                got.fetch_add(1, SeqCst);
                                mine += 1;
                            } else if mine > 0 {
                                held.fetch_sub(1, SeqCst);
                                ledger.give(worker);
                                mine -= 1;
                            }
                        }
                        held.fetch_sub(mine.into(), SeqCst);
                        (0..mine).for_each(|_| ledger.give(worker));
                    });
                }
            });
            assert!(most.load(SeqCst) <= u64::from(max), "{} of {max}", most.load(SeqCst));
            assert!(got.load(SeqCst) > 1000, "they got along");
            assert_eq!((ledger.available(), ledger.in_use()), (u64::from(max), 0));
        }
    }
}
