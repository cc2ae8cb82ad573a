//! Overload: how much more there is than can be done, and what is shed for it.
//!
//! Two signals are looked at ten times a second: how late a worker's loop is to what is due, by the worker itself, and
//! how much memory the process uses, by the background for all. Each becomes a [`Pressure`] (`gauge`); a worker goes
//! by the larger one. On the line: before a route's action, one comparison ([`Pressure::sheds`]); and before accepting.
//! Invariant: what is critical is never shed.

mod gauge;
mod lag;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

pub use gauge::{Gauge, signal};
pub(crate) use lag::watch;
pub use ringway_runtime::Nanos;

/// How often the signals are looked at.
pub const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// What `overload` and `runtime.memory` say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OverloadPlan {
    /// A loop so late sheds something; `None`: not looked at.
    pub loop_lag_ns: Option<u64>,
    /// Such a share of the memory that may be used sheds something; `None`: not looked at.
    pub memory: Option<f64>,
    /// Bytes that may be used; `None`: what the process's cgroup allows.
    pub memory_bytes: Option<u64>,
}

/// What is shed later comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Priority {
    /// Never shed.
    Critical,
    /// Shed last.
    High,
    /// Shed after what is low.
    Normal,
    /// Shed first.
    Low,
}

impl Priority {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// How far above what can be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// Nothing is shed.
    #[default]
    None,
    /// What is low is shed.
    Low,
    /// And what is normal.
    Normal,
    /// And what is high.
    High,
    /// And new connections wait.
    Full,
}

impl Pressure {
    pub(crate) const ALL: [Pressure; 5] =
        [Pressure::None, Pressure::Low, Pressure::Normal, Pressure::High, Pressure::Full];

    /// Whether requests of this priority are shed.
    #[inline]
    pub fn sheds(self, priority: Priority) -> bool {
        self as u8 + priority as u8 > Priority::Low as u8 && priority != Priority::Critical
    }

    /// Whether new connections wait.
    #[inline]
    pub fn sheds_connections(self) -> bool {
        self == Pressure::Full
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Pressure::None => "nothing is shed",
            Pressure::Low => "requests of low priority are shed",
            Pressure::Normal => "requests of low and normal priority are shed",
            Pressure::High => "all requests but critical ones are shed",
            Pressure::Full => "all requests but critical ones are shed, and new connections wait",
        }
    }

    pub(crate) fn of(number: u8) -> Pressure {
        Pressure::ALL.get(usize::from(number)).copied().unwrap_or(Pressure::Full)
    }
}

/// What the background knows about the process's memory; workers read it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pressure: AtomicU8,
    used: AtomicU64,
    cap: AtomicU64,
}

impl Memory {
    pub fn tell(&self, pressure: Pressure, used: u64, cap: Option<u64>) {
        self.pressure.store(pressure as u8, Relaxed);
        self.used.store(used, Relaxed);
        self.cap.store(cap.unwrap_or(0), Relaxed);
    }

    pub fn pressure(&self) -> Pressure {
        Pressure::of(self.pressure.load(Relaxed))
    }

    /// Bytes used and, if known, how many may be.
    pub fn bytes(&self) -> (u64, Option<u64>) {
        (self.used.load(Relaxed), Some(self.cap.load(Relaxed)).filter(|cap| *cap > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_priority_is_shed_first_and_critical_never() {
        use Priority::{Critical, High, Low, Normal};
        let shed = |pressure: Pressure| -> Vec<Priority> {
            [Critical, High, Normal, Low].into_iter().filter(|one| pressure.sheds(*one)).collect()
        };
        assert_eq!(shed(Pressure::None), []);
        assert_eq!(shed(Pressure::Low), [Low]);
        assert_eq!(shed(Pressure::Normal), [Normal, Low]);
        assert_eq!(shed(Pressure::High), [High, Normal, Low]);
        assert_eq!(shed(Pressure::Full), [High, Normal, Low]);
        let last: Vec<bool> = Pressure::ALL.into_iter().map(Pressure::sheds_connections).collect();
        assert_eq!(last, [false, false, false, false, true]);
    }
}
