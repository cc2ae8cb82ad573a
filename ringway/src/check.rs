//! `ringway check`: every problem of every file.

use ringway_config::Report;
use serde_json::Value;

use crate::cli;
use crate::end::{Code, Ended, Failure, print};
use crate::files;

/// Exit code 78 if any file has errors.
pub fn check(args: &cli::Check) -> Ended {
    let reports: Vec<Report> = args
        .files
        .iter()
        .map(|path| files::read(path).map_or_else(|report| report, |loaded| loaded.report()))
        .collect();
    if args.json {
        let list: Value = reports.iter().map(Report::to_json).collect();
        print(&format!("{list:#}\n"))?;
    } else {
        let text: String =
            reports.iter().map(|report| format!("{}{}\n", report.render(), files::tally(report))).collect();
        print(&text)?;
    }
    if reports.iter().any(|report| report.errors() > 0) {
        // The problems are the output; there is nothing to add to them.
        return Err(Failure::new(Code::Config, ""));
    }
    Ok(())
}
