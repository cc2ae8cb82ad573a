//! Slow start: an endpoint that is new, or back, is given its share little by little. Pure.
//!
//! ```text
//! share   1 |            .-------
//!           |         .-'
//!       0.1 |      .-'
//!           +------+------+------ time
//!                back   + slow_start
//! ```
//!
//! It begins with a tenth, so that it is asked at all, and grows linearly, in [`STEPS`] steps: what goes by shares is
//! computed anew at each of them, not for each exchange.

/// A weight of 1 in shares.
pub(super) const SCALE: u32 = 256;
/// The time from which an endpoint warms that does not.
pub(super) const WARM: u64 = u64::MAX;
/// Steps from the first share to the whole.
const STEPS: u64 = 64;
/// One part in so many is the first share.
const FIRST: u64 = 10;

/// The share of an endpoint of this weight that warms from `from_ns`, and when it changes next (`u64::MAX`: no more).
pub(super) fn share(weight: u32, from_ns: u64, slow_start_ns: u64, now_ns: u64) -> (u32, u64) {
    let whole = u64::from(weight) * u64::from(SCALE);
    let passed_ns = now_ns.saturating_sub(from_ns);
    if from_ns == WARM || slow_start_ns == 0 || passed_ns >= slow_start_ns {
        return (clamped(whole), u64::MAX);
    }
    let step_ns = (slow_start_ns / STEPS).max(1);
    let step = (passed_ns / step_ns).min(STEPS);
    let first = whole / FIRST;
    let share = first + (whole - first) * step / STEPS;
    (clamped(share), from_ns.saturating_add(((step + 1) * step_ns).min(slow_start_ns)).max(now_ns + 1))
}

fn clamped(share: u64) -> u32 {
    share.clamp(1, u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_share_grows_linearly_from_a_tenth_to_the_whole() {
        let of = |passed| share(10, 5 * SECOND, 30 * SECOND, 5 * SECOND + passed).0;
        let whole = 10 * SCALE;
        assert_eq!(of(0), whole / 10);
        assert_eq!(of(15 * SECOND), whole / 10 + (whole - whole / 10) / 2);
        assert_eq!(of(30 * SECOND), whole);
        let mut last = 0;
        for ms in 0..30_000 {
            let is = of(ms * 1_000_000);
            assert!(is >= last && is <= whole);
            let exact = f64::from(whole) * (0.1 + 0.9 * ms as f64 / 30_000.0);
            assert!((f64::from(is) - exact).abs() <= f64::from(whole) / 60.0, "{ms} ms: {is}, {exact}");
            last = is;
        }
    }

    #[test]
    fn the_next_change_is_told() {
        let mut now_ns = 7;
        let mut changes = 0;
        loop {
            let (before, again_ns) = share(3, 7, SECOND, now_ns);
            if again_ns == u64::MAX {
                assert_eq!(before, 3 * SCALE);
                break;
            }
            assert!(again_ns > now_ns);
            assert_eq!(share(3, 7, SECOND, again_ns - 1).0, before, "nothing changes before");
            now_ns = again_ns;
            changes += 1;
        }
        assert!((STEPS..STEPS + 3).contains(&changes), "{changes}");
    }

    #[test]
    fn without_slow_start_or_once_warm_the_share_is_the_weight() {
        assert_eq!(share(2, 0, 0, 0), (2 * SCALE, u64::MAX));
        assert_eq!(share(2, WARM, SECOND, 0), (2 * SCALE, u64::MAX));
        assert_eq!(share(u32::MAX, WARM, SECOND, 0).0, u32::MAX);
        // A mark that has not ended yet warms from its end.
        assert_eq!(share(1, 50, SECOND, 10).0, SCALE / 10);
    }
}
