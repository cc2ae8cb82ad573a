//! `ringway diff`: what a reload from one file to another would touch.

use crate::cli;
use crate::end::{Code, Ended, Failure, print};
use crate::files;

/// Both files must be valid: what is not would not be applied.
pub fn diff(args: &cli::Diff) -> Ended {
    let (old, new) = (files::load(&args.old)?, files::load(&args.new)?);
    let diff = ringway_config::diff(&old.config, &new.config);
    if !args.json {
        return print(&diff.to_string());
    }
    let value = serde_json::to_value(&diff)
        .map_err(|error| Failure::new(Code::Output, format!("the difference has no JSON form: {error}")))?;
    print(&format!("{value:#}\n"))
}
