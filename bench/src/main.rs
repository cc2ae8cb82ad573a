//! What a request costs, beside other proxies: `cargo xtask perf`.
//!
//! One worker of each proxy runs on one core; origin and load run on another. Every proxy gets the same work: the
//! same headers added, no access log, keep-alive upstream, the same handshakes. Proxies take turns, round after round, because a
//! machine's speed drifts; medians are compared. Cost is counted in the proxy's process over the load's own window.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report goes to standard output")]

mod ask;
mod configurations;
mod counters;
mod front;
mod generator;
mod identity;
mod idle;
mod instructions;
mod latency;
mod load;
mod origin;
mod page;
mod peers;
mod process;
mod report;
mod rounds;
mod scenarios;
mod site;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use front::Front;
use peers::Kind;
use report::Report;
use site::Site;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match (options.idle_client, &options.idle_authority) {
        (Some(port), Some(authority)) => idle::client(options.idle_front, authority, port),
        _ => compare(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Cost per request beside other proxies, all on this machine's loopback
#[derive(Parser)]
#[command(name = "cargo xtask perf", bin_name = "cargo xtask perf --")]
pub struct Options {
    /// Rounds of a second: a look, not a result
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose names contain one of these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Proxies, in the order of their turns
    #[arg(long, value_delimiter = ',', default_value = "ringway,ringway-policies,nginx,haproxy,envoy")]
    proxies: Vec<Kind>,
    /// Another build of Ringway, for the proxy `baseline`
    #[arg(long, value_name = "BINARY")]
    baseline: Option<PathBuf>,
    /// Where the report goes besides standard output: `.json` with every sample, `.html` as a page, anything else as
    /// Markdown
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,
    /// Rounds of each scenario
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Rates of the latency table, in percent of nginx's maximum in the same run
    #[arg(long, value_delimiter = ',', default_value = "30,60,90")]
    rates: Vec<u32>,
    /// Core of the proxy
    #[arg(long, default_value_t = 0)]
    proxy_core: u32,
    /// Core of origin and load
    #[arg(long, default_value_t = 1)]
    load_core: u32,
    /// Count user-space instructions under valgrind even where the processor's counters work
    #[arg(long)]
    valgrind: bool,
    /// Internal: hold idle connections to this port
    #[arg(long, hide = true)]
    idle_client: Option<u16>,
    /// Internal: and of this kind
    #[arg(long, hide = true, value_enum, default_value_t = Front::Http1)]
    idle_front: Front,
    /// Internal: trusting this authority
    #[arg(long, hide = true)]
    idle_authority: Option<PathBuf>,
}

impl Options {
    /// Seconds of load in a turn.
    fn turn_s(&self) -> u32 {
        if self.quick { 1 } else { 5 }
    }

    /// Whether a scenario or an extra measurement was asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

fn compare(options: &Options) -> Result<(), String> {
    load::require()?;
    let scratch = process::Scratch::new()?;
    let folder = scratch.path.as_path();
    let (peers, missing) = peers::find(options);
    missing.iter().for_each(|why| eprintln!("skipped: {why}"));
    if peers.is_empty() {
        return Err("no proxy to measure".into());
    }
    let origin = origin::start(origin::Kind::Bodies, options, folder)?;
    let identity = identity::Identity::new(folder)?;
    let site = Site { options, folder, identity: &identity, origin: &origin, peers: &peers };
    let hardware = counters::hardware_counts();
    let mut report = Report::begin(options, &peers, missing, hardware);

    rounds::run(&site, &mut report)?;
    if options.wants("latency") {
        latency::measure(&site, &mut report)?;
    }
    if options.wants("generator") {
        generator::measure(options, folder, &mut report)?;
    }
    if options.wants("instructions") && (options.valgrind || !(hardware || options.quick)) {
        instructions::count(&site, &mut report);
    }
    idle::measure(&site, &mut report);
    report.print_and_write(&options.out)
}
