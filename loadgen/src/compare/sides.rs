//! Which report is on which side, and which of them count.

use std::path::PathBuf;

use crate::report::json;
use crate::report::model::Report;

/// Reports of A and of B.
pub type Sides = (Vec<Report>, Vec<Report>);

/// Reads the reports of both sides.
pub fn read(files: &[PathBuf], vs: &[PathBuf]) -> Result<Sides, String> {
    let all = |files: &[PathBuf]| {
        files.iter().map(|file| json::read(file)).collect::<Result<Vec<Report>, String>>()
    };
    match (files, vs) {
        ([_, ..], [_, ..]) => Ok((all(files)?, all(vs)?)),
        ([a, b], []) => Ok((vec![json::read(a)?], vec![json::read(b)?])),
        ([_, _, _, ..], []) => by_label(all(files)?),
        _ => Err("write two reports, or those of A, --vs, and those of B".into()),
    }
}

/// More than two reports are told apart by the labels they were given.
fn by_label(reports: Vec<Report>) -> Result<Sides, String> {
    let mut labels: Vec<&str> = Vec::new();
    for label in reports.iter().filter_map(|report| report.plan.label.as_deref()) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let labelled = reports.iter().all(|report| report.plan.label.is_some());
    let [first, _] = labels[..] else {
        return Err(format!(
            "which of {} reports are A's and which B's? Write --vs between them, or run with two --label",
            reports.len()
        ));
    };
    if !labelled {
        return Err("some of the reports have no label: write --vs between those of A and of B".into());
    }
    let first = first.to_owned();
    Ok(reports.into_iter().partition(|report| report.plan.label.as_deref() == Some(&first)))
}

/// Those whose figures mean what they say, with a warning for each that is left out and for what differs besides.
/// Of pairs, both go.
pub fn counted((a, b): Sides, is_paired: bool) -> (Sides, Vec<String>) {
    let mut warnings = Vec::new();
    let mut fit = |side: &str, reports: &[Report]| {
        let fit = |(number, report): (usize, &Report)| {
            let why = match report {
                Report { partial: true, .. } => "was stopped early",
                Report { valid: false, .. } => "is invalid",
                Report { ok: 0, .. } => "has no good answer",
                _ => return true,
            };
            warnings.push(format!("run {} of {side} {why} and is left out", number + 1));
            false
        };
        reports.iter().enumerate().map(fit).collect::<Vec<bool>>()
    };
    let (mut fit_a, mut fit_b) = (fit("A", &a), fit("B", &b));
    if is_paired {
        let both: Vec<bool> = fit_a.iter().zip(&fit_b).map(|(a, b)| *a && *b).collect();
        (fit_a, fit_b) = (both.clone(), both);
    }
    let keep = |side: Vec<Report>, fit: &[bool]| -> Vec<Report> {
        side.into_iter().zip(fit).filter(|(_, fit)| **fit).map(|(report, _)| report).collect()
    };
    let sides = (keep(a, &fit_a), keep(b, &fit_b));
    warnings.extend(differences(&sides));
    (sides, warnings)
}

fn differences((a, b): &Sides) -> Vec<String> {
    let Some(first) = a.first().or(b.first()) else { return Vec::new() };
    let told = |name: &str, of: &dyn Fn(&Report) -> String| {
        let odd = a.iter().chain(b).map(of).find(|value| *value != of(first))?;
        Some(format!("the runs differ in {name}: {} and {odd}", of(first)))
    };
    let rate = |report: &Report| report.plan.rate.map_or("none".into(), |rate| format!("{rate:.1}/s"));
    [
        told("protocol", &|report| report.plan.protocol.clone()),
        told("loop", &|report| report.plan.loop_kind.clone()),
        told("rate", &rate),
        told("connections", &|report| report.plan.connections.to_string()),
        told("requests at once on a connection", &|report| report.plan.depth.to_string()),
        told("duration", &|report| format!("{} s", report.plan.duration_s)),
        told("processor", &|report| report.environment.cpu.clone()),
        told("driver", &|report| report.environment.driver.clone()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn labels_tell_the_sides_apart() {
        let labelled = |label: &str| {
            let mut report = sample();
            report.plan.label = Some(label.into());
            report
        };
        let (a, b) = by_label(["x", "y", "x", "y"].map(labelled).to_vec()).unwrap();
        assert_eq!((a.len(), b.len()), (2, 2));
        assert!(by_label(["x", "x", "x"].map(labelled).to_vec()).unwrap_err().contains("--vs"));
    }

    #[test]
    fn what_does_not_count_goes_with_its_pair_and_is_said() {
        let mut invalid = sample();
        invalid.valid = false;
        let mut other = sample();
        other.plan.rate = Some(5.0);
        let sides = (vec![sample(), invalid, sample()], vec![sample(), sample(), other]);
        let ((a, b), warnings) = counted(sides, true);
        assert_eq!((a.len(), b.len()), (2, 2));
        assert!(
            warnings[0].contains("run 2 of A is invalid") && warnings[1].contains("rate"),
            "{warnings:?}"
        );
    }
}
