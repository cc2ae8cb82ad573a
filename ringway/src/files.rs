//! Configuration files, read for a command: problems go to stderr, or end the command.

use std::path::Path;

use ringway_config::{Loaded, Report};

use crate::end::{Code, Failure, remark};

/// A file with `${VAR}` from this process's environment.
pub fn read(path: &Path) -> Result<Loaded, Report> {
    ringway_config::load(path, &|name| std::env::var(name).ok())
}

/// As [`read`]; warnings are remarked upon, errors end the command with exit code 78.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    match read(path) {
        Ok(loaded) => {
            remark(&loaded.report().render());
            Ok(loaded)
        }
        Err(report) => {
            remark(&report.render());
            Err(Failure::new(Code::Config, tally(&report)))
        }
    }
}

/// `gateway.yaml: 2 errors, 1 warning`
pub fn tally(report: &Report) -> String {
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let mut text = format!("{}: ", report.source.name);
    match (report.errors(), report.warnings()) {
        (0, 0) => text.push_str("ok"),
        (0, warnings) => text.push_str(&format!("ok, {}", plural(warnings, "warning"))),
        (errors, 0) => text.push_str(&plural(errors, "error")),
        (errors, warnings) => {
            text.push_str(&format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")));
        }
    }
    text
}
