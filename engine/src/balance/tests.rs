//! Distribution, marks and changes of the set.

mod hashing;
mod tiers;

use std::collections::BTreeSet;

use super::*;
use crate::standing::Stand;

const SECOND: u64 = 1_000_000_000;
const POLICIES: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::LeastRequest,
    Policy::PeakEwma,
    Policy::Random,
    Policy::RingHash,
    Policy::Maglev,
];

pub(super) fn address(number: u16) -> Address {
    Address::Ip(SocketAddr::from(([127, 0, 0, 1], 9000 + number)))
}

fn balancer(policy: Policy, weights: &[u16]) -> Balancer {
    let mut balancer = Balancer::new(policy, 1);
    reconcile(&mut balancer, &weights.iter().enumerate().map(|(i, w)| (i as u16, *w)).collect::<Vec<_>>());
    balancer
}

/// Numbers of addresses, and weights.
fn reconcile(balancer: &mut Balancer, endpoints: &[(u16, u16)]) -> Vec<Change> {
    let endpoints: Vec<Endpoint> =
        endpoints.iter().map(|(n, weight)| (address(*n), *weight).into()).collect();
    balancer.reconcile(&endpoints, 0)
}

/// How many bear a mark.
fn marked(balancer: &Balancer) -> usize {
    balancer.live.iter().filter(|slot| balancer.states[**slot as usize].is_marked()).count()
}

/// Picks one after the other, none overlapping, each answered in a millisecond.
fn counts(balancer: &mut Balancer, picks: u32, rng: &mut fastrand::Rng) -> Vec<u32> {
    let mut counts = vec![0; balancer.states.len()];
    for i in 0..u64::from(picks) {
        let now_ns = i * 1_000_000;
        let slot = balancer.pick(now_ns, rng.u64(..), None).unwrap();
        counts[slot.0 as usize] += 1;
        balancer.began(slot);
        balancer.ended(slot, now_ns + 1_000_000, 1_000_000, Outcome::Answered, rng.u64(..));
    }
    counts
}

fn refuse(balancer: &mut Balancer, slot: Slot, now_ns: u64) {
    balancer.began(slot);
    balancer.ended(slot, now_ns, 0, Outcome::Refused, 0);
}

#[test]
fn idle_services_are_shared_out_by_weight_and_nobody_starves() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::Random] {
        for weights in [&[1, 1, 1, 1][..], &[1, 2], &[1, 10, 100], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3]] {
            let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
            let mut rng = fastrand::Rng::with_seed(7);
            let counts = counts(&mut balancer(policy, weights), 60_000, &mut rng);
            for (weight, count) in weights.iter().zip(&counts) {
                let share = f64::from(*weight) / f64::from(total);
                let (mean, deviation) = (60_000.0 * share, (60_000.0 * share * (1.0 - share)).sqrt());
                let off = (f64::from(*count) - mean).abs();
                assert!(off <= 5.0 * deviation, "{policy:?} {weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn smooth_round_robin_spreads_a_heavy_endpoint() {
    let mut balancer = balancer(Policy::RoundRobin, &[5, 1, 1]);
    let order: Vec<u32> = (0..7).map(|_| balancer.pick(0, 0, None).unwrap().0).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn least_request_keeps_queues_even_by_weight() {
    let mut balancer = balancer(Policy::LeastRequest, &[1, 1, 1, 1, 2]);
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..6_000 {
        let slot = balancer.pick(0, rng.u64(..), None).unwrap();
        balancer.began(slot);
    }
    for (slot, expected) in [(0, 1000), (1, 1000), (2, 1000), (3, 1000), (4, 2000_i64)] {
        let active = i64::from(balancer.active(Slot(slot)));
        assert!((active - expected).abs() < 60, "slot {slot} has {active}");
    }
}

#[test]
fn least_request_leaves_a_stuck_endpoint_alone() {
    let mut balancer = balancer(Policy::LeastRequest, &[1, 1]);
    (0..5).for_each(|_| balancer.began(Slot(0)));
    let mut rng = fastrand::Rng::with_seed(3);
    assert_eq!(counts(&mut balancer, 1000, &mut rng), [0, 1000]);
}

#[test]
fn peak_ewma_prefers_the_fast_and_tries_the_slow_again() {
    let mut balancer = balancer(Policy::PeakEwma, &[1, 1, 1]);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut counts = [0_u32; 3];
    let mut now_ns = 0;
    for _ in 0..60_000 {
        now_ns += 1_000_000;
        let slot = balancer.pick(now_ns, rng.u64(..), None).unwrap();
        let latency_ns = if slot.0 == 0 { 200_000_000 } else { 2_000_000 };
        counts[slot.0 as usize] += 1;
        balancer.began(slot);
        balancer.ended(slot, now_ns, latency_ns, Outcome::Answered, rng.u64(..));
    }
    assert!((1..1000).contains(&counts[0]), "{counts:?}");
    assert!(counts[1] > 20_000 && counts[2] > 20_000, "{counts:?}");
}

#[test]
fn peak_ewma_gives_a_new_endpoint_one_exchange_at_first() {
    let mut balancer = balancer(Policy::PeakEwma, &[1, 1]);
    let mut rng = fastrand::Rng::with_seed(5);
    balancer.began(Slot(0));
    balancer.ended(Slot(0), 0, 5_000_000, Outcome::Answered, 0);
    for _ in 0..100 {
        let slot = balancer.pick(0, rng.u64(..), None).unwrap();
        balancer.began(slot);
    }
    assert_eq!(balancer.active(Slot(1)), 1);
}

#[test]
fn an_endpoint_that_refused_is_skipped_until_its_mark_ends() {
    for policy in POLICIES {
        let mut balancer = balancer(policy, &[1, 1, 1]);
        refuse(&mut balancer, Slot(1), 0);
        let mut rng = fastrand::Rng::with_seed(9);
        let mut picks = |balancer: &mut Balancer, now_ns| {
            (0..200).any(|_| balancer.pick(now_ns, rng.u64(..), None) == Some(Slot(1)))
        };
        assert!(!picks(&mut balancer, SECOND - 1), "{policy:?}");
        assert!(picks(&mut balancer, SECOND), "{policy:?}");
        refuse(&mut balancer, Slot(1), SECOND);
        assert!(!picks(&mut balancer, 3 * SECOND - 1), "{policy:?}: the second mark is twice as long");
        balancer.began(Slot(1));
        balancer.ended(Slot(1), 2 * SECOND, 0, Outcome::Answered, 0);
        assert!(picks(&mut balancer, 2 * SECOND), "{policy:?}: an answer clears the mark");
        assert_eq!(marked(&balancer), 0);
    }
}

#[test]
fn marks_last_from_one_to_thirty_seconds_and_are_spread() {
    let mut now_ns = 0;
    let mut low = balancer(Policy::Random, &[1]);
    let mut high = balancer(Policy::Random, &[1]);
    for expected in [1, 2, 4, 8, 16, 24, 24, 24] {
        low.began(Slot(0));
        low.ended(Slot(0), now_ns, 0, Outcome::Refused, 0);
        high.began(Slot(0));
        high.ended(Slot(0), now_ns, 0, Outcome::Refused, expected * SECOND / 4 - 1);
        assert_eq!(low.usable_at_ns(0, now_ns), Some(now_ns + expected * SECOND));
        let until = high.usable_at_ns(0, now_ns).unwrap() - now_ns;
        assert!(until > expected * SECOND && until <= REFUSED_FOR_MAX_NS);
        now_ns += REFUSED_FOR_MAX_NS;
    }
}

#[test]
fn refusals_at_the_same_time_make_one_mark() {
    let mut balancer = balancer(Policy::Random, &[1, 1]);
    (0..10).for_each(|_| refuse(&mut balancer, Slot(0), 5));
    assert_eq!(balancer.states[0].refused_until_ns, SECOND + 5);
    assert_eq!(marked(&balancer), 1);
}

#[test]
fn if_all_are_marked_each_is_tried_once_the_first_to_be_free_first() {
    for policy in POLICIES {
        let mut balancer = balancer(policy, &[1, 1, 1]);
        for (slot, at) in [(0, 20), (1, 10), (2, 30)] {
            refuse(&mut balancer, Slot(slot), at);
        }
        assert_eq!(balancer.usable_at_ns(0, 50), Some(SECOND + 10));
        assert_eq!(balancer.pick(50, 1, None), Some(Slot(1)), "{policy:?}");
        assert_eq!(balancer.pick(50, 1, Some(Slot(1))), Some(Slot(0)), "{policy:?}");
        let mut after =
            |tried: &[Slot]| balancer.pick_for(&Asked::default(), 50, 1, tried).map(|picked| picked.slot);
        assert_eq!(after(&[Slot(1), Slot(0)]), Some(Slot(2)), "{policy:?}");
        assert_eq!(after(&[Slot(1), Slot(0), Slot(2)]), None, "{policy:?}");
        assert_eq!(balancer.pick(50, 1, Some(Slot(0))), Some(Slot(1)), "{policy:?}");
    }
}

#[test]
fn choices_that_hold_still_pass_over_who_refused_while_there_are_others() {
    let mut balancer = balancer(Policy::RoundRobin, &[1, 1, 1]);
    let pick = |balancer: &mut Balancer, now_ns| {
        let score = |each: &Address, _| (*each != address(0)).then(|| f64::from(*each == address(2)));
        balancer.pick_lowest(&Asked::default(), now_ns, score).map(|picked| picked.slot)
    };
    assert_eq!(pick(&mut balancer, 0), Some(Slot(1)));
    refuse(&mut balancer, Slot(1), 0);
    assert_eq!(pick(&mut balancer, 0), Some(Slot(2)));
    refuse(&mut balancer, Slot(2), 0);
    assert_eq!(pick(&mut balancer, 0), Some(Slot(1)), "all refused: as if none had");
    assert_eq!(pick(&mut balancer, REFUSED_FOR_MAX_NS), Some(Slot(1)));
    assert_eq!(balancer.pick_lowest(&Asked::default(), 0, |_, _| None), None);
}

#[test]
fn retry_skips_the_endpoint_that_just_failed() {
    for policy in POLICIES {
        for weights in [&[1, 1][..], &[1000, 1], &[7, 1, 1]] {
            let mut balancer = balancer(policy, weights);
            let mut rng = fastrand::Rng::with_seed(2);
            for _ in 0..500 {
                let other = balancer.pick(0, rng.u64(..), Some(Slot(0)));
                assert!(other.is_some_and(|slot| slot != Slot(0)), "{policy:?} {weights:?}");
            }
        }
        assert_eq!(balancer(policy, &[1]).pick(0, 0, Some(Slot(0))), None);
        assert_eq!(balancer(policy, &[1]).pick(0, 0, None), Some(Slot(0)));
        assert_eq!(balancer(policy, &[]).pick(0, 0, None), None);
    }
}

#[test]
fn endpoints_that_stay_keep_their_slot_and_state() {
    let mut balancer = balancer(Policy::LeastRequest, &[1, 1, 1]);
    balancer.began(Slot(1));
    balancer.began(Slot(2));
    refuse(&mut balancer, Slot(0), 0);
    let changes = reconcile(&mut balancer, &[(2, 3), (7, 1), (0, 1)]);
    // Slot 1 still has an exchange under way, so the new endpoint gets a slot of its own.
    assert_eq!(changes, [Change::Removed(Slot(1)), Change::Added(Slot(3), address(7))]);
    assert_eq!((balancer.active(Slot(2)), balancer.active(Slot(1))), (1, 1));
    assert_eq!(balancer.address(Slot(1)), None);
    assert_eq!(marked(&balancer), 1);

    assert_eq!(reconcile(&mut balancer, &[(1, 1)])[..3].len(), 3);
    assert_eq!(balancer.pick(0, 0, None), Some(Slot(1)), "it came back while its exchange was under way");
    balancer.ended(Slot(1), 0, 0, Outcome::Answered, 0);

    let changes = reconcile(&mut balancer, &[(1, 1), (8, 1), (8, 2)]);
    assert_eq!(changes, [Change::Added(Slot(0), address(8))], "a slot without exchanges is used again");
    assert_eq!(balancer.states[0].weight, 3);
    assert_eq!(marked(&balancer), 0);
    balancer.ended(Slot(2), 0, 0, Outcome::Refused, 0);
    assert_eq!(marked(&balancer), 0, "what left is not counted");
}

/// Who is picked at this time, by some key or number.
fn picked_at(balancer: &mut Balancer, now_ns: u64) -> Vec<u32> {
    let pick = |n: u64| {
        let rand = stable::mix(n);
        balancer.pick_for(&Asked { hash: Some(rand), ..Asked::default() }, now_ns, rand, &[])
    };
    let picked: BTreeSet<u32> = (0..400).filter_map(pick).map(|picked| picked.slot.0).collect();
    picked.into_iter().collect()
}

#[test]
fn unhealthy_endpoints_are_not_picked_unless_they_are_more_than_half() {
    for policy in POLICIES {
        let mut balancer = balancer(policy, &[1; 4]);
        let picked = |balancer: &mut Balancer| picked_at(balancer, 0);
        let heed = |balancer: &mut Balancer, is_healthy: &dyn Fn(&Address) -> bool| {
            balancer.set_standings(0, |at| if is_healthy(at) { Stand::Admitting } else { Stand::Unhealthy });
        };
        heed(&mut balancer, &|at| *at != address(1) && *at != address(3));
        assert_eq!(picked(&mut balancer), [0, 2], "{policy:?}");
        // One of those that are left refuses, then both: those are asked that don't refuse.
        refuse(&mut balancer, Slot(0), 0);
        assert_eq!(picked(&mut balancer), [1, 2, 3], "{policy:?}: panic");
        refuse(&mut balancer, Slot(2), 0);
        assert_eq!(picked(&mut balancer), [1, 3], "{policy:?}");
        assert_eq!(picked_at(&mut balancer, SECOND), [0, 2], "{policy:?}: half may be asked again");
        for slot in [0, 2] {
            balancer.began(Slot(slot));
            balancer.ended(Slot(slot), 0, 0, Outcome::Answered, 0);
        }
        heed(&mut balancer, &|at| *at == address(0));
        assert_eq!(picked(&mut balancer), [0, 1, 2, 3], "{policy:?}");
        heed(&mut balancer, &|_| true);
        assert_eq!(picked(&mut balancer), [0, 1, 2, 3], "{policy:?}");
    }
}
