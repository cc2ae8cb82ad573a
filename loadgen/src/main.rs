//! ringway-load: the load generator. Each command is in [`ringway_loadgen::commands`].

#![allow(clippy::print_stderr, reason = "errors go to standard error")]

use std::process::ExitCode;

use clap::Parser;
use ringway_loadgen::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match ringway_loadgen::commands::run(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("ringway-load: {error}");
            ExitCode::FAILURE
        }
    }
}
