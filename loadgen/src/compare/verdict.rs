//! Is B better than A? Pure.
//!
//! A difference is said only where three things hold: the 95% interval of the ratio leaves 1 out, the rank test's p,
//! corrected for the number of metrics judged, is at most 5%, and the ratio is at least the minimum effect away from 1.
//! So noise is seldom taken for a difference, and a difference that nobody would notice is not made one by many runs.

use serde::Serialize;

use super::statistics::{Ratio, holm, least_p, of_means, paired, unpaired};
use crate::report::model::Report;

/// How likely a difference may be said where there is none.
const ALPHA: f64 = 0.05;
/// Open loops that achieve the asked rate this nearly have no throughput to compare.
const AS_ASKED: f64 = 0.005;

/// What is compared.
pub const METRICS: [&str; 10] = ["p50", "p90", "p95", "p99", "p99.9", "max", "mean", "rate", "cpu", "errors"];
/// Where the rate is among them.
const RATE: usize = 7;

/// One run's figures: microseconds, good answers a second, microseconds of CPU a request, share of failed requests; in the order of [`METRICS`]; none where it has not been measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The figures.
    pub values: [Option<f64>; METRICS.len()],
    /// The rate asked for.
    pub asked_rate: Option<f64>,
}

impl From<&Report> for Run {
    fn from(report: &Report) -> Run {
        let latency = &report.response_time_us;
        let at = |percentile| Some(latency.percentile_us(percentile)).filter(|us| *us > 0.0);
        let positive = |value: f64| Some(value).filter(|value| *value > 0.0);
        Run {
            values: [
                at(50.0),
                at(90.0),
                at(95.0),
                at(99.0),
                at(99.9),
                positive(latency.max_us()),
                positive(latency.mean_us()),
                positive(report.achieved_rate),
                report.watched.as_ref().and_then(|watched| positive(watched.cpu_us_per_request)),
                (report.requests > 0)
                    .then(|| report.errors.values().sum::<u64>() as f64 / report.requests as f64),
            ],
            asked_rate: report.plan.rate,
        }
    }
}

/// What is said of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// No difference was shown.
    NoDifference,
    /// Both did what was asked: there is nothing to compare.
    AsAsked,
    /// Shown, and not judged.
    NotJudged,
    /// There are too few runs for any verdict.
    Refused,
}

/// One metric, compared.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name, of [`METRICS`].
    pub metric: &'static str,
    /// Medians of both sides, in the metric's own unit.
    pub medians: (f64, f64),
    /// B in parts of A.
    pub ratio: Ratio,
    /// p, corrected.
    pub p_corrected: f64,
    /// What is said of it.
    pub verdict: Verdict,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Metrics that both sides have.
    pub rows: Vec<Row>,
    /// In words.
    pub sentence: String,
    /// Runs of each side.
    pub runs: (usize, usize),
    /// Whether runs were taken in pairs.
    pub is_paired: bool,
    /// Share by which a ratio had to differ from 1.
    pub min_effect: f64,
    /// Metrics that could not be compared, and why.
    pub notes: Vec<String>,
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Runs of the same number belong together.
    pub is_paired: bool,
    /// Share by which a ratio must differ from 1.
    pub min_effect: f64,
    /// Of the bootstrap.
    pub seed: u64,
}

/// Compares runs.
pub fn compare(a: &[Run], b: &[Run], rule: Rule) -> Comparison {
    let is_paired = rule.is_paired && a.len() == b.len();
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (number, metric) in METRICS.into_iter().enumerate() {
        let of = |side: &[Run]| side.iter().map(|run| run.values[number]).collect::<Option<Vec<f64>>>();
        let (Some(left), Some(right)) = (of(a), of(b)) else {
            notes.extend(gap(a, b, number));
            continue;
        };
        if left.is_empty() || right.is_empty() {
            continue;
        }
        let seed = rule.seed.wrapping_add(number as u64);
        let ratio = match (metric, is_paired) {
            ("errors", _) => of_means(&left, &right, is_paired, seed),
            (_, true) => paired(&left, &right, seed),
            (_, false) => unpaired(&left, &right, seed),
        };
        let verdict = match metric {
            "max" | "errors" => Verdict::NotJudged,
            "rate" if as_asked(a) && as_asked(b) => Verdict::AsAsked,
            _ => Verdict::NoDifference,
        };
        let medians = (median(left), median(right));
        rows.push(Row { metric, medians, ratio, p_corrected: 1.0, verdict });
    }
    let judged: Vec<usize> = (0..rows.len()).filter(|&n| rows[n].verdict == Verdict::NoDifference).collect();
    let refused = refusal(a.len(), b.len(), judged.len(), is_paired);
    let ps: Vec<f64> = judged.iter().map(|&n| rows[n].ratio.p).collect();
    for (&number, p) in judged.iter().zip(holm(&ps)) {
        let row = &mut rows[number];
        row.p_corrected = p;
        row.verdict = if refused.is_some() { Verdict::Refused } else { judge(row, rule.min_effect) };
    }
    let sentence = match &refused {
        Some(why) => format!("no verdict: {why}"),
        None => sentence(&rows, rule.min_effect),
    };
    let runs = (a.len(), b.len());
    Comparison { rows, sentence, runs, is_paired, min_effect: rule.min_effect, notes }
}

/// A metric that some runs have and others don't would go unseen otherwise.
fn gap(a: &[Run], b: &[Run], number: usize) -> Option<String> {
    let with = |side: &[Run]| side.iter().filter(|run| run.values[number].is_some()).count();
    let (in_a, in_b) = (with(a), with(b));
    (in_a + in_b > 0).then(|| {
        format!(
            "{} is not compared: {in_a} of {} runs of A have it and {in_b} of {} of B",
            METRICS[number],
            a.len(),
            b.len()
        )
    })
}

fn judge(row: &Row, min_effect: f64) -> Verdict {
    let ratio = row.ratio;
    let sure = ratio.interval.is_some_and(|(low, high)| low > 1.0 || high < 1.0) && row.p_corrected <= ALPHA;
    let large = ratio.ratio >= 1.0 + min_effect || ratio.ratio <= 1.0 / (1.0 + min_effect);
    if !(sure && large) {
        return Verdict::NoDifference;
    }
    let more_is_better = row.metric == "rate";
    if (ratio.ratio > 1.0) == more_is_better { Verdict::Better } else { Verdict::Worse }
}

fn as_asked(runs: &[Run]) -> bool {
    runs.iter().all(|run| match (run.asked_rate, run.values[RATE]) {
        (Some(asked), Some(achieved)) => (achieved / asked - 1.0).abs() <= AS_ASKED,
        _ => false,
    })
}

/// Why there can be no verdict.
fn refusal(a: usize, b: usize, judged: usize, is_paired: bool) -> Option<String> {
    if a == 0 || b == 0 {
        return Some("a side has no run that counts".into());
    }
    if a.min(b) == 1 {
        return Some(
            "with one run a side nothing is known about how much runs differ by themselves; compare several of each \
             (`compare --pairs 10 -- COMMAND_A -- COMMAND_B`)"
                .into(),
        );
    }
    let judged = judged.max(1) as f64;
    if least_p(a, b, is_paired) * judged <= ALPHA {
        return None;
    }
    let enough = (2..200).find(|&n| least_p(n, n, is_paired) * judged <= ALPHA).unwrap_or(200);
    Some(format!(
        "{a} and {b} runs are too few: even if all agreed, p corrected for {judged} metrics could not be less than \
         {:.2}; {enough} of each are enough",
        (least_p(a, b, is_paired) * judged).min(1.0)
    ))
}

fn sentence(rows: &[Row], min_effect: f64) -> String {
    let said = |wanted: Verdict| {
        let rows = rows.iter().filter(|row| row.verdict == wanted);
        let texts = rows.map(|row| {
            let (low, high) = row.ratio.interval.unwrap_or((row.ratio.ratio, row.ratio.ratio));
            format!("{} {:.2}x ({low:.2} to {high:.2})", row.metric, row.ratio.ratio)
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    match (said(Verdict::Better), said(Verdict::Worse)) {
        (better, worse) if better.is_empty() && worse.is_empty() => {
            format!("no difference shown at a {}% minimum effect", (min_effect * 1e4).round() / 1e2)
        }
        (better, worse) if worse.is_empty() => format!("B is better: {better}"),
        (better, worse) if better.is_empty() => format!("B is worse: {worse}"),
        (better, worse) => format!("B is better in some and worse in others: better {better}; worse {worse}"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sides of runs on a machine whose speed drifts by 5% from pair to pair and by 4% within one.
    fn sides(random: &mut fastrand::Rng, pairs: usize, effect: f64) -> (Vec<Run>, Vec<Run>) {
        let mut normal = |spread: f64| {
            let (u, v) = (1.0 - random.f64(), random.f64());
            (spread * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()).exp()
        };
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            let drift = normal(0.05);
            let mut run = |effect: f64| Run {
                values: std::array::from_fn(|n| {
                    (METRICS[n] != "errors").then(|| (n + 1) as f64 * 100.0 * drift * normal(0.04) * effect)
                }),
                asked_rate: None,
            };
            a.push(run(1.0));
            b.push(run(effect));
        }
        (a, b)
    }

    const RULE: Rule = Rule { is_paired: true, min_effect: 0.03, seed: 1 };

    fn differs(comparison: &Comparison) -> bool {
        comparison.rows.iter().any(|row| matches!(row.verdict, Verdict::Better | Verdict::Worse))
    }

    // By arithmetic 4.6% of pairs give an alarm: p may be 6 of 1024 for each of eight metrics. Two hundred draws swing
    // by 1.5% around that; that p itself is right is counted out in `statistics`.
    #[test]
    fn of_two_sets_from_one_distribution_a_difference_is_seldom_said() {
        for is_paired in [true, false] {
            let mut random = fastrand::Rng::with_seed(42);
            let alarms = (0..200)
                .filter(|_| {
                    let (a, b) = sides(&mut random, 10, 1.0);
                    differs(&compare(&a, &b, Rule { is_paired, ..RULE }))
                })
                .count();
            assert!(alarms <= 10, "{alarms} of 200");
        }
    }

    #[test]
    fn a_tenth_more_is_found_with_ten_pairs() {
        let mut random = fastrand::Rng::with_seed(7);
        let found = (0..100)
            .filter(|_| {
                let (a, b) = sides(&mut random, 10, 1.1);
                let comparison = compare(&a, &b, RULE);
                comparison.rows.iter().any(|row| row.metric == "p99" && row.verdict == Verdict::Worse)
            })
            .count();
        assert!(found >= 95, "{found} of 100");
    }

    #[test]
    fn one_run_a_side_has_no_verdict_and_neither_have_too_few() {
        let mut random = fastrand::Rng::with_seed(7);
        let (a, b) = sides(&mut random, 1, 2.0);
        let comparison = compare(&a, &b, RULE);
        assert!(comparison.sentence.contains("with one run a side"), "{}", comparison.sentence);
        assert!(comparison.rows.iter().all(|row| row.verdict != Verdict::Worse));
        let (a, b) = sides(&mut random, 4, 2.0);
        assert!(
            compare(&a, &b, RULE).sentence.contains("9 of each are enough"),
            "{}",
            compare(&a, &b, RULE).sentence
        );
    }

    #[test]
    fn a_small_effect_is_none_however_sure_it_is() {
        let run = |value: f64| Run { values: [Some(value); METRICS.len()], asked_rate: None };
        let a: Vec<Run> = (0..20).map(|n| run(100.0 + f64::from(n))).collect();
        let b: Vec<Run> = (0..20).map(|n| run((100.0 + f64::from(n)) * 1.02)).collect();
        assert!(!differs(&compare(&a, &b, RULE)));
        let finer = compare(&a, &b, Rule { min_effect: 0.005, ..RULE });
        assert!(differs(&finer) && finer.sentence.contains("better in some and worse in others"));
        let equal = compare(&a, &a, Rule { min_effect: 0.005, ..RULE });
        assert_eq!(equal.sentence, "no difference shown at a 0.5% minimum effect");
    }

    #[test]
    fn a_metric_that_only_some_runs_have_is_said_to_be_left_out() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut a, b) = sides(&mut random, 10, 1.0);
        a[3].values[8] = None;
        let comparison = compare(&a, &b, RULE);
        assert!(comparison.rows.iter().all(|row| row.metric != "cpu"));
        assert_eq!(comparison.notes, ["cpu is not compared: 9 of 10 runs of A have it and 10 of 10 of B"]);
    }

    #[test]
    fn a_rate_that_both_kept_is_not_compared() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut a, mut b) = sides(&mut random, 10, 1.0);
        for run in a.iter_mut().chain(&mut b) {
            run.values[RATE] = Some(999.0);
            run.asked_rate = Some(1000.0);
        }
        let comparison = compare(&a, &b, RULE);
        assert_eq!(
            comparison.rows.iter().find(|row| row.metric == "rate").unwrap().verdict,
            Verdict::AsAsked
        );
    }
}
