//! Load for a while, and what the proxy used while it ran.

mod ringway_load;
mod wrk;

use std::path::PathBuf;

use crate::counters::{CpuTime, EVENTS, Events};
use crate::process::{pinned, program};
use crate::scenarios::{Load, Scenario};
use crate::site::Site;

/// One turn of one proxy.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests answered.
    pub requests: u64,
    /// Of those, not 2xx or 3xx or of another length; and failures of sockets.
    pub errors: u64,
    /// TLS sessions that resumed another.
    pub resumed: u64,
    /// How long the load ran.
    pub seconds: f64,
    /// What the proxy used meanwhile.
    pub cpu: CpuTime,
    /// Where the processor counts.
    pub events: Option<Events>,
}

/// What the load says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    requests: u64,
    errors: u64,
    resumed: u64,
    seconds: f64,
}

/// Says what is missing for any measurement at all.
pub fn require() -> Result<(), String> {
    let needed =
        [("wrk", "wrk"), ("nginx", "nginx-light"), ("taskset", "util-linux"), ("prlimit", "util-linux")];
    let missing = needed.iter().find(|(name, _)| program(name).is_none());
    missing
        .map_or(Ok(()), |(name, package)| Err(format!("{name} is needed: apt-get install {package}")))
        .and_then(|()| ringway_load().map(drop))
}

/// Where our load generator is.
pub fn ringway_load() -> Result<PathBuf, String> {
    let named = std::env::var_os("RINGWAY_LOAD_RELEASE").map(PathBuf::from).filter(|file| file.is_file());
    named.ok_or_else(|| "no release build of ringway-load; run `cargo xtask perf`".into())
}

/// The process under load.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Where it serves.
    pub port: u16,
    /// Its id.
    pub pid: u32,
}

/// Runs a scenario's load for `seconds` and measures its subject; `counting`: with the processor's counters.
pub fn run(
    site: &Site<'_>,
    scenario: &Scenario,
    subject: Subject,
    seconds: u32,
    counting: bool,
) -> Result<Sample, String> {
    let (counts, out) = (site.folder.join("perf.csv"), site.folder.join("load.json"));
    let pid = subject.pid.to_string();
    let counter = ["perf", "stat", "-x,", "-o", &counts.to_string_lossy(), "-e", EVENTS, "-p", &pid, "--"]
        .map(str::to_owned);
    let mut words = if counting { counter.to_vec() } else { Vec::new() };
    words.extend(match scenario.load {
        Load::Wrk => wrk::words(scenario, subject.port, seconds),
        Load::RingwayLoad(more) => ringway_load::words(site, scenario, subject.port, seconds, more, &out)?,
    });
    let mut load = pinned(site.options.load_core, &words);
    let before = CpuTime::of(subject.pid);
    let output = load.output().map_err(|error| format!("the load: {error}"))?;
    let cpu = CpuTime::of(subject.pid).since(before);
    let events = counting
        .then(|| std::fs::read_to_string(&counts).ok())
        .flatten()
        .and_then(|text| Events::parse(&text));
    let said = match scenario.load {
        Load::Wrk => wrk::said(&String::from_utf8_lossy(&output.stdout)),
        Load::RingwayLoad(_) => ringway_load::said(&out),
    };
    let Said { requests, errors, resumed, seconds } = said.ok_or_else(|| {
        let heard = [output.stdout, output.stderr].concat();
        format!("the load said: {}", String::from_utf8_lossy(&heard))
    })?;
    Ok(Sample { requests, errors, resumed, seconds, cpu, events })
}
