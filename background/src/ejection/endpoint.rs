//! One endpoint's way out and back. Pure: nanoseconds come in, from one clock.
//!
//! ```text
//! admitting -- found failing --> ejected -- base * number, at most max --> probing -- it answers --> admitting
//!     ^                             ^                                        |
//!     |                             +------- it fails: number is one more ---+
//!     +-- a calm `base`: number is one less
//! ```
//! Invariant: every ejection ends, and by itself.

use super::Terms;

/// Where an endpoint is on that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets requests; what is known of it begins with this time.
    Admitting {
        /// What ended before says nothing any more.
        since_ns: u64,
    },
    /// It gets none.
    Ejected {
        /// Then it is probed.
        until_ns: u64,
    },
    /// It gets a few, and the next that ends decides.
    Probing {
        /// Counts up whenever more are let through.
        round: u32,
        /// What ends after this decides.
        since_ns: u64,
        /// Nothing has come of it by then: more are let through.
        again_ns: u64,
    },
}

/// An endpoint as ejection knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    state: State,
    /// Ejections that make the next one longer.
    number: u32,
    /// From when a calm time is counted.
    calm_since_ns: u64,
    rounds: u32,
}

impl Endpoint {
    /// Nothing is known yet. What workers saw before they told of it counts.
    pub fn new(now_ns: u64) -> Endpoint {
        let state = State::Admitting { since_ns: 0 };
        Endpoint { state, number: 0, calm_since_ns: now_ns, rounds: 0 }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// It does not get requests as others do.
    pub fn is_out(&self) -> bool {
        !matches!(self.state, State::Admitting { .. })
    }

    /// It was found failing. For how long it is out, in nanoseconds.
    pub fn eject(&mut self, now_ns: u64, terms: &Terms) -> u64 {
        self.number = self.number.saturating_add(1);
        let for_ns = terms.base_ns.saturating_mul(u64::from(self.number)).min(terms.max_ns);
        self.state = State::Ejected { until_ns: now_ns.saturating_add(for_ns) };
        for_ns
    }

    /// It is asked again as others are.
    pub fn admit(&mut self, now_ns: u64) {
        self.state = State::Admitting { since_ns: now_ns };
        self.calm_since_ns = now_ns;
    }

    /// Time has passed. Whether requests are let through anew.
    pub fn pass(&mut self, now_ns: u64, terms: &Terms) -> bool {
        match self.state {
            State::Admitting { .. } => {
                let calm = now_ns.saturating_sub(self.calm_since_ns) / terms.base_ns.max(1);
                let less = u32::try_from(calm).unwrap_or(u32::MAX).min(self.number);
                self.number -= less;
                self.calm_since_ns += u64::from(less) * terms.base_ns;
                if self.number == 0 {
                    self.calm_since_ns = now_ns;
                }
                false
            }
            State::Ejected { until_ns } if now_ns >= until_ns => self.probe(now_ns, now_ns, terms),
            State::Probing { again_ns, since_ns, .. } if now_ns >= again_ns => {
                self.probe(since_ns, now_ns, terms)
            }
            _ => false,
        }
    }

    fn probe(&mut self, since_ns: u64, now_ns: u64, terms: &Terms) -> bool {
        self.rounds = self.rounds.wrapping_add(1);
        let again_ns = now_ns.saturating_add(terms.interval_ns.max(1));
        self.state = State::Probing { round: self.rounds, since_ns, again_ns };
        true
    }

    /// When time alone changes something next; `None`: never.
    pub fn due_ns(&self) -> Option<u64> {
        match self.state {
            State::Admitting { .. } => None,
            State::Ejected { until_ns } => Some(until_ns),
            State::Probing { again_ns, .. } => Some(again_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn terms() -> Terms {
        Terms { base_ns: 30 * S, max_ns: 100 * S, interval_ns: 10 * S, ..Terms::default() }
    }

    #[test]
    fn each_ejection_is_longer_up_to_a_bound_and_ends_in_probing() {
        let (terms, mut endpoint, mut now) = (terms(), Endpoint::new(0), 0);
        for (number, expected) in [30, 60, 90, 100, 100].into_iter().enumerate() {
            assert_eq!(endpoint.eject(now, &terms), expected * S, "ejection {number}");
            assert!(!endpoint.pass(now + expected * S - 1, &terms) && endpoint.is_out());
            now += expected * S;
            assert!(endpoint.pass(now, &terms));
            assert!(matches!(endpoint.state(), State::Probing { since_ns, .. } if since_ns == now));
        }
    }

    #[test]
    fn probing_that_comes_to_nothing_lets_more_through() {
        let (terms, mut endpoint) = (terms(), Endpoint::new(0));
        endpoint.eject(0, &terms);
        assert!(endpoint.pass(30 * S, &terms));
        assert_eq!(endpoint.due_ns(), Some(40 * S));
        assert!(!endpoint.pass(39 * S, &terms));
        assert!(endpoint.pass(41 * S, &terms));
        let expected = State::Probing { round: 2, since_ns: 30 * S, again_ns: 51 * S };
        assert_eq!(endpoint.state(), expected, "what the first round comes to still counts");
    }

    #[test]
    fn calm_makes_ejections_shorter_again() {
        let (terms, mut endpoint) = (terms(), Endpoint::new(0));
        for _ in 0..3 {
            endpoint.eject(0, &terms);
        }
        endpoint.admit(0);
        endpoint.pass(29 * S, &terms);
        assert_eq!(endpoint.number, 3);
        endpoint.pass(61 * S, &terms);
        assert_eq!(endpoint.number, 1);
        endpoint.pass(90 * S, &terms);
        assert_eq!(endpoint.number, 0);
        endpoint.pass(10_000 * S, &terms);
        assert_eq!(endpoint.eject(10_000 * S, &terms), 30 * S);
    }
}
