//! Numbers that one worker writes and anybody reads.
//!
//! Invariant: exactly one thread writes a given counter. So adding is a relaxed load and a relaxed store, two plain
//! moves and an addition, never a locked instruction; a reader sees some recent value. A second writer would lose
//! counts but break nothing else.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// What was counted.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    #[inline]
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// One less. Going below zero is a bug of the caller; it stays at zero then.
    #[inline]
    pub fn down(&self) {
        let now = self.0.load(Relaxed);
        debug_assert!(now > 0, "what goes down went up");
        self.0.store(now.saturating_sub(1), Relaxed);
    }

    /// Is now `n`.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Its value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_and_a_gauge_follows() {
        let counter = Counter::default();
        counter.increment();
        counter.add(41);
        assert_eq!(counter.get(), 42);
        let gauge = Gauge::default();
        gauge.up();
        gauge.up();
        gauge.down();
        assert_eq!(gauge.get(), 1);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }
}
