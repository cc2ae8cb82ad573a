//! The engine as the binary and the background thread hold it: start, apply a configuration, drain, look.
//!
//! Workers are threads of their own. Everything here is off the request path: orders go to workers through
//! their mailboxes, and what workers count is read from their own cache lines.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::model::Config;

/// A listening socket from a service supervisor (systemd socket activation).
#[derive(Debug)]
pub struct Inherited {
    /// The socket. It is matched to a listener by its bound address.
    pub fd: OwnedFd,
}

/// Why the engine did not start. `Display` says what and the remedy.
#[derive(Debug)]
pub enum StartError {
    /// Another process serves this address.
    InUse {
        /// Name of the listener.
        listener: String,
        /// Its address as written.
        address: String,
    },
    /// Anything else.
    Other(String),
}

/// Why a new configuration was not applied; the old one still runs.
#[derive(Debug)]
pub struct ApplyError(pub String);

/// What an apply touched.
#[derive(Debug, Default)]
pub struct Applied {
    /// Names of listeners opened.
    pub opened: Vec<String>,
    /// Names of listeners closed (their accept queue drained first).
    pub closed: Vec<String>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Nothing was left.
    Clean,
    /// Time ran out with this many connections left, which were closed.
    Cut(usize),
}

/// The running engine. Dropping it stops the workers at once.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Binds the listeners, starts the workers and returns once all of them accept.
    pub fn start(_config: &Config, _inherited: Vec<Inherited>) -> Result<Engine, StartError> {
        Err(StartError::Other("not yet".into()))
    }

    /// Makes a snapshot of `config` and hands it to every worker. What did not change is not touched. Blocks until
    /// each worker runs it (milliseconds).
    pub fn apply(&self, _config: &Config) -> Result<Applied, ApplyError> {
        Err(ApplyError("not yet".into()))
    }

    /// Stops accepting (accept queues are served first), lets exchanges end, closes idle connections. Blocks.
    pub fn drain(&self, _timeout: Duration) -> DrainOutcome {
        DrainOutcome::Clean
    }

    /// What the background thread holds.
    pub fn handles(&self) -> Handles {
        Handles { inner: Arc::new(()) }
    }

    /// The access log rings, one for each worker: bytes, whole lines. Once.
    pub fn take_log_rings(&mut self) -> Vec<rtrb::Consumer<u8>> {
        Vec::new()
    }
}

/// Cheap to clone, `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Handles {
    inner: Arc<()>,
}

impl Handles {
    /// The addresses a `dns:` name of a running configuration resolves to now; replaces the earlier ones. Not the
    /// port: the endpoint says it.
    pub fn set_resolved(&self, _name: &str, _addresses: &[std::net::IpAddr]) {
        let _ = &self.inner;
    }

    /// Prometheus text of everything the workers count.
    pub fn metrics(&self, _out: &mut String) {}

    /// What each worker is doing.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        Vec::new()
    }

    /// Where each listener really is bound (port 0 resolved), by name.
    pub fn bound(&self) -> Vec<(String, Option<SocketAddr>)> {
        Vec::new()
    }

    /// Registers a thread to be unparked when a log ring has lines after having been empty.
    pub fn wake_for_logs(&self, _thread: std::thread::Thread) {}
}

/// One worker, for `/workers`.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// 0..n
    pub id: u16,
    /// Core it is pinned to.
    pub core: Option<usize>,
    /// `io_uring (defer_taskrun)`, `io_uring (coop_taskrun)` or `epoll`.
    pub driver: String,
    /// Microseconds since its loop last turned.
    pub last_turn_us: u64,
    /// Counters by name, in a fixed order: connections, exchanges active, buffers in use, ...
    pub counters: Vec<(&'static str, u64)>,
}
