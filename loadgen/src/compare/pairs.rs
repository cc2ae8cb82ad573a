//! `--pairs N -- A -- B`: runs of both sides in turn, A B B A and so on, so that a drift of the machine hits both alike.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::report::json;
use crate::report::model::Report;
use crate::units::{show_rate, show_us};

/// Lines of a failed command that are shown.
const LINES_SHOWN: usize = 12;
/// Bytes at its end in which they are looked for.
const TAIL_BYTES: u64 = 16 << 10;
/// How often a command is looked at.
const LOOK: Duration = Duration::from_millis(20);

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
    let file = |side: &str, pair: u32| folder.join(format!("{side}{}.json", pair + 1));
    // A report of before would pass for that of a command that wrote none.
    let old = (0..pairs).flat_map(|pair| [file("a", pair), file("b", pair)]).find(|file| file.exists());
    if let Some(old) = old {
        return Err(format!("{} is there already: give --keep an empty folder", old.display()));
    }
    let mut sides = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let mut order = [("a", a), ("b", b)];
        if pair % 2 == 1 {
            order.reverse();
        }
        for (side, command) in order {
            let report = one(command, &file(side, pair), &stopped)?;
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

fn one(words: &[String], file: &Path, stopped: &impl Fn() -> bool) -> Result<Report, String> {
    let shown = words.join(" ");
    // A file, not a pipe: it never fills up, and a grandchild that keeps it open holds nothing up.
    let log = file.with_extension("log");
    let wrong = |error: std::io::Error| format!("{}: {error}", log.display());
    let mut output = File::options().create_new(true).read(true).write(true).open(&log).map_err(wrong)?;
    let status = ended(words, file, &output, stopped);
    let last = tail(&mut output);
    let _ = std::fs::remove_file(&log);
    let status = status.map_err(|error| format!("`{shown}`: {error}"))?.ok_or("stopped")?;
    // 3 and 4 are verdicts about a run, whose report is there.
    if !matches!(status.code(), Some(0 | 3 | 4)) {
        return Err(format!("`{shown}` ended with {status}:\n  {}", last.map_err(wrong)?));
    }
    json::read(file).map_err(|error| {
        format!("`{shown}` left no report where RINGWAY_LOAD_OUT says (`ringway-load` does, without --out): {error}")
    })
}

/// Waits for the end of a command; none where it was ended because we are to stop.
fn ended(
    words: &[String],
    file: &Path,
    output: &File,
    stopped: &impl Fn() -> bool,
) -> std::io::Result<Option<ExitStatus>> {
    if stopped() {
        return Ok(None);
    }
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .env("RINGWAY_LOAD_OUT", file)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if stopped() { None } else { Some(status) });
        }
        if stopped() {
            // Its report is of no use any more, so it need not be asked to write one.
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn tail(output: &mut File) -> std::io::Result<String> {
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    output.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  "))
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
        let again = run(1, &words, folder.path(), || false, |_| {}).unwrap_err();
        assert!(again.contains("a1.json is there already"), "{again}");
        let other = tempfile::tempdir().unwrap();
        let failing = ["sh", "-c", "seq 1000; echo broken >&2; exit 1", "--", "true"].map(str::to_owned);
        let said = run(1, &failing, other.path(), || false, |_| {}).unwrap_err();
        assert!(said.contains("1000\n  broken") && !said.contains("\n  900\n"), "{said}");
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
        let silent = ["true", "--", "true"].map(str::to_owned);
        let empty = tempfile::tempdir().unwrap();
        assert!(run(1, &silent, empty.path(), || false, |_| {}).unwrap_err().contains("RINGWAY_LOAD_OUT"));
        assert!(split(&["a".to_owned()]).is_err());
    }

    #[test]
    fn a_command_ends_with_us() {
        let folder = tempfile::tempdir().unwrap();
        let begun = std::time::Instant::now();
        let words = ["sleep", "60", "--", "true"].map(str::to_owned);
        let stopped = || begun.elapsed() > Duration::from_millis(100);
        assert_eq!(run(1, &words, folder.path(), stopped, |_| {}).unwrap_err(), "stopped");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
