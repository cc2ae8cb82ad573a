//! The load generator, run as its user would, and what it reports: for tests that ask how many failed and how late.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::binary;

/// A run under way.
#[derive(Debug)]
pub struct Generator {
    child: Child,
    out: tempfile::TempDir,
}

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    /// The whole report, as in `docs/load-report.md`.
    pub report: Value,
    /// Requests sent.
    pub requests: u64,
    /// Of those, answered well.
    pub ok: u64,
}

impl Generator {
    /// Sends `rate` requests a second to `path` for `seconds`, with further arguments of `ringway-load run`.
    #[track_caller]
    pub fn start(to: SocketAddr, path: &str, rate: u32, seconds: u32, more: &[&str]) -> Generator {
        let out = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(binary::load_path());
        command.args(["run", "--warmup", "0s", "--spin", "off", "--rate", &rate.to_string()]);
        command.args(["--duration", &format!("{seconds}s"), "--out"]).arg(out.path().join("report.json"));
        command.args(more).arg(format!("http://{to}{path}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Generator { child: command.spawn().expect("the load generator starts"), out }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn figures(mut self) -> Figures {
        self.child.wait().expect("our child");
        let text = std::fs::read(self.out.path().join("report.json")).expect("a report");
        let report: Value = serde_json::from_slice(&text).expect("JSON");
        let count = |name: &str| report[name].as_u64().expect("a count");
        Figures { requests: count("requests"), ok: count("ok"), report }
    }
}

impl Figures {
    /// Failed, of all kinds.
    pub fn failed(&self) -> u64 {
        self.requests - self.ok
    }

    /// Share that failed, 0 to 1.
    pub fn failed_share(&self) -> f64 {
        self.failed() as f64 / self.requests.max(1) as f64
    }

    /// Response time of good answers in milliseconds, from when they were due: `p50`, `p99`, ...
    pub fn response_ms(&self, figure: &str) -> f64 {
        self.report["response_time_us"][figure].as_f64().unwrap_or_default() / 1000.0
    }

    /// What went wrong, by kind and status.
    pub fn why(&self) -> String {
        format!("errors {} statuses {}", self.report["errors"], self.report["statuses"])
    }
}
