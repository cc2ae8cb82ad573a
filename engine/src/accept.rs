//! A listener of one worker: accepts within its limits, and closes after its backlog is served.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Listener, Stream, fd_limit, now, sleep, spawn};

use crate::arrivals::Arrivals;
use crate::balance::Address;
use crate::downstream;
use crate::observe::ListenerCounters;
use crate::snapshot::ListenerPlan;
use crate::tls;
use crate::worker::{Current, Worker};

/// How long accepting rests when a limit is reached. Any worker may make room, so it is looked at again rather than told.
const REST: Duration = Duration::from_millis(25);

/// What all workers know of one listener. Touched when connections come and go, not by requests.
#[derive(Debug, Default)]
pub(crate) struct SharedListener {
    open: AtomicU32,
    /// When the next connection is due under the rate limit, on the loop's clock.
    next_due_ns: AtomicU64,
    /// How often clients have come.
    arrivals: Arrivals,
}

impl SharedListener {
    /// How many more connections fit the limits now: of how many are open, and of how many come a second (GCRA with a
    /// burst of a tenth of a second's worth).
    fn room(&self, connections_max: u32, per_second: Option<u32>, now_ns: u64) -> u32 {
        let due = |rate| self.next_due_ns.load(Relaxed) < now_ns + burst_ns(rate);
        match per_second {
            Some(rate) if !due(rate) => 0,
            rate => connections_max.saturating_sub(self.open.load(Relaxed)).min(if rate.is_some() {
                1
            } else {
                u32::MAX
            }),
        }
    }

    /// Takes a place within the limits, if there still is one: other workers take them too.
    fn try_enter(&self, connections_max: u32, per_second: Option<u32>, now_ns: u64) -> bool {
        let one_more = |open: u32| (open < connections_max).then_some(open + 1);
        if self.open.fetch_update(Relaxed, Relaxed, one_more).is_err() {
            return false;
        }
        let Some(rate) = per_second else { return true };
        let next = |due: u64| (due < now_ns + burst_ns(rate)).then(|| due.max(now_ns) + each_ns(rate));
        let on_time = self.next_due_ns.fetch_update(Relaxed, Relaxed, next).is_ok();
        if !on_time {
            self.leave();
        }
        on_time
    }

    /// Takes a place whatever the limits: its client has been told that the connection stands.
    fn enter(&self) {
        self.open.fetch_add(1, Relaxed);
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
    /// Datagrams come here.
    pub udp: bool,
    /// Its place in the current snapshot, or in the last one it was in.
    pub place: Cell<usize>,
    pub counters: RefCell<Arc<ListenerCounters>>,
    shared: Arc<SharedListener>,
    limits: Cell<(u32, Option<u32>)>,
    /// All that it serves is critical: its connections don't wait under overload.
    is_critical: Cell<bool>,
    /// TLS handshakes under way.
    pub handshakes: tls::Turns,
    closing: Cell<bool>,
    /// Once it is no longer configured: what it was last configured by. Its connections end by that.
    last: RefCell<Option<Rc<Current>>>,
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
            udp: plan.is_udp(),
            place: Cell::new(place),
            counters: RefCell::new(counters),
            shared,
            limits: Cell::default(),
            is_critical: Cell::default(),
            handshakes: tls::Turns::default(),
            closing: Cell::new(false),
            last: RefCell::default(),
            waker: Cell::new(None),
        };
        open.adjust(plan);
        open
    }

    /// Takes over limits that may change while it is open.
    pub fn adjust(&self, plan: &ListenerPlan) {
        self.limits.set((plan.limits.connections_max, plan.limits.connections_per_second_max));
        self.is_critical.set(plan.is_critical);
    }

    /// No further connections; those there are end after their exchange.
    pub fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ready once it closes; wakes then. For its one task.
    pub fn poll_closing(&self, cx: &std::task::Context<'_>) -> Poll<()> {
        if self.is_closing() {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// As [`OpenListener::close`], since it is no longer configured; `last` is the snapshot that `place` is of.
    pub fn retire(&self, last: Rc<Current>) {
        self.last.replace(Some(last));
        self.close();
    }

    /// What it was last configured by, once it is retired.
    #[inline]
    pub fn last(&self) -> Option<Rc<Current>> {
        if self.is_closing() { self.last.borrow().clone() } else { None }
    }

    #[inline]
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// How often clients have come, over all workers.
    pub fn arrivals(&self) -> &Arrivals {
        &self.shared.arrivals
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

/// Accepts until the listener is closed. Near a limit connections are taken one by one, and one that has come for a
/// place that another worker took waits here for the next.
pub(crate) async fn run(worker: Rc<Worker>, open: Rc<OpenListener>, listener: Listener) {
    let files = Files::new();
    let mut files_near = files.are_few();
    let mut waiting = None;
    while !open.is_closing() {
        let (connections_max, per_second) = open.limits.get();
        let room = open.shared.room(connections_max, per_second, now().0);
        if room == 0 {
            listener.pause();
            sleep(REST).await;
            continue;
        }
        let sheds = worker.pressure().sheds_connections() && !open.is_critical.get();
        if sheds {
            // One at a time all the same: what is critical may come by it.
            listener.pause();
            sleep(REST).await;
        }
        listener.accept_singly(sheds || files_near || room < SINGLY_BELOW);
        let stream = match waiting.take() {
            Some(stream) => stream,
            None => match next(&open, &listener).await {
                Event::Closing => break,
                Event::Accepted(Ok(stream)) => stream,
                Event::Accepted(Err(error)) => {
                    if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
                        worker.stats.fd_limit_hits.increment();
                    }
                    listener.pause();
                    sleep(REST).await;
                    continue;
                }
            },
        };
        files_near = files.is_near(&stream);
        if files_near && files.is_short(&stream) {
            worker.stats.fd_limit_hits.increment();
            listener.pause();
            while files.is_short(&stream) && !open.is_closing() {
                sleep(REST).await;
            }
        }
        let (connections_max, per_second) = open.limits.get();
        match open.shared.try_enter(connections_max, per_second, now().0) {
            true => admit(&worker, &open, stream),
            false => waiting = Some(stream),
        }
    }
    for stream in waiting.into_iter().chain(listener.close().await) {
        open.shared.enter();
        admit(&worker, &open, stream);
    }
}

/// With less room than this connections are accepted one by one.
const SINGLY_BELOW: u32 = 1024;
/// Descriptors that clients leave for everything else (upstreams, names, files, the admin API): an eighth of those
/// allowed, at most this many.
const FILES_KEPT_MAX: u64 = 1024;

/// Connections that may come at once.
const BACKLOG_USUAL: u64 = 4096;

/// How many descriptors there are. New ones get the lowest number that is free, so numbers tell how many are left.
struct Files {
    limit: u64,
    kept: u64,
}

impl Files {
    fn new() -> Files {
        let limit = fd_limit().unwrap_or(u64::MAX);
        Files { limit, kept: (limit / 8).min(FILES_KEPT_MAX) }
    }

    /// So many are in use that the next few matter.
    fn is_near(&self, stream: &Stream) -> bool {
        stream.as_fd().as_raw_fd() as u64 >= self.near_from()
    }

    /// A full backlog could take them all.
    fn are_few(&self) -> bool {
        self.near_from() == 0
    }

    fn near_from(&self) -> u64 {
        self.limit.saturating_sub(self.kept + BACKLOG_USUAL)
    }

    /// Only those that are kept for others are free.
    fn is_short(&self, stream: &Stream) -> bool {
        match stream.as_fd().try_clone_to_owned() {
            Ok(lowest) => lowest.as_raw_fd() as u64 >= self.limit - self.kept,
            Err(_) => true,
        }
    }
}

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

async fn next(open: &OpenListener, listener: &Listener) -> Event {
    std::future::poll_fn(|cx| {
        if open.poll_closing(cx).is_ready() {
            return Poll::Ready(Event::Closing);
        }
        listener.poll_accept(cx).map(Event::Accepted)
    })
    .await
}

fn admit(worker: &Rc<Worker>, open: &Rc<OpenListener>, stream: Stream) {
    let counters = open.counters.borrow().clone();
    counters.accepted.increment();
    counters.active.up();
    worker.stats.connections_accepted.increment();
    spawn(downstream::serve(worker.clone(), open.clone(), stream));
}
