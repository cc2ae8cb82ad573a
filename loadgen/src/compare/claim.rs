//! `--fail-if 'p99>1.05x'`: claims about ratios that fail a build.
//!
//! A claim holds when the ratio does; where there are several runs a side, its interval must leave 1 out besides, so that
//! noise alone fails nothing.

use super::verdict::{Comparison, METRICS};

/// A claim about a metric's ratio, B in parts of A.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// As it was written.
    pub text: String,
    metric: &'static str,
    more: bool,
    limit: f64,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The ratio is that.
    Holds,
    /// The ratio is that, and its interval has 1 in it: noise may have made it.
    Unsure,
    /// The ratio is not that.
    No,
}

impl std::str::FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Claim, String> {
        let form = || format!("`{text}` is no claim: write p99>1.05x, or rate<0.95x");
        let at = text.find(['<', '>']).ok_or_else(form)?;
        let (name, limit) = (text[..at].trim(), text[at + 1..].trim());
        let metric = METRICS.into_iter().find(|metric| *metric == name);
        let metric =
            metric.ok_or_else(|| format!("`{name}` is not compared; these are: {}", METRICS.join(", ")))?;
        let number = limit.strip_suffix('x').ok_or_else(|| {
            format!("`{text}` compares with a ratio, B in parts of A: end it in x, as in {name}>1.05x")
        })?;
        let number = number.parse::<f64>().ok();
        let limit = number.filter(|limit| *limit > 0.0 && limit.is_finite()).ok_or_else(form)?;
        Ok(Claim { text: text.trim().to_owned(), metric, more: text[at..].starts_with('>'), limit })
    }
}

impl Claim {
    /// What comes of it. A metric that was not measured is an error: it would pass for ever.
    pub fn check(&self, comparison: &Comparison) -> Result<Outcome, String> {
        let row = comparison.rows.iter().find(|row| row.metric == self.metric);
        let row =
            row.ok_or_else(|| format!("{}: {} was not measured on both sides", self.text, self.metric))?;
        let beyond = |value: f64| if self.more { value > self.limit } else { value < self.limit };
        let sure = row.ratio.interval.is_none_or(|(low, high)| low > 1.0 || high < 1.0);
        Ok(match (beyond(row.ratio.ratio), sure) {
            (true, true) => Outcome::Holds,
            (true, false) => Outcome::Unsure,
            (false, _) => Outcome::No,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::verdict::{Rule, Run, compare};

    #[test]
    fn a_claim_holds_where_ratio_and_interval_say_so() {
        let run = |value: f64| Run { values: [Some(value); METRICS.len()], asked_rate: None };
        let rule = Rule { is_paired: true, min_effect: 0.03, seed: 1 };
        let one = compare(&[run(1.0)], &[run(1.1)], rule);
        let check =
            |text: &str, comparison: &Comparison| text.parse::<Claim>().unwrap().check(comparison).unwrap();
        assert_eq!(check("p99>1.05x", &one), Outcome::Holds);
        assert_eq!(check("errors > 1.05x", &one), Outcome::Holds);
        assert_eq!(check("p99>1.2x", &one), Outcome::No);
        assert_eq!(check("p99 < 0.9x", &one), Outcome::No);
        let noisy = compare(&[run(1.0), run(1.0), run(1.0)], &[run(0.5), run(1.0), run(3.0)], rule);
        assert_eq!(check("p99>1.05x", &noisy), Outcome::Unsure);
        let empty = compare(&[], &[], rule);
        assert!("p99>1.05x".parse::<Claim>().unwrap().check(&empty).unwrap_err().contains("not measured"));
        for (bad, why) in [
            ("p99>1.05", "end it in x"),
            ("p98>2x", "these are"),
            ("p99", "no claim"),
            ("p99>-1x", "no claim"),
        ] {
            assert!(bad.parse::<Claim>().unwrap_err().contains(why), "{bad}");
        }
    }
}
