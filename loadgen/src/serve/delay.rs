//! How long an answer takes: a distribution, drawn by its quantile function. Pure.
//!
//! A draw `u` from [0, 1) becomes the quantile at `u`, whatever the form; so one roll of the dice is one delay, and what
//! was asked for can be checked without rolling any.

use std::time::Duration;

use crate::units::{self, show_us};

use super::behaviour::DELAY_MAX;

/// How long an answer takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Delay {
    /// No time.
    None,
    /// `5ms`: always as long.
    Constant(Duration),
    /// `1ms..20ms`: as likely anywhere between.
    Uniform(Duration, Duration),
    /// `exp:5ms`: exponentially distributed with this mean.
    Exponential(Duration),
    /// `p50=1ms,p99=20ms`: with these quantiles.
    Quantiles(Box<[Point]>),
}

/// One quantile of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// How far out in the tail: log10(1 / (1 - q)); 2 for p99, 3 for p99.9.
    nines: f64,
    /// The quantile's natural logarithm, in nanoseconds.
    log_ns: f64,
}

impl Delay {
    /// Reads any of the forms; `0s` is none.
    pub fn read(text: &str) -> Result<Delay, String> {
        if text.contains('=') {
            return quantiles(text);
        }
        if let Some(mean) = text.strip_prefix("exp:") {
            return match bounded(mean)? {
                Duration::ZERO => Err(format!("`{text}`: a mean must be above 0")),
                mean => Ok(Delay::Exponential(mean)),
            };
        }
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (bounded(from.trim())?, bounded(to.trim())?);
            if from > to {
                return Err(format!("`{text}` runs backwards: write the shorter delay first"));
            }
            return Ok(Delay::Uniform(from, to));
        }
        let begins_like_a_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        match bounded(text) {
            Err(_) if !begins_like_a_number => {
                Err(format!("`{text}` is not a delay: write 5ms, 1ms..20ms, exp:5ms or p50=1ms,p99=20ms"))
            }
            Err(why) => Err(why),
            Ok(Duration::ZERO) => Ok(Delay::None),
            Ok(delay) => Ok(Delay::Constant(delay)),
        }
    }

    /// The delay that a share `u` of all delays is no longer than. `u` is from 0 up to but not 1.
    ///
    /// Between named quantiles the delay's logarithm grows evenly with the number of nines. Below the first it falls to
    /// half of it; beyond the last nothing is slower, so that the longest delay is known.
    pub fn at(&self, u: f64) -> Duration {
        match self {
            Delay::None => Duration::ZERO,
            Delay::Constant(delay) => *delay,
            Delay::Uniform(from, to) => *from + (*to - *from).mul_f64(u),
            Delay::Exponential(mean) => mean.mul_f64(-(-u).ln_1p()).min(DELAY_MAX),
            Delay::Quantiles(points) => {
                Duration::from_nanos(interpolated(points, nines(u)).exp().round() as u64)
            }
        }
    }
}

impl std::fmt::Display for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |duration: &Duration| show_us(duration.as_secs_f64() * 1e6);
        match self {
            Delay::None => write!(f, "at once"),
            Delay::Constant(delay) => write!(f, "after {}", shown(delay)),
            Delay::Uniform(from, to) => write!(f, "after {} to {}", shown(from), shown(to)),
            Delay::Exponential(mean) => write!(f, "after {} on average (exponential)", shown(mean)),
            Delay::Quantiles(points) => {
                write!(f, "after")?;
                // The first point is the one below the first that was named.
                for (number, point) in points.iter().skip(1).enumerate() {
                    let percent = (100.0 - 100.0 / 10f64.powf(point.nines)) * 1e4;
                    let comma = if number == 0 { "" } else { "," };
                    write!(
                        f,
                        "{comma} p{} {}",
                        percent.round() / 1e4,
                        show_us(point.log_ns.exp().round() / 1e3)
                    )?;
                }
                Ok(())
            }
        }
    }
}

fn bounded(text: &str) -> Result<Duration, String> {
    let delay = units::duration(text)?;
    if delay > DELAY_MAX {
        return Err(format!("`{text}`: a delay is at most an hour"));
    }
    Ok(delay)
}

fn quantiles(text: &str) -> Result<Delay, String> {
    let mut points: Vec<Point> = Vec::new();
    for pair in text.split(',') {
        let form = || format!("`{pair}` is not a quantile: write them as in p50=1ms,p99=20ms,p99.9=80ms");
        let (name, value) = pair.trim().split_once('=').ok_or_else(form)?;
        let percent = name.strip_prefix('p').and_then(|p| p.parse::<f64>().ok()).ok_or_else(form)?;
        if !(percent > 0.0 && percent <= PERCENT_MAX) {
            return Err(format!("`{pair}`: a quantile is above p0 and at most p{PERCENT_MAX}"));
        }
        let delay_ns = bounded(value)?.as_nanos() as f64;
        if delay_ns == 0.0 {
            return Err(format!("`{pair}`: a quantile's delay must be above 0"));
        }
        let point = Point { nines: nines(percent / 100.0), log_ns: delay_ns.ln() };
        match points.last() {
            None => points.push(Point { nines: 0.0, log_ns: (delay_ns / 2.0).ln() }),
            Some(last) if last.nines >= point.nines || last.log_ns > point.log_ns => {
                return Err(format!("`{text}`: quantiles and their delays must rise from left to right"));
            }
            Some(_) => {}
        }
        if points.len() > POINTS_MAX {
            return Err(format!("`{text}`: at most {POINTS_MAX} quantiles"));
        }
        points.push(point);
    }
    Ok(Delay::Quantiles(points.into()))
}

fn interpolated(points: &[Point], nines: f64) -> f64 {
    match points.iter().position(|point| point.nines > nines) {
        // The first point stands at no nines, which no draw is below.
        Some(after) => {
            let (a, b) = (points[after.max(1) - 1], points[after]);
            let part = (nines - a.nines) / (b.nines - a.nines);
            a.log_ns + part * (b.log_ns - a.log_ns)
        }
        None => points.last().map_or(0.0, |last| last.log_ns),
    }
}

fn nines(q: f64) -> f64 {
    -(1.0 - q).log10()
}

/// Named quantiles at most.
const POINTS_MAX: usize = 16;
/// The outermost quantile: beyond it a draw hardly ever comes.
const PERCENT_MAX: f64 = 99.9999;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(text: &str, seed: u64) -> Vec<f64> {
        let delay = Delay::read(text).unwrap();
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut all: Vec<f64> = (0..100_000).map(|_| delay.at(dice.f64()).as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// `drawn` has these quantiles, in milliseconds, within 3%.
    fn expect(text: &str, quantiles: &[(f64, f64)]) {
        let all = drawn(text, 11);
        for &(q, ms) in quantiles {
            let got = all[(q * all.len() as f64) as usize];
            assert!((got / ms - 1.0).abs() < 0.03, "{text}: at {q} {got} ms for {ms} ms");
        }
    }

    #[test]
    fn draws_have_the_quantiles_that_were_asked_for() {
        expect("5ms", &[(0.0, 5.0), (0.999, 5.0)]);
        expect("1ms..20ms", &[(0.1, 2.9), (0.5, 10.5), (0.99, 19.81)]);
        expect("exp:5ms", &[(0.1, 0.527), (0.5, 3.466), (0.9, 11.51), (0.99, 23.03)]);
        expect("p50=1ms,p99=20ms", &[(0.0, 0.5), (0.5, 1.0), (0.99, 20.0), (0.9999, 20.0)]);
        expect("p50=2ms,p90=4ms,p99=20ms,p99.9=30ms", &[(0.5, 2.0), (0.9, 4.0), (0.99, 20.0), (0.999, 30.0)]);
        // Half of the way in nines between p50 and p99 is half of the way in logarithms.
        expect("p50=1ms,p99=20ms", &[(1.0 - 10f64.powf(-(50f64.log10() + 2f64.log10() * 2.0) / 2.0), 4.472)]);
    }

    #[test]
    fn an_exponential_delay_has_the_mean_that_was_asked_for() {
        let all = drawn("exp:5ms", 12);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((mean / 5.0 - 1.0).abs() < 0.03, "{mean}");
    }

    #[test]
    fn bad_forms_are_refused_in_words() {
        for (text, word) in [
            ("soon", "p50=1ms,p99=20ms"),
            ("", "is not a delay"),
            ("5", "5ms"),
            ("2h", "at most an hour"),
            ("20ms..1ms", "backwards"),
            ("exp:0s", "above 0"),
            ("p50=1ms,99=2ms", "is not a quantile"),
            ("p99=20ms,p50=1ms", "rise"),
            ("p50=20ms,p99=1ms", "rise"),
            ("p50=0s", "above 0"),
            ("p100=1ms", "at most p99.9999"),
            ("pNaN=1ms", "at most p99.9999"),
        ] {
            let why = Delay::read(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
        assert_eq!(Delay::read("0s"), Ok(Delay::None));
    }

    #[test]
    fn delays_are_told_as_they_were_asked_for() {
        assert_eq!(
            Delay::read("p50=1ms,p99.9=20ms").unwrap().to_string(),
            "after p50 1.00 ms, p99.9 20.0 ms"
        );
        assert_eq!(Delay::read("5ms").unwrap().to_string(), "after 5.00 ms");
    }

    proptest! {
        #[test]
        fn named_quantiles_are_met_and_delays_never_fall(
            first_us in 1u64..10_000, more_us in 0u64..100_000, u in 0.0f64..1.0, v in 0.0f64..1.0,
        ) {
            let text = format!("p50={first_us}us,p99={}us", first_us + more_us);
            let delay = Delay::read(&text).unwrap();
            let us = |q| delay.at(q).as_secs_f64() * 1e6;
            prop_assert!((us(0.5) / first_us as f64 - 1.0).abs() < 1e-3);
            prop_assert!((us(0.99) / (first_us + more_us) as f64 - 1.0).abs() < 1e-3);
            let (low, high) = (u.min(v), u.max(v));
            prop_assert!(us(low) <= us(high));
        }

        #[test]
        fn no_text_makes_the_reader_panic_nor_a_delay_unbounded(text in "[p0-9=,.exp:ms]{0,20}", u in 0.0f64..1.0) {
            if let Ok(delay) = Delay::read(&text) {
                prop_assert!(delay.at(u) <= DELAY_MAX + Duration::from_millis(1));
            }
        }
    }
}
