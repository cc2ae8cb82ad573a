//! What standings mean for who is picked: sets `out`, the one bit by which policies skip an endpoint.
//!
//! | standing | gets exchanges |
//! |---|---|
//! | admitting, pinned | yes |
//! | probing | one of this worker's, for each round; then none until more is known |
//! | unhealthy, ejected | no, unless more than half of those that are not out by hand are so |
//! | draining | no, unless none is admitted |
//! | barred | no |

use super::state::EndpointState;
use super::{Address, Balancer};
use crate::standing::Stand;

/// Requests of one worker in a round of probing.
const PROBES: u8 = 1;

impl Balancer {
    /// How the endpoints stand now. What is wrong where most are doubted is likelier the checks, or too much for those
    /// that are left: then doubts are not heeded.
    pub fn set_standings(&mut self, stand_of: impl Fn(&Address) -> Stand) {
        let (mut doubted, mut admitted) = (0, 0);
        for &slot in &self.live {
            let state = &mut self.states[slot as usize];
            state.set_stand(stand_of(&state.address));
            doubted += usize::from(state.stand.is_doubted());
            admitted += usize::from(state.stand.is_admitted());
        }
        let heeded = doubted * 2 <= doubted + admitted;
        for &slot in &self.live {
            let state = &mut self.states[slot as usize];
            state.out = match state.stand {
                Stand::Admitting | Stand::Pinned => false,
                Stand::Probing(_) => state.probes == 0,
                Stand::Unhealthy | Stand::Ejected => heeded,
                Stand::Draining => admitted > 0,
                Stand::Barred => true,
            };
        }
        self.count_suspects();
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
        self.out = self.probes == 0;
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Policy, Slot};
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
        let endpoints: Vec<_> = (0..stands.len() as u32).map(|n| (address(n), 1)).collect();
        balancer.reconcile(&endpoints);
        set(&mut balancer, stands);
        balancer
    }

    fn set(balancer: &mut Balancer, stands: &[Stand]) {
        balancer.set_standings(|at| {
            let place = (0..stands.len()).find(|&n| address(n as u32) == *at);
            place.map_or(Stand::Admitting, |place| stands[place])
        });
    }

    #[test]
    fn who_is_out_is_not_picked() {
        use Stand::{Admitting, Barred, Draining, Ejected, Pinned, Unhealthy};
        let cases: [(&[Stand], &[u32]); 8] = [
            (&[Admitting, Ejected, Pinned], &[0, 2]),
            (&[Admitting, Ejected, Unhealthy, Admitting], &[0, 3]),
            (&[Admitting, Ejected, Unhealthy], &[0, 1, 2]),
            (&[Admitting, Draining, Barred], &[0]),
            (&[Draining, Draining, Barred], &[0, 1]),
            (&[Draining, Ejected, Barred], &[0, 1]),
            (&[Ejected, Barred, Admitting], &[2]),
            (&[Barred, Barred], &[]),
        ];
        for (stands, expected) in cases {
            assert_eq!(picked(&mut of(stands)), expected, "{stands:?}");
        }
    }

    #[test]
    fn probing_lets_one_request_through_for_each_round() {
        let mut balancer = of(&[Stand::Admitting, Stand::Probing(1), Stand::Admitting]);
        assert_eq!(picked(&mut balancer), [0, 1, 2]);
        balancer.began(Slot(1));
        assert_eq!(picked(&mut balancer), [0, 2]);
        balancer.ended(Slot(1), 0, 0, Outcome::Answered, 0);
        assert_eq!(picked(&mut balancer), [0, 2], "what it means is not this worker's to say");
        set(&mut balancer, &[Stand::Admitting, Stand::Probing(1), Stand::Ejected]);
        assert_eq!(picked(&mut balancer), [0], "the round is the same");
        set(&mut balancer, &[Stand::Admitting, Stand::Probing(2), Stand::Ejected]);
        assert_eq!(picked(&mut balancer), [0, 1]);
        set(&mut balancer, &[Stand::Admitting; 3]);
        balancer.began(Slot(1));
        assert_eq!(picked(&mut balancer), [0, 1, 2]);
    }
}
