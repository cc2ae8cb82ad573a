//! User-space instructions per request where the processor does not count them: under valgrind's cachegrind. Two
//! runs of different length; the difference has neither start nor end in it.

use std::time::Duration;

use crate::front::Front;
use crate::load::{self, Subject};
use crate::peers::{Peer, Place};
use crate::process::program;
use crate::report::Report;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::site::Site;

/// Seconds of load in the two runs.
const SHORT_S: u32 = 2;
const LONG_S: u32 = 8;

/// Counts the bare request and the one with a browser's headers.
pub fn count(site: &Site<'_>, report: &mut Report) {
    if program("valgrind").is_none() {
        eprintln!("instructions: apt-get install valgrind to count them");
        return;
    }
    let place = Place { patience: Duration::from_secs(120), on_epoll: true, ..site.place(Front::Http1) };
    for scenario in &SCENARIOS[..2] {
        for peer in site.peers {
            let run = |seconds| run(site, peer, &place, scenario, seconds);
            match run(SHORT_S).and_then(|short| Ok((short, run(LONG_S)?))) {
                Ok((short, long)) if long.requests > short.requests => {
                    let each = (long.instructions - short.instructions) / (long.requests - short.requests);
                    eprintln!("{} instructions of {}: {each:.0}", scenario.name, peer.name);
                    report.instructions.push((scenario.name, peer.name, each));
                }
                Ok(_) => eprintln!("instructions {}: the longer run answered less", peer.name),
                Err(error) => eprintln!("instructions {}: {error}", peer.name),
            }
        }
    }
}

struct Counted {
    requests: f64,
    instructions: f64,
}

fn run(
    site: &Site<'_>,
    peer: &Peer,
    place: &Place<'_>,
    scenario: &Scenario,
    seconds: u32,
) -> Result<Counted, String> {
    let wrapper = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];
    let proxy = peer.start(place, &wrapper.map(str::to_owned))?;
    let subject = Subject { port: proxy.port, pid: proxy.process.pid() };
    let sample = load::run(site, scenario, subject, seconds, false)?;
    let said = proxy.process.end(Duration::from_secs(60))?;
    // `==123== I   refs:      1,234,567`, and `I refs:` in later versions.
    let line = said.lines().rev().find(|line| line.contains("refs:") && line.contains("== I "));
    let digits: String = line.unwrap_or_default().split("refs:").skip(1).flat_map(str::chars).collect();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let instructions = digits.parse().map_err(|_| format!("valgrind counted nothing; it said:\n{said}"))?;
    Ok(Counted { requests: sample.requests as f64, instructions })
}
