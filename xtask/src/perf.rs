//! `cargo xtask perf`: builds Ringway as it is released and hands over to the comparison in `bench/`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::shell::{cargo, root, run as passes};

/// What goes to the comparison as it stands.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// Options of the comparison
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Whether the comparison ran to its end.
pub fn run(options: &Options) -> bool {
    let asked = options.arguments.iter().any(|argument| argument == "--help");
    let built = passes(&mut cargo("build --quiet --package ringway-bench --bin compare"))
        && (asked
            || passes(&mut cargo("build --release --package ringway --package ringway-loadgen --bins")));
    // Dies with us, and takes what it started with it: each of them is asked to end when its parent does.
    let mut compare = Command::new("setpriv");
    compare.args(["--pdeathsig", "TERM"]).arg(target().join("debug/compare")).args(&options.arguments);
    compare.env("RINGWAY_RELEASE", target().join("release/ringway"));
    compare.env("RINGWAY_LOAD_RELEASE", target().join("release/ringway-load"));
    compare.current_dir(root()).stdin(Stdio::null());
    built && passes(&mut compare)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
