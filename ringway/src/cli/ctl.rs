//! `ringway ctl`, in the words of `--help`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use super::duration;

/// `ctl`
#[derive(Debug, Args)]
pub struct Ctl {
    /// Which gateway
    #[command(flatten)]
    pub at: At,
    /// What to do with it
    #[command(subcommand)]
    pub command: Command,
}

/// Where the gateway is.
#[derive(Debug, Args)]
pub struct At {
    /// Its admin address (or RINGWAY_ADMIN); without this and --config 127.0.0.1:9901
    #[arg(long, global = true, value_name = "HOST:PORT", env = "RINGWAY_ADMIN", hide_env = true)]
    pub admin: Option<String>,
    /// Its configuration file: says the admin address, and is what --write changes
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List services: how many endpoints are admitted, exchanges under way
    Services(Shown),
    /// List endpoints: how each stands and why, weights, exchanges under way
    Endpoints {
        /// Of this service only
        service: Option<String>,
        /// As what
        #[command(flatten)]
        shown: Shown,
    },
    /// Give an endpoint nothing, for a while
    Eject(Order),
    /// Give an endpoint no new exchanges while others are there, for a while
    Drain(Order),
    /// Give an endpoint its share whatever checks and ejection say, for a while
    Pin(Order),
    /// Shift a route's split, for a while or in the file
    #[command(
        after_help = "Every service of the route's `to` is named; one that gets nothing yet is listed there with \
        weight 0.\n\nExample: ringway ctl split orders orders=90 orders-next=10 --for 1h"
    )]
    Split(Split),
    /// Start and stop faults: errors made on purpose
    #[command(subcommand)]
    Fault(Fault),
    /// End what was changed by hand before its time
    #[command(
        after_help = "Examples:\n  ringway ctl clear orders 127.0.0.1:9001\n  ringway ctl clear --route orders\n  \
        ringway ctl clear --all"
    )]
    Clear(Clear),
    /// Say what differs between what runs and the configuration file
    ///
    /// What is changed by hand, by whom and until when; a file that was refused or is not applied yet; fields that wait
    /// for a restart. Exit code 1 where something differs.
    Drift(Shown),
}

/// How it is shown.
#[derive(Debug, Args)]
pub struct Shown {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `ctl eject`, `drain`, `pin`
#[derive(Debug, Args)]
pub struct Order {
    /// The service
    pub service: String,
    /// The endpoint, as `ctl endpoints` shows it
    pub endpoint: String,
    /// For how long, at most 24h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, required_unless_present = "write")]
    pub how_long: Option<Duration>,
    /// Not possible: a file says which endpoints there are, not how they stand
    #[arg(long, hide = true)]
    pub write: bool,
}

/// `ctl split`
#[derive(Debug, Args)]
pub struct Split {
    /// The route
    pub route: String,
    /// Each service with its weight
    #[arg(required = true, value_name = "SERVICE=WEIGHT", value_parser = weight)]
    pub weights: Vec<(String, u32)>,
    /// For how long, at most 24h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, required_unless_present = "write")]
    pub how_long: Option<Duration>,
    /// Change the file instead (-c says which), for good
    #[arg(long, conflicts_with = "how_long")]
    pub write: bool,
}

/// `ctl fault`
#[derive(Debug, Subcommand)]
pub enum Fault {
    /// Start one
    #[command(after_help = "Example: ringway ctl fault start orders --delay 2s --share 10% --for 5m")]
    Start(FaultStart),
    /// Stop those of a route that were started by hand, or those in the file
    Stop {
        /// The route
        route: String,
        /// Those in the file instead (-c says which): they end now
        #[arg(long)]
        write: bool,
    },
}

/// `ctl fault start`
#[derive(Debug, Args)]
pub struct FaultStart {
    /// The route
    pub route: String,
    /// Wait so long first, at most 5m
    #[arg(long, value_name = "DURATION", value_parser = duration, required_unless_present = "abort")]
    pub delay: Option<Duration>,
    /// Answer this instead: a status (503) or a code of gRPC (grpc:unavailable)
    #[arg(long, value_name = "WHAT")]
    pub abort: Option<String>,
    /// Of the exchanges that have the headers
    #[arg(long, value_name = "SHARE", default_value = "100%")]
    pub share: String,
    /// Only with this header, as often as needed; the value * is any
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// For how long: at most 24h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub how_long: Duration,
    /// Write it into the file instead (-c says which)
    #[arg(long)]
    pub write: bool,
}

/// `ctl clear`
#[derive(Debug, Args)]
pub struct Clear {
    /// The service of an endpoint
    #[arg(requires = "endpoint", required_unless_present_any = ["route", "all"])]
    pub service: Option<String>,
    /// The endpoint
    pub endpoint: Option<String>,
    /// Split and faults of this route
    #[arg(long, conflicts_with_all = ["service", "all"])]
    pub route: Option<String>,
    /// Everything
    #[arg(long, conflicts_with = "service")]
    pub all: bool,
}

/// `orders=90`
fn weight(text: &str) -> Result<(String, u32), String> {
    let parts = text.rsplit_once('=').and_then(|(name, weight)| Some((name, weight.parse().ok()?)));
    match parts {
        Some((name, weight)) if !name.is_empty() => Ok((name.to_owned(), weight)),
        _ => Err("a service and its weight look like orders=90".to_owned()),
    }
}
