//! The one of two endpoints that promises to answer sooner: latency times exchanges under way, for its weight.
//!
//! Latency is a moving average that rises at once and falls slowly, so that one slow answer turns traffic away
//! before ten more are stuck. It also falls while nothing is heard, so that an endpoint is tried again.

use super::choice::Choice;
use super::state::EndpointState;

/// After this time without news (or of better ones) a latency counts for 1/e of what it was.
pub const DECAY_NS: u64 = 10_000_000_000;

/// What an exchange counts for on an endpoint that has not answered yet: more than any real latency, so that a new
/// endpoint gets one exchange, not all of them.
const UNKNOWN_NS: f64 = 1e15;

pub(super) fn pick(choice: &Choice<'_>, now_ns: u64, rand: u64) -> Option<u32> {
    let (first, second) = choice.two(rand)?;
    let Some(second) = second else { return Some(first) };
    let second_is_sooner = cost(choice.state(first), now_ns) > cost(choice.state(second), now_ns);
    Some(if second_is_sooner { second } else { first })
}

fn cost(state: &EndpointState, now_ns: u64) -> f64 {
    let active = f64::from(state.active);
    let cost = match state.latency.at(now_ns) {
        Some(latency_ns) => latency_ns * (active + 1.0),
        None => UNKNOWN_NS * active,
    };
    cost / f64::from(state.share)
}

/// A peak-sensitive, exponentially weighted moving average.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    average_ns: f64,
    at_ns: u64,
    known: bool,
}

impl Latency {
    pub(super) fn observe(&mut self, now_ns: u64, latency_ns: u64) {
        let latency_ns = latency_ns as f64;
        self.average_ns = match self.at(now_ns) {
            Some(average_ns) if latency_ns < average_ns => {
                let kept = decay(now_ns.saturating_sub(self.at_ns));
                self.average_ns * kept + latency_ns * (1.0 - kept)
            }
            _ => latency_ns,
        };
        self.at_ns = now_ns;
        self.known = true;
    }

    /// A failure may make an endpoint look slower, never faster: quick errors must not attract traffic.
    pub(super) fn observe_failure(&mut self, now_ns: u64, latency_ns: u64) {
        if self.at(now_ns).is_none_or(|average_ns| latency_ns as f64 > average_ns) {
            self.observe(now_ns, latency_ns);
        }
    }

    /// What it has decayed to; `None` before the first answer.
    fn at(&self, now_ns: u64) -> Option<f64> {
        self.known.then(|| self.average_ns * decay(now_ns.saturating_sub(self.at_ns)))
    }
}

fn decay(passed_ns: u64) -> f64 {
    (-(passed_ns as f64) / DECAY_NS as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn latency_rises_at_once_and_falls_slowly() {
        let mut latency = Latency::default();
        assert_eq!(latency.at(0), None);
        latency.observe(0, 10 * MS);
        latency.observe(MS, 500 * MS);
        assert_eq!(latency.at(MS), Some(500e6));
        latency.observe(2 * MS, 10 * MS);
        assert!(latency.at(2 * MS).unwrap() > 490e6);
        let later = latency.at(2 * MS + DECAY_NS).unwrap();
        assert!((180e6..190e6).contains(&later), "{later}");
    }

    #[test]
    fn a_quick_failure_does_not_make_an_endpoint_look_fast() {
        let mut latency = Latency::default();
        latency.observe(0, 100 * MS);
        latency.observe_failure(0, MS);
        assert_eq!(latency.at(0), Some(100e6));
        latency.observe_failure(0, 900 * MS);
        assert_eq!(latency.at(0), Some(900e6));
    }
}
