//! The rate of one key: the generic cell rate algorithm, in constant time and one number of state.
//!
//! A bucket holds at most `burst` tokens and gains one each `interval`. What is kept is not how full it is but when it
//! will be full: a [`Full`] in the past is a full bucket, which is why a bucket that nobody uses needs no upkeep and
//! carries no information. The interval is a whole number of nanoseconds, rounded up: `5/min`, `100/s` and `1000/h` are
//! exact, and no rate ever lets through more than it says. Pure; `now` is nanoseconds of the loop's clock.
//!
//! Invariant: within any time `x`, what is taken is at most `burst + x / interval` tokens (debts are counted when made).

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    burst: u32,
}

/// When a bucket will be full, in nanoseconds; a time that has passed: it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Full(pub u64);

/// What there is after a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Whole tokens.
    pub tokens: u32,
    /// Until there is one more; of a refusal: until what was asked for would pass.
    pub more_ns: u64,
}

/// What `debit` may owe at most: further charges are forgotten.
const DEBT_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;
/// An empty bucket is full again within this; half of what an `u64` holds, so that no sum overflows.
const FILL_NS_MAX: u64 = u64::MAX / 4;

impl Rate {
    /// `count` in each `period_ns`, and at most `burst` at once.
    pub const fn new(count: u32, period_ns: u64, burst: u32) -> Rate {
        let count = if count == 0 { 1 } else { count };
        let burst = if burst == 0 { 1 } else { burst };
        let interval = period_ns.div_ceil(count as u64);
        let most = FILL_NS_MAX / burst as u64;
        let interval = if interval > most { most } else { interval };
        Rate { interval_ns: if interval == 0 { 1 } else { interval }, burst }
    }

    /// Tokens that may be taken at once.
    #[inline]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// From one token to the next.
    #[inline]
    pub const fn interval_ns(self) -> u64 {
        self.interval_ns
    }

    /// Takes `cost` tokens, all or none.
    #[inline]
    pub fn take(self, full: &mut Full, now: u64, cost: u32) -> Result<Left, Left> {
        let after = full.0.max(now) + u64::from(cost) * self.interval_ns;
        let latest = now + self.capacity_ns();
        if after > latest && cost > 0 {
            return Err(Left { tokens: self.tokens(*full, now), more_ns: after - latest });
        }
        *full = Full(after);
        Ok(self.left(*full, now))
    }

    /// Takes between `least` and `want` tokens: at most half of what there is, so that others find some, yet `least`
    /// wherever there are so many.
    #[inline]
    pub fn take_some(self, full: &mut Full, now: u64, least: u32, want: u32) -> Result<(u32, Left), Left> {
        let there = self.tokens(*full, now);
        let granted = want.min(there.div_ceil(2)).max(least);
        self.take(full, now, granted).map(|left| (granted, left))
    }

    /// Takes `cost` tokens, whether there are so many or not: what is missing is owed.
    #[inline]
    pub fn debit(self, full: &mut Full, now: u64, cost: u32) {
        let after = full.0.max(now).saturating_add(u64::from(cost).saturating_mul(self.interval_ns));
        let most = (now + self.capacity_ns()).saturating_add(DEBT_NS_MAX);
        *full = Full(after.min(most).max(full.0));
    }

    /// Gives back tokens that were taken and not used.
    #[inline]
    pub fn credit(self, full: &mut Full, tokens: u32) {
        full.0 = full.0.saturating_sub(u64::from(tokens) * self.interval_ns);
    }

    /// What there is.
    #[inline]
    pub fn left(self, full: Full, now: u64) -> Left {
        let empty_ns = full.0.saturating_sub(now);
        let there_ns = self.capacity_ns().saturating_sub(empty_ns);
        let tokens = (there_ns / self.interval_ns) as u32;
        let more_ns = match empty_ns.checked_sub(self.capacity_ns()) {
            Some(owed_ns) => owed_ns + self.interval_ns,
            None if empty_ns == 0 => 0,
            None => self.interval_ns - there_ns % self.interval_ns,
        };
        Left { tokens, more_ns }
    }

    #[inline]
    fn tokens(self, full: Full, now: u64) -> u32 {
        let there_ns = self.capacity_ns().saturating_sub(full.0.saturating_sub(now));
        (there_ns / self.interval_ns) as u32
    }

    #[inline]
    const fn capacity_ns(self) -> u64 {
        self.burst as u64 * self.interval_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;
    const MIN: u64 = 60 * S;

    #[test]
    fn five_a_minute_are_five_and_then_one_each_twelve_seconds() {
        let rate = Rate::new(5, MIN, 5);
        let mut full = Full::default();
        for left in (0..5).rev() {
            assert_eq!(rate.take(&mut full, S, 1).map(|left| left.tokens), Ok(left));
        }
        assert_eq!(rate.take(&mut full, S, 1), Err(Left { tokens: 0, more_ns: 12 * S }));
        assert_eq!(rate.take(&mut full, 13 * S - 1, 1), Err(Left { tokens: 0, more_ns: 1 }));
        assert_eq!(rate.take(&mut full, 13 * S, 1), Ok(Left { tokens: 0, more_ns: 12 * S }));
    }

    #[test]
    fn whole_intervals_are_exact_and_others_never_let_more_through() {
        for (count, period, interval) in
            [(5, MIN, 12 * S), (100, S, S / 100), (1000, 3600 * S, 3_600_000_000), (3, S, 333_333_334)]
        {
            assert_eq!(Rate::new(count, period, 1).interval_ns(), interval);
        }
    }

    #[test]
    fn a_refused_request_costs_nothing_and_is_told_when_to_come_back() {
        let rate = Rate::new(10, S, 20);
        let mut full = Full::default();
        assert!(rate.take(&mut full, 7, 20).is_ok());
        let before = full;
        assert_eq!(rate.take(&mut full, 7, 5), Err(Left { tokens: 0, more_ns: S / 2 }));
        assert_eq!(full, before);
        assert!(rate.take(&mut full, 7 + S / 2, 5).is_ok());
    }

    #[test]
    fn what_is_owed_is_paid_before_anything_passes_and_is_bounded() {
        let rate = Rate::new(1, S, 2);
        let mut full = Full::default();
        rate.debit(&mut full, S, 5);
        assert_eq!(rate.left(full, S), Left { tokens: 0, more_ns: 4 * S });
        assert!(rate.take(&mut full, 5 * S - 1, 1).is_err());
        assert!(rate.take(&mut full, 5 * S, 1).is_ok());
        rate.debit(&mut full, 5 * S, u32::MAX);
        assert_eq!(full.0, 5 * S + 2 * S + DEBT_NS_MAX);
    }

    #[test]
    fn what_is_given_back_is_there_again() {
        let rate = Rate::new(1, S, 10);
        let mut full = Full::default();
        assert!(rate.take(&mut full, S, 10).is_ok());
        rate.credit(&mut full, 4);
        assert_eq!(rate.left(full, S).tokens, 4);
        rate.credit(&mut full, 100);
        assert_eq!(rate.left(full, S).tokens, 10, "never more than the bucket holds");
    }

    #[test]
    fn a_lease_leaves_half_to_others_but_the_least_is_given_in_full() {
        let rate = Rate::new(1, S, 10);
        let mut full = Full::default();
        assert_eq!(rate.take_some(&mut full, S, 1, 100).map(|(granted, _)| granted), Ok(5));
        assert_eq!(rate.take_some(&mut full, S, 4, 4).map(|(granted, _)| granted), Ok(4));
        assert_eq!(rate.take_some(&mut full, S, 1, 4).map(|(granted, _)| granted), Ok(1));
        assert!(rate.take_some(&mut full, S, 1, 4).is_err());
    }

    #[test]
    fn nothing_costs_nothing_even_of_who_owes() {
        let rate = Rate::new(1, S, 1);
        let mut full = Full(100 * S);
        assert!(rate.take(&mut full, S, 0).is_ok());
        assert_eq!(full, Full(100 * S));
    }

    proptest! {
        #[test]
        fn no_window_lets_more_through_than_the_rate(
            count in 1u32..1000, burst in 1u32..50, steps in proptest::collection::vec((0u64..30_000_000, 1u32..4), 1..300),
        ) {
            let rate = Rate::new(count, S, burst);
            let (mut full, mut now, mut passed) = (Full::default(), S, Vec::new());
            for (step, cost) in steps {
                now += step;
                if rate.take(&mut full, now, cost).is_ok() {
                    passed.push((now, u64::from(cost)));
                }
            }
            for (from, (start, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &passed[from..] {
                    sum += cost;
                    prop_assert!(sum <= u64::from(burst) + (at - start) / rate.interval_ns());
                }
            }
        }

        #[test]
        fn extremes_do_not_overflow(count: u32, period: u64, burst: u32, full: u32, cost: u32) {
            let rate = Rate::new(count, period, burst);
            let mut full = Full(u64::from(full));
            let now = 1 << 60;
            let _ = rate.take(&mut full, now, cost % (rate.burst() + 1));
            rate.debit(&mut full, now, cost);
            let _ = rate.left(full, now);
        }
    }
}
