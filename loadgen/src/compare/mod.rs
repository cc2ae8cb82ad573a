//! `compare`: is B better than A, and how sure is that?

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the comparison goes to standard output")]

mod claim;
mod pairs;
mod show;
mod sides;
mod statistics;
mod verdict;

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use clap::{Args, ValueHint};

use crate::report::json;
use crate::report::model::Report;
use crate::units;
use claim::Claim;
use verdict::{Rule, Run};

/// `compare`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ringway-load compare a1.json a2.json ... --vs b1.json b2.json ... --html cmp.html\n  \
    ringway-load compare --pairs 10 -- ringway-load run http://127.0.0.1:8080/ --rate 5k -- \
    ringway-load run http://127.0.0.1:8081/ --rate 5k\n\n\
    A run is the sample, not a request. A difference is said where the 95% interval of the ratio leaves 1 out, a rank\n\
    test corrected for the number of metrics gives p <= 0.05, and the ratio is --min-effect away from 1.\n\
    Exit code 3 when a --fail-if holds.")]
pub struct CompareArgs {
    /// Reports: two, one of each side; or those of A before --vs; or of both, told apart by --label
    #[arg(value_name = "REPORT", value_hint = ValueHint::FilePath, conflicts_with = "pairs")]
    files: Vec<PathBuf>,
    /// The reports of B
    #[arg(long, value_name = "REPORT", num_args = 1.., value_hint = ValueHint::FilePath)]
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
    #[arg(last = true, value_name = "COMMAND_A -- COMMAND_B", allow_hyphen_values = true)]
    commands: Vec<String>,
}

/// Compares. The code is the process's.
pub fn run(args: &CompareArgs) -> Result<u8, String> {
    let (sides, is_paired) = match args.pairs {
        Some(pairs) => (taken(args, pairs)?, true),
        None => (sides::read(&args.files, &args.vs)?, args.paired),
    };
    if args.paired && sides.0.len() != sides.1.len() {
        return Err(format!("--paired: {} reports and {} are no pairs", sides.0.len(), sides.1.len()));
    }
    let (counted, warnings) = sides::counted(sides, is_paired);
    let runs = |side: &[Report]| side.iter().map(Run::from).collect::<Vec<Run>>();
    let rule = Rule { is_paired, min_effect: args.min_effect, seed: args.seed };
    let comparison = verdict::compare(&runs(&counted.0), &runs(&counted.1), rule);
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    print!("{}", show::text(&comparison));
    if let Some(path) = &args.html {
        json::put(path, show::page(&comparison, &counted, &warnings).as_bytes())?;
    }
    let mut failed = false;
    for claim in &args.fail_if {
        if claim.holds(&comparison)? {
            println!("fails: {}", claim.text);
            failed = true;
        }
    }
    Ok(if failed { 3 } else { 0 })
}

fn taken(args: &CompareArgs, pairs: u32) -> Result<(Vec<Report>, Vec<Report>), String> {
    let (folder, ours) = match &args.keep {
        Some(folder) => (folder.clone(), false),
        None => (std::env::temp_dir().join(format!("ringway-load-{}", std::process::id())), true),
    };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stop = crate::commands::stop_on_signals()?;
    let done = pairs::run(pairs, &args.commands, &folder, || stop.load(Relaxed), |line| eprintln!("{line}"));
    if ours {
        // A folder left behind is no reason to hold a result back.
        let _ = std::fs::remove_dir_all(&folder);
    }
    done
}
