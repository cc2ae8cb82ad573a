//! The command line: what can be asked, in the words of `--help`.

pub mod ctl;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// Ringway: an API gateway and service proxy on one event loop per core.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Start with `ringway demo`: a gateway, three services and a few requests to try.\n\n\
    Exit codes: 0 done, 1 a demo's check failed, 2 wrong usage, 69 an address is taken, 71 the system refused, \
    74 output failed, 78 the configuration has errors.")]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    ///
    /// Reads the file, binds the listeners and serves until SIGTERM or SIGINT.
    ///
    /// SIGHUP, or a change of the file, reloads without losing a request; a file with errors leaves what runs as it
    /// is and shows in the log and in /readyz. SIGUSR1 reopens the access log. SIGTERM and SIGINT stop accepting and
    /// let what is under way end within `drain_timeout`; a second one ends at once.
    Run(Run),
    /// Validate configuration files
    ///
    /// Prints every problem at once, each with its place, the line and a remedy. Warnings alone are not a failure.
    Check(Check),
    /// Say what would happen to a request, and why
    ///
    /// Prints the decision: the listener with its certificate, the route that wins and why it wins over the
    /// runners-up, policies in order, the call that JSON or gRPC-Web becomes, the service, what it speaks and the
    /// timeouts. A connection is explained too: tcp://host:port, udp://host:port, tls://name:port, or a listener's
    /// name in place of host and port. Nothing is sent anywhere.
    #[command(after_help = "Examples:\n  ringway explain -c gateway.yaml -H 'x-tenant: acme' \
        'GET http://api.example.com/v1/orders/7'\n  ringway explain -c gateway.yaml tls://db.example:5432")]
    Explain(Explain),
    /// Say what a reload from one file to another would touch, and what it would not
    ///
    /// Certificates, authorities and descriptors are compared by what their files hold.
    Diff(Diff),
    /// Look at a running gateway and change it by hand, for a while
    ///
    /// Endpoints can be ejected, drained and pinned, splits shifted, faults started and stopped. Each change ends by itself
    /// after --for, or is written into the file with --write; `drift` shows what differs from the file.
    #[command(after_help = "Examples:\n  ringway ctl endpoints orders\n  \
        ringway ctl drain orders 127.0.0.1:9001 --for 10m\n  ringway ctl split orders orders=90 orders-next=10 --for 1h\n  \
        ringway ctl fault start orders --delay 2s --share 10% --for 5m\n  ringway ctl drift\n\n\
        Exit codes: 65 there is nothing like that, or it can't be done as things are, 69 nothing listens there, 76 what \
        does is no admin API, 77 changes are not allowed, 1 (drift) something differs.")]
    Ctl(ctl::Ctl),
    /// Print the JSON Schema of the configuration
    ///
    /// For editors: put `# yaml-language-server: $schema=ringway.schema.json` at the top of the file.
    Schema,
    /// Print completions for a shell
    #[command(after_help = "Example: ringway completions bash > /etc/bash_completion.d/ringway")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for each command into this folder instead
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
    /// Run a gateway in front of three small services, to try things out
    ///
    /// Everything listens on 127.0.0.1 only. The configuration is a copy in a temporary folder: edit it while the
    /// demo runs and see it reload.
    Demo(Demo),
    /// Print the version
    Version,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration file; its folder is watched for changes
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration files, each by itself
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Print problems as JSON
    #[arg(long)]
    pub json: bool,
}

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// A header of the request, as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The request: method and URL; without a method it is GET. Or a connection: tcp://, tls:// or udp://
    #[arg(value_name = "METHOD URL", required = true, num_args = 1..=2)]
    pub request: Vec<String>,
}

/// `diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// What runs
    #[arg(value_hint = ValueHint::FilePath)]
    pub old: PathBuf,
    /// What would run
    #[arg(value_hint = ValueHint::FilePath)]
    pub new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Check everything the demo offers, stop after this long (10s, 2m); non-zero if something failed
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub how_long: Option<Duration>,
    /// Use this port and the four after it instead of 8080, 9901 and 9101 to 9103
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65531))]
    pub port: Option<u16>,
}

/// `250ms`, `10s`, `2m`, `1h`, as in the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a duration is a number with ms, s, m or h behind it: 10s".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "a duration begins with a number: 10s".to_owned())?;
    Ok(Duration::from_millis(u64::from(number) * unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_want_a_number_and_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("10").is_err() && duration("s").is_err() && duration("-1s").is_err());
    }
}
