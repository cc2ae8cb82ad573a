//! Resident memory of an idle keep-alive connection: a hundred, then ten thousand, each after one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use crate::Options;
use crate::counters::resident;
use crate::origin::Origin;
use crate::peers::{Peer, Place};
use crate::process::pinned;
use crate::report::Report;

const FEW: u64 = 100;
const MANY: u64 = 10_000;
/// For what a proxy gives back a little later.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures each proxy, freshly started.
pub fn measure(options: &Options, peers: &[Peer], origin: &Origin, folder: &Path, report: &mut Report) {
    let place = Place {
        core: options.proxy_core,
        origin: origin.port,
        folder,
        routes: None,
        patience: Duration::from_secs(20),
    };
    for peer in peers {
        match bytes_each(options, peer, &place) {
            Ok(bytes) => report.idle.push((peer.name, bytes)),
            Err(error) => eprintln!("idle {}: {error}", peer.name),
        }
    }
}

fn bytes_each(options: &Options, peer: &Peer, place: &Place<'_>) -> Result<f64, String> {
    let proxy = peer.start(place, &[])?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let words = [this.display().to_string(), "--idle-client".into(), proxy.port.to_string()];
    let mut client = pinned(options.load_core, &words)
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
    let measured = with(FEW).and_then(|few| Ok((few, with(MANY)?)));
    drop(orders);
    let _ = client.wait();
    let (few, many) = measured?;
    Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
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
pub fn client(port: u16) -> std::io::Result<()> {
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        let count: usize = line?.trim().parse().map_err(std::io::Error::other)?;
        while held.len() < count {
            held.push(connection_after_one_request(port)?);
        }
        println!("{}", held.len());
    }
    Ok(())
}

fn connection_after_one_request(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: bench.test\r\n\r\n")?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| answer.len() >= head + 4 + 1024) {
            return Ok(stream);
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::Error::other("closed within the answer")),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
}
