//! What each command does, and how it ends.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "summaries go to standard output, progress beside it"
)]

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::CommandFactory;

use crate::cli::{Cli, Command, Find, Load};
use crate::expect::Expectations;
use crate::find::Search;
use crate::plan::Plan;
use crate::progress::{Mode, Progress};
use crate::report::model::Report;
use crate::report::{hgrm, hlog, html, json, text};
use crate::run::{self, Beside};
use crate::setup::{self, Pace};
use crate::units::show_rate;
use crate::watch::Watch;

/// Exit codes, as `--help` lists them.
mod exit {
    pub const MISSED: u8 = 3;
    pub const INVALID: u8 = 4;
    pub const STOPPED: u8 = 130;
}

/// Does what was asked. The error is for the user; the code is the process's.
pub fn run(command: Command) -> Result<u8, String> {
    match command {
        Command::Run(asked) => {
            let pace = Pace::Rate(asked.rate, asked.arrivals);
            let plan = setup::plan(&asked.url, &asked.message, &asked.load, &pace)?;
            once(plan, &asked.load, asked.thresholds.expect)
        }
        Command::Saturate(asked) => {
            let plan = setup::plan(&asked.url, &asked.message, &asked.load, &Pace::Saturate)?;
            once(plan, &asked.load, asked.thresholds.expect)
        }
        Command::Scenario(asked) => {
            let plan = setup::scenario(&asked.file, asked.h2, &asked.load)?;
            once(plan, &asked.load, asked.thresholds.expect)
        }
        Command::Find(asked) => find(&asked),
        Command::Compare(asked) => crate::compare::run(&asked),
        Command::Serve(asked) => crate::serve::run(&asked),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ringway-load", &mut std::io::stdout());
            Ok(0)
        }
        Command::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut std::io::stdout()).map_err(|error| format!("standard output: {error}"))?;
            Ok(0)
        }
    }
}

fn once(plan: Plan, load: &Load, expect: Vec<Expectations>) -> Result<u8, String> {
    let stop = stop_on_signals()?;
    let Some(mut report) = measured(plan, load, &stop)? else { return Ok(exit::STOPPED) };
    report.expectations = Expectations::all(expect).check(&report);
    write(&report, load)?;
    Ok(code(&report))
}

/// A run's report; none where it was stopped before anything was sent.
fn measured(plan: Plan, load: &Load, stop: &Arc<AtomicBool>) -> Result<Option<Report>, String> {
    let watch = load.watch_pid.map(Watch::open).transpose()?;
    let progress = Progress::choose(load.progress.unwrap_or(Mode::None));
    let mut beside = Beside { watch, progress, stop: stop.clone() };
    run::run(&Arc::new(plan), &mut beside)
}

/// The first SIGINT or SIGTERM ends the run early, the second one ends the program.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(exit::STOPPED), stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|error| format!("signals can't be handled: {error}"))?;
    }
    Ok(stop)
}

fn write(report: &Report, load: &Load) -> Result<(), String> {
    if let Some(path) = &load.out {
        json::write(report, path)?;
    }
    if let Some(path) = &load.html {
        json::put(path, html::page(report).as_bytes())?;
    }
    if let Some(path) = &load.hgrm {
        json::put(path, hgrm::hgrm(&report.response_time_us).as_bytes())?;
    }
    if let Some(path) = &load.hlog {
        json::put(path, &hlog::hlog(report)?)?;
    }
    let to_stdout = load.out.as_deref() == Some(Path::new("-"));
    match (load.quiet, to_stdout) {
        (true, _) => {}
        (false, true) => eprint!("{}", text::text(report, std::io::stderr().is_terminal())),
        (false, false) => print!("{}", text::text(report, std::io::stdout().is_terminal())),
    }
    Ok(())
}

fn code(report: &Report) -> u8 {
    match report {
        Report { partial: true, .. } => exit::STOPPED,
        Report { valid: false, .. } => exit::INVALID,
        Report { expectations, .. } if expectations.iter().any(|expectation| !expectation.met) => {
            exit::MISSED
        }
        _ => 0,
    }
}

fn find(asked: &Find) -> Result<u8, String> {
    let stop = stop_on_signals()?;
    let mut search = Search::new(asked.from, asked.to);
    let mut best: Option<Report> = None;
    while let Some(rate) = search.next() {
        let plan = setup::plan(&asked.url, &asked.message, &asked.load, &Pace::Rate(rate, asked.arrivals))?;
        let Some(mut report) = measured(plan, &asked.load, &stop)? else { return Ok(exit::STOPPED) };
        report.expectations = asked.slo.expectations.check(&report);
        let kept = report.expectations.iter().all(|expectation| expectation.met);
        let measured: Vec<String> = report
            .expectations
            .iter()
            .map(|expectation| format!("{} ({})", expectation.text, expectation.measured))
            .collect();
        let verdict = if kept { "kept" } else { "missed" };
        eprintln!("{:>10}: {verdict}: {}", show_rate(rate), measured.join(", "));
        if report.partial {
            return Ok(exit::STOPPED);
        }
        if !report.valid && kept {
            // The objective holds by figures that don't: the generator is the limit, not the target.
            write(&report, &asked.load)?;
            eprintln!("the generator can't do {}; what is known is below that", show_rate(rate));
            return Ok(exit::INVALID);
        }
        search.tried(rate, kept);
        if kept && best.as_ref().is_none_or(|best| best.plan.rate < report.plan.rate) {
            best = Some(report);
        }
    }
    match best {
        Some(best) => {
            write(&best, &asked.load)?;
            let rate = best.plan.rate.unwrap_or_default();
            println!("the highest rate that keeps {}: {}", asked.slo.text, show_rate(rate));
            Ok(0)
        }
        None => {
            let tried = search.missed.unwrap_or(asked.from);
            println!("{} is missed even at {}", asked.slo.text, show_rate(tried));
            Ok(exit::MISSED)
        }
    }
}
