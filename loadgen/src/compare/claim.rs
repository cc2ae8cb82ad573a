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

impl std::str::FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Claim, String> {
        let form = || format!("`{text}` is no claim: write p99>1.05x, or rate<0.95x");
        let at = text.find(['<', '>']).ok_or_else(form)?;
        let (name, limit) = (text[..at].trim(), text[at + 1..].trim());
        let metric = METRICS.into_iter().find(|metric| *metric == name);
        let metric =
            metric.ok_or_else(|| format!("`{name}` is not compared; these are: {}", METRICS.join(", ")))?;
        let number = limit.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
        let limit = number.filter(|limit| *limit > 0.0 && limit.is_finite()).ok_or_else(form)?;
        Ok(Claim { text: text.trim().to_owned(), metric, more: text[at..].starts_with('>'), limit })
    }
}

impl Claim {
    /// Whether it holds. A metric that was not measured is an error: it would pass for ever.
    pub fn holds(&self, comparison: &Comparison) -> Result<bool, String> {
        let row = comparison.rows.iter().find(|row| row.metric == self.metric);
        let row =
            row.ok_or_else(|| format!("{}: {} was not measured on both sides", self.text, self.metric))?;
        let beyond = |value: f64| if self.more { value > self.limit } else { value < self.limit };
        let sure = row.ratio.interval.is_none_or(|(low, high)| low > 1.0 || high < 1.0);
        Ok(beyond(row.ratio.ratio) && sure)
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
        let holds =
            |text: &str, comparison: &Comparison| text.parse::<Claim>().unwrap().holds(comparison).unwrap();
        assert!(holds("p99>1.05x", &one) && !holds("p99>1.2x", &one) && !holds("p99 < 0.9x", &one));
        let noisy = compare(&[run(1.0), run(1.0), run(1.0)], &[run(0.5), run(1.0), run(3.0)], rule);
        assert!(!holds("p99>1.05x", &noisy));
        for (bad, why) in
            [("p99>1.05", "1.05x"), ("p98>2x", "these are"), ("p99", "no claim"), ("p99>-1x", "no claim")]
        {
            assert!(bad.parse::<Claim>().unwrap_err().contains(why), "{bad}");
        }
    }
}
