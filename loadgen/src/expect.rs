//! Thresholds: `p99<10ms,errors<0.01%`.
//!
//! Invariant: a threshold on a time is not met where nothing was answered.

use crate::report::model::{Expectation, Latency, Report};
use crate::units::{self, show_rate, show_us};

/// Thresholds that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectations(Vec<Threshold>);

#[derive(Clone, Debug, PartialEq)]
struct Threshold {
    text: String,
    metric: Metric,
    relation: Relation,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Time(Of, Figure),
    Errors,
    Rate,
    Cpu,
}

/// Which time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Response,
    Service,
    Waiting,
    Lag,
}

/// Which figure of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Percentile(f64),
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl std::str::FromStr for Expectations {
    type Err = String;

    fn from_str(text: &str) -> Result<Expectations, String> {
        text.split(',').map(|one| threshold(one.trim())).collect::<Result<_, _>>().map(Expectations)
    }
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let Some(at) = text.find(['<', '>']) else {
        return Err(format!("`{text}` is no threshold: write p99<10ms, errors<0.1% or rate>900"));
    };
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let (relation, limit) = match (rest.strip_prefix("<="), rest.strip_prefix(">=")) {
        (Some(limit), _) => (Relation::LessOrEqual, limit),
        (_, Some(limit)) => (Relation::MoreOrEqual, limit),
        _ if rest.starts_with('<') => (Relation::Less, &rest[1..]),
        _ => (Relation::More, &rest[1..]),
    };
    let (metric, limit) = (metric(name)?, limit.trim());
    let limit = match metric {
        Metric::Time(..) | Metric::Cpu => units::duration(limit)?.as_nanos() as f64 / 1000.0,
        Metric::Errors => units::share(limit)?,
        Metric::Rate => units::rate(limit)?,
    };
    Ok(Threshold { text: text.to_owned(), metric, relation, limit })
}

fn metric(name: &str) -> Result<Metric, String> {
    let (of, figure) = match name.split_once('.') {
        Some(("service", figure)) => (Of::Service, figure),
        Some(("waiting", figure)) => (Of::Waiting, figure),
        Some(("lag", figure)) => (Of::Lag, figure),
        Some(("response", figure)) => (Of::Response, figure),
        _ => (Of::Response, name),
    };
    match figure {
        "errors" if of == Of::Response => return Ok(Metric::Errors),
        "rate" if of == Of::Response => return Ok(Metric::Rate),
        "cpu" if of == Of::Response => return Ok(Metric::Cpu),
        "mean" => return Ok(Metric::Time(of, Figure::Mean)),
        "max" => return Ok(Metric::Time(of, Figure::Max)),
        _ => {}
    }
    let percentile = figure.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
    match percentile {
        Some(percentile) if (0.0..=100.0).contains(&percentile) => {
            Ok(Metric::Time(of, Figure::Percentile(percentile)))
        }
        _ => Err(format!(
            "`{name}` is nothing that is measured: p50, p99, p99.9 and so on, mean, max (each also of service., \
             waiting. and lag.), errors, rate, cpu"
        )),
    }
}

impl Expectations {
    /// Thresholds of several options together.
    pub fn all(parts: impl IntoIterator<Item = Expectations>) -> Expectations {
        Expectations(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// What came of each.
    pub fn check(&self, report: &Report) -> Vec<Expectation> {
        self.0.iter().map(|threshold| threshold.check(report)).collect()
    }
}

impl Threshold {
    fn check(&self, report: &Report) -> Expectation {
        let (value, measured) = measured(self.metric, report);
        let met = value.is_some_and(|value| match self.relation {
            Relation::Less => value < self.limit,
            Relation::LessOrEqual => value <= self.limit,
            Relation::More => value > self.limit,
            Relation::MoreOrEqual => value >= self.limit,
        });
        Expectation { text: self.text.clone(), measured, met }
    }
}

fn measured(metric: Metric, report: &Report) -> (Option<f64>, String) {
    match metric {
        Metric::Errors => {
            let failed: u64 = report.errors.values().sum();
            // A request that was never sent was not answered either.
            let all = report.requests + report.dropped;
            let share = if all == 0 { 1.0 } else { (failed + report.dropped) as f64 / all as f64 };
            (Some(share), format!("{:.4}%", share * 100.0))
        }
        Metric::Rate => (Some(report.achieved_rate), show_rate(report.achieved_rate)),
        Metric::Cpu => match &report.watched {
            None => (None, "no process was watched (--watch-pid)".into()),
            Some(watched) => (Some(watched.cpu_us_per_request), show_us(watched.cpu_us_per_request)),
        },
        Metric::Time(of, figure) => {
            let latency = match of {
                Of::Response => &report.response_time_us,
                Of::Service => &report.service_time_us,
                Of::Waiting => &report.waiting_us,
                Of::Lag => &report.generator_lag_us,
            };
            if latency.count() == 0 {
                return (None, "nothing was answered".into());
            }
            let us = value(latency, figure);
            (Some(us), show_us(us))
        }
    }
}

fn value(latency: &Latency, figure: Figure) -> f64 {
    match figure {
        Figure::Percentile(percentile) => latency.percentile_us(percentile),
        Figure::Mean => latency.mean_us(),
        Figure::Max => latency.max_us(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    fn met(text: &str) -> Vec<bool> {
        let expectations: Expectations = text.parse().unwrap();
        expectations.check(&sample()).iter().map(|expectation| expectation.met).collect()
    }

    #[test]
    fn thresholds_hold_or_not() {
        assert_eq!(met("p50<5ms, p99.9<5ms, errors<1%, rate>=900, max>1us"), [true, false, true, true, true]);
        assert_eq!(met("lag.p99<1ms,service.mean<1s,cpu<1ms"), [true, true, true]);
    }

    #[test]
    fn where_nothing_was_answered_no_time_is_good_enough() {
        let mut report = sample();
        report.response_time_us = Latency::default();
        report.watched = None;
        (report.requests, report.dropped) = (0, 0);
        let expectations: Expectations = "p99<1h,errors<=99%,cpu<1s".parse().unwrap();
        assert!(expectations.check(&report).iter().all(|expectation| !expectation.met));
    }

    #[test]
    fn what_is_no_threshold_is_said_in_words() {
        for (bad, why) in [
            ("p99", "no threshold"),
            ("p99<10", "10s or 10ms"),
            ("q9<1s", "nothing that is measured"),
            ("errors<5", "not a share"),
            ("p101<1s", "nothing"),
            ("rate>0", "above 0"),
        ] {
            let refused = bad.parse::<Expectations>().unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }
}
