//! A real Redis, for a test and ended with it: paused, killed and started again as the test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{peers, ports, process, wait};

/// Debian's `redis-server` on a loopback port, with nothing kept on disk.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    dir: TempDir,
    port: u16,
    password: Option<String>,
}

impl Redis {
    /// Starts one. `None`: it is not installed, which was said.
    pub fn start() -> Option<Redis> {
        Redis::with_password(None)
    }

    /// Starts one that asks for a password.
    pub fn with_password(password: Option<&str>) -> Option<Redis> {
        if !peers::has("redis-server") {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("ringway-redis-").tempdir().expect("a folder");
        let mut redis =
            Redis { child: None, dir, port: ports::free(), password: password.map(str::to_owned) };
        redis.start_again();
        Some(redis)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it after it was killed, on the same port and knowing nothing.
    pub fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--dir", &self.dir.path().display().to_string()]);
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server starts"));
        wait::until_true("redis-server to answer", || self.answers());
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address()) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut answer = [0; 1];
        // An error is an answer too: it asks for a password.
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok()
    }

    /// The names of all keys of its first database.
    pub fn keys(&self) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        stream.write_all(b"KEYS *\r\nQUIT\r\n").expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    }

    /// Stops it where it stands: connections stay, nothing is answered.
    pub fn pause(&self) {
        assert!(process::signal(self.pid(), "STOP"), "no redis-server to pause");
    }

    /// Has it go on.
    pub fn resume(&self) {
        assert!(process::signal(self.pid(), "CONT"), "no redis-server to resume");
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
