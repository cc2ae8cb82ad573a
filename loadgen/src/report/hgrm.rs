//! `.hgrm`: the percentiles of the response time as HdrHistogram's own tools plot them, in milliseconds.

use std::fmt::Write;

use super::model::{DIGITS, Latency};

/// Steps for each halving of the distance to 100%.
const TICKS: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// The distribution as text.
pub fn hgrm(latency: &Latency) -> String {
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let histogram = &latency.0;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / NS_PER_MS, step.quantile_iterated_to());
        // Writing to a string never fails.
        let _ = match quantile < 1.0 {
            true => {
                writeln!(out, "{value:>12.3} {quantile:>2.12} {total:>10} {:>14.2}", 1.0 / (1.0 - quantile))
            }
            false => writeln!(out, "{value:>12.3} {quantile:>2.12} {total:>10}"),
        };
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    let _ = writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
    let (max, count) = (histogram.max() as f64 / NS_PER_MS, histogram.len());
    let _ = writeln!(out, "#[Max     = {max:>12.3}, Total count    = {count:>12}]");
    let sub_buckets = 2u64 << (f64::from(DIGITS) * 10f64.log2()).ceil() as u32;
    let buckets = histogram.buckets();
    let _ = writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn percentiles_rise_to_the_whole() {
        let report = sample();
        let shown = hgrm(&report.response_time_us);
        let rows: Vec<Vec<f64>> = shown
            .lines()
            .filter(|line| line.starts_with(' ') && !line.contains("Value"))
            .map(|line| line.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 20);
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2]), (1.0, 20_000.0));
        assert!((last[0] * 1000.0 / report.response_time_us.max_us() - 1.0).abs() < 0.002);
    }
}
