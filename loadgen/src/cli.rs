//! The command line: what can be asked, in the words of `--help`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::cores::Cores;
use crate::expect::Expectations;
use crate::find::Objective;
use crate::progress::Mode;
use crate::units;

/// Ringway's load generator: how long answers take, and how sure that is.
#[derive(Debug, Parser)]
#[command(name = "ringway-load", version, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Start with two terminals: `ringway-load serve --port 9000 --delay 'p50=1ms,p99=20ms'`, and\n\
    `ringway-load run http://127.0.0.1:9000/ --rate 1k --duration 10s --html a.html`.\n\n\
    Exit codes: 0 done, 1 it could not be done, 2 wrong usage, 3 an expectation was missed, 4 the run is invalid,\n\
    130 stopped by Ctrl-C (the report is written all the same)."
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests at a rate and measure how long answers take (open loop)
    ///
    /// Each request has its time, whatever became of the one before; latency counts from that time. So a target that
    /// stalls can't hide it by slowing the load down.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Send as fast as answers come and see how much that is (closed loop)
    ///
    /// Each connection sends its next request when it has the answer to the last. Good for a maximum; its latencies
    /// hide queueing and say so.
    #[command(
        after_help = "Example: ringway-load saturate http://127.0.0.1:8080/ --connections 64 --duration 10s"
    )]
    Saturate(Box<Saturate>),
    /// Find the highest rate that keeps an objective
    ///
    /// Doubles the rate from `--from` until the objective is missed, then narrows the gap to 5%. Each step is a run.
    #[command(
        after_help = "Example: ringway-load find http://127.0.0.1:8080/ --slo 'p99.9<5ms,errors<0.1%' --from 1k"
    )]
    Find(Box<Find>),
    /// Send a mix of requests, with variables and phases, from a file
    #[command(after_help = "The file's form is in docs/load-scenarios.md, with examples beside it.")]
    Scenario(Box<Mix>),
    /// Say whether one set of runs is better than another, and how sure that is
    Compare(crate::compare::CompareArgs),
    /// Serve as an origin with known behaviour
    Serve(crate::serve::ServeArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

const RUN_EXAMPLES: &str = "Examples:\n  \
    ringway-load run http://127.0.0.1:8080/ --rate 20k --duration 30s --connections 64 --out a.json --html a.html\n  \
    ringway-load run https://127.0.0.1:8443/ --h2 --streams 32 --rate 5k --cacert ca.pem\n  \
    ringway-load run grpc://127.0.0.1:50051/pkg.Service/Method --proto-set api.bin --data '{\"id\":1}' --rate 2k\n  \
    ringway-load run tcp://127.0.0.1:5432 --payload 64B --echo --rate 10k";

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Where to: http, https, grpc, grpcs, tcp or tls
    pub url: String,
    /// Requests a second: 200, 20k, 600/min
    #[arg(short, long, value_parser = units::rate)]
    pub rate: f64,
    /// How requests are spaced
    #[arg(long, value_enum, default_value_t = Spacing::Constant)]
    pub arrivals: Spacing,
    /// What is sent
    #[command(flatten)]
    pub message: Message,
    /// How, and what of it is written
    #[command(flatten)]
    pub load: Load,
    /// What must hold
    #[command(flatten)]
    pub thresholds: Thresholds,
}

/// `saturate`
#[derive(Debug, Args)]
pub struct Saturate {
    /// Where to: http, https, grpc, grpcs, tcp or tls
    pub url: String,
    /// What is sent
    #[command(flatten)]
    pub message: Message,
    /// How, and what of it is written
    #[command(flatten)]
    pub load: Load,
    /// What must hold
    #[command(flatten)]
    pub thresholds: Thresholds,
}

/// `find`
#[derive(Debug, Args)]
pub struct Find {
    /// Where to: http, https, grpc, grpcs, tcp or tls
    pub url: String,
    /// What must hold, such as 'p99.9<5ms,errors<0.1%'
    #[arg(long, value_name = "THRESHOLDS")]
    pub slo: Objective,
    /// The rate to begin with
    #[arg(long, value_parser = units::rate, default_value = "1k")]
    pub from: f64,
    /// The rate not to go beyond
    #[arg(long, value_parser = units::rate, default_value = "10M")]
    pub to: f64,
    /// How requests are spaced
    #[arg(long, value_enum, default_value_t = Spacing::Constant)]
    pub arrivals: Spacing,
    /// What is sent
    #[command(flatten)]
    pub message: Message,
    /// How, and what of it is written
    #[command(flatten)]
    pub load: Load,
}

/// `scenario`
#[derive(Debug, Args)]
pub struct Mix {
    /// The scenario
    #[arg(value_name = "FILE.yaml", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// How, and what of it is written
    #[command(flatten)]
    pub load: Load,
    /// Speak HTTP/2 under http: (prior knowledge) and https: (ALPN)
    #[arg(long)]
    pub h2: bool,
    /// What must hold
    #[command(flatten)]
    pub thresholds: Thresholds,
}

/// What must hold of a run.
#[derive(Debug, Args)]
pub struct Thresholds {
    /// Thresholds, such as 'p99<10ms,errors<0.01%' or 'rate>20k': exit code 3 when one is missed
    #[arg(long, value_name = "THRESHOLDS")]
    pub expect: Vec<Expectations>,
}

/// How requests are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spacing {
    /// Evenly
    Constant,
    /// At random, independent of each other (--seed)
    Poisson,
}

/// What is sent, and what a good answer is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Request")]
pub struct Message {
    /// Speak HTTP/2 under http: (prior knowledge) and https: (ALPN)
    #[arg(long)]
    pub h2: bool,
    /// Method
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// A header, as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Body; @FILE reads it from a file. gRPC: the message as JSON
    #[arg(long, value_name = "TEXT")]
    pub data: Option<String>,
    /// gRPC: a descriptor set, as protoc --include_imports --descriptor_set_out=FILE makes it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub proto_set: Option<PathBuf>,
    /// TCP: bytes to send each time
    #[arg(long, value_parser = units::size, value_name = "SIZE")]
    pub payload: Option<usize>,
    /// TCP: the answer must be what was sent
    #[arg(long)]
    pub echo: bool,
    /// Statuses of a good answer [default: 200 to 399]
    #[arg(long, value_delimiter = ',', value_name = "STATUS")]
    pub status: Vec<u16>,
    /// Length of a good answer's body
    #[arg(long, value_parser = units::size, value_name = "SIZE")]
    pub body_length: Option<usize>,
    /// SHA-256 of a good answer's body, in hex
    #[arg(long, value_name = "HEX")]
    pub body_sha256: Option<String>,
}

/// How the load is made, and what is written of it.
#[derive(Debug, Args)]
pub struct Load {
    /// How long to measure, the warm-up not counted
    #[arg(short, long, value_parser = units::duration, default_value = "10s", help_heading = "Load")]
    pub duration: Duration,
    /// What is left out at the beginning
    #[arg(long, value_parser = units::duration, default_value = "1s", help_heading = "Load")]
    pub warmup: Duration,
    /// Connections of all threads together
    #[arg(short, long, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: Option<u32>,
    /// HTTP/2 and gRPC: requests at once on a connection
    #[arg(long, default_value_t = 1, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub streams: u32,
    /// HTTP/1.1: requests pipelined on a connection
    #[arg(long, default_value_t = 1, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pipeline: u32,
    /// A new connection for each request, to measure connects and handshakes
    #[arg(long, help_heading = "Load")]
    pub connection_per_request: bool,
    /// How long an answer may take, from sending
    #[arg(long, value_parser = units::duration, default_value = "10s", help_heading = "Load")]
    pub timeout: Duration,
    /// Generator threads [default: one for each of --cores, else 1]
    #[arg(short, long, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Cores to pin the threads to, so that they and the target need not share: 1-3,5
    #[arg(long, value_name = "LIST", help_heading = "Load")]
    pub cores: Option<Cores>,
    /// Look for work rather than sleep for the last 100 us before a request is due: exact, at the price of a core where
    /// requests are due all the time
    #[arg(long, value_enum, default_value_t = Spin::Auto, help_heading = "Load")]
    pub spin: Spin,
    /// Seed of everything random
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    pub seed: u64,
    /// How to talk to the kernel
    #[arg(long, value_enum, default_value_t = Driver::Auto, help_heading = "Load")]
    pub backend: Driver,

    /// Connect to this address instead of the URL's host
    #[arg(long, value_name = "HOST:PORT", help_heading = "Connection", conflicts_with = "unix")]
    pub connect_to: Option<String>,
    /// Connect to this Unix-domain socket instead
    #[arg(long, value_name = "PATH", help_heading = "Connection", value_hint = ValueHint::FilePath)]
    pub unix: Option<PathBuf>,
    /// Begin each connection with a PROXY header of this version
    #[arg(long, value_name = "1|2", help_heading = "Connection", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub proxy_protocol: Option<u8>,
    /// Whom the PROXY header names instead of ourselves
    #[arg(long, value_name = "IP:PORT", help_heading = "Connection", requires = "proxy_protocol")]
    pub proxy_source: Option<std::net::SocketAddr>,
    /// Take any certificate
    #[arg(short = 'k', long, help_heading = "Connection")]
    pub insecure: bool,
    /// Trust these authorities (PEM) instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "Connection", value_hint = ValueHint::FilePath)]
    pub cacert: Option<PathBuf>,
    /// Show this certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = "Connection", requires = "key", value_hint = ValueHint::FilePath)]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", help_heading = "Connection", requires = "cert", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// The name to ask for in TLS instead of the URL's host
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub server_name: Option<String>,
    /// Resume TLS sessions where the target gives tickets
    #[arg(long, value_enum, default_value_t = Switch::On, help_heading = "Connection")]
    pub resumption: Switch,
    /// Groups to offer for the key exchange, such as X25519,secp256r1 [default: post-quantum hybrids first]
    #[arg(long, value_delimiter = ',', value_name = "LIST", help_heading = "Connection")]
    pub tls_groups: Vec<String>,
    /// Cipher suites to offer, such as TLS13_AES_128_GCM_SHA256 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST", help_heading = "Connection")]
    pub tls_ciphers: Vec<String>,

    /// Write the report as JSON; - for standard output
    #[arg(short, long, value_name = "FILE", env = "RINGWAY_LOAD_OUT", help_heading = "Output", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE", help_heading = "Output", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
    /// Write percentiles as HdrHistogram prints them
    #[arg(long, value_name = "FILE", help_heading = "Output", value_hint = ValueHint::FilePath)]
    pub hgrm: Option<PathBuf>,
    /// Write an HdrHistogram interval log
    #[arg(long, value_name = "FILE", help_heading = "Output", value_hint = ValueHint::FilePath)]
    pub hlog: Option<PathBuf>,
    /// A name for the run, for comparing
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub label: Option<String>,
    /// Watch this process: its CPU time, memory and context switches
    #[arg(long, value_name = "PID", help_heading = "Output")]
    pub watch_pid: Option<u32>,
    /// Show progress: a dashboard where there is a terminal for it, else a line a second [values: full, line, none]
    #[arg(long, num_args = 0..=1, default_missing_value = "full", require_equals = true, help_heading = "Output", value_name = "HOW")]
    pub progress: Option<Mode>,
    /// Print no summary
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

/// Whether to look for work rather than sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spin {
    /// Where that leaves a core for others
    Auto,
    /// Yes
    On,
    /// No: for a core that others need too
    Off,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// How to talk to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// io_uring where it works, else epoll
    Auto,
    /// io_uring
    #[value(name = "io_uring")]
    IoUring,
    /// epoll
    Epoll,
}

impl From<Driver> for ringway_runtime::Choice {
    fn from(driver: Driver) -> ringway_runtime::Choice {
        match driver {
            Driver::Auto => ringway_runtime::Choice::Auto,
            Driver::IoUring => ringway_runtime::Choice::IoUring,
            Driver::Epoll => ringway_runtime::Choice::Epoll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }
}
