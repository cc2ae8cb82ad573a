//! Resident memory of an idle connection: a few, then many, each after one request.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use clap::ValueEnum;

use crate::ask::Asker;
use crate::counters::resident;
use crate::front::Front;
use crate::peers::Peer;
use crate::process::pinned;
use crate::report::Report;
use crate::site::Site;

/// Connections of the first count.
const FEW: u64 = 100;
/// For what a proxy gives back a little later.
const SETTLE: Duration = Duration::from_secs(2);

/// What is held.
pub struct Idle {
    /// For `--only`.
    pub name: &'static str,
    /// What the connections are.
    pub front: Front,
    /// Connections of the second count.
    pub many: u64,
}

/// In the order they are measured.
pub const IDLE: [Idle; 3] = [
    Idle { name: "idle", front: Front::Http1, many: 10_000 },
    Idle { name: "idle-tls", front: Front::Tls, many: 5_000 },
    Idle { name: "idle-h2", front: Front::Http2, many: 5_000 },
];

/// Measures each proxy, freshly started.
pub fn measure(site: &Site<'_>, report: &mut Report) {
    for idle in IDLE.iter().filter(|idle| site.options.wants(idle.name)) {
        for peer in site.peers {
            match bytes_each(site, idle, peer) {
                Ok(bytes) => report.idle.push((idle.front, peer.name, bytes)),
                Err(error) => {
                    eprintln!("{} {}: {error}", idle.name, peer.name);
                    report.missing.push(format!("{} of {}: {error}", idle.name, peer.name));
                }
            }
        }
    }
}

fn bytes_each(site: &Site<'_>, idle: &Idle, peer: &Peer) -> Result<f64, String> {
    let proxy = peer.start(&site.place(idle.front), &[])?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let front = idle.front.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let words = [
        this.display().to_string(),
        "--idle-client".into(),
        proxy.port.to_string(),
        "--idle-front".into(),
        front,
        "--idle-authority".into(),
        site.identity.authority.display().to_string(),
    ];
    let mut client = pinned(site.options.load_core, &words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (orders, answers) = (client.stdin.take(), client.stdout.take());
    let (mut orders, mut answers) = orders.zip(answers.map(BufReader::new)).ok_or("no pipes")?;
    let mut with = |count: u64| {
        hold(&mut orders, &mut answers, count).map_err(|error| format!("{count} connections: {error}"))?;
        std::thread::sleep(SETTLE);
        Ok::<u64, String>(resident(proxy.process.pid()))
    };
    let measured = with(FEW).and_then(|few| Ok((few, with(idle.many)?)));
    drop(orders);
    let _ = client.wait();
    let (few, many) = measured?;
    Ok(many.saturating_sub(few) as f64 / (idle.many - FEW) as f64)
}

fn hold(orders: &mut ChildStdin, answers: &mut BufReader<ChildStdout>, count: u64) -> std::io::Result<()> {
    writeln!(orders, "{count}")?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    if answer.trim() == count.to_string() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("it held {answer:?}")))
    }
}

/// The other side, a process of its own for the sake of its descriptors: for each number read from standard input,
/// holds that many connections, one request done on each, and prints how many it holds.
pub fn client(front: Front, authority: &Path, port: u16) -> Result<(), String> {
    let asker = Asker::new(front, authority)?;
    let mut held = Vec::new();
    let mut hold = |line: std::io::Result<String>| {
        let count: usize = line?.trim().parse().map_err(std::io::Error::other)?;
        while held.len() < count {
            let mut connection = asker.connect(port)?;
            connection.get("/1k")?;
            held.push(connection);
        }
        Ok::<usize, std::io::Error>(held.len())
    };
    for line in std::io::stdin().lines() {
        println!("{}", hold(line).map_err(|error| error.to_string())?);
    }
    Ok(())
}
