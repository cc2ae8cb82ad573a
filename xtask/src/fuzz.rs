//! The fuzz targets for a short while each. Where nightly or cargo-fuzz is missing, the same targets have run over
//! their corpus as plain tests.

use std::process::{Command, Stdio};

use crate::ci::Outcome;
use crate::shell::{installed, root, run};

const SECONDS_EACH: u32 = 20;

/// Runs each target of `fuzz/fuzz_targets/`.
pub fn smoke() -> Outcome {
    if !installed("rustup", &["run", "nightly", "cargo", "--version"])
        || !installed("cargo-fuzz", &["--version"])
    {
        return Outcome::Skipped(
            "needs nightly and cargo-fuzz; `cargo test` ran the targets over their corpus",
        );
    }
    let targets = std::fs::read_dir(root().join("fuzz/fuzz_targets")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        targets.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    let failed = names.iter().filter(|name| !run(&mut fuzz(name))).count();
    Outcome::from(failed == 0 && !names.is_empty())
}

/// Through rustup: under `cargo xtask` the plain `cargo` is the pinned toolchain's own, which knows no `+nightly`.
fn fuzz(target: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", target, "--"]);
    command.args([format!("-max_total_time={SECONDS_EACH}"), "-timeout=10".to_owned()]);
    command.current_dir(root()).stdin(Stdio::null());
    command
}
