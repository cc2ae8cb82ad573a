//! How long a service took lately, for one worker: a histogram that forgets.
//!
//! Four buckets to each doubling, so a percentile is told at most a fifth too high and never too low. Whenever a
//! thousand answers are counted all counts are halved: an answer counts half after the next five hundred.

/// Answers below which no percentile is told.
pub const SAMPLES_MIN: u32 = 50;
const SAMPLES_MAX: u32 = 1000;
/// Below 64 microseconds nothing is told apart, nor beyond about four seconds.
const OCTAVE_MIN: u32 = 6;
const BUCKETS: usize = 64;

/// Latencies of late.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: [u16; BUCKETS],
    total: u32,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: [0; BUCKETS], total: 0 }
    }
}

impl Latencies {
    /// Counts one answer.
    #[inline]
    pub fn record(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.total += 1;
        if self.total >= SAMPLES_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
    }

    /// The time within which this share (parts per million) of answers came; `None` where too little is known, or where
    /// that is longer than can be told.
    pub fn within_us(&self, share_ppm: u32) -> Option<u64> {
        if self.total < SAMPLES_MIN {
            return None;
        }
        let wanted = (u64::from(self.total) * u64::from(share_ppm)).div_ceil(1_000_000);
        let mut sum = 0;
        let found = self.counts.iter().position(|count| {
            sum += u64::from(*count);
            sum >= wanted
        })?;
        (found < BUCKETS - 1).then(|| bound_us(found))
    }
}

fn bucket(us: u64) -> usize {
    let octave = us.checked_ilog2().unwrap_or(0);
    if octave < OCTAVE_MIN {
        return 0;
    }
    let quarter = us >> (octave - 2) & 3;
    (((octave - OCTAVE_MIN) * 4) as usize + quarter as usize + 1).min(BUCKETS - 1)
}

/// What is in the bucket took less.
fn bound_us(bucket: usize) -> u64 {
    let place = bucket as u64;
    ((4 + place % 4) << (place / 4 + u64::from(OCTAVE_MIN))) / 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percentile_is_where_it_should_be() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.within_us(950_000), None);
        (0..95).for_each(|_| latencies.record(1000));
        (0..5).for_each(|_| latencies.record(500_000));
        let p95 = latencies.within_us(950_000).unwrap();
        assert!((1000..=1280).contains(&p95), "{p95}");
        let p99 = latencies.within_us(990_000).unwrap();
        assert!((500_000..=640_000).contains(&p99), "{p99}");
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut latencies = Latencies::default();
        (0..1000).for_each(|_| latencies.record(1_000_000));
        (0..10_000).for_each(|_| latencies.record(1000));
        assert!(latencies.within_us(990_000).unwrap() < 1300);
    }

    #[test]
    fn what_takes_too_long_to_be_told_is_not() {
        let mut latencies = Latencies::default();
        (0..100).for_each(|_| latencies.record(60_000_000));
        assert_eq!(latencies.within_us(500_000), None);
    }

    #[test]
    fn asking_twice_leaves_a_percentile_where_it_is() {
        // From a millisecond to a second, each doubling as often: within 708 ms are 95 of a hundred.
        let took_us = |turns: f64| (1000.0 * 1000f64.powf(turns.fract())) as u64;
        let within_us = |since_first: bool| {
            let mut latencies = Latencies::default();
            for i in 1..20_000 {
                let (first, second) = (took_us(f64::from(i) * 0.618_034), took_us(f64::from(i) * 0.414_214));
                let after = latencies.within_us(950_000).unwrap_or(u64::MAX);
                latencies.record(match after.saturating_add(second) {
                    waited if waited >= first => first,
                    waited if since_first => waited,
                    _ => second,
                });
            }
            latencies.within_us(950_000).unwrap()
        };
        assert!((708_000..=885_000).contains(&within_us(true)), "{}", within_us(true));
        assert!(within_us(false) < 500_000, "{}", within_us(false));
    }

    proptest! {
        #[test]
        fn each_time_is_within_its_bucket(us in 0u64..3_000_000) {
            let place = bucket(us);
            prop_assert!(place < BUCKETS - 1);
            prop_assert!(us < bound_us(place));
            prop_assert!(place == 0 || bound_us(place - 1) <= us);
        }
    }
}
