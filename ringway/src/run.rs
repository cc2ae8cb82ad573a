//! `ringway run`: the gateway, from a file, until it is stopped.

use ringway_background::say;
use ringway_runtime::{inherited_sockets, raise_fd_limit};

use crate::cli;
use crate::end::{Ended, Failure};
use crate::files;
use crate::serve::Gateway;
use crate::signals;

/// Sockets are taken first, while nothing else holds descriptors; then signals, for SIGHUP would end the process.
pub fn run(args: &cli::Run) -> Ended {
    let sockets = inherited_sockets();
    let events = signals::listen().map_err(|error| Failure::system("cannot listen to signals", &error))?;
    if let Err(error) = raise_fd_limit() {
        say::warning(format_args!("the limit on open files stays as it was: {error}"));
    }
    let loaded = files::load(&args.config)?;
    if !sockets.is_empty() {
        say::info(format_args!("sockets from the service manager: {}", sockets.len()));
    }
    Gateway::start(&args.config, loaded, sockets)?.serve(&events)
}
