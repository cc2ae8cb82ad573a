//! Ringway: an API gateway and service proxy on one event loop per core.
//!
//! This binary composes what the other crates do. Each command is a module; `serve` is a gateway's life.

mod check;
mod cli;
mod ctl;
mod demo;
mod diff;
mod end;
mod explain;
mod files;
mod reference;
mod run;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Ctl(args) => ctl::ctl(&args),
        Command::Schema => reference::schema(),
        Command::Completions { shell } => reference::completions(shell),
        Command::Man { out } => reference::man(out.as_deref()),
        Command::Demo(args) => demo::demo(&args),
        Command::Version => reference::version(),
    };
    end::exit_code(ended)
}
