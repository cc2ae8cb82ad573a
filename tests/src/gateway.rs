//! The binary, started from a configuration text and stopped when dropped.
//!
//! In a text `{{web}}` is a free port called `web`, found when first named and kept over reloads; `{{dir}}` is the
//! folder the configuration lies in, `{{backend}}` the driver under test, and whatever `start_with` is given. The
//! harness puts `runtime`, `admin` and a short `drain_timeout` in front unless the text has its own, and ends every
//! text with a route `probe-N` on `/-/probe` (so `routes:` comes last, as a block list): N tells which
//! configuration runs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Client, Response, To};
use crate::metrics::Metrics;
use crate::origins::Origin;
use crate::wait::{self, PATIENCE};
use crate::{binary, names, ports, process};

/// One listener `web`, one service `app` at `{{origin}}`, everything goes there.
pub const PLAIN: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { name: all, path: /**, to: app }
"#;

/// A running binary.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    dir: TempDir,
    values: BTreeMap<String, String>,
    written: u32,
    stderr: Arc<Mutex<String>>,
    stdout: Arc<Mutex<String>>,
    exited: Option<ExitStatus>,
}

/// How a binary that did not stay ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All it wrote.
    pub stderr: String,
}

impl Gateway {
    /// Starts [`PLAIN`] in front of this origin.
    #[track_caller]
    pub fn in_front_of(origin: &Origin) -> Gateway {
        Gateway::start_with(PLAIN, &[("origin", &origin.endpoint())])
    }

    /// Starts a text that needs no values.
    #[track_caller]
    pub fn start(text: &str) -> Gateway {
        Gateway::start_with(text, &[])
    }

    /// Starts a text with these values for its `{{names}}`; returns once it serves.
    #[track_caller]
    pub fn start_with(text: &str, values: &[(&str, &str)]) -> Gateway {
        Gateway::start_under(text, values, None)
            .unwrap_or_else(|ended| panic!("it did not start: {ended:#?}"))
    }

    /// As [`Gateway::start_with`], and tells how it ended if it did.
    pub fn try_start(text: &str, values: &[(&str, &str)]) -> Result<Gateway, Ended> {
        Gateway::start_under(text, values, None)
    }

    /// As [`Gateway::try_start`], with at most so many file descriptors.
    pub fn start_under(text: &str, values: &[(&str, &str)], files: Option<u32>) -> Result<Gateway, Ended> {
        let dir = tempfile::Builder::new().prefix("ringway-test-").tempdir().expect("a folder");
        let mut values: BTreeMap<String, String> =
            values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let backend = std::env::var("RINGWAY_TEST_BACKEND").unwrap_or_else(|_| "auto".into());
        values.insert("backend".into(), backend);
        values.insert("dir".into(), dir.path().display().to_string());
        values.entry("admin".into()).or_insert_with(|| ports::free().to_string());
        write_config(dir.path(), text, 0, &mut values);

        let mut command = match files {
            None => Command::new(binary::path()),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\"")).arg(binary::path());
                shell
            }
        };
        command.args(["run", "--config"]).arg(dir.path().join("gateway.yaml")).current_dir(dir.path());
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = collect(child.stderr.take().expect("piped"));
        let stdout = collect(child.stdout.take().expect("piped"));
        let mut gateway = Gateway { child, dir, values, written: 0, stderr, stdout, exited: None };
        gateway.wait_until_ready()?;
        Ok(gateway)
    }

    fn wait_until_ready(&mut self) -> Result<(), Ended> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.exited = Some(status);
                // The pipe's reader may still be behind.
                std::thread::sleep(Duration::from_millis(20));
                return Err(Ended { code: status.code(), stderr: self.stderr() });
            }
            if self.is_ready() {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "not ready after {PATIENCE:?}:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// One that refuses to start may listen for a moment, and then reset who asks.
    fn is_ready(&self) -> bool {
        let Ok(mut client) = Client::try_connect(self.address("admin")) else { return false };
        let sent = client.try_send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        sent.is_ok() && client.try_response(To::Get).is_ok_and(|response| response.status == 200)
    }

    /// Where the port called `name` is.
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        let port = self.values.get(name).unwrap_or_else(|| panic!("no port called {name}"));
        format!("127.0.0.1:{port}").parse().expect("a port")
    }

    /// What a `{{name}}` stands for.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All of them.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Sets a value for later reloads.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.into(), value.into());
    }

    /// A new connection to the listener `web`.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address("web"))
    }

    /// One GET on a new connection to `web`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    /// One GET to the admin API.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Response {
        let mut client = Client::connect(self.address("admin"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).response()
    }

    /// One scrape.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/metrics").expect(200).text())
    }

    /// Replaces the file by one rename and returns once this configuration runs.
    #[track_caller]
    pub fn reload(&mut self, text: &str) {
        let before = self.metrics().sum(names::CONFIG_GENERATION, &[]);
        self.replace_config(text);
        self.signal("HUP");
        let marker = format!("probe-{}", self.written);
        wait::until_true("the new configuration to run", || {
            self.metrics().sum(names::CONFIG_GENERATION, &[]) > before
                && self.admin("/config").text().contains(&marker)
        });
    }

    /// Replaces the file by one rename and tells nobody.
    pub fn replace_config(&mut self, text: &str) {
        self.written += 1;
        write_config(self.dir.path(), text, self.written, &mut self.values);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        assert!(process::signal(self.pid(), signal), "no process to send SIG{signal} to");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder its configuration lies in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("gateway.yaml")
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().map_or_else(|p| p.into_inner().clone(), |text| text.clone())
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().map_or_else(|p| p.into_inner().clone(), |text| text.clone())
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self, bound: Duration) -> ExitStatus {
        let child = &mut self.child;
        let status = wait::until("the binary to end", bound, || child.try_wait().expect("our child"));
        self.exited = Some(status);
        status
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit(PATIENCE)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let failed_already = std::thread::panicking();
        let crashed = self.exited.is_none() && matches!(self.child.try_wait(), Ok(Some(_)));
        if self.exited.is_none() && !crashed {
            // Twice: the second one ends it at once.
            process::signal(self.pid(), "TERM");
            process::signal(self.pid(), "TERM");
            let deadline = Instant::now() + Duration::from_secs(1);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(3));
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let stderr = self.stderr();
        if failed_already {
            eprint_block(&stderr);
        } else {
            assert!(!crashed, "the binary ended by itself:\n{stderr}");
            assert!(!stderr.contains("panicked at"), "a thread of the binary panicked:\n{stderr}");
        }
    }
}

#[expect(clippy::print_stderr, reason = "shown with the failed test")]
fn eprint_block(stderr: &str) {
    eprintln!("--- what the binary wrote ---\n{stderr}-----------------------------");
}

fn write_config(dir: &Path, text: &str, number: u32, values: &mut BTreeMap<String, String>) {
    let has = |key: &str| text.lines().any(|line| line.starts_with(&format!("{key}:")));
    let mut whole = String::new();
    if !has("runtime") {
        whole.push_str("runtime: { workers: 2, backend: {{backend}}, pin: false }\n");
    }
    if !has("admin") {
        whole.push_str("admin: { address: \"127.0.0.1:{{admin}}\" }\n");
    }
    if !has("drain_timeout") {
        whole.push_str("drain_timeout: 5s\n");
    }
    whole.push_str(text.trim_end());
    if has("routes") {
        let probe = format!("{{ name: probe-{number}, path: /-/probe, respond: {{ body: \"{number}\" }} }}");
        whole.push_str(&format!("\n  - {probe}\n"));
    }
    let next = dir.join("next.yaml");
    std::fs::write(&next, fill_in(&whole, values)).expect("writing the configuration");
    std::fs::rename(&next, dir.join("gateway.yaml")).expect("renaming the configuration");
}

/// Puts values in place of `{{names}}`; an unknown name becomes a free port.
pub fn fill_in(text: &str, values: &mut BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("{{ is followed by }}");
        out.push_str(before);
        let value = values.entry(name.to_owned()).or_insert_with(|| ports::free().to_string());
        out.push_str(value);
        rest = after;
    }
    out + rest
}

fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            into.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_become_values_or_free_ports_that_stay() {
        let mut values = BTreeMap::from([("origin".to_owned(), "1.2.3.4:5".to_owned())]);
        let filled = fill_in("a {{origin}} {{web}} {{web}}", &mut values);
        let web = values["web"].clone();
        assert_eq!(filled, format!("a 1.2.3.4:5 {web} {web}"));
        assert!(web.parse::<u16>().is_ok());
    }
}
