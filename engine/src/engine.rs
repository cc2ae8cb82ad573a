//! The engine as the binary and the background thread hold it: start, apply a configuration, drain, look.
//!
//! Workers are threads of their own. Everything here is off the request path: orders go to workers through their
//! mailboxes, and what workers count is read from their own cache lines. Invariant: a snapshot is held here until no
//! worker can be the last to hold it, so that no worker ever frees one.

mod handles;
mod look;
mod sockets;
mod start;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringway_config::model::Config;
use ringway_runtime::mailbox::Sender;
use ringway_runtime::{Gauges, Nanos};
use rtrb::Consumer;
use rustc_hash::FxHashMap;

use crate::accept::SharedListener;
use crate::balance::Address;
use crate::breaker::{Board, Shares};
use crate::limits::node::Posts;
use crate::observe::{Counted, LogWake, Names, Registry};
use crate::outcomes::Reports;
use crate::overload::Memory;
use crate::retry::Floor;
use crate::snapshot::{ListenerPlan, Snapshot, SocketPlan};
use crate::standing::Standings;
use crate::worker::{Apply, Order, Resolved, counted_pairs};
pub use handles::{Check, FleetLimit, Handles, Judged, Strain, WorkerInfo};
pub use look::{EndpointInfo, RouteInfo, ServiceInfo};

/// Snapshots kept alive after they were replaced: exchanges under way hold them, and must not be the last to.
const KEPT_MAX: usize = 64;
/// How long what is ended politely may take to end.
const PART_MAX: Duration = Duration::from_millis(500);
/// How long a worker may take to run a new snapshot before the apply is called failed.
const APPLY_MAX: Duration = Duration::from_secs(10);

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

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::InUse { listener, address } => write!(
                f,
                "listener {listener}: {address} is in use by another process; stop that one (`ss -ltnp` shows it) or \
                 give the listener another address"
            ),
            StartError::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// Why a new configuration was not applied; the old one still runs.
#[derive(Debug)]
pub struct ApplyError(pub String);

impl std::fmt::Display for ApplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ApplyError {}

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
    /// Time ran out with this many connections and sessions left, which were closed.
    Cut(usize),
}

/// The running engine. Dropping it stops the workers at once.
pub struct Engine {
    workers: Vec<WorkerThread>,
    shared: Arc<Shared>,
    log_rings: Mutex<Vec<Consumer<u8>>>,
    /// Disconnected once every worker has ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

/// A worker as seen from outside.
struct WorkerThread {
    thread: Option<JoinHandle<()>>,
}

/// What handles hold too.
struct Shared {
    registry: Registry,
    workers: Vec<WorkerPost>,
    log_wake: LogWake,
    memory: Arc<Memory>,
    limits: Arc<Posts>,
    /// As the workers were told last. Of its own, so that endpoints that fail don't wait for a reload.
    standings: Mutex<Arc<Standings>>,
    /// Until somebody takes it who judges endpoints.
    reports: Mutex<Option<Reports>>,
    state: Mutex<State>,
}

/// Where a worker is reached and what it runs on.
struct WorkerPost {
    orders: Sender<Order>,
    gauges: Arc<Gauges>,
    core: Option<usize>,
    driver: String,
    /// Its thread takes no more orders.
    ended: Arc<AtomicBool>,
}

/// What is applied.
struct State {
    generation: u64,
    snapshot: Arc<Snapshot>,
    /// Earlier snapshots that exchanges may still hold.
    earlier: VecDeque<Arc<Snapshot>>,
    listeners: Vec<OpenAddress>,
    /// Closed listeners for datagrams whose sessions' answers may still leave by their sockets.
    lingering: Vec<OpenAddress>,
    resolved: Arc<Resolved>,
    /// What workers share about services and endpoints.
    board: Board,
    /// What workers share of retry budgets, by service.
    floors: Floors,
}

/// By service.
type Floors = FxHashMap<Arc<str>, Arc<Floor>>;

/// A listener that is open on every worker.
struct OpenAddress {
    name: Arc<str>,
    address: Address,
    socket: SocketPlan,
    udp: bool,
    bound: ringway_runtime::Address,
    shared: Arc<SharedListener>,
}

impl Engine {
    /// Binds the listeners, starts the workers and returns once all of them accept.
    ///
    /// # Errors
    /// An address is in use or cannot be bound, a driver does not work, or threads cannot be had.
    pub fn start(config: &Config, inherited: Vec<Inherited>) -> Result<Engine, StartError> {
        start::start(config, inherited)
    }

    /// Makes a snapshot of `config` and hands it to every worker. What did not change is not touched. Blocks until
    /// each worker runs it (milliseconds).
    ///
    /// # Errors
    /// A new listener cannot be bound; nothing was changed then.
    pub fn apply(&self, config: &Config) -> Result<Applied, ApplyError> {
        let mut state = self.shared.state();
        let generation = state.generation + 1;
        let snapshot = Arc::new(Snapshot::compile(config, generation).map_err(ApplyError)?);
        let workers = self.shared.workers.len();
        state.lingering.retain(|open| Arc::strong_count(&open.shared) > 1);
        let plan = sockets::plan(&snapshot, &state.listeners, &state.lingering, workers, &mut Vec::new())
            .map_err(|error| ApplyError(error.to_string()))?;
        let opened = plan.opened.clone();
        let (done, told) = mpsc::channel();
        let resolved = state.resolved.clone();
        let shares = state.board.update(&snapshot, &resolved, Nanos::precise());
        let applies = applies(
            &self.shared.registry,
            &snapshot,
            &shares,
            plan.sockets,
            &plan.open,
            &mut state.floors,
            &done,
        );
        for (worker, apply) in self.shared.workers.iter().zip(applies) {
            post(worker, Order::Apply(Box::new(apply)));
        }
        drop(done);
        let deadline = Instant::now() + APPLY_MAX;
        for _ in 0..workers {
            if told.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                return Err(ApplyError("a worker did not take the new configuration in time".into()));
            }
        }
        state.generation = generation;
        let before = std::mem::replace(&mut state.listeners, plan.open);
        let gone = sockets::closed(&snapshot, before);
        let closed = gone.iter().map(|open| open.name.to_string()).collect();
        state.lingering.extend(gone.into_iter().filter(|open| open.udp));
        let old = std::mem::replace(&mut state.snapshot, snapshot);
        state.retire(old);
        Ok(Applied { opened, closed })
    }

    /// Stops accepting (accept queues are served first), lets exchanges end, closes idle connections. Blocks.
    pub fn drain(&self, timeout: Duration) -> DrainOutcome {
        let (done, told) = mpsc::channel();
        for worker in &self.shared.workers {
            post(worker, Order::Drain(done.clone()));
        }
        drop(done);
        let deadline = Instant::now() + timeout;
        for left in (1..=self.shared.workers.len()).rev() {
            if told.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                let open = self
                    .shared
                    .registry
                    .workers()
                    .iter()
                    .map(|stats| stats.connections_open.get() + stats.udp_sessions_active.get())
                    .sum::<u64>();
                self.part(&told, left);
                return if open == 0 { DrainOutcome::Clean } else { DrainOutcome::Cut(open as usize) };
            }
        }
        DrainOutcome::Clean
    }

    /// Has WebSockets, tunnels and streams of events ended politely, for a moment; `left` workers have not drained.
    fn part(&self, told: &mpsc::Receiver<()>, left: usize) {
        for worker in &self.shared.workers {
            post(worker, Order::Part);
        }
        let deadline = Instant::now() + PART_MAX;
        for _ in 0..left {
            if told.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                return;
            }
        }
    }

    /// Ends the workers: what is under way is cut, and said in the access log. Blocks until that is done, at most for
    /// `patience`.
    pub fn stop(&self, patience: Duration) {
        for worker in &self.shared.workers {
            post(worker, Order::Stop);
        }
        let _ = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience);
    }

    /// What the background thread holds.
    pub fn handles(&self) -> Handles {
        Handles { shared: self.shared.clone() }
    }

    /// The access log rings, one for each worker: bytes, whole lines. Once.
    pub fn take_log_rings(&mut self) -> Vec<Consumer<u8>> {
        std::mem::take(self.log_rings.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({} workers)", self.workers.len())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in &self.shared.workers {
            post(worker, Order::Stop);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps a replaced snapshot until nobody else holds it; of too many the oldest are let go all the same.
    fn retire(&mut self, old: Arc<Snapshot>) {
        self.earlier.push_back(old);
        self.earlier.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        while self.earlier.len() > KEPT_MAX {
            self.earlier.pop_front();
        }
    }
}

/// Orders are few; a full mailbox means a worker that has been stuck for long, and waiting is all there is.
fn post(worker: &WorkerPost, order: Order) {
    let mut order = order;
    while let Err(back) = worker.orders.send(order) {
        if worker.ended.load(Relaxed) {
            return;
        }
        order = back;
        #[expect(clippy::disallowed_methods, reason = "on the reloading thread, never on a worker")]
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One order for each worker.
fn applies(
    registry: &Registry,
    snapshot: &Arc<Snapshot>,
    shares: &Arc<Shares>,
    sockets: Vec<Vec<(usize, ringway_runtime::BoundSocket)>>,
    open: &[OpenAddress],
    floors: &mut Floors,
    done: &mpsc::Sender<()>,
) -> Vec<Apply> {
    floors.retain(|name, _| snapshot.service_named(name).is_some());
    let floors: Vec<_> =
        snapshot.services.iter().map(|one| floors.entry(one.name.clone()).or_default().clone()).collect();
    let counted = counted(registry, snapshot);
    let shared: Vec<_> = open.iter().map(|open| open.shared.clone()).collect();
    let of = sockets.len() as u32;
    counted
        .into_iter()
        .zip(sockets)
        .zip(0..)
        .map(|((counted, sockets), number)| Apply {
            snapshot: snapshot.clone(),
            counted,
            shares: shares.clone(),
            sockets,
            shared: shared.clone(),
            floors: floors.clone(),
            place: (number, of),
            done: done.clone(),
        })
        .collect()
}

fn counted(registry: &Registry, snapshot: &Snapshot) -> Vec<Counted> {
    let (routes, _) = counted_pairs(snapshot);
    let services: Vec<&str> = snapshot.services.iter().map(|service| &*service.name).collect();
    let listeners: Vec<&str> = snapshot.listeners.iter().map(|listener| &*listener.name).collect();
    let limits: Vec<_> = snapshot.limits.iter().map(|limit| (limit.kind(), &*limit.name)).collect();
    registry.adopt(Names { routes: &routes, services: &services, listeners: &listeners, limits: &limits })
}

/// Whether an open listener serves a plan as it is.
fn serves(open: &OpenAddress, plan: &ListenerPlan) -> bool {
    open.name == plan.name
        && open.address == plan.address
        && open.socket == plan.socket
        && open.udp == plan.is_udp()
}
