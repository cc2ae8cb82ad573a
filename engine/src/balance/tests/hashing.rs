//! Rings and maglev tables: where keys go, who moves, and loads that are bounded.

use std::collections::BTreeMap;

use super::*;

const HASHED: [Policy; 2] = [Policy::RingHash, Policy::Maglev];
const KEYS: u64 = 20_000;

fn keyed(hash: u64) -> Asked {
    Asked { hash: Some(stable::mix(hash)), ..Asked::default() }
}

/// Without a bound, so that each key has one place.
fn unbounded(policy: Policy) -> Rules {
    Rules { hash_load: 0, ..policy.into() }
}

fn of(policy: Policy, endpoints: &[(u16, u16)], seed: u64) -> Balancer {
    let mut balancer = Balancer::new(unbounded(policy), seed);
    reconcile(&mut balancer, endpoints);
    balancer
}

fn even(numbers: std::ops::Range<u16>) -> Vec<(u16, u16)> {
    numbers.map(|n| (n, 1)).collect()
}

/// Where each key goes.
fn places(balancer: &mut Balancer) -> Vec<Address> {
    let place = |n| {
        let picked = balancer.pick_for(&keyed(n), 0, 0, &[]).unwrap();
        balancer.address(picked.slot).unwrap().clone()
    };
    (0..KEYS).map(place).collect()
}

fn counts_of(places: &[Address]) -> BTreeMap<Address, u64> {
    let mut counts = BTreeMap::new();
    places.iter().for_each(|place| *counts.entry(place.clone()).or_default() += 1);
    counts
}

#[test]
fn every_worker_and_node_sends_a_key_to_the_same_endpoint() {
    for policy in HASHED {
        let endpoints = [(3, 1), (1, 4), (2, 2), (9, 1)];
        let mut one = of(policy, &endpoints, 1);
        let mut other = of(policy, &[(8, 1), (7, 1)], 0xdead_beef << 20);
        // Other slots, in another order.
        let mut reversed = endpoints;
        reversed.reverse();
        reconcile(&mut other, &reversed);
        assert_eq!(places(&mut one), places(&mut other), "{policy:?}");
    }
}

#[test]
fn keys_hold_still_over_versions() {
    let places_of = |policy| {
        let mut balancer = of(policy, &even(0..5), 1);
        let port = |n| match balancer.pick_for(&keyed(n), 0, 0, &[]).map(|picked| picked.slot.0) {
            Some(slot) => char::from_digit(slot, 10).unwrap(),
            None => '-',
        };
        (0..24).map(port).collect::<String>()
    };
    assert_eq!(
        [places_of(Policy::RingHash), places_of(Policy::Maglev)],
        PINNED,
        "an upgrade would move keys"
    );
}

const PINNED: [&str; 2] = ["221031234113134410314342", "234203401203104324331142"];

#[test]
fn shares_follow_weights() {
    for (policy, tolerance) in [(Policy::RingHash, 0.3), (Policy::Maglev, 0.06)] {
        for weights in [&[1, 1, 1, 1, 1][..], &[1, 2, 3], &[10, 10, 50]] {
            let endpoints: Vec<(u16, u16)> = (0..).zip(weights.iter().copied()).collect();
            let counts = counts_of(&places(&mut of(policy, &endpoints, 1)));
            let total: u16 = weights.iter().sum();
            for (n, weight) in endpoints {
                let expected = KEYS as f64 * f64::from(weight) / f64::from(total);
                let count = counts[&address(n)] as f64;
                assert!((count / expected - 1.0).abs() < tolerance, "{policy:?} {weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn an_endpoint_that_comes_or_goes_moves_few_keys() {
    for (policy, others_max) in [(Policy::RingHash, 0.0), (Policy::Maglev, 0.03)] {
        let (mut ten, mut eleven) = (of(policy, &even(0..10), 1), of(policy, &even(0..11), 1));
        let (before, after) = (places(&mut ten), places(&mut eleven));
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count() as f64 / KEYS as f64;
        let to_others =
            before.iter().zip(&after).filter(|(was, is)| was != is && **is != address(10)).count();
        let to_others = to_others as f64 / KEYS as f64;
        let due = 1.0 / 11.0;
        assert!((0.6 * due..1.4 * due + others_max).contains(&moved), "{policy:?}: {moved} moved");
        assert!(to_others <= others_max, "{policy:?}: {to_others} moved between others");
        // And back: slots differ, places don't.
        reconcile(&mut eleven, &even(0..10));
        assert_eq!(places(&mut eleven), before, "{policy:?}");
    }
}

#[test]
fn whoever_is_out_leaves_its_keys_to_all_others_and_gets_them_back() {
    for policy in HASHED {
        let mut balancer = of(policy, &even(0..8), 1);
        let before = places(&mut balancer);
        balancer.set_standings(0, |at| if *at == address(3) { Stand::Ejected } else { Stand::Admitting });
        refuse(&mut balancer, Slot(5), 0);
        let out = places(&mut balancer);
        let mut heirs = BTreeSet::new();
        for (was, is) in before.iter().zip(&out) {
            assert!(*is != address(3) && *is != address(5));
            if *was == address(3) || *was == address(5) {
                heirs.insert(is.clone());
            } else {
                assert_eq!(was, is, "{policy:?}: a key of somebody who is there stays");
            }
        }
        assert_eq!(heirs.len(), 6, "{policy:?}: nobody inherits everything");
        balancer.set_standings(0, |_| Stand::Admitting);
        balancer.began(Slot(5));
        balancer.ended(Slot(5), 0, 0, Outcome::Answered, 0);
        assert_eq!(places(&mut balancer), before, "{policy:?}");
    }
}

#[test]
fn a_retry_goes_on_along_the_key_s_own_way() {
    for policy in HASHED {
        let mut balancer = of(policy, &even(0..5), 1);
        for n in 0..200 {
            let mut tried = Vec::new();
            while let Some(picked) = balancer.pick_for(&keyed(n), 0, 0, &tried) {
                assert!(!tried.contains(&picked.slot));
                tried.push(picked.slot);
            }
            assert_eq!(tried.len(), 5, "{policy:?}: all of them, each once");
            let again = balancer.pick_for(&keyed(n), 0, 9, &tried[..2]).unwrap();
            assert_eq!(again.slot, tried[2], "{policy:?}: the way holds still");
        }
    }
}

#[test]
fn without_a_key_the_less_busy_is_asked() {
    for policy in HASHED {
        let mut balancer = balancer(policy, &[1, 1]);
        (0..5).for_each(|_| balancer.began(Slot(0)));
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..100 {
            let picked = balancer.pick_for(&Asked::default(), 0, rng.u64(..), &[]).unwrap();
            assert_eq!((picked.slot, picked.how.keyless), (Slot(1), true));
        }
    }
}

#[test]
fn a_key_that_everybody_has_fells_nobody() {
    for policy in HASHED {
        let mut balancer = balancer(policy, &[1, 1, 2, 4]);
        let mut passed_over = 0;
        for all in 1..=800_u32 {
            let picked = balancer.pick_for(&keyed(7), 0, 0, &[]).unwrap();
            passed_over += u32::from(picked.how.passed_over);
            balancer.began(picked.slot);
            for (slot, weight) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0_f64)] {
                let bound = (1.25 * f64::from(all) * weight / 8.0).ceil();
                let active = balancer.active(Slot(slot));
                assert!(f64::from(active) <= bound, "{policy:?}: {active} of {all} on {slot}");
            }
        }
        assert!(passed_over > 0);
        // What has ended makes room: its first endpoint has it again.
        let mut first = of(policy, &[(0, 1), (1, 1), (2, 2), (3, 4)], 1);
        let home = first.pick_for(&keyed(7), 0, 0, &[]).unwrap().slot;
        for slot in (0..4).map(Slot) {
            for _ in 0..balancer.active(slot) {
                balancer.ended(slot, 0, 0, Outcome::Answered, 0);
            }
        }
        assert_eq!(balancer.pick_for(&keyed(7), 0, 0, &[]).unwrap().slot, home);
    }
}

#[test]
fn the_bound_is_of_those_that_can_take_something() {
    for policy in HASHED {
        let mut balancer = balancer(policy, &[1, 1, 1, 1]);
        // A thousand are stuck on one that is ejected meanwhile: they raise nobody's bound.
        (0..1000).for_each(|_| balancer.began(Slot(0)));
        balancer.set_standings(0, |at| if *at == address(0) { Stand::Ejected } else { Stand::Admitting });
        for _ in 0..300 {
            let slot = balancer.pick_for(&keyed(7), 0, 0, &[]).unwrap().slot;
            balancer.began(slot);
        }
        for slot in 1..4 {
            let active = balancer.active(Slot(slot));
            assert!((50..=125).contains(&active), "{policy:?}: {active}");
        }
        // And once it is back, what is stuck there counts.
        balancer.set_standings(0, |_| Stand::Admitting);
        for n in 0..200 {
            assert_ne!(balancer.pick_for(&keyed(n), 0, 0, &[]).unwrap().slot, Slot(0));
        }
    }
}

#[test]
fn with_hardly_anybody_left_a_key_has_its_place_still() {
    for policy in HASHED {
        let mut balancer = of(policy, &even(0..2000), 1);
        let left = [address(17), address(1900)];
        balancer.set_standings(0, |at| if left.contains(at) { Stand::Admitting } else { Stand::Barred });
        let places = places(&mut balancer);
        let counts = counts_of(&places);
        assert_eq!(counts.keys().collect::<Vec<_>>(), left.iter().collect::<Vec<_>>());
        assert!(counts.values().all(|count| *count > KEYS / 3), "{policy:?}: {counts:?}");
    }
}
