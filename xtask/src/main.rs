//! The repository's own chores: `cargo xtask ci`, `bless`, `perf`.
//!
//! `ci` is the same on a laptop and in continuous integration: what is green here is green there.

#![allow(clippy::print_stdout, reason = "a chore's output is its standard output")]

mod ci;
mod deny;
mod fuzz;
mod generated;
mod perf;
mod shell;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    let ok = match Chore::parse().command {
        Command::Ci(options) => ci::run(&options),
        Command::Bless => generated::bless(),
        Command::Perf(options) => perf::run(&options),
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The repository's own chores
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Chore {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every check a change must pass
    Ci(ci::Options),
    /// Write anew what is generated: the JSON schema, the configuration reference, golden files
    Bless,
    /// Cost per request beside nginx, HAProxy and Envoy (all options go to the comparison: `-- --help`)
    Perf(perf::Options),
}
