//! What is out of the ordinary about how endpoints were picked.

use super::counter::Counter;
use crate::balance::How;

/// Counts of one service and worker.
#[derive(Debug, Default)]
pub struct PickCounters {
    /// Picked in panic.
    pub panic: Counter,
    /// Picked from another tier than the first.
    pub overflow: Counter,
    /// A key's endpoint had enough.
    pub passed_over: Counter,
    /// The policy goes by keys, and there was none.
    pub keyless: Counter,
    /// The client went where its cookie leads.
    pub sticky_hits: Counter,
    /// Its cookie led nowhere, or to an endpoint that is not picked.
    pub sticky_misses: Counter,
}

/// Name, labels, help, and how to read it.
pub(super) type Family = (&'static str, &'static str, fn(&PickCounters) -> u64);

impl PickCounters {
    /// In the order in which they are shown.
    pub(super) const FAMILIES: [Family; 6] = [
        ("ringway_balance_panic_picks_total", "Endpoints picked in panic.", |c| c.panic.get()),
        (
            "ringway_balance_overflow_picks_total",
            "Endpoints picked from another level or zone than the first.",
            |c| c.overflow.get(),
        ),
        (
            "ringway_balance_passed_over_total",
            "Picks by key that passed over an endpoint at its bound of load.",
            |c| c.passed_over.get(),
        ),
        ("ringway_balance_keyless_total", "Picks by least_request since there was no key to hash.", |c| {
            c.keyless.get()
        }),
        ("ringway_sticky_hits_total", "Requests that went where their cookie leads.", |c| {
            c.sticky_hits.get()
        }),
        ("ringway_sticky_misses_total", "Requests with a cookie whose endpoint was not picked.", |c| {
            c.sticky_misses.get()
        }),
    ];

    /// One pick that became a try.
    pub fn count(&self, how: How) {
        let How { panic, overflow, stuck, missed, keyless, passed_over } = how;
        for (happened, counter) in [
            (panic, &self.panic),
            (overflow, &self.overflow),
            (stuck, &self.sticky_hits),
            (missed, &self.sticky_misses),
            (keyless, &self.keyless),
            (passed_over, &self.passed_over),
        ] {
            if happened {
                counter.increment();
            }
        }
    }

    /// Adds what was counted under a name that is gone.
    pub(super) fn fold(&self, gone: &PickCounters) {
        for (mine, theirs) in self.all().into_iter().zip(gone.all()) {
            mine.add(theirs.get());
        }
    }

    fn all(&self) -> [&Counter; 6] {
        let PickCounters { panic, overflow, passed_over, keyless, sticky_hits, sticky_misses } = self;
        [panic, overflow, passed_over, keyless, sticky_hits, sticky_misses]
    }
}
