//! Levels, zones, subsets, panic, cookies and slow start: which endpoints a policy is given.

use super::*;

/// Number, level, in this zone, views.
fn endpoint(number: u16, priority: u8, is_near: bool, views: u64) -> Endpoint {
    Endpoint { priority, is_near, views, ..(address(number), 1).into() }
}

fn of(policy: Policy, endpoints: &[Endpoint]) -> Balancer {
    let mut balancer = Balancer::new(Rules { views: 4, ..policy.into() }, 1);
    balancer.set_rules(Rules { views: 4, ..policy.into() });
    balancer.reconcile(endpoints, 0);
    balancer
}

/// Which endpoints stand badly; all others stand well.
fn eject(balancer: &mut Balancer, numbers: &[u16]) {
    let out: Vec<Address> = numbers.iter().map(|n| address(*n)).collect();
    balancer.set_standings(0, |at| if out.contains(at) { Stand::Ejected } else { Stand::Admitting });
}

/// Percent of picks for each of the first endpoints' slots.
fn percents(balancer: &mut Balancer, count: usize) -> Vec<i64> {
    const PICKS: u64 = 40_000;
    let mut counts = vec![0; count];
    for n in 0..PICKS {
        let rand = stable::mix(n);
        let asked = Asked { hash: Some(rand), ..Asked::default() };
        if let Some(picked) = balancer.pick_for(&asked, 0, rand, &[]) {
            counts[picked.slot.0 as usize] += 1;
        }
    }
    counts.iter().map(|count| (*count * 1000 / PICKS as i64 + 5) / 10).collect()
}

/// Sums for ranges of endpoints.
fn sums(percents: &[i64], ranges: &[std::ops::Range<usize>]) -> Vec<i64> {
    ranges.iter().map(|range| percents[range.clone()].iter().sum()).collect()
}

#[track_caller]
fn assert_near(found: &[i64], expected: &[i64]) {
    let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 2);
    assert!(near && found.len() == expected.len(), "{found:?}, should be {expected:?}");
}

#[test]
fn a_level_overflows_to_the_next_as_it_fails() {
    for policy in POLICIES {
        let mut endpoints: Vec<Endpoint> = (0..4).map(|n| endpoint(n, 0, false, 1)).collect();
        endpoints.extend((4..8).map(|n| endpoint(n, 3, false, 1)));
        let mut balancer = of(policy, &endpoints);
        let levels = |balancer: &mut Balancer| sums(&percents(balancer, 8), &[0..4, 4..8]);
        assert_near(&levels(&mut balancer), &[100, 0]);
        eject(&mut balancer, &[0]);
        assert_near(&levels(&mut balancer), &[100, 0]);
        eject(&mut balancer, &[0, 1]);
        assert_near(&levels(&mut balancer), &[70, 30]);
        eject(&mut balancer, &[0, 1, 2, 3]);
        assert_near(&levels(&mut balancer), &[0, 100]);
        eject(&mut balancer, &[]);
        // Refusals alone do the same, without checks or ejection.
        refuse(&mut balancer, Slot(0), 0);
        refuse(&mut balancer, Slot(2), 0);
        assert_near(&levels(&mut balancer), &[70, 30]);
        let after =
            |n| balancer.pick_for(&Asked::default(), SECOND, stable::mix(n), &[]).unwrap().how.overflow;
        assert!(!(0..100).any(after), "{policy:?}: their marks have ended");
    }
}

#[test]
fn the_own_zone_comes_first_and_then_the_rest_of_the_level() {
    for policy in POLICIES {
        let mut endpoints: Vec<Endpoint> = (0..2).map(|n| endpoint(n, 0, true, 1)).collect();
        endpoints.extend((2..6).map(|n| endpoint(n, 0, false, 1)));
        endpoints.extend((6..8).map(|n| endpoint(n, 1, true, 1)));
        let mut balancer = of(policy, &endpoints);
        let parts = |balancer: &mut Balancer| sums(&percents(balancer, 8), &[0..2, 2..6, 6..8]);
        assert_near(&parts(&mut balancer), &[100, 0, 0]);
        eject(&mut balancer, &[0]);
        assert_near(&parts(&mut balancer), &[70, 30, 0]);
        eject(&mut balancer, &[0, 2, 3, 4, 5]);
        assert_near(&parts(&mut balancer), &[70, 0, 30]);
        eject(&mut balancer, &[0, 1, 2, 3, 4, 5]);
        assert_near(&parts(&mut balancer), &[0, 0, 100]);
    }
}

#[test]
fn a_retry_finds_another_level_where_its_own_has_nobody_else() {
    for policy in POLICIES {
        let mut balancer = of(policy, &[endpoint(0, 0, false, 1), endpoint(1, 1, false, 1)]);
        let picked = balancer.pick_for(&Asked::default(), 0, 7, &[Slot(0)]).unwrap();
        assert_eq!((picked.slot, picked.how.overflow), (Slot(1), true), "{policy:?}");
        assert_eq!(balancer.pick_for(&Asked::default(), 0, 7, &[Slot(0), Slot(1)]), None);
    }
}

#[test]
fn a_subset_is_a_view_of_the_same_endpoints() {
    for policy in POLICIES {
        // Views 1 and 2; nobody is in 3.
        let mut balancer = of(
            policy,
            &[endpoint(0, 0, false, 0b010), endpoint(1, 0, false, 0b110), endpoint(2, 0, false, 0b100)],
        );
        let slots = |balancer: &mut Balancer, view| -> Vec<u32> {
            let pick = |n| {
                let rand = stable::mix(n);
                balancer.pick_for(&Asked { view, hash: Some(rand), stick: None }, 0, rand, &[])
            };
            let slots: BTreeSet<u32> = (0..200).filter_map(pick).map(|picked| picked.slot.0).collect();
            slots.into_iter().collect()
        };
        assert_eq!(
            [0, 1, 2, 3, 9].map(|view| slots(&mut balancer, view)),
            [vec![0, 1, 2], vec![0, 1], vec![1, 2], vec![], vec![]]
        );
        assert!(balancer.is_empty(3) && !balancer.is_empty(2));
        // What one view has learnt, the others know.
        refuse(&mut balancer, Slot(1), 0);
        assert_eq!([0, 1, 2].map(|view| slots(&mut balancer, view)), [vec![0, 2], vec![0], vec![2]]);
    }
}

#[test]
fn load_belongs_to_the_service_whatever_view_it_came_by() {
    let mut balancer = of(Policy::LeastRequest, &[endpoint(0, 0, false, 0b11), endpoint(1, 0, false, 0b01)]);
    let subset = Asked { view: 1, ..Asked::default() };
    for n in 0..10 {
        let slot = balancer.pick_for(&subset, 0, stable::mix(n), &[]).unwrap().slot;
        balancer.began(slot);
    }
    let mut rng = fastrand::Rng::with_seed(8);
    assert!((0..50).all(|_| balancer.pick(0, rng.u64(..), None) == Some(Slot(1))));
}

#[test]
fn panic_is_a_tier_s_own_and_is_told() {
    let mut endpoints: Vec<Endpoint> = (0..8).map(|n| endpoint(n, 0, false, 1)).collect();
    endpoints.extend((8..12).map(|n| endpoint(n, 1, false, 1)));
    let mut balancer = of(Policy::Random, &endpoints);
    let told = |balancer: &mut Balancer| {
        let picks = (0..2000).filter_map(|n| balancer.pick_for(&Asked::default(), 0, stable::mix(n), &[]));
        let panic: BTreeSet<u32> =
            picks.filter(|picked| picked.how.panic).map(|picked| picked.slot.0).collect();
        panic.into_iter().collect::<Vec<u32>>()
    };
    eject(&mut balancer, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(told(&mut balancer), [0; 0], "the second level takes what the first can't");
    eject(&mut balancer, &[0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(
        told(&mut balancer),
        [0, 1, 2, 3, 4, 5, 6, 7],
        "of the second half are there, and that is enough"
    );
    refuse(&mut balancer, Slot(1), 0);
    assert_eq!(told(&mut balancer), [0, 2, 3, 4, 5, 6, 7]);
    eject(&mut balancer, &[]);
    assert_eq!(told(&mut balancer), [0; 0]);
}

#[test]
fn a_client_is_led_back_while_its_endpoint_is_picked() {
    for policy in POLICIES {
        let mut balancer = of(
            policy,
            &[endpoint(0, 0, false, 0b01), endpoint(1, 0, false, 0b11), endpoint(2, 1, false, 0b01)],
        );
        let stick = |slot, view| Asked { view, hash: Some(5), stick: Some(Slot(slot)) };
        let led = |balancer: &mut Balancer, slot, view, tried: &[Slot]| {
            let picked = balancer.pick_for(&stick(slot, view), 0, 99, tried).unwrap();
            assert!(!picked.how.stuck || picked.slot == Slot(slot));
            picked.how.stuck
        };
        assert!((0..3).all(|slot| led(&mut balancer, slot, 0, &[])), "{policy:?}: also where no level leads");
        assert!(!led(&mut balancer, 0, 0, &[Slot(0)]));
        assert!(led(&mut balancer, 1, 1, &[]) && !led(&mut balancer, 0, 1, &[]), "not out of its subset");
        assert!(!led(&mut balancer, 7, 0, &[]), "nobody has that slot");
        eject(&mut balancer, &[0]);
        assert!(!led(&mut balancer, 0, 0, &[]));
        eject(&mut balancer, &[]);
        refuse(&mut balancer, Slot(0), 0);
        assert!(!led(&mut balancer, 0, 0, &[]));
        assert!(led(&mut balancer, 1, 0, &[]));
        balancer.reconcile(&[endpoint(0, 0, false, 1), endpoint(2, 1, false, 1)], 0);
        assert!(!led(&mut balancer, 1, 0, &[]), "it is gone");
    }
}

/// Those whose idle endpoints are picked by weight.
const WARMS: [Policy; 3] = [Policy::RoundRobin, Policy::LeastRequest, Policy::Random];

fn slow(policy: Policy) -> Rules {
    Rules { slow_start_ns: 30 * SECOND, ..policy.into() }
}

/// Share of picks that go to a slot from `at_ns` on, with so many others; each is answered at once.
fn share(balancer: &mut Balancer, slot: u32, at_ns: u64) -> f64 {
    const PICKS: u64 = 20_000;
    let mut mine = 0;
    for n in 0..PICKS {
        let picked = balancer.pick(at_ns, stable::mix(n ^ at_ns), None).unwrap();
        mine += u64::from(picked.0 == slot);
        balancer.began(picked);
        balancer.ended(picked, at_ns, 1_000_000, Outcome::Answered, 0);
    }
    mine as f64 / PICKS as f64
}

#[track_caller]
fn assert_warms(balancer: &mut Balancer, slot: u32, from_ns: u64, policy: Policy) {
    for (seconds, weight) in [(0, 0.1), (10, 0.4), (20, 0.7), (30, 1.0), (300, 1.0_f64)] {
        let expected = weight / (3.0 + weight);
        let found = share(balancer, slot, from_ns + seconds * SECOND);
        assert!(
            (found - expected).abs() < 0.02,
            "{policy:?} after {seconds} s: {found}, should be {expected}"
        );
    }
}

#[test]
fn a_new_endpoint_warms_up_and_the_first_ones_do_not() {
    for policy in WARMS {
        let mut balancer = Balancer::new(slow(policy), 1);
        reconcile(&mut balancer, &[(0, 1), (1, 1), (2, 1)]);
        let found = share(&mut balancer, 0, 0);
        assert!((found - 1.0 / 3.0).abs() < 0.02, "{policy:?}: {found}");
        let four: Vec<Endpoint> = (0..4).map(|n| endpoint(n, 0, false, 1)).collect();
        balancer.reconcile(&four, 100 * SECOND);
        assert_warms(&mut balancer, 3, 100 * SECOND, policy);
    }
}

#[test]
fn an_endpoint_that_is_back_warms_up() {
    for policy in WARMS {
        let mut balancer = Balancer::new(slow(policy), 1);
        reconcile(&mut balancer, &[(0, 1), (1, 1), (2, 1), (3, 1)]);
        eject(&mut balancer, &[3]);
        assert_eq!(share(&mut balancer, 3, 5 * SECOND), 0.0);
        balancer.set_standings(50 * SECOND, |_| Stand::Admitting);
        assert_warms(&mut balancer, 3, 50 * SECOND, policy);
        // After a refusal it warms from when it may be asked again.
        refuse(&mut balancer, Slot(3), 1000 * SECOND);
        assert_eq!(share(&mut balancer, 3, 1000 * SECOND), 0.0);
        assert_warms(&mut balancer, 3, 1001 * SECOND, policy);
    }
}

#[test]
fn a_key_s_endpoint_warms_by_its_bound() {
    for policy in [Policy::RingHash, Policy::Maglev] {
        let mut balancer = Balancer::new(slow(policy), 1);
        reconcile(&mut balancer, &[(0, 1), (1, 1), (2, 1)]);
        let four: Vec<Endpoint> = (0..4).map(|n| endpoint(n, 0, false, 1)).collect();
        balancer.reconcile(&four, SECOND);
        let mut active_at = |now_ns| {
            let mut slots = Vec::new();
            for n in 0..400 {
                let asked = Asked { hash: Some(stable::mix(n)), ..Asked::default() };
                let slot = balancer.pick_for(&asked, now_ns, 0, &[]).unwrap().slot;
                balancer.began(slot);
                slots.push(slot);
            }
            let active = balancer.active(Slot(3));
            slots.iter().for_each(|slot| balancer.ended(*slot, now_ns, 0, Outcome::Answered, 0));
            active
        };
        // 125% of a tenth among 3.1.
        assert!((8..=17).contains(&active_at(SECOND)), "{policy:?}");
        assert!(active_at(31 * SECOND) > 70, "{policy:?}");
    }
}

#[test]
fn the_sooner_of_two_is_so_by_how_warm_it_is_too() {
    let mut balancer = Balancer::new(slow(Policy::PeakEwma), 1);
    reconcile(&mut balancer, &[(0, 1), (1, 1)]);
    let three: Vec<Endpoint> = (0..3).map(|n| endpoint(n, 0, false, 1)).collect();
    balancer.reconcile(&three, SECOND);
    for slot in (0..3).map(Slot) {
        balancer.began(slot);
        balancer.ended(slot, SECOND, 1_000_000, Outcome::Answered, 0);
    }
    // As many as are under way at once: the cost of each is the same then.
    let mut active_at = |now_ns| {
        let picked: Vec<Slot> = (0..310)
            .map(|n| {
                let slot = balancer.pick(now_ns, stable::mix(n), None).unwrap();
                balancer.began(slot);
                slot
            })
            .collect();
        let active = balancer.active(Slot(2));
        picked.iter().for_each(|slot| balancer.ended(*slot, now_ns, 1_000_000, Outcome::Answered, 0));
        active
    };
    assert!((5..=30).contains(&active_at(SECOND)));
    assert!((80..=125).contains(&active_at(40 * SECOND)));
}
