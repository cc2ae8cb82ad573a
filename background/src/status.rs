//! What is known about the process as a whole: how far it is, which configuration runs, how the last reload went.
//!
//! Written by the binary and the reload thread, read by the admin API. Never on the request path. The
//! configuration shown is the one that runs, even while a newer file is bad.

use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_config::model::Config;
use serde_json::Value;

use crate::say;

/// How far the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not everything is up yet.
    Starting,
    /// Traffic is served.
    Serving,
    /// No new connections; what is under way ends.
    Draining,
}

/// See the module.
#[derive(Debug)]
pub struct Status {
    phase: AtomicU8,
    generation: AtomicU64,
    failures: AtomicU64,
    shown: Mutex<Shown>,
    /// What the engine runs; `None` until that is said.
    running: Mutex<Option<Arc<Config>>>,
}

#[derive(Debug)]
struct Shown {
    config: Value,
    drain_timeout: Duration,
    applied_at: SystemTime,
    failure: Option<Failure>,
}

/// A reload that did not work; the configuration before it still runs.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// The diagnostics, several lines.
    pub text: String,
}

impl Status {
    /// The first configuration is generation 1.
    pub fn new(config: Value, drain_timeout: Duration) -> Status {
        let shown = Shown { config, drain_timeout, applied_at: SystemTime::now(), failure: None };
        Status {
            phase: AtomicU8::new(Phase::Starting as u8),
            generation: AtomicU64::new(1),
            failures: AtomicU64::new(0),
            shown: Mutex::new(shown),
            running: Mutex::default(),
        }
    }

    /// The engine runs this now.
    pub fn run(&self, config: &Config) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(config.clone()));
    }

    /// What the engine runs.
    pub fn running(&self) -> Option<Arc<Config>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far the process is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Moves on. A drain is never undone.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Relaxed);
    }

    /// A new configuration runs: counts it, shows it, forgets the failure before. Returns its generation.
    pub fn applied(&self, config: Value, drain_timeout: Duration) -> u64 {
        *self.shown() = Shown { config, drain_timeout, applied_at: SystemTime::now(), failure: None };
        self.generation.fetch_add(1, Relaxed) + 1
    }

    /// A reload failed.
    pub fn failed(&self, text: String) {
        self.failures.fetch_add(1, Relaxed);
        self.shown().failure = Some(Failure { at: SystemTime::now(), text });
    }

    /// The file is again what runs.
    pub fn forget_failure(&self) {
        self.shown().failure = None;
    }

    /// How many configurations have run.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// The running configuration as JSON, secrets redacted.
    pub fn config(&self) -> Value {
        self.shown().config.clone()
    }

    /// How long a stop waits, as the running configuration has it.
    pub fn drain_timeout(&self) -> Duration {
        self.shown().drain_timeout
    }

    /// Why the last reload failed, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.shown().failure.clone()
    }

    /// The body of `/readyz`.
    pub fn describe(&self) -> String {
        let mut text = match self.phase() {
            Phase::Starting => "starting\n".to_owned(),
            Phase::Serving => format!("ready, configuration {}\n", self.generation()),
            Phase::Draining => "draining\n".to_owned(),
        };
        if let Some(failure) = self.failure() {
            let at = say::utc(failure.at);
            let _ = write!(text, "\nthe reload at {at} failed, the configuration before it still runs:\n\n");
            text.push_str(failure.text.trim_end());
            text.push('\n');
        }
        text
    }

    /// Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        let (applied_at, succeeded) = {
            let shown = self.shown();
            (seconds(shown.applied_at), u8::from(shown.failure.is_none()))
        };
        let ready = u8::from(self.phase() == Phase::Serving);
        let rows: [(&str, &str, &str, f64); 5] = [
            (
                "ringway_ready",
                "gauge",
                "Whether traffic is served: not starting, not draining.",
                ready.into(),
            ),
            (
                "ringway_config_generation",
                "gauge",
                "Configurations that ran since the start, the present one included.",
                self.generation() as f64,
            ),
            (
                "ringway_config_last_reload_success",
                "gauge",
                "0 while the configuration file is not what runs because a reload failed.",
                succeeded.into(),
            ),
            (
                "ringway_config_applied_timestamp_seconds",
                "gauge",
                "When the running configuration was applied.",
                applied_at,
            ),
            (
                "ringway_config_reload_failures_total",
                "counter",
                "Reloads that failed.",
                self.failures.load(Relaxed) as f64,
            ),
        ];
        for (name, kind, help, value) in rows {
            metric(out, name, kind, help, value);
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One metric without labels, as Prometheus text.
pub(crate) fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |past| past.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failed_reload_is_described_until_the_next_good_one() {
        let status = Status::new(json!({}), Duration::ZERO);
        status.enter(Phase::Serving);
        status.failed("gateway.yaml:3:1: unknown field\n".into());
        assert!(status.describe().starts_with("ready, configuration 1\n"));
        assert!(status.describe().contains("gateway.yaml:3:1: unknown field"));
        assert_eq!(status.applied(json!({"role": "gateway"}), Duration::ZERO), 2);
        assert_eq!(status.describe(), "ready, configuration 2\n");
        let mut text = String::new();
        status.metrics(&mut text);
        assert!(text.contains("\nringway_config_reload_failures_total 1\n"));
        assert!(text.contains("\nringway_config_last_reload_success 1\n"));
    }

    #[test]
    fn a_drain_is_never_undone() {
        let status = Status::new(json!({}), Duration::ZERO);
        status.enter(Phase::Draining);
        status.enter(Phase::Serving);
        assert_eq!(status.phase(), Phase::Draining);
    }
}
