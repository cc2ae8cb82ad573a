//! Shares, and who moves where they change.

use super::*;

/// Parts called by letters, with these weights, in this order.
fn split(parts: &[(char, u32)]) -> Split {
    Split::new(parts.iter().map(|(name, weight)| Weighted {
        part: Part { service: ServiceId(u32::from(*name)), view: 0 },
        weight: *weight,
        names: (name.to_string().into(), String::new()),
    }))
}

fn name(part: Part) -> char {
    char::from_u32(part.service.0).unwrap()
}

fn key(n: u64) -> u64 {
    stable::mix(n ^ 0x5eed)
}

/// Four deviations of a binomial distribution: one seed in 16 000 would fail.
fn assert_share(count: usize, draws: u32, share: f64) {
    let draws = f64::from(draws);
    let deviation = (draws * share * (1.0 - share)).sqrt();
    assert!((count as f64 - draws * share).abs() < 4.0 * deviation, "{count} of {draws}, should be {share}");
}

#[test]
fn a_split_stays_within_binomial_bounds() {
    let split = split(&[('a', 95), ('z', 0), ('b', 5)]);
    let mut rng = fastrand::Rng::with_seed(11);
    let drawn: Vec<char> = (0..100_000).map(|_| name(split.pick(rng.u32(..)))).collect();
    let keyed: Vec<char> = (0..100_000).map(|n| name(split.pick_by(key(n)))).collect();
    for parts in [drawn, keyed] {
        assert_share(parts.iter().filter(|part| **part == 'b').count(), 100_000, 0.05);
        assert!(parts.iter().all(|part| *part != 'z'), "what weighs nothing gets nothing");
    }
    assert_eq!((name(split.pick(0)), name(split.pick(u32::MAX))), ('a', 'b'));
    assert_eq!(
        split.weights().map(|(part, weight)| (name(part), weight)).collect::<Vec<_>>(),
        [('a', 95), ('b', 5)]
    );
}

#[test]
fn weights_may_be_as_large_as_they_get() {
    let split = split(&[('a', u32::MAX), ('b', u32::MAX), ('c', u32::MAX)]);
    assert_eq!([0, 1 << 31, u32::MAX].map(|rand| name(split.pick(rand))), ['a', 'b', 'c']);
}

#[test]
fn who_is_in_a_part_that_grows_stays() {
    let shares = [(99, 1), (95, 5), (90, 10), (50, 50), (1, 99), (0, 100)];
    for n in 0..20_000 {
        let parts: Vec<char> =
            shares.iter().map(|(a, b)| name(split(&[('a', *a), ('b', *b)]).pick_by(key(n)))).collect();
        assert!(parts.is_sorted(), "a, then b, and never back: {parts:?}");
    }
    // With three parts too, whatever comes first in the list.
    let (before, after) =
        (split(&[('a', 90), ('b', 5), ('c', 5)]), split(&[('c', 10), ('b', 10), ('a', 80)]));
    let mut moved = 0;
    for n in 0..20_000 {
        let (was, is) = (name(before.pick_by(key(n))), name(after.pick_by(key(n))));
        assert!(was == is || was == 'a', "{was} became {is}");
        moved += usize::from(was != is);
    }
    assert_share(moved, 20_000, 0.1);
}

#[test]
fn a_part_that_comes_or_goes_moves_only_its_own() {
    let (two, three) = (split(&[('a', 1), ('b', 1)]), split(&[('a', 1), ('n', 1), ('b', 1)]));
    for n in 0..5_000 {
        let (of_two, of_three) = (name(two.pick_by(key(n))), name(three.pick_by(key(n))));
        assert!(of_two == of_three || of_three == 'n');
    }
}

#[test]
fn parts_of_one_service_are_told_apart_by_their_subsets() {
    let part = |view: u32, subset: &str| Weighted {
        part: Part { service: ServiceId(0), view },
        weight: 1,
        names: ("s".into(), subset.to_owned()),
    };
    let split = Split::new([part(1, "version=v1"), part(2, "version=v2")].into_iter());
    let second = (0..10_000).filter(|n| split.pick_by(key(*n)).view == 2).count();
    assert_share(second, 10_000, 0.5);
}
