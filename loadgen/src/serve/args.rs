//! `ringway-load serve`: what can be asked for on the command line, and the process's run from ready line to counts.

#![allow(clippy::print_stderr, reason = "the ready line and the counts are this command's output")]

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ringway_runtime::{Address, raise_fd_limit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Driver;
use crate::cores::Cores;
use crate::units::{self, show_bytes};

use super::behaviour::{self, Behaviour, FAIL_STATUS, Failure, Stall};
use super::delay::Delay;
use super::{Protocol, Running, Server, start};

/// Serve as an origin with known behaviour, to measure against or to try things with.
///
/// Any path is answered. A request may ask for its own answer: /?delay=5ms&size=2KiB&status=404. Bodies repeat
/// 0123456789abcdef. HTTP/1.1 and HTTP/2 with prior knowledge (gRPC too: messages are echoed) share the port.
///
/// Example: ringway-load serve --delay p50=1ms,p99=20ms --fail 1% --stall '1s every 10s'
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Port to listen on; 0 picks a free one, which the ready line tells
    #[arg(long, default_value_t = 9000)]
    pub port: u16,

    /// Address to listen on; 0.0.0.0 or :: for all of the machine's
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,

    /// Listen on a Unix-domain socket at this path instead; it is removed at the end
    #[arg(long, value_name = "PATH", conflicts_with_all = ["port", "address"])]
    pub unix: Option<PathBuf>,

    /// Time from a request to its answer: 5ms (always), 1ms..20ms (anywhere between), exp:5ms (exponential with this
    /// mean), or quantiles: p50=1ms,p99=20ms,p99.9=80ms. Between quantiles the delay grows evenly, as logarithms do,
    /// with the number of nines; below the first it falls to half of it; the last is the longest there is
    #[arg(long, value_name = "DELAY", value_parser = Delay::read, default_value = "0s")]
    pub delay: Delay,

    /// Bytes of an answer's body, at most 1GiB
    #[arg(long, value_name = "SIZE", value_parser = behaviour::size, default_value = "1KiB")]
    pub size: usize,

    /// Share of requests that fail, such as 1% or 0.001
    #[arg(long, value_name = "SHARE", value_parser = units::share, default_value = "0%")]
    pub fail: f64,

    /// Status of those that fail
    #[arg(long, value_name = "STATUS", value_parser = behaviour::status, default_value_t = FAIL_STATUS)]
    pub fail_status: u16,

    /// How those fail
    #[arg(long, value_name = "HOW", value_enum, default_value_t = FailWith::Status)]
    pub fail_with: FailWith,

    /// Answer nothing for a while, again and again: '1s every 10s' is the last second of each ten since the start. What
    /// arrives meanwhile is answered its delay after the stall
    #[arg(long, value_name = "STALL", value_parser = Stall::read)]
    pub stall: Option<Stall>,

    /// Send bodies in chunks rather than with a Content-Length
    #[arg(long)]
    pub chunked: bool,

    /// Speak no HTTP: send every piece back as it came. A piece that fails with a status ends the connection
    #[arg(long, conflicts_with_all = ["size", "chunked", "fail_status"])]
    pub tcp_echo: bool,

    /// Seed of the dice: the same seed, on one thread, gives the same delays and failures in the same order
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Event loops, each on a thread of its own [default: one for each of --cores, else 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    pub threads: Option<u16>,

    /// Pin the loops to these cores, such as 1-3 or 0,2
    #[arg(long, value_name = "LIST")]
    pub cores: Option<Cores>,

    /// How the loops talk to the kernel
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    pub backend: Driver,

    /// Stop after this long; otherwise on Ctrl-C or SIGTERM
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    pub run_for: Option<Duration>,
}

/// How requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailWith {
    /// A whole answer with --fail-status
    Status,
    /// The connection is reset
    Reset,
    /// Half an answer, then the connection ends
    Truncate,
    /// No answer ever; the connection stays open
    #[value(alias = "hang")]
    Timeout,
}

/// Serves until a signal comes or the time is over. Returns the process's exit code.
pub fn run(args: &ServeArgs) -> Result<u8, String> {
    let server = args.server()?;
    // A process may have few descriptors by default. That it could not have more is found out when they run out.
    let _ = raise_fd_limit();
    let (mut signal, rings) = UnixStream::pair().map_err(|error| format!("no pair of sockets: {error}"))?;
    for number in [SIGINT, SIGTERM] {
        let ring = rings.try_clone().and_then(|ring| signal_hook::low_level::pipe::register(number, ring));
        ring.map_err(|error| format!("signals can't be listened to: {error}"))?;
    }
    let running = start(&server).map_err(|error| refused(&server.address, &error))?;
    eprintln!("{}", ready_line(&server, &running));
    wait(&mut signal, args.run_for, &running);
    let counts = running.stop().map_err(|error| format!("the server broke: {error}"))?;
    let what = if args.tcp_echo { "pieces" } else { "requests" };
    eprintln!(
        "served {} {what} ({} failed on purpose) on {} connections",
        counts.requests, counts.failed, counts.connections
    );
    Ok(0)
}

impl ServeArgs {
    /// The server that is asked for.
    pub fn server(&self) -> Result<Server, String> {
        let cores = self.cores.as_ref().map_or_else(|| Ok(Vec::new()), Cores::usable)?;
        let threads = self.threads.map_or(cores.len().max(1), usize::from);
        let address = match &self.unix {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Ip(SocketAddr::new(self.address, self.port)),
        };
        let fail_with = match self.fail_with {
            FailWith::Status => Failure::Status(self.fail_status),
            FailWith::Reset => Failure::Reset,
            FailWith::Truncate => Failure::Truncate,
            FailWith::Timeout => Failure::Hang,
        };
        let (delay, size, fail, stall) = (self.delay.clone(), self.size, self.fail, self.stall);
        Ok(Server {
            address,
            behaviour: Behaviour { delay, size, fail, fail_with, stall },
            protocol: if self.tcp_echo { Protocol::Echo } else { Protocol::Http },
            chunked: self.chunked,
            seed: self.seed,
            threads,
            cores,
            backend: self.backend.into(),
        })
    }
}

fn refused(address: &Address, error: &std::io::Error) -> String {
    match (address, error.kind()) {
        (Address::Ip(address), ErrorKind::AddrInUse) => {
            format!("{address} is taken: choose another --port, or 0 for a free one")
        }
        (Address::Ip(address), ErrorKind::PermissionDenied) => {
            format!("{address} may not be used: ports below 1024 need a privilege; choose another --port")
        }
        (Address::Ip(address), ErrorKind::AddrNotAvailable) => {
            format!("{} is no address of this machine: choose another --address", address.ip())
        }
        (Address::Ip(address), _) => format!("can't serve on {address}: {error}"),
        (Address::Unix(path), ErrorKind::AddrInUse) => {
            format!("{} is served already: choose another --unix path", path.display())
        }
        (Address::Unix(path), _) => format!("can't serve on {}: {error}", path.display()),
    }
}

fn ready_line(server: &Server, running: &Running) -> String {
    let scheme = if server.protocol == Protocol::Echo { "tcp" } else { "http" };
    let place = match &running.address {
        Address::Ip(address) => format!("{scheme}://{address}"),
        Address::Unix(path) => format!("{scheme} on unix:{}", path.display()),
    };
    let Behaviour { delay, size, fail, fail_with, stall } = &server.behaviour;
    let what = match server.protocol {
        Protocol::Http => show_bytes(*size as u64),
        Protocol::Echo => "echo".into(),
    };
    let mut line = format!("serving {place}: {what} {delay}");
    if *fail > 0.0 {
        let how = match fail_with {
            Failure::Status(status) => format!("with {status}"),
            Failure::Reset => "by a reset".into(),
            Failure::Truncate => "half-way".into(),
            Failure::Hang => "silently".into(),
        };
        line.push_str(&format!("; {}% fail {how}", (fail * 1e6).round() / 1e4));
    }
    if let Some(stall) = stall {
        line.push_str(&format!("; stalls {stall}"));
    }
    let plural = if server.threads == 1 { "" } else { "s" };
    line.push_str(&format!(" ({} thread{plural}, {})", server.threads, running.driver));
    line
}

/// Until a signal comes, the time is over or the server has broken.
fn wait(signal: &mut UnixStream, run_for: Option<Duration>, running: &Running) {
    let begin = Instant::now();
    while !running.is_broken() {
        let left = run_for.map_or(LOOK_EVERY, |whole| whole.saturating_sub(begin.elapsed()));
        if left.is_zero() || signal.set_read_timeout(Some(left.min(LOOK_EVERY))).is_err() {
            return;
        }
        match signal.read(&mut [0; 1]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => return,
        }
    }
}

const THREADS_MAX: i64 = 1024;
/// How often it is looked whether the server still runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn read(line: &str) -> Result<Server, String> {
        let words = std::iter::once("serve").chain(line.split('|').filter(|word| !word.is_empty()));
        Cli::try_parse_from(words).map_err(|error| error.to_string())?.args.server()
    }

    #[test]
    fn a_whole_line_becomes_a_server() {
        Cli::command().debug_assert();
        let line = "--port|0|--delay|p50=1ms,p99=20ms|--size|2KiB|--fail|1%|--stall|1s every 10s|--threads|2|--seed|9";
        let server = read(line).unwrap();
        assert_eq!((server.threads, server.seed, server.behaviour.size), (2, 9, 2048));
        assert_eq!(server.behaviour.fail_with, Failure::Status(503));
        let running = start(&server).unwrap();
        let line = ready_line(&server, &running);
        let address = running.ip().unwrap();
        let expected = format!(
            "serving http://{address}: 2.0 KiB after p50 1.00 ms, p99 20.0 ms; 1% fail with 503; stalls 1.00 s every 10.00 s (2 threads, "
        );
        assert!(line.starts_with(&expected), "{line}");
    }

    #[test]
    fn nothing_asked_for_is_a_kilobyte_at_once_on_port_9000_of_the_loopback() {
        let server = read("").unwrap();
        assert_eq!(server.address, Address::Ip("127.0.0.1:9000".parse().unwrap()));
        assert!(server.behaviour.is_plain());
    }

    #[test]
    fn bad_words_are_refused_with_what_would_be_right() {
        for (line, word) in [
            ("--delay|soon", "exp:5ms"),
            ("--size|2GiB", "1 GiB"),
            ("--fail|200%", "from 0 to 100%"),
            ("--stall|1s", "1s every 10s"),
            ("--fail-status|99", "200 to 599"),
            ("--cores|3-1", "1-3"),
            ("--cores|60000", "core 60000 can't be used"),
            ("--unix|/x|--port|1", "cannot be used with"),
            ("--tcp-echo|--chunked", "cannot be used with"),
            ("--threads|0", "1..="),
            ("--for|1", "1s"),
        ] {
            let why = read(line).unwrap_err();
            assert!(why.contains(word), "{line}: {why}");
        }
    }

    #[test]
    fn a_taken_port_says_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let args = Cli::try_parse_from(["serve", "--port", &port.to_string()]).unwrap().args;
        let why = run(&args).unwrap_err();
        assert!(why.contains("is taken") && why.contains("--port"), "{why}");
    }

    #[test]
    fn a_signal_ends_a_run_in_good_order() {
        // With a handler of its own the test outlives a signal that comes before the run listens.
        let heard = std::sync::Arc::default();
        signal_hook::flag::register(SIGTERM, heard).unwrap();
        let args = Cli::try_parse_from(["serve", "--port", "0", "--for", "1m"]).unwrap().args;
        let (begin, running) = (Instant::now(), std::thread::spawn(move || run(&args)));
        while !running.is_finished() {
            signal_hook::low_level::raise(SIGTERM).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(running.join().unwrap(), Ok(0));
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_run_ends_by_itself_after_its_time() {
        let args = Cli::try_parse_from(["serve", "--port", "0", "--for", "50ms"]).unwrap().args;
        assert_eq!(run(&args), Ok(0));
    }
}
