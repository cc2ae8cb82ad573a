//! The rounds: every proxy has its turn in each, so that a drift of the machine's speed meets all of them alike.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::Options;
use crate::counters::resident;
use crate::load::{self, Subject};
use crate::origin::{Origin, REPORTED};
use crate::peers::{Peer, Place, Running};
use crate::report::Report;
use crate::scenarios::{SCENARIOS, Scenario};

/// Seconds of load before anything is counted.
const WARM_UP_S: u32 = 1;

/// Runs every scenario asked for.
pub fn run(
    options: &Options,
    peers: &[Peer],
    origin: &Origin,
    folder: &Path,
    hardware: bool,
    report: &mut Report,
) -> Result<(), String> {
    let perf = hardware.then_some(folder);
    let place = |routes| Place {
        core: options.proxy_core,
        origin: origin.port,
        folder,
        routes,
        patience: Duration::from_secs(20),
    };
    let wanted: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| options.wants(scenario.name)).collect();
    let (plain, routed): (Vec<&Scenario>, Vec<&Scenario>) = wanted.iter().partition(|s| s.routes.is_none());

    if !plain.is_empty() {
        let running = start_all(peers, |_| true, &place(None), report);
        for (name, proxy) in &running {
            report.headers.push((name, headers_added(proxy.port)?));
        }
        for scenario in plain {
            let turns: Vec<Turn<'_>> =
                running.iter().map(|(name, proxy)| Turn { scenario, name, proxy }).collect();
            take_turns(options, &turns, perf, report)?;
        }
        report.resident.extend(running.iter().map(|(name, proxy)| (*name, resident(proxy.process.pid()))));
    }
    // Of the sizes of a route table only Ringway's are measured, but against each other and by turns too.
    let mut sizes = Vec::new();
    for scenario in routed {
        let started = start_all(peers, |peer| peer.kind.is_ringway(), &place(scenario.routes), report);
        sizes.extend(started.into_iter().map(|(name, proxy)| (scenario, name, proxy)));
    }
    let turns: Vec<Turn<'_>> =
        sizes.iter().map(|(scenario, name, proxy)| Turn { scenario, name, proxy }).collect();
    take_turns(options, &turns, perf, report)
}

struct Turn<'a> {
    scenario: &'a Scenario,
    name: &'static str,
    proxy: &'a Running,
}

fn take_turns(
    options: &Options,
    turns: &[Turn<'_>],
    perf: Option<&Path>,
    report: &mut Report,
) -> Result<(), String> {
    let load = |turn: &Turn<'_>, seconds, perf| {
        let subject = Subject { port: turn.proxy.port, pid: turn.proxy.process.pid() };
        load::run(options.load_core, turn.scenario, subject, seconds, perf)
            .map_err(|error| format!("{} {}: {error}", turn.scenario.name, turn.name))
    };
    for turn in turns {
        load(turn, WARM_UP_S, None)?;
    }
    for round in 1..=options.rounds {
        for turn in turns {
            let sample = load(turn, options.turn_s(), perf)?;
            eprintln!("{} round {round}: {} answered {}", turn.scenario.name, turn.name, sample.requests);
            report.add(turn.scenario.name, turn.name, sample);
        }
    }
    Ok(())
}

/// The proxies that start; the others are reported missing.
fn start_all(
    peers: &[Peer],
    chosen: impl Fn(&Peer) -> bool,
    place: &Place<'_>,
    report: &mut Report,
) -> Vec<(&'static str, Running)> {
    let mut running = Vec::new();
    for peer in peers.iter().filter(|peer| chosen(peer)) {
        match peer.start(place, &[]) {
            Ok(proxy) => running.push((peer.name, proxy)),
            Err(why) => {
                eprintln!("skipped: {why}");
                report.missing.push(why);
            }
        }
    }
    running
}

/// Which headers the origin sees that the client did not send: they show that the work is the same.
fn headers_added(port: u16) -> Result<Vec<&'static str>, String> {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /echo HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok::<String, std::io::Error>(said)
    };
    let said = ask().map_err(|error| format!("/echo: {error}"))?;
    let added =
        |name: &&&str| said.lines().any(|line| line.strip_prefix(**name).is_some_and(|rest| rest.len() > 1));
    Ok(REPORTED.iter().filter(added).copied().collect())
}
