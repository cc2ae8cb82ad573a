//! Starting: sockets first, so that a port in use is told before anything runs, then the workers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};

use ringway_config::model::{self, Config};
use ringway_runtime::mailbox::{Receiver, mailbox};
use ringway_runtime::{Choice, Gauges, Nanos, Options, Runtime, pin_to_core, usable_cores};
use rtrb::Consumer;
use rustc_hash::FxHashMap;

use super::{Engine, Inherited, Shared, StartError, State, WorkerPost, WorkerThread, applies, sockets};
use crate::breaker::Board;
use crate::limits::limiter::Letter;
use crate::limits::node::{Node, Posts};
use crate::observe::{AccessLog, LineFormat, LogWake, Registry};
use crate::outcomes::{Reporter, reports};
use crate::overload::Memory;
use crate::request_id::RequestIds;
use crate::snapshot::Snapshot;
use crate::worker::{Apply, Order, Resolved, Worker};

/// Orders that may wait for a worker.
const ORDERS_MAX: usize = 64;

/// A worker that runs: its number, its core and its driver; or why it does not.
type Born = Result<(usize, Option<usize>, String), String>;

/// What a worker's thread is given.
struct Birth {
    number: usize,
    pin: bool,
    options: Options,
    gauges: Arc<Gauges>,
    orders: Receiver<Order>,
    first: Apply,
    log: Option<AccessLog>,
    resolved: Arc<Resolved>,
    memory: Arc<Memory>,
    limits: Arc<Posts>,
    inbox: Receiver<Letter>,
    reporter: Reporter,
    born: mpsc::Sender<Born>,
    /// Dropped at the end of its life.
    ended: Ending,
}

/// The end of a worker's life, however it comes.
struct Ending {
    told: Arc<AtomicBool>,
    _ended: mpsc::Sender<Infallible>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.told.store(true, Relaxed);
    }
}

/// See [`Engine::start`].
pub(super) fn start(config: &Config, mut inherited: Vec<Inherited>) -> Result<Engine, StartError> {
    let snapshot = Arc::new(Snapshot::compile(config, 1).map_err(StartError::Other)?);
    let count = worker_count(config);
    let registry = Registry::new(count);
    let plan = sockets::plan(&snapshot, &[], &[], count, &mut inherited)?;
    let (limits, inboxes) =
        Posts::new(count).map_err(|error| StartError::Other(format!("no random numbers: {error}")))?;
    let (done, _told) = mpsc::channel();
    let mut board = Board::new(count);
    let shares = board.update(&snapshot, &Resolved::default(), Nanos::precise());
    let mut floors = FxHashMap::default();
    let firsts = applies(&registry, &snapshot, &shares, plan.sockets, &plan.open, &mut floors, &done);
    let log_wake = LogWake::default();
    let resolved: Arc<Resolved> = Arc::default();
    let memory: Arc<Memory> = Arc::default();
    let (reporter, reports) = reports();
    let (born, births) = mpsc::channel();
    let (ending, ended) = mpsc::channel();
    let (mut threads, mut posts, mut log_rings) = (Vec::new(), Vec::new(), Vec::new());
    for ((number, first), inbox) in firsts.into_iter().enumerate().zip(inboxes) {
        let (orders, receiver) = mailbox(ORDERS_MAX);
        let gauges = Arc::new(Gauges::default());
        let log = access_log(config, &log_wake, &mut log_rings);
        let over = Arc::new(AtomicBool::new(false));
        let birth = Birth {
            number,
            pin: config.runtime.pin,
            options: options(config),
            gauges: gauges.clone(),
            orders: receiver,
            first,
            log,
            resolved: resolved.clone(),
            memory: memory.clone(),
            limits: limits.clone(),
            inbox,
            reporter: reporter.clone(),
            born: born.clone(),
            ended: Ending { told: over.clone(), _ended: ending.clone() },
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || live(birth))
            .map_err(|error| StartError::Other(format!("cannot start a worker thread: {error}")))?;
        threads.push(WorkerThread { thread: Some(thread) });
        posts.push(WorkerPost { orders, gauges, core: None, driver: String::new(), ended: over });
    }
    drop((born, ending));
    let state = State {
        generation: 1,
        snapshot,
        earlier: VecDeque::new(),
        listeners: plan.open,
        lingering: Vec::new(),
        resolved,
        board,
        floors,
    };
    let failure = await_births(&births, &mut posts);
    let (standings, reports) = (Mutex::default(), Mutex::new(Some(reports)));
    let state = Mutex::new(state);
    let shared = Shared { registry, workers: posts, log_wake, memory, limits, standings, reports, state };
    let engine = Engine {
        workers: threads,
        shared: Arc::new(shared),
        log_rings: Mutex::new(log_rings),
        ended: Mutex::new(ended),
    };
    match failure {
        // Dropping the engine stops the workers that did start.
        Some(why) => Err(StartError::Other(why)),
        None => Ok(engine),
    }
}

/// Waits until each worker runs; the first failure, if there is one.
fn await_births(births: &mpsc::Receiver<Born>, posts: &mut [WorkerPost]) -> Option<String> {
    let mut failure = None;
    for _ in 0..posts.len() {
        match births.recv() {
            Ok(Ok((number, core, driver))) => (posts[number].core, posts[number].driver) = (core, driver),
            Ok(Err(why)) => failure = failure.or(Some(why)),
            Err(_) => failure = failure.or(Some("a worker thread ended at its start".into())),
        }
    }
    failure
}

fn worker_count(config: &Config) -> usize {
    let auto = match config.role {
        model::Role::Gateway => usable_cores(),
        model::Role::Sidecar => 1,
    };
    config.runtime.workers.map_or(auto, usize::from).max(1)
}

fn options(config: &Config) -> Options {
    Options {
        choice: match config.runtime.backend {
            model::Backend::Auto => Choice::Auto,
            model::Backend::IoUring => Choice::IoUring,
            model::Backend::Epoll => Choice::Epoll,
        },
        buffer_size: config.runtime.buffers.size,
        buffer_count: config.runtime.buffers.count.min(u32::from(u16::MAX)) as u16,
    }
}

fn access_log(config: &Config, wake: &LogWake, rings: &mut Vec<Consumer<u8>>) -> Option<AccessLog> {
    let log = config.access_log.as_ref()?;
    let format = match log.format {
        model::LogFormat::Json => LineFormat::Json,
        model::LogFormat::Common => LineFormat::Common,
    };
    let (log, ring) = AccessLog::new(format, log.ring as usize, wake.clone());
    rings.push(ring);
    Some(log)
}

/// A worker's thread from its first moment to its last.
fn live(birth: Birth) {
    let core = if birth.pin { pin_to_core(birth.number) } else { None };
    let runtime = match Runtime::new(&birth.options, birth.gauges.clone()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = birth.born.send(Err(format!("worker {}: {error}", birth.number)));
            return;
        }
    };
    let ids = match RequestIds::seeded() {
        Ok(ids) => ids,
        Err(error) => {
            let _ = birth.born.send(Err(format!("worker {}: no random numbers: {error}", birth.number)));
            return;
        }
    };
    let driver = runtime.picked().driver.to_owned();
    let Birth {
        number,
        gauges,
        orders,
        first,
        log,
        resolved,
        limits,
        inbox,
        memory,
        reporter,
        born,
        ended,
        ..
    } = birth;
    let _ = runtime.block_on(async move {
        let limits = Node::new(number, limits, inbox);
        let worker = Worker::new(first, resolved, log, gauges, ids, limits, reporter, memory);
        let _ = born.send(Ok((number, core, driver)));
        drop(born);
        worker.run(orders).await;
    });
    // Tasks end with their loop.
    drop((runtime, ended));
}
