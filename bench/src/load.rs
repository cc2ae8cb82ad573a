//! Load by wrk, and what the proxy used while it ran.

use std::path::{Path, PathBuf};

use crate::counters::{CpuTime, EVENTS, Events};
use crate::process::{pinned, program};
use crate::scenarios::Scenario;

/// Keep-alive connections of the load.
const CONNECTIONS: u32 = 64;

/// One turn of one proxy.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests answered.
    pub requests: u64,
    /// Of those, not 2xx or 3xx; and failures of sockets.
    pub errors: u64,
    /// How long the load ran.
    pub seconds: f64,
    /// What the proxy used meanwhile.
    pub cpu: CpuTime,
    /// Where the processor counts.
    pub events: Option<Events>,
}

/// Says what is missing for any measurement at all.
pub fn require() -> Result<(), String> {
    let needed =
        [("wrk", "wrk"), ("nginx", "nginx-light"), ("taskset", "util-linux"), ("prlimit", "util-linux")];
    let missing = needed.iter().find(|(name, _)| program(name).is_none());
    missing.map_or(Ok(()), |(name, package)| Err(format!("{name} is needed: apt-get install {package}")))
}

/// The process under load.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Where it serves.
    pub port: u16,
    /// Its id.
    pub pid: u32,
}

/// Runs the load for `seconds` and measures its subject; with the processor's counters when given a folder for
/// what perf writes.
pub fn run(
    core: u32,
    scenario: &Scenario,
    subject: Subject,
    seconds: u32,
    folder: Option<&Path>,
) -> Result<Sample, String> {
    let counts = folder.map(|folder| folder.join("perf.csv"));
    let mut load = pinned(core, &words(scenario, subject, seconds, counts.as_ref()));
    let before = CpuTime::of(subject.pid);
    let output = load.output().map_err(|error| format!("wrk: {error}"))?;
    let cpu = CpuTime::of(subject.pid).since(before);
    let said = String::from_utf8_lossy(&output.stdout);
    let events = counts.and_then(|file| Events::parse(&std::fs::read_to_string(file).ok()?));
    let (requests, seconds) = answered(&said).ok_or_else(|| format!("wrk said:\n{said}"))?;
    Ok(Sample { requests, errors: errors(&said), seconds, cpu, events })
}

fn words(scenario: &Scenario, subject: Subject, seconds: u32, counts: Option<&PathBuf>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
    if let Some(file) = counts {
        say(&[
            "perf",
            "stat",
            "-x,",
            "-o",
            &file.to_string_lossy(),
            "-e",
            EVENTS,
            "-p",
            &subject.pid.to_string(),
            "--",
        ]);
    }
    say(&[
        "wrk",
        "--threads",
        "1",
        "--connections",
        &CONNECTIONS.to_string(),
        "--duration",
        &seconds.to_string(),
    ]);
    scenario.headers.iter().for_each(|header| say(&["--header", header]));
    let url = format!("http://127.0.0.1:{}{}", subject.port, scenario.path);
    match scenario.routes {
        Some(count) => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/routes.lua");
            say(&["--script", script, &url, "--", &count.to_string()]);
        }
        None => say(&[&url]),
    }
    words
}

/// Requests and seconds, of `  123 requests in 5.00s, 1.20MB read`.
fn answered(said: &str) -> Option<(u64, f64)> {
    let line = said.lines().find(|line| line.contains(" requests in "))?;
    let (requests, rest) = line.trim().split_once(" requests in ")?;
    let (took, _) = rest.split_once(',')?;
    let seconds = match took.strip_suffix("ms") {
        Some(ms) => ms.parse::<f64>().ok()? / 1000.0,
        None => took.strip_suffix('s').map_or_else(|| minutes(took), |s| s.parse().ok())?,
    };
    Some((requests.parse().ok()?, seconds))
}

fn minutes(took: &str) -> Option<f64> {
    Some(took.strip_suffix('m')?.parse::<f64>().ok()? * 60.0)
}

/// Of `  Socket errors: connect 0, read 0, write 0, timeout 3` and `  Non-2xx or 3xx responses: 7`.
fn errors(said: &str) -> u64 {
    let lines =
        said.lines().filter(|line| line.contains("Socket errors:") || line.contains("Non-2xx or 3xx"));
    let words = lines.flat_map(|line| line.split(':').skip(1)).flat_map(|rest| rest.split([' ', ',']));
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loads_closing_lines_are_read() {
        let said = "  4242 requests in 5.10s, 4.96MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  \
                    Non-2xx or 3xx responses: 10\nRequests/sec: 831.76\n";
        assert_eq!(answered(said), Some((4242, 5.1)));
        assert_eq!(errors(said), 16);
        assert_eq!(answered("  9 requests in 800.50ms, 1KB read"), Some((9, 0.8005)));
    }
}
