//! Reloading, on a thread of its own: read, parse, prepare names, apply; on failure keep what runs.
//!
//! Invariant: a bad file never replaces a good configuration, and a failure is told in the log, in a metric and in
//! the body of `/readyz` until the file is good again. Parsing a large file stalls nothing: the thread does nothing
//! else. Fields that only a restart can change keep their running values, which is said, and the rest is applied.
//!
//! ```text
//! waiting --changed--> settling --still--> reloading --> waiting
//!    '----------------asked-----------------^ (also out of settling)
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringway_config::model::{Config, LogTo, ReadFile};
use ringway_engine::engine::{Applied, ApplyError};
use serde_json::Value;

use crate::acme::Acme;
use crate::dns::{self, Dns, Sink};
use crate::log_writer::LogControl;
use crate::status::{Phase, Status};
use crate::watch::{self, Settled, Watch};
use crate::{say, systemd};

/// How often the file is looked at where it can't be watched.
const LOOK_WHEN_BLIND: Duration = Duration::from_secs(2);
/// A new `dns:` name gets this long to resolve before the configuration that brings it is applied.
const NAMES_PATIENCE: Duration = Duration::from_secs(2);
/// Orders waiting. One more is not needed: what waits reads the newest file.
const ORDERS_MAX: usize = 4;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the thread works with.
pub(crate) struct Parts {
    pub path: PathBuf,
    /// What runs, and the text it was made from.
    pub running: Config,
    pub text: Vec<u8>,
    /// Validates what a path holds.
    pub load: Load,
    /// Hands a configuration to the workers.
    pub apply: Apply,
    pub status: Arc<Status>,
    pub dns: Dns,
    pub acme: Acme,
    pub sink: Sink,
    /// `None`: the engine has no log rings.
    pub log: Option<LogControl>,
}

/// A validated configuration and its warnings as text, or the diagnostics as text.
pub(crate) type Load = Box<dyn Fn(&Path) -> Result<Candidate, Unusable> + Send>;
pub(crate) type Apply = Box<dyn Fn(&Config) -> Result<Applied, ApplyError> + Send>;

/// A configuration that could run.
pub(crate) struct Candidate {
    pub config: Config,
    /// Rendered, empty when there are none.
    pub warnings: String,
    /// For `/config`, of a configuration that runs.
    pub shown: fn(&Config) -> Value,
}

/// A configuration that could not.
#[derive(Debug, Default)]
pub(crate) struct Unusable {
    /// Rendered.
    pub diagnostics: String,
    /// The other files it was made from.
    pub files: Vec<ReadFile>,
}

impl From<String> for Unusable {
    fn from(diagnostics: String) -> Unusable {
        Unusable { diagnostics, files: Vec::new() }
    }
}

/// The thread's handle.
pub(crate) struct Reloader {
    orders: SyncSender<Order>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The file may have changed.
    Look,
    /// Someone asked for a reload.
    Reload,
}

impl Reloader {
    /// Watches and waits for orders.
    pub fn start(parts: Parts) -> std::io::Result<Reloader> {
        let (orders, waiting) = sync_channel(ORDERS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (watched, stopped) = (orders.clone(), Arc::clone(&stop));
        // What changed since the file was first read was not watched yet.
        let _ = orders.try_send(Order::Look);
        let thread = thread::Builder::new().name("ringway-reload".into()).spawn(move || {
            let watch = Watch::start(&parts.path, move || {
                let _ = watched.try_send(Order::Look);
            });
            let (tried, tried_files) = (parts.text.clone(), parts.running.files.clone());
            Thread { tried, tried_files, parts, orders: waiting, stop: stopped, watch }.run();
        })?;
        Ok(Reloader { orders, stop, thread })
    }

    /// Reloads at once.
    pub fn reload(&self) {
        // Full: as many orders will read the file as it is now.
        let _ = self.orders.try_send(Order::Reload);
    }

    /// Ends the thread, unless it is stuck for longer than `patience`.
    pub fn finish(self, patience: Duration) {
        self.stop.store(true, Relaxed);
        let _ = self.orders.try_send(Order::Look);
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

struct Thread {
    parts: Parts,
    /// The text last tried, whether it was good or not.
    tried: Vec<u8>,
    /// The other files of it, as they were then.
    tried_files: Vec<ReadFile>,
    orders: Receiver<Order>,
    stop: Arc<AtomicBool>,
    watch: Watch,
}

impl Thread {
    fn run(mut self) {
        self.follow();
        while let Some(order) = self.wait() {
            match order {
                _ if self.parts.status.phase() == Phase::Draining => continue,
                Order::Reload => self.asked(),
                Order::Look => match self.settle() {
                    Some(Order::Reload) => self.asked(),
                    Some(Order::Look) => self.changed(),
                    None => return,
                },
            }
            self.follow();
        }
    }

    /// Watches what runs and what was tried.
    fn follow(&mut self) {
        let files = self.parts.running.files.iter().chain(&self.tried_files);
        self.watch.also(files.map(|file| file.path.clone()));
        self.watch.follow();
    }

    /// Whether this is what runs, the files it names included.
    fn runs(&self, text: &[u8]) -> bool {
        text == self.parts.text && unchanged(&self.parts.running.files)
    }

    /// `None`: the end.
    fn wait(&self) -> Option<Order> {
        let order = if self.watch.is_blind() {
            match self.orders.recv_timeout(LOOK_WHEN_BLIND) {
                Err(RecvTimeoutError::Timeout) => Some(Order::Look),
                received => received.ok(),
            }
        } else {
            self.orders.recv().ok()
        };
        order.filter(|_| !self.stop.load(Relaxed))
    }

    /// Waits for the file to stand still; a reload asked for meanwhile does not wait.
    fn settle(&self) -> Option<Order> {
        let mut interrupt = Order::Look;
        let settled = watch::settle(&self.parts.path, |pause| {
            let deadline = Instant::now() + pause;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.orders.recv_timeout(left) {
                    Ok(Order::Reload) => interrupt = Order::Reload,
                    Ok(Order::Look) if !self.stop.load(Relaxed) => continue,
                    Ok(Order::Look) | Err(RecvTimeoutError::Disconnected) => {}
                    Err(RecvTimeoutError::Timeout) => return true,
                }
                return false;
            }
        });
        match settled {
            _ if self.stop.load(Relaxed) => None,
            Settled::Still => Some(Order::Look),
            Settled::Interrupted => Some(interrupt),
        }
    }

    /// SIGHUP. The service manager waits for an answer whatever becomes of it.
    fn asked(&mut self) {
        systemd::reloading();
        match read(&self.parts.path) {
            Ok(text) if self.runs(&text) => {
                self.unchanged();
                say::info("asked to reload: the configuration file is what runs, nothing to do");
            }
            Ok(text) => self.reload(text),
            Err(error) => self.unreadable(&error),
        }
        self.told();
    }

    /// The watch. What was tried before isn't tried again.
    fn changed(&mut self) {
        match read(&self.parts.path) {
            Ok(text) if self.runs(&text) => self.unchanged(),
            Ok(text) if text == self.tried && unchanged(&self.tried_files) => {}
            Ok(text) => {
                systemd::reloading();
                self.reload(text);
                self.told();
            }
            Err(error) if !self.tried.is_empty() => {
                self.unreadable(&error);
                systemd::status(&self.summary());
            }
            Err(_) => {}
        }
    }

    fn unchanged(&mut self) {
        self.tried.clone_from(&self.parts.text);
        self.tried_files.clone_from(&self.parts.running.files);
        if self.parts.status.failure().is_some() {
            self.parts.status.forget_failure();
            say::info("the configuration file is again what runs");
        }
    }

    fn unreadable(&mut self, error: &std::io::Error) {
        // No file is like this text, so that the same one coming back is looked at.
        self.tried.clear();
        self.failed(format!("{}: cannot be read: {error}", self.parts.path.display()));
    }

    fn reload(&mut self, text: Vec<u8>) {
        self.tried.clone_from(&text);
        let began = Instant::now();
        let candidate = match (self.parts.load)(&self.parts.path) {
            Ok(candidate) => candidate,
            Err(unusable) => {
                self.tried_files = unusable.files;
                return self.failed(unusable.diagnostics);
            }
        };
        self.tried_files.clone_from(&candidate.config.files);
        if !candidate.warnings.is_empty() {
            say::warning(&candidate.warnings);
        }
        let mut config = candidate.config;
        for field in keep_running(&mut config, &self.parts.running, self.parts.log.is_some()) {
            say::warning(format_args!("{field} changed: that takes a restart, the rest is applied"));
        }
        if config == self.parts.running {
            self.parts.text = text;
            self.parts.status.forget_failure();
            return say::info("the configuration file changed, but nothing of what runs");
        }
        self.prepare_names(&config);
        let applied = match (self.parts.apply)(&config) {
            Ok(applied) => applied,
            Err(ApplyError(reason)) => {
                self.parts.dns.want(dns::names(&self.parts.running));
                return self.failed(reason);
            }
        };
        self.parts.dns.want(dns::names(&config));
        self.parts.dns.tell_all(&self.parts.sink);
        self.parts.acme.want(&config);
        self.redirect_log(&config);
        for change in ringway_config::diff(&self.parts.running, &config).files {
            say::info(change);
        }
        let generation = self.parts.status.applied((candidate.shown)(&config), config.drain_timeout);
        self.parts.status.run(&config);
        self.parts.running = config;
        self.parts.text = text;
        say::info(describe(generation, &applied, began.elapsed()));
    }

    /// New names are resolved before exchanges ask for them.
    fn prepare_names(&self, config: &Config) {
        let (before, after) = (dns::names(&self.parts.running), dns::names(config));
        let new: BTreeSet<String> = after.difference(&before).cloned().collect();
        if new.is_empty() {
            return;
        }
        self.parts.dns.want(before.union(&after).cloned().collect());
        for name in self.parts.dns.wait(&new, NAMES_PATIENCE) {
            say::warning(format_args!("{name} is not resolved yet"));
        }
    }

    fn redirect_log(&self, config: &Config) {
        let to = |config: &Config| config.access_log.as_ref().map(|log| log.to.clone());
        let (before, after): (Option<LogTo>, _) = (to(&self.parts.running), to(config));
        if let (Some(log), Some(to)) = (&self.parts.log, after.filter(|to| before.as_ref() != Some(to))) {
            log.redirect(to);
        }
    }

    fn failed(&self, diagnostics: String) {
        say::error(format_args!("reload failed, the configuration before it still runs:\n{diagnostics}"));
        self.parts.status.failed(diagnostics);
    }

    fn told(&self) {
        systemd::ready(&self.summary());
    }

    fn summary(&self) -> String {
        let generation = self.parts.status.generation();
        match self.parts.status.failure() {
            None => format!("Serving, configuration {generation}"),
            Some(_) => format!("Serving, configuration {generation}; the last reload failed, see the log"),
        }
    }
}

/// Whether files are what they were.
fn unchanged(files: &[ReadFile]) -> bool {
    files.iter().all(|file| file.now() == *file)
}

/// As `config` keeps texts: without the byte order mark.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

fn describe(generation: u64, applied: &Applied, took: Duration) -> String {
    let mut text = format!("configuration {generation} runs, after {} ms", took.as_millis());
    for (word, names) in [("opened", &applied.opened), ("closed", &applied.closed)] {
        if !names.is_empty() {
            let _ = write!(text, "; listeners {word}: {}", names.join(", "));
        }
    }
    text
}

/// Puts the running value in the place of each field that only a restart can change, and names those that differ.
fn keep_running(config: &mut Config, running: &Config, has_log_rings: bool) -> Vec<&'static str> {
    let mut kept = Vec::new();
    fn keep<T: PartialEq + Clone>(new: &mut T, old: &T, name: &'static str, kept: &mut Vec<&'static str>) {
        if new != old {
            new.clone_from(old);
            kept.push(name);
        }
    }
    keep(&mut config.role, &running.role, "role", &mut kept);
    let (new, old) = (&mut config.runtime, &running.runtime);
    keep(&mut new.workers, &old.workers, "runtime.workers", &mut kept);
    keep(&mut new.backend, &old.backend, "runtime.backend", &mut kept);
    keep(&mut new.pin, &old.pin, "runtime.pin", &mut kept);
    keep(&mut new.buffers, &old.buffers, "runtime.buffers", &mut kept);
    keep(&mut config.admin.address, &running.admin.address, "admin.address", &mut kept);
    match (&mut config.access_log, &running.access_log) {
        (Some(new), Some(old)) => keep(&mut new.ring, &old.ring, "access_log.ring", &mut kept),
        (new @ Some(_), None) if !has_log_rings => {
            *new = None;
            kept.push("access_log (off at the start)");
        }
        _ => {}
    }
    kept
}

#[cfg(test)]
mod tests;
