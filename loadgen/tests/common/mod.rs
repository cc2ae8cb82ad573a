//! What the tests share: the binary as a user runs it, origins that it serves, peers from packages.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::print_stderr, reason = "a test says that it was skipped")]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_ringway-load");

/// A process that ends with the test.
pub struct Peer {
    pub child: Child,
    pub port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves with these arguments on a free port, once it says where.
pub fn serve(arguments: &str) -> Peer {
    let mut child = Command::new(BINARY)
        .args(["serve", "--port", "0"])
        .args(words(arguments))
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("serve starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let port = line
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .unwrap_or_else(|| panic!("no port in {line:?}"));
    // The pipe must not fill up nor close.
    std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = lines.read_to_string(&mut rest);
    });
    Peer { child, port }
}

/// `'a b'` is one word.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("one at least").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The binary's own output for these arguments.
pub fn load(line: &str) -> Output {
    Command::new(BINARY).args(words(line)).stdin(Stdio::null()).output().expect("it runs")
}

/// Runs it and reads its JSON. Exit code and report.
pub fn report(line: &str) -> (i32, serde_json::Value) {
    let output = load(&format!("{line} --out - --quiet"));
    let code = output.status.code().expect("an exit code");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{line}: {error}: exit {code}\n{}", String::from_utf8_lossy(&output.stderr))
    });
    (code, json)
}

pub fn number(report: &serde_json::Value, path: &str) -> f64 {
    let found = path.split('.').fold(report, |value, name| &value[name]);
    found.as_f64().unwrap_or_else(|| panic!("{path} is {found}"))
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// Starts a program of a package and waits until its port is open; `None`, said, where it is not installed.
pub fn peer(program: &str, arguments: &[&str], port: u16) -> Option<Peer> {
    if Command::new(program).arg("--version").output().is_err() {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the peer starts");
    let mut peer = Peer { child, port };
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{program} does not open {port}");
        assert!(peer.child.try_wait().expect("its state").is_none(), "{program} {arguments:?} ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(peer)
}

/// A certificate for localhost and 127.0.0.1 by an authority of its own: `ca.pem`, `cert.pem`, `key.pem`.
pub fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    // A name of its own: OpenSSL takes a certificate for self-signed whose issuer is called as itself.
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&authority_key).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
    let issuer = Issuer::new(authority, authority_key);
    let cert = params.signed_by(&key, &issuer).expect("signed");
    for (name, text) in [("ca.pem", ca.pem()), ("cert.pem", cert.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(folder.join(name), text).expect("written");
    }
}
