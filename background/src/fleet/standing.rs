//! Whether a store is asked, and when it is probed again. Pure; `now` is since any beginning.
//!
//! ```text
//! probing -- answers a probe --> admitting -- an answer is late or wrong --> ejected -- the pause is over --> probing
//!    |                                                                         ^
//!    +---------------------------- does not answer ----------------------------+
//! ```
//! A pause doubles with each failure in a row, and only an answered ask ends the row: a store that answers probes and
//! nothing else is left alone for longer and longer.

use std::time::Duration;

/// The first pause and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What a probe takes, about.
const PROBE: Duration = Duration::from_millis(5);

/// How a store is thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known of it yet, or a pause is over.
    Probing,
    /// It is asked.
    Admitting,
    /// It is left alone until then.
    Ejected {
        /// Since the beginning.
        until: Duration,
    },
}

/// One store's standing.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    state: State,
    /// Failures in a row.
    failures: u32,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing { state: State::Probing, failures: 0 }
    }
}

impl Standing {
    /// Now.
    pub fn state(self) -> State {
        self.state
    }

    /// How long nobody needs to ask; none: it is asked.
    pub fn leaves_alone(self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Admitting => None,
            State::Probing => Some(PROBE),
            State::Ejected { until } => Some(until.saturating_sub(now).max(PROBE)),
        }
    }

    /// Its pause is over.
    pub fn probe(&mut self) {
        self.state = State::Probing;
    }

    /// It answered a probe.
    pub fn admit(&mut self) {
        self.state = State::Admitting;
    }

    /// It answered an ask.
    pub fn answered(&mut self) {
        if self.state == State::Admitting {
            self.failures = 0;
        }
    }

    /// It did not, or not in time. The pause is half to all of its length, by `dice` (0 to 1).
    pub fn fail(&mut self, now: Duration, dice: f64) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        let pause = pause.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Ejected { until: now + pause };
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_until_an_ask_is_answered() {
        let mut standing = Standing::default();
        let pauses: Vec<u128> = (0..9).map(|_| standing.fail(MS, 1.0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        standing.probe();
        standing.admit();
        assert_eq!(standing.fail(MS, 1.0), PAUSE_MAX, "a probe alone is not enough");
        standing.probe();
        standing.admit();
        standing.answered();
        assert_eq!(standing.fail(MS, 0.0), PAUSE_MIN / 2);
    }

    #[test]
    fn nobody_asks_before_a_probe_is_answered() {
        let mut standing = Standing::default();
        assert_eq!(standing.leaves_alone(Duration::ZERO), Some(PROBE));
        standing.admit();
        assert_eq!(standing.leaves_alone(Duration::ZERO), None);
        for _ in 0..3 {
            let _ = standing.fail(1000 * MS, 1.0);
        }
        assert_eq!(standing.leaves_alone(1050 * MS), Some(150 * MS));
        assert_eq!(standing.leaves_alone(1199 * MS), Some(PROBE), "a probe takes its time too");
        standing.answered();
        assert!(matches!(standing.state(), State::Ejected { .. }), "a late answer admits nobody");
    }
}
