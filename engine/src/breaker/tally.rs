//! A limit that is asked only now and then: connections, retries. One count for all workers.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// How many there are of how many there may be. The limit may change while some are there.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Tally {
    taken: AtomicU32,
    max: AtomicU32,
    /// Somebody found it full and would like one that is kept without need.
    wanted: AtomicU32,
}

impl Tally {
    pub fn new(max: u32) -> Tally {
        Tally { taken: AtomicU32::new(0), max: AtomicU32::new(max), wanted: AtomicU32::new(0) }
    }

    pub fn take(&self) -> bool {
        let max = self.max();
        self.taken.fetch_update(SeqCst, SeqCst, |taken| (taken < max).then_some(taken + 1)).is_ok()
    }

    pub fn give(&self) {
        let before = self.taken.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "what is given back was taken");
    }

    pub fn resize(&self, max: u32) {
        self.max.store(max, SeqCst);
    }

    pub fn max(&self) -> u32 {
        self.max.load(SeqCst)
    }

    pub fn taken(&self) -> u32 {
        self.taken.load(SeqCst)
    }

    /// Asks those who keep one unused to let go of it.
    pub fn want(&self) {
        self.wanted.store(1, SeqCst);
    }

    /// Whether somebody does, and none has been let go for that yet.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(SeqCst) != 0
    }

    /// As [`Tally::is_wanted`], for who lets go of one.
    pub fn take_wish(&self) -> bool {
        self.is_wanted() && self.wanted.swap(0, SeqCst) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_exact_and_follows_its_limit() {
        let tally = Tally::new(2);
        assert!(tally.take() && tally.take() && !tally.take());
        tally.resize(1);
        tally.give();
        assert!(!tally.take(), "one is still there");
        tally.give();
        assert!(tally.take());
    }

    #[test]
    fn a_wish_is_fulfilled_once() {
        let tally = Tally::new(1);
        assert!(!tally.take_wish());
        tally.want();
        assert!(tally.take_wish() && !tally.take_wish());
    }
}
