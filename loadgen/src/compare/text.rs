//! A comparison as text: a table and a sentence for a terminal, JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use super::verdict::{Comparison, Row, Verdict};
use crate::units::{show_rate, show_us};

/// The table and the sentence.
pub fn text(comparison: &Comparison) -> String {
    let (a, b) = comparison.runs;
    let how = if comparison.is_paired { "in pairs" } else { "not in pairs" };
    let mut out = format!("A: {}, B: {}, {how}; ratios are B in parts of A\n\n", count(a), count(b));
    // Writing to a string never fails.
    let _ = writeln!(
        out,
        "{:<8}{:>12}{:>12}{:>9}{:>18}{:>9}  verdict",
        "", "A median", "B median", "ratio", "95% interval", "p"
    );
    for row in &comparison.rows {
        let _ = writeln!(
            out,
            "{:<8}{:>12}{:>12}{:>9}{:>18}{:>9}  {}",
            row.metric,
            shown(row, row.medians.0),
            shown(row, row.medians.1),
            ratio(row.ratio.ratio),
            interval(row),
            chance(row),
            word(row.verdict)
        );
    }
    let _ = writeln!(out, "\n{}", comparison.sentence);
    out
}

fn count(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

/// All of it as JSON. A ratio to nothing is null.
pub fn json(comparison: &Comparison, warnings: &[String]) -> Result<String, String> {
    #[derive(Serialize)]
    struct Whole<'a> {
        format: &'static str,
        #[serde(flatten)]
        comparison: &'a Comparison,
        warnings: &'a [String],
    }
    let whole = Whole { format: FORMAT, comparison, warnings };
    let text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// The version of the format. Fields may be added without a new one.
const FORMAT: &str = "ringway-load-compare/1";

/// A value in its metric's unit.
pub fn shown(row: &Row, value: f64) -> String {
    match row.metric {
        "rate" => show_rate(value),
        "errors" => format!("{:.2}%", value * 100.0),
        _ => show_us(value),
    }
}

/// A ratio; `new` where A had nothing of it.
pub fn ratio(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.3}x") } else { "new".to_owned() }
}

/// p, corrected, of a metric that was judged.
pub fn chance(row: &Row) -> String {
    match row.verdict {
        Verdict::Better | Verdict::Worse | Verdict::NoDifference if row.p_corrected < 0.001 => {
            "<0.001".to_owned()
        }
        Verdict::Better | Verdict::Worse | Verdict::NoDifference => format!("{:.3}", row.p_corrected),
        _ => "-".to_owned(),
    }
}

/// A ratio's interval.
pub fn interval(row: &Row) -> String {
    match row.ratio.interval {
        Some((low, high)) if high.is_finite() => format!("{low:.3} to {high:.3}"),
        _ => "-".to_owned(),
    }
}

/// A verdict.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "no difference shown",
        Verdict::AsAsked => "as asked",
        Verdict::NotJudged => "not judged",
        Verdict::Refused => "no verdict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::verdict::{METRICS, Rule, Run, compare};

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let run = |value: f64| Run {
            values: std::array::from_fn(|n| Some(if METRICS[n] == "errors" { 0.0 } else { value })),
            asked_rate: None,
        };
        let mut b = run(2000.0);
        b.values[9] = Some(0.01);
        let comparison = compare(&[run(1000.0)], &[b], Rule { is_paired: false, min_effect: 0.03, seed: 1 });
        let table = text(&comparison);
        assert!(table.contains("2.000x") && table.contains("no verdict") && table.contains("new"), "{table}");
        let value: serde_json::Value =
            serde_json::from_str(&json(&comparison, &["w".to_owned()]).unwrap()).unwrap();
        assert_eq!(value["format"], FORMAT);
        assert_eq!(value["rows"][0]["ratio"]["ratio"], 2.0);
        assert_eq!(value["rows"][0]["verdict"], "refused");
        assert!(value["rows"][9]["ratio"]["ratio"].is_null() && value["warnings"][0] == "w");
    }
}
