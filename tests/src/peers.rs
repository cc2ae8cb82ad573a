//! Real peers: programs of others, started for a test and ended with it. Where one is not installed, its test says so.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::binary;
use crate::wait;

/// A program that runs until dropped. Its first line is where it listens.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// Its first line.
    pub port: String,
}

impl Peer {
    /// Starts a Python script of `tests/peers` that prints its port.
    #[track_caller]
    pub fn python(script: &str) -> Peer {
        let mut child = Command::new("python3")
            .arg(script_path(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut port).expect("a port");
        Peer { child, port: port.trim().to_owned() }
    }

    /// Gives it a line.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it reads");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script_path(script: &str) -> PathBuf {
    binary::root().join("tests/peers").join(script)
}

/// Runs a script of `tests/peers` to its end.
#[track_caller]
pub fn python(script: &str, args: &[&str]) -> String {
    run(Command::new("python3").arg(script_path(script)).args(args))
}

/// Runs a program to its end, within bounds, and returns what it wrote to both.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the program starts");
    let pid = child.id();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match ended.recv_timeout(3 * wait::PATIENCE) {
        Ok(output) => text(&output.expect("its output")),
        Err(_) => {
            crate::process::signal(pid, "KILL");
            let output = ended.recv_timeout(Duration::from_secs(5));
            panic!("{command:?} did not end: {output:?}");
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a server answers to this Sec-WebSocket-Key (RFC 6455 §4.2.2).
pub fn websocket_accept(key: &str) -> String {
    use base64::Engine as _;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

/// Whether a program is there. If not, says that its test is skipped.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    said(program, found.is_ok_and(|output| output.status.success()))
}

/// Whether a Python module is there. If not, says that its test is skipped.
pub fn has_python(module: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    said(&format!("python3 with {module}"), found.is_ok_and(|output| output.status.success()))
}

#[expect(clippy::print_stderr, reason = "who runs the tests should know")]
fn said(peer: &str, found: bool) -> bool {
    if !found {
        eprintln!("skipped: {peer} is not installed");
    }
    found
}
