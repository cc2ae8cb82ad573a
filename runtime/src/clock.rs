//! Time as the loop sees it: nanoseconds since the process first asked, read once a turn.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sys::monotonic_ns;

/// Monotonic nanoseconds since the process's first look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later than every deadline.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// The precise time now; costs a clock read.
    pub fn precise() -> Nanos {
        static START: OnceLock<u64> = OnceLock::new();
        // One less, so that the first look is not zero, which stands for "long ago".
        let start = *START.get_or_init(|| monotonic_ns() - 1);
        Nanos(monotonic_ns() - start)
    }

    /// This much later, at most [`Nanos::NEVER`].
    pub fn after(self, d: Duration) -> Nanos {
        Nanos(self.0.saturating_add(
            d.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(d.subsec_nanos())),
        ))
    }

    /// From `earlier` to this; zero if it is not earlier.
    pub fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds since 1970 at the loop's time zero, from the wall clock as it stands.
///
/// Whole, not in seconds: the two clocks' fractions differ, and a difference of rounded seconds would be off by up to
/// one, now this way and now that.
pub fn wall_epoch_micros() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    wall.saturating_sub(Nanos::precise().0 / 1000)
}
