//! What standings and marks mean for who is picked: a grade for each endpoint, and which grades a tier picks.
//!
//! | standing | gets exchanges |
//! |---|---|
//! | admitting, pinned | yes |
//! | probing | one of this worker's, for each round; then as if ejected, until more is known |
//! | unhealthy, ejected | no; in panic yes, unless it refuses |
//! | draining | no, unless none of its view is usable |
//! | barred | no |
//!
//! Whoever refuses connections is skipped until its mark ends; one that does not stand well, until it has answered.

use super::state::EndpointState;
use super::{Address, Balancer};
use crate::standing::Stand;

/// Requests of one worker in a round of probing.
const PROBES: u8 = 1;

/// Grades, as bits: of one endpoint, or those that are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grade(u8);

impl Grade {
    pub const NONE: Grade = Grade(0);
    /// Picked.
    pub const USABLE: Grade = Grade(1);
    /// Picked in panic.
    pub const DOUBTED: Grade = Grade(2);
    /// Picked where nobody is usable.
    pub const DRAINING: Grade = Grade(4);
    /// Picked where nobody else is there, one at a time.
    pub const REFUSING: Grade = Grade(8);
    /// The same, and doubted.
    pub const DOUBTED_REFUSING: Grade = Grade(16);
    /// Never picked.
    pub const BARRED: Grade = Grade(32);

    pub fn of(state: &EndpointState, now_ns: u64) -> Grade {
        let grade = match state.stand {
            Stand::Admitting | Stand::Pinned => Grade::USABLE,
            Stand::Probing(_) if state.probes > 0 => Grade::USABLE,
            Stand::Probing(_) | Stand::Unhealthy | Stand::Ejected => Grade::DOUBTED,
            Stand::Draining => Grade::DRAINING,
            Stand::Barred => Grade::BARRED,
        };
        match grade {
            Grade::USABLE | Grade::DRAINING if state.refused_until_ns > now_ns => Grade::REFUSING,
            Grade::DOUBTED if state.is_marked() => Grade::DOUBTED_REFUSING,
            grade => grade,
        }
    }

    #[inline]
    pub const fn and(self, other: Grade) -> Grade {
        Grade(self.0 | other.0)
    }

    /// Whether this is among those.
    #[inline]
    pub const fn is_among(self, those: Grade) -> bool {
        self.0 & those.0 != 0
    }
}

impl Balancer {
    /// How the endpoints stand now. Those that are admitted again warm up.
    pub fn set_standings(&mut self, now_ns: u64, stand_of: impl Fn(&Address) -> Stand) {
        for &slot in &self.live {
            let state = &mut self.states[slot as usize];
            let stand = stand_of(&state.address);
            if stand.is_admitted() && !state.stand.is_admitted() {
                state.warms_from_ns = now_ns;
            }
            state.set_stand(stand);
        }
        self.assess(now_ns);
    }
}

impl EndpointState {
    fn set_stand(&mut self, stand: Stand) {
        if stand != self.stand {
            self.probes = if let Stand::Probing(_) = stand { PROBES } else { 0 };
            self.stand = stand;
        }
    }

    /// An exchange begins with it. Whether it was the last it may have for now.
    #[inline]
    pub(super) fn take_probe(&mut self) -> bool {
        if self.probes == 0 {
            return false;
        }
        self.probes -= 1;
        self.probes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Endpoint, Outcome, Policy, Slot};
    use super::*;

    fn address(n: u32) -> Address {
        Address::Ip(([10, 0, 0, n as u8], 80).into())
    }

    /// Who is picked where endpoints stand like that.
    fn picked(balancer: &mut Balancer) -> Vec<u32> {
        let picks = (0..400u64).filter_map(|n| balancer.pick(0, n.wrapping_mul(0x9E37_79B9_7F4A_7C15), None));
        let picks: std::collections::BTreeSet<u32> = picks.map(|slot| slot.0).collect();
        picks.into_iter().collect()
    }

    fn of(stands: &[Stand]) -> Balancer {
        let mut balancer = Balancer::new(Policy::Random, 1);
        let endpoints: Vec<Endpoint> = (0..stands.len() as u32).map(|n| (address(n), 1).into()).collect();
        balancer.reconcile(&endpoints, 0);
        set(&mut balancer, stands);
        balancer
    }

    fn set(balancer: &mut Balancer, stands: &[Stand]) {
        balancer.set_standings(0, |at| {
            let place = (0..stands.len()).find(|&n| address(n as u32) == *at);
            place.map_or(Stand::Admitting, |place| stands[place])
        });
    }

    #[test]
    fn who_is_out_is_not_picked() {
        use Stand::{Admitting, Barred, Draining, Ejected, Pinned, Unhealthy};
        let cases: [(&[Stand], &[u32]); 10] = [
            (&[Admitting, Ejected, Pinned], &[0, 2]),
            (&[Admitting, Ejected, Unhealthy, Admitting], &[0, 3]),
            (&[Admitting, Ejected, Unhealthy], &[0, 1, 2]),
            (&[Admitting, Draining, Barred], &[0]),
            (&[Draining, Draining, Barred], &[0, 1]),
            (&[Draining, Ejected, Barred], &[0, 1]),
            (&[Ejected, Barred, Admitting], &[2]),
            (&[Ejected, Ejected, Admitting, Draining], &[0, 1, 2]),
            (&[Barred, Barred], &[]),
            (&[Unhealthy], &[0]),
        ];
        for (stands, expected) in cases {
            assert_eq!(picked(&mut of(stands)), expected, "{stands:?}");
        }
    }

    #[test]
    fn who_refuses_is_never_picked_out_of_panic_while_another_answers() {
        use Stand::{Draining, Ejected, Unhealthy};
        let mut balancer = of(&[Ejected, Unhealthy, Draining]);
        let refuse = |balancer: &mut Balancer, slot| {
            balancer.began(Slot(slot));
            balancer.ended(Slot(slot), 0, 0, Outcome::Refused, 0);
        };
        refuse(&mut balancer, 0);
        assert_eq!(picked(&mut balancer), [1, 2]);
        refuse(&mut balancer, 1);
        assert_eq!(picked(&mut balancer), [2]);
        // Long after its mark has ended, too: what it says next is for checks and probes to find out.
        assert_eq!(balancer.pick(u64::MAX / 2, 1, None), Some(Slot(2)));
        refuse(&mut balancer, 2);
        assert_eq!(picked(&mut balancer).len(), 1, "all refuse: one is tried at a time");
        balancer.began(Slot(1));
        balancer.ended(Slot(1), 0, 0, Outcome::Answered, 0);
        assert_eq!(picked(&mut balancer), [1]);
    }

    #[test]
    fn without_a_threshold_what_is_said_is_believed() {
        use Stand::{Draining, Ejected, Unhealthy};
        let mut balancer = of(&[Ejected, Unhealthy, Draining]);
        let rules = super::super::Rules { panic: 0, ..Policy::Random.into() };
        balancer.set_rules(rules);
        set(&mut balancer, &[Ejected, Unhealthy, Draining]);
        assert_eq!(picked(&mut balancer), [2]);
        set(&mut balancer, &[Ejected, Unhealthy, Ejected]);
        assert_eq!(picked(&mut balancer), [0; 0]);
    }

    #[test]
    fn probing_lets_one_request_through_for_each_round() {
        let mut balancer = of(&[Stand::Admitting, Stand::Probing(1), Stand::Admitting]);
        assert_eq!(picked(&mut balancer), [0, 1, 2]);
        balancer.began(Slot(1));
        assert_eq!(picked(&mut balancer), [0, 2]);
        balancer.ended(Slot(1), 0, 0, Outcome::Answered, 0);
        assert_eq!(picked(&mut balancer), [0, 2], "what it means is not this worker's to say");
        let (admitting, ejected) = (Stand::Admitting, Stand::Ejected);
        set(&mut balancer, &[admitting, Stand::Probing(1), admitting]);
        assert_eq!(picked(&mut balancer), [0, 2], "the round is the same");
        set(&mut balancer, &[admitting, Stand::Probing(2), ejected]);
        assert_eq!(picked(&mut balancer), [0, 1]);
        set(&mut balancer, &[admitting; 3]);
        balancer.began(Slot(1));
        assert_eq!(picked(&mut balancer), [0, 1, 2]);
    }
}
