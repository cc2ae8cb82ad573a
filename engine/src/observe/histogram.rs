//! Durations in buckets.
//!
//! Buckets are exactly those that are exported, so what Prometheus reads is exact and a histogram is three cache
//! lines, not fifteen. The bucket of a value is found without a search: its power of two gives the first bound that
//! can hold it, and at most a few comparisons lead to the right one. One worker writes, anybody reads (see `counter`).

use super::counter::Counter;

/// Counts of durations, by one worker.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// One for each bound, and one for what is beyond the last.
    counts: [Counter; BOUNDS + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Empty, with these buckets.
    pub fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, counts: Default::default(), sum_us: Counter::default() }
    }

    /// Counts one duration in microseconds.
    #[inline]
    pub fn record(&self, us: u64) {
        self.counts[self.bounds.bucket(us)].increment();
        self.sum_us.add(us);
    }

    /// Adds what `other` counted; both have the same bounds. For whoever is the writer of `self`.
    pub fn fold(&self, other: &Histogram) {
        debug_assert!(std::ptr::eq(self.bounds, other.bounds), "buckets are added to their like");
        for (mine, theirs) in self.counts.iter().zip(&other.counts) {
            mine.add(theirs.get());
        }
        self.sum_us.add(other.sum_us.get());
    }
}

/// Several workers' histograms, added up when scraped.
#[derive(Clone, Debug)]
pub struct Merged {
    bounds: &'static Bounds,
    counts: [u64; BOUNDS + 1],
    sum_us: u64,
}

impl Merged {
    /// Of nothing yet.
    pub fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, counts: [0; BOUNDS + 1], sum_us: 0 }
    }

    /// Adds one worker's counts. Its sum is read apart from them and may be ahead by what is recorded meanwhile.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.get();
        }
        self.sum_us += histogram.sum_us.get();
    }

    /// For each bound its text in seconds and how many were at most that; the last is `+Inf` and all.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = self.bounds.le.iter().copied().chain(["+Inf"]);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

/// Upper bounds of buckets, inclusive.
#[derive(Debug)]
pub struct Bounds {
    us: [u64; BOUNDS],
    le: [&'static str; BOUNDS],
    /// For values with n leading zeros: the first bucket that can hold one.
    first: [u8; 65],
}

/// Number of bounds.
pub const BOUNDS: usize = 16;

/// For exchanges: half a millisecond to a minute.
pub static DURATIONS: Bounds = Bounds::new(
    [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ],
    [
        "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
        "10", "30", "60",
    ],
);

/// For turns of a loop: ten microseconds to a second.
pub static LAGS: Bounds = Bounds::new(
    [
        10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000,
    ],
    [
        "0.00001", "0.000025", "0.00005", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01",
        "0.025", "0.05", "0.1", "0.25", "0.5", "1",
    ],
);

impl Bounds {
    const fn new(us: [u64; BOUNDS], le: [&'static str; BOUNDS]) -> Self {
        let mut first = [0; 65];
        let mut zeros = 0;
        while zeros < 64 {
            // The least value with so many leading zeros.
            let least = 1 << (63 - zeros);
            let mut at = 0;
            while at < BOUNDS && us[at] < least {
                at += 1;
            }
            first[zeros] = at as u8;
            zeros += 1;
        }
        Self { us, le, first }
    }

    #[inline]
    fn bucket(&self, us: u64) -> usize {
        let mut at = usize::from(self.first[us.leading_zeros() as usize]);
        while at < BOUNDS && us > self.us[at] {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_inclusive_as_prometheus_wants_them() {
        let histogram = Histogram::new(&DURATIONS);
        for us in [0, 500, 501, 60_000_000, 60_000_001, u64::from(u32::MAX)] {
            histogram.record(us);
        }
        let mut merged = Merged::new(&DURATIONS);
        merged.add(&histogram);
        let cumulative: Vec<_> = merged.cumulative().collect();
        assert_eq!(cumulative[0], ("0.0005", 2));
        assert_eq!(cumulative[1], ("0.001", 3));
        assert_eq!(cumulative[15], ("60", 4));
        assert_eq!(cumulative[16], ("+Inf", 6));
        assert_eq!(merged.count(), 6);
    }

    #[test]
    fn texts_say_what_the_bounds_are() {
        for bounds in [&DURATIONS, &LAGS] {
            for (us, le) in bounds.us.iter().zip(bounds.le) {
                assert_eq!((le.parse::<f64>().unwrap() * 1e6).round() as u64, *us);
            }
            assert!(bounds.us.is_sorted());
        }
    }

    #[test]
    fn merging_and_folding_add_up() {
        let (one, other) = (Histogram::new(&LAGS), Histogram::new(&LAGS));
        one.record(7);
        other.record(70);
        other.record(700);
        let mut merged = Merged::new(&LAGS);
        merged.add(&one);
        merged.add(&other);
        assert_eq!((merged.count(), merged.sum_us()), (3, 777));
        one.fold(&other);
        let mut folded = Merged::new(&LAGS);
        folded.add(&one);
        assert_eq!(folded.counts, merged.counts);
    }

    proptest! {
        #[test]
        fn the_bucket_is_the_one_a_search_finds(us in prop_oneof![any::<u64>(), 0u64..100_000_000, 0u64..3000]) {
            for bounds in [&DURATIONS, &LAGS] {
                prop_assert_eq!(bounds.bucket(us), bounds.us.partition_point(|&bound| bound < us));
            }
        }
    }
}
