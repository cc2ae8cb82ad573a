//! `compare`: is B better than A, and how sure is that?

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the comparison goes to standard output")]

mod claim;
mod html;
mod pairs;
mod sides;
mod statistics;
mod text;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use clap::{Args, ValueHint};

use crate::report::json;
use crate::report::model::Report;
use crate::units;
use claim::{Claim, Outcome};
use sides::Sides;
use verdict::{Comparison, Rule, Run};

/// `compare`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ringway-load compare a1.json a2.json ... --vs b1.json b2.json ... --html cmp.html\n  \
    ringway-load compare --pairs 10 -- ringway-load run http://127.0.0.1:8080/ --rate 5k -- \
    ringway-load run http://127.0.0.1:8081/ --rate 5k\n\n\
    A run is the sample, not a request. A difference is said where the 95% interval of the ratio leaves 1 out, a rank\n\
    test corrected for the number of metrics gives p <= 0.05, and the ratio is --min-effect away from 1.\n\
    A --fail-if goes by the ratio; with several runs a side its interval must leave 1 out besides, so that noise fails\n\
    nothing. Exit code 3 when one holds, 130 when stopped.")]
pub struct CompareArgs {
    /// Reports: two, one of each side; or those of A before --vs; or of both, told apart by --label
    #[arg(value_name = "REPORT", value_hint = ValueHint::FilePath, conflicts_with = "pairs")]
    files: Vec<PathBuf>,
    /// The reports of B
    #[arg(long, value_name = "REPORT", num_args = 1.., conflicts_with = "pairs", value_hint = ValueHint::FilePath)]
    vs: Vec<PathBuf>,
    /// The reports of A and B were taken in pairs, in this order
    #[arg(long, requires = "vs")]
    paired: bool,
    /// Run both commands this often, in turn (A B B A ...); each leaves its report where RINGWAY_LOAD_OUT says
    #[arg(long, value_name = "N", requires = "commands", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: Option<u32>,
    /// With --pairs: keep the reports in this folder
    #[arg(long, value_name = "DIR", requires = "pairs", value_hint = ValueHint::DirPath)]
    keep: Option<PathBuf>,
    /// Write the comparison as one HTML page
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Write the comparison as JSON; - is standard output, and the table goes to standard error
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    json: Option<PathBuf>,
    /// Share by which a ratio must differ from 1 to be called a difference
    #[arg(long, value_parser = units::share, default_value = "3%")]
    min_effect: f64,
    /// Fail where this holds of B in parts of A, such as 'p99>1.05x,rate<0.95x'
    #[arg(long, value_name = "CLAIMS", value_delimiter = ',')]
    fail_if: Vec<Claim>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// -- COMMAND_A ... -- COMMAND_B ...
    #[arg(
        last = true,
        requires = "pairs",
        value_name = "COMMAND_A -- COMMAND_B",
        allow_hyphen_values = true
    )]
    commands: Vec<String>,
}

/// Compares. The code is the process's.
pub fn run(args: &CompareArgs) -> Result<u8, String> {
    if args.pairs.is_none() && !args.commands.is_empty() {
        // The parser lets this pass where reports are given too.
        return Err("commands are run by --pairs N; with reports there is nothing to run".into());
    }
    for path in [&args.html, &args.json].into_iter().flatten() {
        json::writable(path)?;
    }
    let (sides, is_paired) = match args.pairs {
        Some(pairs) => match taken(args, pairs)? {
            Some(sides) => (sides, true),
            None => return Ok(STOPPED),
        },
        None => (sides::read(&args.files, &args.vs)?, args.paired),
    };
    if args.paired && sides.0.len() != sides.1.len() {
        return Err(format!("--paired: {} reports and {} are no pairs", sides.0.len(), sides.1.len()));
    }
    let (counted, mut warnings) = sides::counted(sides, is_paired);
    let runs = |side: &[Report]| side.iter().map(Run::from).collect::<Vec<Run>>();
    let runs = (runs(&counted.0), runs(&counted.1));
    let rule = Rule { is_paired, min_effect: args.min_effect, seed: args.seed };
    let comparison = verdict::compare(&runs.0, &runs.1, rule);
    warnings.extend(comparison.notes.iter().cloned());
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let say = |text: &str| if to_stdout { eprint!("{text}") } else { print!("{text}") };
    say(&text::text(&comparison));
    if let Some(path) = &args.html {
        json::put(path, html::page(&comparison, &counted, &runs, &warnings).as_bytes())?;
    }
    if let Some(path) = &args.json {
        let whole = text::json(&comparison, &warnings)?;
        if to_stdout { print!("{whole}") } else { json::put(path, whole.as_bytes())? }
    }
    let failed = claims(&args.fail_if, &comparison, say)?;
    Ok(if failed { MISSED } else { 0 })
}

const MISSED: u8 = 3;
const STOPPED: u8 = 130;

/// Whether any holds.
fn claims(claims: &[Claim], comparison: &Comparison, say: impl Fn(&str)) -> Result<bool, String> {
    if !claims.is_empty() && comparison.runs.0.min(comparison.runs.1) == 1 {
        say("note: with one run a side --fail-if goes by the ratio alone, noise and all\n");
    }
    let mut failed = false;
    for claim in claims {
        match claim.check(comparison)? {
            Outcome::Holds => say(&format!("fails: {}\n", claim.text)),
            Outcome::Unsure => {
                say(&format!("passes: {}: so the ratio, but its interval has 1 in it\n", claim.text))
            }
            Outcome::No => {}
        }
        failed |= claim.check(comparison)? == Outcome::Holds;
    }
    Ok(failed)
}

/// Runs the pairs; none where a signal stopped them.
fn taken(args: &CompareArgs, pairs: u32) -> Result<Option<Sides>, String> {
    let (folder, ours) = match &args.keep {
        Some(folder) => (folder.clone(), false),
        None => (std::env::temp_dir().join(format!("ringway-load-{:016x}", fastrand::u64(..))), true),
    };
    // A temporary folder must be new: whoever made one of that name before could read or replace what is in it.
    let made = if ours { std::fs::create_dir(&folder) } else { std::fs::create_dir_all(&folder) };
    made.map_err(|error| format!("{}: {error}", folder.display()))?;
    let stop = crate::commands::stop_on_signals()?;
    let done = pairs::run(pairs, &args.commands, &folder, || stop.load(Relaxed), |line| eprintln!("{line}"));
    if ours {
        // A folder left behind is no reason to hold a result back.
        let _ = std::fs::remove_dir_all(&folder);
    }
    if stop.load(Relaxed) {
        eprintln!("stopped");
        return Ok(None);
    }
    done.map(Some)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::report::sample::sample;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    #[test]
    fn a_command_line_says_what_it_ends_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut slow = sample();
        slow.achieved_rate = 500.0;
        json::write(&sample(), Path::new(&path("a.json"))).unwrap();
        json::write(&slow, Path::new(&path("b.json"))).unwrap();
        let run = |more: &[&str]| {
            let words = ["compare".to_owned(), path("a.json"), path("b.json")];
            let words = words.into_iter().chain(more.iter().map(|word| (*word).to_owned()));
            run(&Line::try_parse_from(words).map_err(|error| error.to_string())?.args)
        };
        assert_eq!(run(&["--json", &path("c.json"), "--html", &path("c.html")]), Ok(0));
        assert!(folder.path().join("c.json").exists() && folder.path().join("c.html").exists());
        assert_eq!(run(&["--fail-if", "p99>1.05x,rate<0.95x"]), Ok(MISSED));
        assert_eq!(run(&["--fail-if", "rate<0.4x"]), Ok(0));
        for (more, why) in [
            (&["--", "x", "--", "y"][..], "--pairs"),
            (&["--pairs", "2", "--", "x", "--", "y"], "cannot be used"),
            (&["--json", "/no/such/folder/c.json"], "can't be written"),
            (&["--fail-if", "p99>1.05"], "end it in x"),
        ] {
            let said = run(more).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
