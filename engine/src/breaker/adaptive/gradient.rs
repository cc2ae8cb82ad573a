//! By the gradient of latency: how a window's latency compares with that at rest. Pure.
//!
//! ```text
//! settling -- the first windows at `min` are over --> measuring -- enough samples --> following
//!     ^                                                                                |
//!     +---------------------- `remeasure` has passed ----------------------------------+
//! ```
//!
//! At rest means: with `min` under way. What was under way before the limit fell to that is not measured, so a window
//! passes first. While following, `limit * gradient + sqrt(limit)`, where the gradient is rest (times what is tolerated)
//! over now, between a half and one: so a service that is slower than tolerated gets less, in proportion, and one that
//! is well a little more each time, as long as the limit is in use.

use ringway_runtime::Nanos;

use super::Window;

/// A limit is at most halved at once.
const GRADIENT_MIN: f64 = 0.5;
/// Of the limit before in each step: noise moves it less.
const KEPT: f64 = 0.5;
/// Samples that say what latency at rest is.
const SAMPLES_AT_REST: u64 = 40;

#[derive(Debug)]
pub(super) struct Gradient {
    min: f64,
    max: f64,
    tolerance: f64,
    remeasure_ns: u64,
    limit: f64,
    /// What to return to once it has measured.
    before: f64,
    at: At,
}

#[derive(Debug)]
enum At {
    Settling,
    Measuring { samples: u64, sum_ns: f64 },
    Following { rest_ns: f64, since: Nanos },
}

impl Gradient {
    pub fn new(min: u32, max: u32, tolerance: f64, remeasure_ns: u64, _now: Nanos) -> Gradient {
        let min = f64::from(min);
        Gradient { min, max: max.into(), tolerance, remeasure_ns, limit: min, before: min, at: At::Settling }
    }

    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    pub fn window(&mut self, now: Nanos, window: &Window) {
        if window.answered == 0 {
            // All failed: whatever it is, less of it.
            self.limit = (self.limit * GRADIENT_MIN).max(self.min);
            return;
        }
        match &mut self.at {
            At::Settling => self.at = At::Measuring { samples: 0, sum_ns: 0.0 },
            At::Measuring { samples, sum_ns } => {
                *samples += window.answered;
                *sum_ns += window.latency_ns * window.answered as f64;
                if *samples >= SAMPLES_AT_REST {
                    let rest_ns = (*sum_ns / *samples as f64).max(1.0);
                    self.at = At::Following { rest_ns, since: now };
                    self.limit = self.before;
                }
            }
            At::Following { since, .. } if now.since(*since).as_nanos() as u64 >= self.remeasure_ns => {
                (self.before, self.limit, self.at) = (self.limit, self.min, At::Settling);
            }
            At::Following { rest_ns, .. } => {
                let gradient = (*rest_ns * self.tolerance / window.latency_ns).clamp(GRADIENT_MIN, 1.0);
                let next = self.limit * gradient + self.limit.sqrt();
                if next < self.limit || window.limit_was_used {
                    let next = self.limit * KEPT + next * (1.0 - KEPT);
                    self.limit = next.clamp(self.min, self.max);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(latency_ns: f64) -> Window {
        Window { answered: 100, failed: 0, latency_ns, limit_was_used: true }
    }

    fn measured() -> Gradient {
        let mut gradient = Gradient::new(4, 100, 1.25, 1000, Nanos(0));
        gradient.window(Nanos(0), &window(99.0));
        gradient.window(Nanos(0), &window(10.0));
        assert!(
            matches!(gradient.at, At::Following { rest_ns: 10.0, .. }),
            "what was before is not measured"
        );
        gradient
    }

    #[test]
    fn it_rises_while_latency_is_that_at_rest_and_falls_when_it_is_not() {
        let mut gradient = measured();
        (0..60).for_each(|_| gradient.window(Nanos(1), &window(12.0)));
        assert_eq!(gradient.limit(), 100);
        gradient.window(Nanos(1), &window(50.0));
        assert!((75..=85).contains(&gradient.limit()), "{}", gradient.limit());
        (0..60).for_each(|_| gradient.window(Nanos(1), &window(50.0)));
        assert_eq!(gradient.limit(), 4);
    }

    #[test]
    fn what_is_at_rest_is_measured_anew_with_as_few_as_may_be() {
        let mut gradient = measured();
        (0..60).for_each(|_| gradient.window(Nanos(1), &window(10.0)));
        gradient.window(Nanos(1000), &window(10.0));
        assert_eq!(gradient.limit(), 4);
        gradient.window(Nanos(1001), &window(10.0));
        gradient.window(Nanos(1002), &window(20.0));
        assert_eq!(gradient.limit(), 100, "it returns to where it was");
        gradient.window(Nanos(1003), &window(24.0));
        assert_eq!(gradient.limit(), 100, "the new rest is what counts");
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut gradient = measured();
        (0..60).for_each(|_| gradient.window(Nanos(1), &Window { limit_was_used: false, ..window(10.0) }));
        assert_eq!(gradient.limit(), 4);
    }
}
