//! Processes we start: pinned, with enough descriptors, and never left behind. The kernel kills each when our main
//! thread dies, however it dies, and `Drop` kills it when we are done with it.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Descriptors for each process, where that many are allowed: twice the connections of the idle measurement.
const DESCRIPTORS_MAX: u32 = 20_000;

const SCRATCH_PREFIX: &str = "ringway-perf-";

/// Of what a program said before it failed, in characters.
const SAID_MAX: usize = 500;

/// A process of ours, killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program on `core`; what it says goes to a file in `folder`.
    pub fn start(core: u32, name: &str, folder: &Path, program: &[String]) -> Result<Process, String> {
        let log = folder.join(format!("{name}.log"));
        let failed = |error: std::io::Error| format!("{name} did not start: {error}");
        let said = File::create(&log).map_err(failed)?;
        let mut command = pinned(core, program);
        command.stdin(Stdio::null()).stdout(said.try_clone().map_err(failed)?).stderr(said);
        Ok(Process { child: command.spawn().map_err(failed)?, log })
    }

    /// Process id: the wrappers replace themselves, so it is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program accepts connections on `port`.
    pub fn wait_for(&mut self, port: u16, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                let said: String = self.said().chars().take(SAID_MAX).collect();
                return Err(format!("it did not serve port {port}; it said: {said}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks it to end and waits for that; what it has said.
    pub fn end(mut self, patience: Duration) -> Result<String, String> {
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        asked.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + patience;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                return Err("it did not end when asked to".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self.said())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command on `core` that dies with our main thread. Call from the main thread.
pub fn pinned(core: u32, program: &[String]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]);
    command.args(["prlimit", &format!("--nofile={0}:{0}", descriptors())]);
    command.args(["setpriv", "--pdeathsig", "KILL"]).args(program);
    command
}

fn descriptors() -> u32 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4)).and_then(|hard| hard.parse().ok());
    hard.map_or(DESCRIPTORS_MAX, |hard: u32| hard.min(DESCRIPTORS_MAX))
}

/// A port nobody listens on now.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Where configurations and logs of the run lie; gone when dropped.
pub struct Scratch {
    /// The folder.
    pub path: PathBuf,
}

impl Scratch {
    /// An empty folder of this run's own.
    pub fn new() -> Result<Scratch, String> {
        // A run that was killed has left its own.
        let dead = |name: &str| {
            let pid = name.strip_prefix(SCRATCH_PREFIX).and_then(|pid| pid.parse::<u32>().ok());
            pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        };
        let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
        for left in entries.filter(|entry| entry.file_name().to_str().is_some_and(dead)) {
            let _ = std::fs::remove_dir_all(left.path());
        }
        let path = std::env::temp_dir().join(format!("{SCRATCH_PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Where a program is: in PATH, or where Debian keeps daemons.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
