//! The background as the binary holds it: its threads, from start to end.
//!
//! ```text
//! ringway-background   tokio, current thread: admin API, DNS, health checks, pressure, ACME, limits of fleets, watchdog
//! ringway-reload       watches the file, parses, applies
//! ringway-log          access log rings to stdout or a file
//! ```
//!
//! None of them is on the request path, and none waits for another but with a bound.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringway_config::model::{Config, LogTo};
use ringway_engine::engine::{Engine, Handles};
use rtrb::Consumer;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::acme::Acme;
use crate::admin::{self, Control, Running, Sources};
use crate::dns::{self, Dns, Sink};
use crate::drift;
use crate::ejection::Ejection;
use crate::fleet::Fleets;
use crate::health::Health;
use crate::log_writer::LogWriter;
use crate::look;
use crate::overrides::{Override, Overrides};
use crate::reload::{self, Candidate, Reloader, Unusable};
use crate::say;
use crate::standing::Opinions;
use crate::status::{Phase, Status};
use crate::systemd;

/// `dns:` names get this long to resolve before the process calls itself ready all the same.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);
/// The reload thread and the runtime may be within something at the end.
const END_PATIENCE: Duration = Duration::from_millis(500);
/// What is left in the log rings is written within this at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// What the background is made of.
pub struct Parts {
    /// The file to watch and reload.
    pub path: PathBuf,
    /// What the engine was started with.
    pub config: Config,
    /// The text `config` was made from.
    pub text: String,
    /// Running.
    pub engine: Arc<Engine>,
    /// The engine's access log rings, empty when there is no access log.
    pub log_rings: Vec<Consumer<u8>>,
    /// From [`admin::bind`].
    pub admin: TcpListener,
    /// Of the binary.
    pub version: &'static str,
}

/// The running background.
pub struct Background {
    status: Arc<Status>,
    reloader: Reloader,
    log: Option<LogWriter>,
    dns: Dns,
    names: BTreeSet<String>,
    runtime: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Background {
    /// Starts the threads. The admin API answers from now on, `/readyz` with 503 until [`Background::announce`].
    pub fn start(parts: Parts) -> io::Result<Background> {
        let handles = parts.engine.handles();
        let status = Arc::new(Status::new(shown(&parts.config), parts.config.drain_timeout));
        let log = start_log(&parts.config, parts.log_rings)?;
        if let Some(log) = &log {
            handles.wake_for_logs(log.control().thread());
        }
        let log_control = log.as_ref().map(|log| log.control().clone());

        let dns = Dns::new();
        let names = dns::names(&parts.config);
        dns.want(names.clone());
        let resolved = handles.clone();
        let opinions = Opinions::default();
        let (health, ejection) = (Health::new(opinions.clone()), Ejection::new(opinions.clone()));
        let (checked, judged) = (health.clone(), ejection.clone());
        let sink: Sink = Arc::new(move |name, addresses| {
            resolved.set_resolved(name, addresses);
            checked.look_again();
            judged.look_again();
        });

        let told = handles.clone();
        let acme = Acme::new(Box::new(move |challenges| told.set_challenges(challenges)));
        acme.want(&parts.config);

        let fleets = Fleets::default();
        fleets.want(&parts.config);
        let counting = fleets.clone();

        let (strained, pressed) = (handles.clone(), handles.clone());
        status.run(&parts.config);
        let overrides = Overrides::new(handles.clone(), opinions.clone());
        let control = by_hand(&parts.path, &handles, &opinions, &overrides, &status);
        let (changed, ending, after_reload) = (overrides.clone(), overrides.clone(), overrides);
        let (counted, logged, looked_at) = (dns.clone(), log_control.clone(), handles.clone());
        let (checks, ejections, asked) = (health.clone(), ejection.clone(), handles.clone());
        let (certificates, troubles) = (acme.clone(), acme.clone());
        let sources = Sources {
            status: Arc::clone(&status),
            workers: Arc::new(move || looked_at.workers()),
            metrics: Arc::new(move |out| {
                handles.metrics(out);
                counted.metrics(out);
                checks.metrics(out);
                changed.metrics(out);
                ejections.metrics(out);
                certificates.metrics(out);
                counting.metrics(out);
                logged.iter().for_each(|log| log.metrics(out));
            }),
            notes: Arc::new(move |out| troubles.describe(out)),
            strain: Arc::new(move || strained.strain()),
            control,
            version: parts.version,
        };
        let (end, ended) = oneshot::channel();
        let (checking, judging, told) = (health.clone(), ejection.clone(), asked.clone());
        let checking = async move {
            tokio::join!(checking.run(asked.clone()), judging.run(asked), opinions.tell(told), ending.run());
        };
        let (keeping, answering, letters) = (fleets.clone(), fleets.clone(), parts.engine.handles());
        let pressing = crate::pressure::run(pressed);
        let checking = async move {
            tokio::join!(checking, pressing, keeping.run(), answering.answer(letters));
        };
        let tasks = Tasks { dns: dns.clone(), sink: Arc::clone(&sink), checking, acme: acme.clone() };
        let runtime = start_runtime(parts.admin, sources, tasks, ended)?;

        let engine = parts.engine;
        let reloader = Reloader::start(reload::Parts {
            path: parts.path,
            running: parts.config,
            text: parts.text.into_bytes(),
            load: Box::new(load),
            apply: Box::new(move |config| {
                engine.apply(config).inspect(|_| {
                    health.look_again();
                    fleets.want(config);
                    ejection.look_again();
                    after_reload.look_again();
                })
            }),
            status: Arc::clone(&status),
            dns: dns.clone(),
            acme,
            sink,
            log: log_control,
        })?;
        Ok(Background { status, reloader, log, dns, names, runtime, end })
    }

    /// Once `dns:` names have been tried, says that traffic is served: to `/readyz`, systemd and the log. Doesn't wait
    /// for that: names can take seconds, and signals must be heard meanwhile.
    pub fn announce(&self, message: String) -> io::Result<()> {
        let (dns, names, status) = (self.dns.clone(), self.names.clone(), Arc::clone(&self.status));
        thread::Builder::new().name("ringway-ready".into()).spawn(move || {
            for name in dns.wait(&names, NAMES_PATIENCE) {
                say::warning(format_args!("{name} is not resolved yet"));
            }
            status.enter(Phase::Serving);
            if status.phase() == Phase::Serving {
                systemd::ready("Serving, configuration 1");
                say::info(message);
            }
        })?;
        Ok(())
    }

    /// Reloads the configuration at once (SIGHUP).
    pub fn reload(&self) {
        self.reloader.reload();
    }

    /// Opens the access log anew (SIGUSR1).
    pub fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.control().reopen();
        }
    }

    /// From now on `/readyz` says 503. Returns how long a drain may take.
    pub fn draining(&self) -> Duration {
        self.status.enter(Phase::Draining);
        systemd::stopping("Draining");
        self.status.drain_timeout()
    }

    /// Ends the threads, what is left of the access log written. Bounded, whatever they are stuck in.
    pub fn finish(self) {
        self.reloader.finish(END_PATIENCE);
        if let Some(log) = self.log {
            log.finish(LOG_PATIENCE);
        }
        let _ = self.end.send(());
        // The runtime's own shutdown is bounded.
        let _ = self.runtime.join();
    }
}

/// What the admin API shows of services and of what is changed by hand.
fn by_hand(
    path: &Path,
    handles: &Handles,
    opinions: &Opinions,
    overrides: &Overrides,
    status: &Arc<Status>,
) -> Arc<dyn Control> {
    let (handles, opinions) = (handles.clone(), opinions.clone());
    let (shows, runs, path) = (Arc::clone(status), Arc::clone(status), path.to_owned());
    Arc::new(Running {
        overrides: overrides.clone(),
        services: move |overrides: &[Override]| {
            look::services(&handles.services(), &opinions.standings(), overrides, &shows.config())
        },
        drift: move |overrides: &[Override]| {
            let Some(running) = runs.running() else { return Value::Null };
            let file = ringway_config::load(&path, &|name| std::env::var(name).ok());
            drift::drift(&path, &running, file, runs.failure(), overrides)
        },
    })
}

fn start_log(config: &Config, rings: Vec<Consumer<u8>>) -> io::Result<Option<LogWriter>> {
    let Some(log) = config.access_log.as_ref().filter(|_| !rings.is_empty()) else { return Ok(None) };
    let started = LogWriter::start(rings, log.to.clone()).map(Some);
    started.map_err(|error| match &log.to {
        LogTo::Stdout => error,
        LogTo::File(path) => {
            let message = format!("the access log {} cannot be opened: {error}", path.display());
            io::Error::new(error.kind(), message)
        }
    })
}

/// What runs on the background thread beside the admin API.
struct Tasks<C> {
    dns: Dns,
    sink: Sink,
    checking: C,
    acme: Acme,
}

fn start_runtime(
    admin: TcpListener,
    sources: Sources,
    tasks: Tasks<impl Future<Output = ()> + Send + 'static>,
    ended: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("ringway-background".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(systemd::watchdog(Arc::clone(&sources.workers)));
            tokio::spawn(tasks.dns.run(dns::system_resolver, tasks.sink));
            tokio::spawn(tasks.checking);
            tokio::spawn(tasks.acme.run());
            tokio::spawn(async {
                if let Err(error) = admin::serve(admin, sources).await {
                    say::error(format_args!("the admin API ended: {error}"));
                }
            });
            let _ = ended.await;
        });
        runtime.shutdown_timeout(END_PATIENCE);
    })
}

/// `${VAR}` as the process's environment has it.
fn load(path: &Path) -> Result<Candidate, Unusable> {
    match ringway_config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            let warnings = loaded.report().render();
            Ok(Candidate { config: loaded.config, warnings, shown })
        }
        Err(report) => Err(Unusable { diagnostics: report.render(), files: report.files }),
    }
}

fn shown(config: &Config) -> Value {
    ringway_config::config_as_json(config)
}
