//! A gateway from its start to its end: engine and background together.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway_background::background::{Background, Parts};
use ringway_background::{admin, say};
use ringway_config::Loaded;
use ringway_config::model::{Address, Config};
use ringway_engine::engine::{DrainOutcome, Engine, Handles, Inherited, StartError};

use crate::end::{Code, Ended, Failure};
use crate::signals::{Event, Events};

/// Workers may be within something at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Running.
pub struct Gateway {
    engine: Arc<Engine>,
    background: Background,
}

impl Gateway {
    /// Binds everything, starts everything. `path` is watched from now on.
    pub fn start(path: &Path, loaded: Loaded, sockets: Vec<OwnedFd>) -> Result<Gateway, Failure> {
        let Loaded { config, source, .. } = loaded;
        let text = source.text.to_string();
        let admin = bind_admin(config.admin.address)?;
        let inherited = sockets.into_iter().map(|fd| Inherited { fd }).collect();
        let mut engine = Engine::start(&config, inherited).map_err(|error| not_started(path, error))?;
        let log_rings = engine.take_log_rings();
        let engine = Arc::new(engine);
        let banner = banner(&config, &engine.handles());
        let path = path.to_owned();
        let version = env!("CARGO_PKG_VERSION");
        let background = Background::start(Parts {
            path,
            config,
            text,
            engine: Arc::clone(&engine),
            log_rings,
            admin,
            version,
        });
        let background =
            background.map_err(|error| Failure::system("cannot start the background", &error))?;
        let announced = background.announce(banner);
        announced.map_err(|error| Failure::system("cannot start a thread", &error))?;
        Ok(Gateway { engine, background })
    }

    /// Serves until stopped, drains, ends. A second stop ends at once.
    pub fn serve(self, events: &Events) -> Ended {
        let mut draining = false;
        while let Ok(event) = events.stream.recv() {
            match event {
                Event::Reload => self.background.reload(),
                Event::ReopenLog => self.background.reopen_log(),
                Event::Stop if draining => {
                    say::warning("stopped a second time: ending at once");
                    break;
                }
                Event::Stop => {
                    draining = true;
                    self.drain(events)?;
                }
                Event::Drained(outcome) => {
                    say_drained(outcome);
                    break;
                }
            }
        }
        // Before the log is finished: what is cut now is told there.
        self.engine.stop(STOP_PATIENCE);
        self.background.finish();
        Ok(())
    }

    /// On a thread of its own, so that a second stop is heard.
    fn drain(&self, events: &Events) -> Ended {
        let timeout = self.background.draining();
        say::info(format_args!("draining, for at most {timeout:?}"));
        let (engine, ended) = (Arc::clone(&self.engine), events.sender.clone());
        let drain = move || {
            // Nobody left to tell: the process is ending already.
            let _ = ended.send(Event::Drained(engine.drain(timeout)));
        };
        let spawned = thread::Builder::new().name("ringway-drain".into()).spawn(drain);
        spawned.map(drop).map_err(|error| Failure::system("cannot start a thread", &error))
    }
}

fn say_drained(outcome: DrainOutcome) {
    match outcome {
        DrainOutcome::Clean => say::info("drained, nothing was cut"),
        DrainOutcome::Cut(left) => {
            say::warning(format_args!("drain_timeout is over: {left} connections and sessions were cut"))
        }
    }
}

fn bind_admin(address: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    admin::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Failure::new(Code::Unavailable, taken("the admin API", &address.to_string()))
        }
        _ => Failure::new(Code::System, format!("the admin API cannot listen on {address}: {error}")),
    })
}

fn not_started(path: &Path, error: StartError) -> Failure {
    match error {
        StartError::InUse { listener, address } => {
            let mut message = taken(&format!("listener `{listener}`"), &address);
            message.push_str(&format!("\n  Or give the listener another address in {}", path.display()));
            Failure::new(Code::Unavailable, message)
        }
        StartError::Other(message) => Failure::new(Code::System, message),
    }
}

/// Another process listens there, and how to find it.
fn taken(who: &str, address: &str) -> String {
    let find = match (address.strip_prefix("unix:"), address.rsplit_once(':')) {
        (Some(path), _) => format!("ss -lxp | grep -F {path}"),
        (None, Some((_, port))) => format!("ss -ltnp 'sport = :{port}'"),
        (None, None) => "ss -ltnp".to_owned(),
    };
    format!(
        "{who} cannot listen on {address}: another process does, maybe a second Ringway\n  \
         To see which: {find}"
    )
}

/// `serving: web on 127.0.0.1:8080, admin on ...; 2 workers, epoll`
fn banner(config: &Config, handles: &Handles) -> String {
    let bound = handles.bound();
    let place = |name: &str, address: &Address| match bound.iter().find(|(bound, _)| bound == name) {
        Some((_, Some(real))) => real.to_string(),
        _ => match address {
            Address::Ip(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        },
    };
    let listeners: Vec<String> = config
        .listeners
        .iter()
        .map(|listener| format!("{} on {}", listener.name, place(&listener.name, &listener.address)))
        .collect();
    let workers = handles.workers();
    let count = match workers.len() {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    };
    let driver = workers.first().map_or("no driver", |worker| worker.driver.as_str());
    format!("serving: {}; admin on {}; {count}, {driver}", listeners.join(", "), config.admin.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_comes_with_the_way_to_find_who_has_it() {
        assert!(taken("listener `web`", "[::]:8080").contains("ss -ltnp 'sport = :8080'"));
        assert!(taken("listener `app`", "unix:/run/app.sock").contains("ss -lxp | grep -F /run/app.sock"));
    }
}
