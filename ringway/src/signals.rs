//! Signals, and what else ends or stirs a running gateway, as one stream of events.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ringway_engine::engine::DrainOutcome;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// What the main thread acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGHUP
    Reload,
    /// SIGUSR1
    ReopenLog,
    /// SIGTERM, SIGINT, or the demo's time is over.
    Stop,
    /// The drain that a stop began has ended.
    Drained(DrainOutcome),
}

/// Events, and where more of them can be sent.
pub struct Events {
    /// In the order they came.
    pub stream: Receiver<Event>,
    /// For those who have one to add.
    pub sender: Sender<Event>,
}

/// From now on signals are events and nothing else. First thing in a run: SIGHUP would end a process that does not
/// listen yet.
pub fn listen() -> io::Result<Events> {
    let mut signals = Signals::new([SIGHUP, SIGUSR1, SIGTERM, SIGINT])?;
    let (sender, stream) = channel();
    let events = sender.clone();
    thread::Builder::new().name("ringway-signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGUSR1 => Event::ReopenLog,
                _ => Event::Stop,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(Events { stream, sender })
}
