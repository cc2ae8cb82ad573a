//! `cargo xtask ci`: every check a change must pass, in the order in which they fail fastest.
//!
//! All steps run even when one fails, so that one run shows everything.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::shell::{cargo, output, root, run as passes};
use crate::{deny, fuzz, generated, source};

/// What to leave out.
#[derive(Args)]
pub struct Options {
    /// Steps not to run, for a caller that has run them already
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    skip: Vec<Step>,
    /// Only these steps
    #[arg(long, value_delimiter = ',', value_name = "STEP", conflicts_with = "skip")]
    only: Vec<Step>,
}

/// Runs the chosen steps, prints a summary, and says whether none failed.
pub fn run(options: &Options) -> bool {
    let chosen = |step: &&Step| match options.only.as_slice() {
        [] => !options.skip.contains(step),
        only => only.contains(step),
    };
    let ended: Vec<Ended> = Step::value_variants().iter().filter(chosen).map(|&step| timed(step)).collect();
    println!("\n== summary");
    ended.iter().for_each(|step| println!("{step}"));
    let failed = ended.iter().filter(|step| matches!(step.outcome, Outcome::Failed)).count();
    println!("xtask ci: {}", if failed == 0 { "ok".to_owned() } else { format!("{failed} failed") });
    failed == 0
}

/// In the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// `unsafe` stands in runtime/ only
    Unsafe,
    /// Lints, warnings as errors
    Clippy,
    /// Tests of every crate but the end-to-end ones
    Tests,
    /// End-to-end tests on io_uring
    #[value(name = "e2e-io_uring")]
    E2eIoUring,
    /// End-to-end tests on epoll
    E2eEpoll,
    /// API documentation, warnings as errors
    Docs,
    /// Schema and configuration reference are what the code says
    Generated,
    /// Advisories, licences, duplicates, sources
    Deny,
    /// Each fuzz target for a short while
    Fuzz,
}

/// How a step ended.
pub enum Outcome {
    /// Well.
    Passed,
    /// Badly; its output says how.
    Failed,
    /// It cannot run here, and why.
    Skipped(&'static str),
}

impl From<bool> for Outcome {
    fn from(passed: bool) -> Outcome {
        if passed { Outcome::Passed } else { Outcome::Failed }
    }
}

struct Ended {
    step: Step,
    outcome: Outcome,
    took: Duration,
}

fn timed(step: Step) -> Ended {
    println!("\n== {}", step.name());
    let started = Instant::now();
    let outcome = step.run();
    let ended = Ended { step, outcome, took: started.elapsed() };
    println!("{ended}");
    ended
}

impl Step {
    fn run(self) -> Outcome {
        match self {
            Step::Fmt => passes(&mut cargo("fmt --all --check")).into(),
            Step::Unsafe => source::unsafe_stays_in_runtime().into(),
            Step::Clippy => passes(&mut cargo("clippy --workspace --all-targets -- -D warnings")).into(),
            Step::Tests => {
                passes(&mut cargo("test --workspace --exclude ringway-tests --no-fail-fast")).into()
            }
            Step::E2eIoUring if !io_uring_works() => Outcome::Skipped("io_uring is refused here"),
            Step::E2eIoUring => end_to_end("io_uring").into(),
            Step::E2eEpoll => end_to_end("epoll").into(),
            Step::Docs => {
                let mut doc = cargo("doc --workspace --no-deps");
                passes(doc.env("RUSTDOCFLAGS", "-D warnings")).into()
            }
            Step::Generated => generated::fresh().into(),
            Step::Deny => deny::check(),
            Step::Fuzz => fuzz::smoke(),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Everything is built as for all tests, so that nothing is built twice: of the package alone, crates have other features.
fn end_to_end(backend: &str) -> bool {
    let mut command = cargo("test --workspace --no-fail-fast");
    for name in test_names() {
        command.args(["--test", &name]);
    }
    command.env("RINGWAY_TEST_BACKEND", backend);
    passes(&mut cargo("test --workspace --no-run")) && passes(&mut command)
}

/// The end-to-end tests.
fn test_names() -> Vec<String> {
    let files = std::fs::read_dir(root().join("tests/tests")).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Whether a worker started here picks io_uring: the ring's self-test says it, which also sees what seccomp forbids.
fn io_uring_works() -> bool {
    let picked = output(&mut cargo("run --quiet --package ringway-runtime --example driver"));
    picked.is_some_and(|driver| driver.starts_with("io_uring"))
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<14} {:>7.1} s  ", self.step.name(), self.took.as_secs_f64())?;
        match self.outcome {
            Outcome::Passed => f.write_str("passed"),
            Outcome::Failed => f.write_str("FAILED"),
            Outcome::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}
