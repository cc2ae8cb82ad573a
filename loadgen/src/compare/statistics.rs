//! What runs say about a ratio: its size, how sure that is, and how likely chance alone would make it. Pure, seeded.
//!
//! A run is the sample, never a request: requests of one run share its weather. Ratios are taken as logarithms, so that
//! twice as slow and twice as fast weigh the same.

use serde::Serialize;

/// Draws of the bootstrap.
const DRAWS: usize = 10_000;
/// Pairs up to which the rank test is counted out rather than approximated; likewise runs of both sides together.
const EXACT_MAX: usize = 40;

/// What was measured of B in parts of A.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean of the ratios.
    pub ratio: f64,
    /// Its 95% interval by bootstrap over runs, percentile method; none with a single run a side.
    pub interval: Option<(f64, f64)>,
    /// How likely ranks as uneven as these are by chance, two-sided; 1 where there is nothing to rank.
    pub p: f64,
}

/// Of values that belong together in pairs: Wilcoxon's signed-rank test.
pub fn paired(a: &[f64], b: &[f64], seed: u64) -> Ratio {
    let logs: Vec<f64> = a.iter().zip(b).map(|(a, b)| (b / a).ln()).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let draw =
        |random: &mut fastrand::Rng| (0..logs.len()).map(|_| logs[random.usize(0..logs.len())]).sum::<f64>();
    let count = logs.len() as f64;
    let interval = (logs.len() > 1).then(|| interval(|| (draw(&mut random) / count).exp()));
    Ratio { ratio: mean(&logs).exp(), interval, p: signed_rank(&logs) }
}

/// Of values that don't: the test of Mann and Whitney.
pub fn unpaired(a: &[f64], b: &[f64], seed: u64) -> Ratio {
    let log = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
    let (a, b) = (log(a), log(b));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut draw = || {
        let mut of = |side: &[f64]| {
            (0..side.len()).map(|_| side[random.usize(0..side.len())]).sum::<f64>() / side.len() as f64
        };
        (of(&b) - of(&a)).exp()
    };
    let interval = (a.len() > 1 && b.len() > 1).then(|| interval(&mut draw));
    Ratio { ratio: (mean(&b) - mean(&a)).exp(), interval, p: rank_sum(&a, &b) }
}

/// Of values that may be 0, such as shares of errors: the ratio of their means, infinite where only A's is 0.
pub fn of_means(a: &[f64], b: &[f64], is_paired: bool, seed: u64) -> Ratio {
    let ratio = |a: f64, b: f64| match (a, b) {
        (0.0, 0.0) => 1.0,
        (a, b) => b / a,
    };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut draw = || {
        let picked: Vec<usize> = (0..a.len()).map(|_| random.usize(0..a.len())).collect();
        let left = picked.iter().map(|&n| a[n]).sum::<f64>() / a.len() as f64;
        let mut other = |n: usize| if is_paired { b[picked[n]] } else { b[random.usize(0..b.len())] };
        ratio(left, (0..b.len()).map(&mut other).sum::<f64>() / b.len() as f64)
    };
    let interval = (a.len() > 1 && b.len() > 1).then(|| interval(&mut draw));
    let differences = || a.iter().zip(b).map(|(a, b)| b - a).collect::<Vec<f64>>();
    let p = if is_paired { signed_rank(&differences()) } else { rank_sum(a, b) };
    Ratio { ratio: ratio(mean(a), mean(b)), interval, p }
}

/// The least p that so many runs can reach, all of them agreeing.
pub fn least_p(a: usize, b: usize, is_paired: bool) -> f64 {
    if is_paired {
        return 2.0 * 0.5f64.powi(a.min(b) as i32);
    }
    let ways = (1..=a).fold(1.0, |ways, n| ways * (b + n) as f64 / n as f64);
    (2.0 / ways).min(1.0)
}

/// p-values corrected for their number (Holm): each may be read as if it were the only one.
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|&a, &b| ps[a].total_cmp(&ps[b]));
    let mut corrected = vec![1.0; ps.len()];
    let mut reached = 0.0f64;
    for (rank, &place) in order.iter().enumerate() {
        reached = reached.max(((ps.len() - rank) as f64 * ps[place]).min(1.0));
        corrected[place] = reached;
    }
    corrected
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn interval(mut draw: impl FnMut() -> f64) -> (f64, f64) {
    let mut draws: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
    draws.sort_by(f64::total_cmp);
    (draws[DRAWS * 25 / 1000], draws[DRAWS * 975 / 1000 - 1])
}

/// Ranks, doubled so that those of ties are whole: the second and third of equal values are both 5 halves.
fn double_ranks(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let end = (at..order.len()).find(|&n| values[order[n]] != values[order[at]]).unwrap_or(order.len());
        order[at..end].iter().for_each(|&place| ranks[place] = at + 1 + end);
        at = end;
    }
    ranks
}

fn signed_rank(differences: &[f64]) -> f64 {
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = double_ranks(&sizes);
    let positive: usize =
        ranks.iter().zip(&differences).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let total: usize = ranks.iter().sum();
    if ranks.is_empty() {
        return 1.0;
    }
    let extreme = positive.min(total - positive);
    if ranks.len() > EXACT_MAX {
        let spread = ranks.iter().map(|rank| (*rank as f64).powi(2)).sum::<f64>().sqrt() / 2.0;
        return by_normal(extreme as f64, total as f64 / 2.0, spread);
    }
    // How many of the 2^n ways to choose signs give each sum of ranks.
    let mut ways = vec![0.0f64; total + 1];
    ways[0] = 1.0;
    for &rank in &ranks {
        for sum in (rank..=total).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let tail: f64 = ways[..=extreme].iter().sum();
    (2.0 * tail * 0.5f64.powi(ranks.len() as i32)).min(1.0)
}

fn rank_sum(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = double_ranks(&[a, b].concat());
    let total: usize = ranks.iter().sum();
    let ours: usize = ranks[..a.len()].iter().sum();
    let (n, m) = (a.len(), ranks.len());
    let middle = total as f64 * n as f64 / m as f64;
    if m > EXACT_MAX {
        let mean = total as f64 / m as f64;
        let spread = ranks.iter().map(|rank| (*rank as f64 - mean).powi(2)).sum::<f64>() / (m - 1) as f64;
        let spread = (spread * n as f64 * (m - n) as f64 / m as f64).sqrt();
        return by_normal(middle - (ours as f64 - middle).abs(), middle, spread);
    }
    // How many of the ways to choose n of all ranks give each sum.
    let mut ways = vec![vec![0.0f64; total + 1]; n + 1];
    ways[0][0] = 1.0;
    for &rank in &ranks {
        for chosen in (1..=n).rev() {
            for sum in (rank..=total).rev() {
                ways[chosen][sum] += ways[chosen - 1][sum - rank];
            }
        }
    }
    let distance = (ours as f64 - middle).abs() - 1e-9;
    let all: f64 = ways[n].iter().sum();
    let beyond = ways[n].iter().enumerate().filter(|(sum, _)| (*sum as f64 - middle).abs() >= distance);
    beyond.map(|(_, ways)| ways).sum::<f64>() / all
}

/// Two-sided, for a statistic at or below its mean; half a step (of doubled ranks) of correction.
fn by_normal(value: f64, mean: f64, spread: f64) -> f64 {
    if spread <= 0.0 {
        return 1.0;
    }
    let z = ((mean - value - 1.0) / spread).max(0.0);
    // The tail of the normal distribution (Abramowitz and Stegun 7.1.26, good to 1.5e-7).
    let t = 1.0 / (1.0 + 0.327_591_1 * z / std::f64::consts::SQRT_2);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (poly * (-z * z / 2.0).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_tested_exactly() {
        // All of ten pairs agree: 2 / 2^10.
        let up: Vec<f64> = (1..=10).map(f64::from).collect();
        assert!((signed_rank(&up) - 2.0 / 1024.0).abs() < 1e-12);
        // Known of textbooks: W = 9 of 10 pairs has two-sided p 0.0644 (66 of 2048 halves of the sums).
        let mixed = [-1.0, -2.0, -6.0, 3.0, 4.0, 5.0, 7.0, 8.0, 9.0, 10.0];
        assert!((signed_rank(&mixed) - 66.0 / 1024.0).abs() < 1e-12, "{}", signed_rank(&mixed) * 1024.0);
        assert_eq!(signed_rank(&[0.0, 0.0]), 1.0);
        // Complete separation of 5 and 5: 2 of 252.
        assert!(
            (rank_sum(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]) - 2.0 / 252.0).abs() < 1e-12
        );
        assert!((least_p(5, 5, false) - 2.0 / 252.0).abs() < 1e-12);
        assert!((least_p(10, 10, true) - 2.0 / 1024.0).abs() < 1e-12);
    }

    #[test]
    fn the_approximation_agrees_with_the_count() {
        let differences: Vec<f64> =
            (1..=40).map(|n| if n % 3 == 0 { -f64::from(n) } else { f64::from(n) }).collect();
        let exact = signed_rank(&differences);
        let longer: Vec<f64> = differences.iter().copied().chain([1e-9]).collect();
        assert!((signed_rank(&longer) / exact - 1.0).abs() < 0.1, "{} {exact}", signed_rank(&longer));
    }

    #[test]
    fn correcting_for_many_keeps_the_order() {
        let corrected = holm(&[0.01, 0.04, 0.03]);
        assert!(
            corrected.iter().zip([0.03, 0.06, 0.06]).all(|(a, b)| (a - b).abs() < 1e-12),
            "{corrected:?}"
        );
    }

    #[test]
    fn the_interval_holds_the_ratio() {
        let a = [100.0, 110.0, 95.0, 105.0, 99.0, 102.0];
        let b = a.map(|value| value * 1.1);
        let ratio = paired(&a, &b, 1);
        let (low, high) = ratio.interval.unwrap();
        assert!((ratio.ratio - 1.1).abs() < 1e-9 && (low - 1.1).abs() < 1e-9 && (high - 1.1).abs() < 1e-9);
        let (low, high) = unpaired(&a, &b, 1).interval.unwrap();
        assert!(low < 1.1 && high > 1.1 && low > 1.0, "{low} {high}");
    }

    /// Of all the ways chance could have it, no larger part has a p that small than p says. Counted, not drawn.
    #[test]
    fn no_p_is_smaller_than_chance_makes_it() {
        let honest = |mut ps: Vec<f64>| {
            ps.sort_by(f64::total_cmp);
            let all = ps.len() as f64;
            for p in &ps {
                let part = ps.partition_point(|other| *other <= p + 1e-9) as f64 / all;
                assert!(part <= p + 1e-9, "{part} of all ways have p {p}");
            }
        };
        for sizes in [
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0],
            [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0],
        ] {
            honest(
                (0..1u32 << 10)
                    .map(|signs| {
                        let signed = |n: usize| if signs >> n & 1 == 1 { sizes[n] } else { -sizes[n] };
                        signed_rank(&(0..10).map(signed).collect::<Vec<f64>>())
                    })
                    .collect(),
            );
            honest(
                (0..1u32 << 10)
                    .filter(|chosen| chosen.count_ones() == 4)
                    .map(|chosen| {
                        let of = |wanted: u32| {
                            (0..10)
                                .filter(|n| chosen >> n & 1 == wanted)
                                .map(|n| sizes[n])
                                .collect::<Vec<f64>>()
                        };
                        rank_sum(&of(1), &of(0))
                    })
                    .collect(),
            );
        }
    }

    #[test]
    fn shares_of_nothing_have_a_ratio_too() {
        assert_eq!(of_means(&[0.0, 0.0], &[0.0, 0.0], true, 1).ratio, 1.0);
        let grown = of_means(&[0.0, 0.0], &[0.1, 0.2], false, 1);
        assert_eq!((grown.ratio, grown.interval), (f64::INFINITY, Some((f64::INFINITY, f64::INFINITY))));
        let doubled = of_means(&[0.1, 0.1, 0.0], &[0.2, 0.2, 0.0], true, 1);
        assert!((doubled.ratio - 2.0).abs() < 1e-12 && doubled.interval.is_some_and(|(low, _)| low >= 1.0));
    }
}
