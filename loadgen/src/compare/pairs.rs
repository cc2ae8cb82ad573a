//! `--pairs N -- A -- B`: runs of both sides in turn, A B B A and so on, so that a drift of the machine hits both alike.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::report::json;
use crate::report::model::Report;
use crate::units::{show_rate, show_us};

/// Lines of a failed command that are shown.
const LINES_SHOWN: usize = 12;

/// The two commands of `A... -- B...`.
pub fn split(words: &[String]) -> Result<(&[String], &[String]), String> {
    let at = words.iter().position(|word| word == "--");
    match at.map(|at| (&words[..at], &words[at + 1..])) {
        Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(&"--".to_owned()) => Ok((a, b)),
        _ => Err("write both commands: compare --pairs 10 -- COMMAND_A ... -- COMMAND_B ...".into()),
    }
}

/// Runs both sides `pairs` times and returns their reports, pair by pair.
pub fn run(
    pairs: u32,
    words: &[String],
    folder: &Path,
    stopped: impl Fn() -> bool,
    mut said: impl FnMut(&str),
) -> Result<(Vec<Report>, Vec<Report>), String> {
    let (a, b) = split(words)?;
    let mut sides = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let mut order = [("a", a), ("b", b)];
        if pair % 2 == 1 {
            order.reverse();
        }
        for (side, command) in order {
            if stopped() {
                return Err("stopped".into());
            }
            let file = folder.join(format!("{side}{}.json", pair + 1));
            let report = one(command, &file)?;
            said(&format!(
                "pair {} of {pairs}, {}: {}, p50 {}, p99 {}{}",
                pair + 1,
                side.to_uppercase(),
                show_rate(report.achieved_rate),
                show_us(report.response_time_us.percentile_us(50.0)),
                show_us(report.response_time_us.percentile_us(99.0)),
                if report.valid { "" } else { " INVALID" }
            ));
            if side == "a" { sides.0.push(report) } else { sides.1.push(report) }
        }
    }
    Ok(sides)
}

fn one(words: &[String], file: &Path) -> Result<Report, String> {
    let shown = words.join(" ");
    let output = Command::new(&words[0])
        .args(&words[1..])
        .env("RINGWAY_LOAD_OUT", file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{shown}` can't be started: {error}"))?;
    // 3 and 4 are verdicts about a run, whose report is there.
    if !matches!(output.status.code(), Some(0 | 3 | 4)) {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        return Err(format!("`{shown}` ended with {}:\n  {last}", output.status));
    }
    json::read(file).map_err(|error| {
        format!("`{shown}` left no report where RINGWAY_LOAD_OUT says (`ringway-load` does, without --out): {error}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_take_turns_and_a_failing_command_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let sample = folder.path().join("sample.json");
        json::write(&crate::report::sample::sample(), &sample).unwrap();
        let log = folder.path().join("log");
        let command = |side: &str| {
            let script =
                format!("echo {side} >> {}; cp {} \"$RINGWAY_LOAD_OUT\"", log.display(), sample.display());
            vec!["sh".to_owned(), "-c".to_owned(), script]
        };
        let words = [command("a"), vec!["--".into()], command("b")].concat();
        let (a, b) = run(3, &words, folder.path(), || false, |_| {}).unwrap();
        assert_eq!((a.len(), b.len()), (3, 3));
        assert_eq!(std::fs::read_to_string(&log).unwrap().replace('\n', ""), "abbaab");
        let failing = ["sh", "-c", "echo broken; exit 1", "--", "true"].map(str::to_owned);
        assert!(run(1, &failing, folder.path(), || false, |_| {}).unwrap_err().contains("broken"));
        let silent = ["true", "--", "true"].map(str::to_owned);
        let empty = tempfile::tempdir().unwrap();
        assert!(run(1, &silent, empty.path(), || false, |_| {}).unwrap_err().contains("RINGWAY_LOAD_OUT"));
        assert!(split(&["a".to_owned()]).is_err());
    }
}
