//! The rounds: every proxy has its turn in each, so that a drift of the machine's speed meets all of them alike.

use std::io;

use crate::ask::Asker;
use crate::counters::resident;
use crate::front::Front;
use crate::load::{self, Sample, Subject};
use crate::origin::{self, Kind, REPORTED};
use crate::peers::{Peer, Place, Running};
use crate::report::Report;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::site::Site;

/// Seconds of load before anything is counted.
const WARM_UP_S: u32 = 1;

/// Runs every scenario asked for.
pub fn run(site: &Site<'_>, report: &mut Report) -> Result<(), String> {
    let wanted = |scenario: &&Scenario| site.options.wants(scenario.name);
    let wanted: Vec<Scenario> = SCENARIOS.iter().filter(wanted).copied().collect();
    let (plain, routed): (Vec<Scenario>, Vec<Scenario>) = wanted.iter().partition(|s| s.routes.is_none());
    for group in plain.chunk_by(Scenario::runs_with) {
        run_group(site, group, report)?;
    }
    // Of the sizes of a route table only Ringway's are measured, but against each other and by turns too.
    let mut sizes = Vec::new();
    for scenario in &routed {
        let place = Place { routes: scenario.routes, ..site.place(scenario.front) };
        let started = start_all(site.peers, |peer| peer.kind.is_ringway(), &place, report);
        sizes.extend(started.into_iter().map(|(name, proxy)| (scenario, name, proxy)));
    }
    let turns = sizes.iter().map(|(scenario, name, proxy)| Turn { scenario, name, proxy }).collect();
    take_turns(site, turns, report)
}

/// Runs scenarios that the same proxies serve.
fn run_group(site: &Site<'_>, group: &[Scenario], report: &mut Report) -> Result<(), String> {
    let Some(first) = group.first() else { return Ok(()) };
    let own = match first.origin {
        Kind::Bodies => None,
        kind => Some(origin::start(kind, site.options, site.folder)?),
    };
    let port = own.as_ref().map_or(site.origin.port, |origin| origin.port);
    let place = Place { origin: port, ..site.place(first.front) };
    let mut running = start_all(site.peers, |_| true, &place, report);
    if first.origin == Kind::Bodies {
        running.retain(|(name, proxy)| {
            let looked = look(site, group, name, proxy, report);
            looked
                .map_err(|error| leave_out(report, format!("{} {name}: {error}", first.front.name())))
                .is_ok()
        });
    }
    for scenario in group {
        let turns = running.iter().map(|(name, proxy)| Turn { scenario, name, proxy }).collect();
        take_turns(site, turns, report)?;
    }
    if first.front == Front::Http1 {
        report.resident.extend(running.iter().map(|(name, proxy)| (*name, resident(proxy.process.pid()))));
    }
    Ok(())
}

/// Whether a proxy answers as it should, what it adds, and what it agrees on under TLS.
fn look(
    site: &Site<'_>,
    group: &[Scenario],
    name: &'static str,
    proxy: &Running,
    report: &mut Report,
) -> Result<(), String> {
    let Some(front) = group.first().map(|scenario| scenario.front) else { return Ok(()) };
    let asker = Asker::new(front, &site.identity.authority)?;
    let ask = || {
        let mut connection = asker.connect(proxy.port)?;
        for scenario in group {
            let (length, got) = (origin::length(scenario.path), connection.get(scenario.path)?.len());
            if got != length {
                return Err(io::Error::other(format!(
                    "{got} bytes for {}, which has {length}",
                    scenario.path
                )));
            }
        }
        let seen = connection.get("/echo")?;
        Ok((String::from_utf8_lossy(&seen).into_owned(), connection.agreed()))
    };
    let (seen, agreed) = ask().map_err(|error| error.to_string())?;
    // Headers that the client did not send: they show that the work is the same.
    let added =
        |name: &&&str| seen.lines().any(|line| line.strip_prefix(**name).is_some_and(|rest| rest.len() > 1));
    report.headers.push((front, name, REPORTED.iter().filter(added).copied().collect()));
    report.sessions.extend(agreed.map(|agreed| (name, agreed)));
    Ok(())
}

struct Turn<'a> {
    scenario: &'a Scenario,
    name: &'static str,
    proxy: &'a Running,
}

impl Turn<'_> {
    fn load(&self, site: &Site<'_>, seconds: u32, counting: bool) -> Result<Sample, String> {
        let subject = Subject { port: self.proxy.port, pid: self.proxy.process.pid() };
        load::run(site, self.scenario, subject, seconds, counting)
            .map_err(|error| format!("{} {}: {error}", self.scenario.name, self.name))
    }

    /// Warms the proxy up; one that fails at that is not worth measuring.
    fn warm_up(&self, site: &Site<'_>) -> Result<(), String> {
        match self.load(site, WARM_UP_S, false)? {
            Sample { errors: 0, requests: 1.., .. } => Ok(()),
            Sample { errors, requests, .. } => {
                Err(format!("{} {}: {errors} errors in {requests} requests", self.scenario.name, self.name))
            }
        }
    }
}

fn take_turns(site: &Site<'_>, mut turns: Vec<Turn<'_>>, report: &mut Report) -> Result<(), String> {
    turns.retain(|turn| turn.warm_up(site).map_err(|why| leave_out(report, why)).is_ok());
    for round in 1..=site.options.rounds {
        for turn in &turns {
            let sample = turn.load(site, site.options.turn_s(), report.hardware)?;
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
            Err(why) => leave_out(report, why),
        }
    }
    running
}

fn leave_out(report: &mut Report, why: String) {
    eprintln!("skipped: {why}");
    report.missing.push(why);
}
