//! A listener of one worker: accepts within its limits, and closes after its backlog is served.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Listener, Stream, now, sleep, spawn};

use crate::balance::Address;
use crate::downstream;
use crate::observe::ListenerCounters;
use crate::snapshot::ListenerPlan;
use crate::worker::Worker;

/// How long accepting rests when a limit is reached. Any worker may make room, so it is looked at again rather than told.
const REST: Duration = Duration::from_millis(25);

/// What all workers know of one listener. Touched when connections come and go, not by requests.
#[derive(Debug, Default)]
pub(crate) struct SharedListener {
    open: AtomicU32,
    /// When the next connection is due under the rate limit, on the loop's clock.
    next_due_ns: AtomicU64,
}

impl SharedListener {
    /// Whether one more connection fits a limit now: of how many are open, and of how many come a second (GCRA with a
    /// burst of a tenth of a second's worth). Each worker may exceed it by what it has just accepted.
    fn has_room(&self, connections_max: u32, per_second: Option<u32>, now_ns: u64) -> bool {
        self.open.load(Relaxed) < connections_max
            && per_second.is_none_or(|rate| self.next_due_ns.load(Relaxed) < now_ns + burst_ns(rate))
    }

    fn enter(&self, per_second: Option<u32>, now_ns: u64) {
        self.open.fetch_add(1, Relaxed);
        if let Some(rate) = per_second {
            let next = |due: u64| Some(due.max(now_ns) + each_ns(rate));
            let _ = self.next_due_ns.fetch_update(Relaxed, Relaxed, next);
        }
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

fn each_ns(per_second: u32) -> u64 {
    1_000_000_000 / u64::from(per_second.max(1))
}

fn burst_ns(per_second: u32) -> u64 {
    each_ns(per_second) * u64::from(per_second / 10).max(1)
}

/// A listener that accepts.
pub(crate) struct OpenListener {
    pub name: Arc<str>,
    pub address: Address,
    /// Its place in the current snapshot.
    pub place: Cell<usize>,
    pub counters: RefCell<Arc<ListenerCounters>>,
    shared: Arc<SharedListener>,
    limits: Cell<(u32, Option<u32>)>,
    closing: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl OpenListener {
    pub fn new(
        plan: &ListenerPlan,
        place: usize,
        counters: Arc<ListenerCounters>,
        shared: Arc<SharedListener>,
    ) -> OpenListener {
        let open = OpenListener {
            name: plan.name.clone(),
            address: plan.address.clone(),
            place: Cell::new(place),
            counters: RefCell::new(counters),
            shared,
            limits: Cell::default(),
            closing: Cell::new(false),
            waker: Cell::new(None),
        };
        open.adjust(plan);
        open
    }

    /// Takes over limits that may change while it is open.
    pub fn adjust(&self, plan: &ListenerPlan) {
        self.limits.set((plan.limits.connections_max, plan.limits.connections_per_second_max));
    }

    /// No further connections; those there are end after their exchange.
    pub fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub fn left(&self) {
        self.shared.leave();
        self.counters.borrow().active.down();
    }
}

enum Event {
    Accepted(std::io::Result<Stream>),
    Closing,
}

/// Accepts until the listener is closed.
pub(crate) async fn run(worker: Rc<Worker>, open: Rc<OpenListener>, listener: Listener) {
    while !open.is_closing() {
        let (connections_max, per_second) = open.limits.get();
        if !open.shared.has_room(connections_max, per_second, now().0) {
            listener.pause();
            sleep(REST).await;
            continue;
        }
        match next(&open, &listener).await {
            Event::Closing => break,
            Event::Accepted(Ok(stream)) => admit(&worker, &open, stream),
            Event::Accepted(Err(error)) => {
                if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
                    worker.stats.fd_limit_hits.increment();
                }
                listener.pause();
                sleep(REST).await;
            }
        }
    }
    for stream in listener.close().await {
        admit(&worker, &open, stream);
    }
}

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

async fn next(open: &OpenListener, listener: &Listener) -> Event {
    std::future::poll_fn(|cx| {
        if open.is_closing() {
            return Poll::Ready(Event::Closing);
        }
        open.waker.set(Some(cx.waker().clone()));
        listener.poll_accept(cx).map(Event::Accepted)
    })
    .await
}

fn admit(worker: &Rc<Worker>, open: &Rc<OpenListener>, stream: Stream) {
    open.shared.enter(open.limits.get().1, now().0);
    let counters = open.counters.borrow().clone();
    counters.accepted.increment();
    counters.active.up();
    worker.stats.connections_accepted.increment();
    spawn(downstream::serve(worker.clone(), open.clone(), stream));
}
