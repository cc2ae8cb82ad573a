//! How much of a service's load each tier gets, and which are in panic. Pure.
//!
//! Tiers are asked in order. With `usable` of its `total` endpoints usable, a tier can take
//!
//! ```text
//! capacity = min(100%, 1.4 * usable / total)
//! ```
//!
//! of the load: up to two of seven endpoints may fail before anything overflows. The first tier gets its capacity, the
//! next one its own of what is left, and so on. Where all together can take less than everything, each gets in
//! proportion to its capacity, and a tier whose usable share is below the panic threshold panics: what is said of its
//! endpoints is believed no longer. For that share, what an operator has taken out does not count. Nobody panics while
//! the tiers together can take everything. Where nobody is usable, everything goes to the first tier that has somebody
//! who is picked all the same, else to the first.

/// Everything.
pub(super) const WHOLE: u64 = 1_000_000;
/// What the usable endpoints of a tier can take of what all of them are there for, in percent.
const OVERPROVISIONED: u64 = 140;

/// One tier, as it is seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// Never 0.
    pub total: u32,
    /// Stand well and are not marked.
    pub usable: u32,
    /// Of `total`, those that an operator has taken out.
    pub held: u32,
    /// Those that are picked where nobody is usable.
    pub spare: u32,
    /// Of [`WHOLE`]; all together make it up.
    pub load: u32,
    /// Those are picked again that are doubted and don't refuse.
    pub panics: bool,
}

impl Level {
    fn capacity(&self) -> u64 {
        (u64::from(self.usable) * WHOLE * OVERPROVISIONED / 100 / u64::from(self.total.max(1))).min(WHOLE)
    }
}

/// Sets loads and panic; the threshold is in parts of [`WHOLE`].
pub(super) fn spread(levels: &mut [Level], panic: u32) {
    let capacity: u64 = levels.iter().map(Level::capacity).sum();
    let mut left = WHOLE;
    for level in levels.iter_mut() {
        let own = level.capacity();
        let load = if capacity >= WHOLE { own.min(left) } else { own * WHOLE / capacity.max(1) };
        level.load = load as u32;
        left -= load;
        let judged = u64::from(level.total.saturating_sub(level.held));
        let is_below = u64::from(level.usable) * WHOLE < u64::from(panic) * judged;
        level.panics = capacity < WHOLE && is_below;
    }
    // What rounding left over; all of it where nobody is usable.
    let loaded = levels.iter().position(|level| level.load > 0);
    let asked = loaded.or_else(|| levels.iter().position(|level| level.spare > 0));
    if let Some(level) = levels.get_mut(asked.unwrap_or(0)) {
        level.load += left as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u32 = 500_000;

    /// Percent of the load of each, negative where it panics, given how many are usable of ten.
    fn loads(usable: &[u32]) -> Vec<i64> {
        let level =
            |usable: &u32| Level { total: 10, usable: *usable, spare: 10 - usable, ..Level::default() };
        let mut levels: Vec<Level> = usable.iter().map(level).collect();
        spread(&mut levels, HALF);
        assert_eq!(levels.iter().map(|level| u64::from(level.load)).sum::<u64>(), WHOLE);
        let told = |level: &Level| {
            let percent = (i64::from(level.load) + 5_000) / 10_000;
            if level.panics { -percent } else { percent }
        };
        levels.iter().map(told).collect()
    }

    #[test]
    fn the_first_tier_takes_all_until_it_can_no_longer() {
        assert_eq!(loads(&[10, 10]), [100, 0]);
        assert_eq!(loads(&[8, 10]), [100, 0]);
        assert_eq!(loads(&[7, 10]), [98, 2]);
        assert_eq!(loads(&[5, 10, 10]), [70, 30, 0]);
        assert_eq!(loads(&[1, 10]), [14, 86]);
        assert_eq!(loads(&[0, 10, 10]), [0, 100, 0]);
        assert_eq!(loads(&[2, 3, 10]), [28, 42, 30]);
    }

    #[test]
    fn panic_is_for_when_all_together_can_not_take_everything() {
        assert_eq!(loads(&[5]), [100], "half are enough not to panic");
        assert_eq!(loads(&[4]), [-100]);
        assert_eq!(loads(&[0]), [-100]);
        assert_eq!(loads(&[2, 2]), [-50, -50]);
        assert_eq!(loads(&[1, 5]), [-17, 83]);
        assert_eq!(loads(&[0, 0, 0]), [-100, 0, 0]);
        assert_eq!(loads(&[0, 8]), [0, 100], "the second takes everything, and the first need not panic");
    }

    #[test]
    fn where_nobody_is_usable_the_first_is_asked_that_has_somebody() {
        let level = |spare| Level { total: 3, spare, ..Level::default() };
        let mut levels = [level(0), level(2)];
        spread(&mut levels, HALF);
        assert_eq!(levels.map(|level| u64::from(level.load)), [0, WHOLE]);
        assert!(levels[0].panics && levels[1].panics);
        let mut levels = [level(0), level(0)];
        spread(&mut levels, 0);
        assert_eq!(levels.map(|level| u64::from(level.load)), [WHOLE, 0]);
        assert!(!levels[0].panics && !levels[1].panics, "no threshold, no panic");
        spread(&mut [], HALF);
    }

    #[test]
    fn what_an_operator_took_out_is_no_reason_to_panic() {
        let mut levels = [Level { total: 5, usable: 1, held: 4, ..Level::default() }];
        spread(&mut levels, HALF);
        assert!(!levels[0].panics);
        levels[0].held = 2;
        spread(&mut levels, HALF);
        assert!(levels[0].panics);
    }

    #[test]
    fn loads_add_up_whatever_fails() {
        let mut rng = fastrand::Rng::with_seed(4);
        for _ in 0..20_000 {
            let mut levels: Vec<Level> = (0..rng.usize(1..6))
                .map(|_| {
                    let total = rng.u32(1..40);
                    Level { total, usable: rng.u32(0..=total), spare: rng.u32(0..=total), ..Level::default() }
                })
                .collect();
            spread(&mut levels, rng.u32(0..=WHOLE as u32));
            assert_eq!(levels.iter().map(|level| u64::from(level.load)).sum::<u64>(), WHOLE);
            if levels.iter().any(|level| level.usable > 0) {
                for level in &levels {
                    assert!(level.load == 0 || level.usable > 0, "{levels:?}");
                }
            }
        }
    }
}
