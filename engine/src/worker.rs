//! One worker: what its connections share, and the orders it takes.
//!
//! Everything here belongs to one thread. The current snapshot is swapped in whole; exchanges under way keep the one
//! they began with. Services (pools, balancing) outlive snapshots, by name.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ringway_runtime::mailbox::Receiver;
use ringway_runtime::{
    Batch, BoundSocket, Gauges, Listener, Nanos, Slots, UdpSocket, now, sleep, spawn, wall_epoch_micros,
};
use rustc_hash::FxHashMap;

use crate::accept::{self, OpenListener, SharedListener};
use crate::balance::{Asked, EndpointSeen};
use crate::breaker::Shares;
use crate::challenges::Challenges;
use crate::date::DateCache;
use crate::downstream::Downstream;
use crate::exchange::replay::Kept;
use crate::http1::{RequestHead, ResponseHead};
use crate::limits::limiter::Limit;
use crate::limits::node::Node;
use crate::observe::{Counted, WorkerStats};
use crate::outcomes::Reporter;
use crate::overload::{self, Memory, Pressure};
use crate::overrides::{Overrides, Placed};
use crate::request_id::RequestIds;
use crate::retry::Floor;
use crate::snapshot::{ActionPlan, ListenerPlan, Mode, ServiceId, Snapshot, Split};
use crate::standing::Standings;
use crate::udp;
use crate::upstream::Service;
use crate::waiters::Waiters;

/// How often idle upstream connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// A connection idle for this long when a drain begins is closed at once; a younger one is given the rest of it.
pub(crate) const DRAIN_IDLE: Duration = Duration::from_millis(500);
/// Scratch kept for reuse.
const SCRATCH_MAX: usize = 256;

/// What a worker is told.
pub(crate) enum Order {
    /// Serve this from now on.
    Apply(Box<Apply>),
    /// Names resolve to these addresses.
    Resolved(Arc<Resolved>),
    /// What workers share about services and endpoints from now on; what it is for follows.
    Shares(Arc<Shares>),
    /// This is changed by hand, and nothing else.
    Overrides(Arc<Overrides>),
    /// Tells what is known here of services' endpoints.
    Look(mpsc::Sender<Vec<(Arc<str>, Vec<EndpointSeen>)>>),
    /// Endpoints stand like that now.
    Standings(Arc<Standings>),
    /// Authorities are about to look for these, and for no others. Answered when that holds.
    Challenges(Option<Arc<Challenges>>, mpsc::Sender<()>),
    /// Stop accepting; end connections and sessions as they fall idle. Answered when none is left.
    Drain(mpsc::Sender<()>),
    /// Say goodbye where that can be said: the time to drain is over.
    Part,
    /// End now.
    Stop,
}

/// A snapshot for one worker.
pub(crate) struct Apply {
    pub snapshot: Arc<Snapshot>,
    pub counted: Counted,
    /// What workers share about its services.
    pub shares: Arc<Shares>,
    /// New sockets, each with its listener's place in the snapshot.
    pub sockets: Vec<(usize, BoundSocket)>,
    /// What workers share about each listener, in the snapshot's order.
    pub shared: Vec<Arc<SharedListener>>,
    /// What workers share of each service's retry budget, likewise.
    pub floors: Vec<Arc<Floor>>,
    /// Which worker this is, and of how many.
    pub place: (u32, u32),
    /// Told once the snapshot runs here.
    pub done: mpsc::Sender<()>,
}

/// Addresses by name.
pub(crate) type Resolved = FxHashMap<Arc<str>, Box<[IpAddr]>>;

/// Reusable parts of an exchange.
#[derive(Default)]
pub(crate) struct Scratch {
    pub request: RequestHead,
    pub response: ResponseHead,
    pub path: Vec<u8>,
    pub rewritten: Vec<u8>,
    /// Room for bodies that may have to be sent again; made when it is first needed.
    pub kept: Option<Box<Kept>>,
    pub lines: Vec<u8>,
    /// Of the service's balancer.
    pub asked: Asked,
    /// What was taken of limits, and whom they count.
    pub held: Vec<crate::exchange::Held>,
    pub permits: Vec<crate::exchange::Permit>,
}

pub(crate) struct Worker {
    pub stats: Arc<WorkerStats>,
    pub slots: Slots,
    pub limits: Rc<Node>,
    pub date: RefCell<DateCache>,
    pub ids: RefCell<RequestIds>,
    /// The time to drain is over: what has no end of its own is ended politely.
    pub parting: Cell<bool>,
    /// Who waits for that.
    pub until_parting: Waiters,
    pub random: RefCell<fastrand::Rng>,
    pub log: RefCell<Option<crate::observe::AccessLog>>,
    pub draining: Cell<bool>,
    /// What endpoints of all UDP sessions say is received here.
    pub udp_batch: RefCell<Option<Batch>>,
    challenges: RefCell<Option<Arc<Challenges>>>,
    current: RefCell<Rc<Current>>,
    services: RefCell<FxHashMap<Arc<str>, Rc<Service>>>,
    resolved: RefCell<Arc<Resolved>>,
    overrides: RefCell<Arc<Overrides>>,
    standings: RefCell<Arc<Standings>>,
    reporter: Reporter,
    listeners: RefCell<Vec<Rc<OpenListener>>>,
    connections: RefCell<Connections>,
    #[expect(
        clippy::vec_box,
        reason = "a scratch is large and goes to and fro for each exchange: a pointer moves"
    )]
    scratch: RefCell<Vec<Box<Scratch>>>,
    /// Wall-clock microseconds at the loop's time zero; looked at again in each sweep.
    epoch_us: Cell<u64>,
    gauges: Arc<Gauges>,
    /// Which worker it is, and of how many.
    place: (u32, u32),
    shares: RefCell<Arc<Shares>>,
    /// Of all workers.
    pub memory: Arc<Memory>,
    pressure: Cell<Pressure>,
}

/// A socket of a listener.
enum Opened {
    Stream(Listener),
    Udp(UdpSocket),
}

/// A snapshot as this worker uses it.
#[derive(Clone)]
pub(crate) struct Current {
    pub snapshot: Arc<Snapshot>,
    pub counted: Counted,
    /// By [`ServiceId`].
    pub services: Box<[Rc<Service>]>,
    /// By [`crate::snapshot::LimitId`].
    pub limits: Box<[Rc<Limit>]>,
    /// For each route the place of its first counters in `counted.routes`.
    pub route_counters: Box<[u32]>,
    /// What is changed by hand; hardly ever anything.
    pub overrides: Option<Box<Placed>>,
}

/// The routes and services of a snapshot, in the order in which they are counted.
pub(crate) fn counted_pairs(snapshot: &Snapshot) -> (Vec<(&str, &str)>, Box<[u32]>) {
    let mut pairs = vec![(crate::observe::NO_ROUTE, "")];
    let mut first = Vec::with_capacity(snapshot.routes.len());
    for route in &snapshot.routes {
        first.push(pairs.len() as u32);
        pairs.push((&route.name, ""));
        if let ActionPlan::Forward(forward) = &route.action {
            for entry in &forward.entries {
                pairs.push((&route.name, &snapshot.service(entry.part.service).name));
            }
        }
    }
    (pairs, first.into())
}

#[derive(Default)]
struct Connections {
    all: Vec<Option<Rc<Downstream>>>,
    spare: Vec<u32>,
    live: usize,
    drained: Option<mpsc::Sender<()>>,
}

impl Worker {
    #[expect(clippy::too_many_arguments, reason = "what a worker is born with, in one place")]
    pub fn new(
        first: Apply,
        resolved: Arc<Resolved>,
        log: Option<crate::observe::AccessLog>,
        gauges: Arc<Gauges>,
        ids: RequestIds,
        limits: Rc<Node>,
        reporter: Reporter,
        memory: Arc<Memory>,
    ) -> Rc<Worker> {
        let seed = fastrand::u64(..);
        let worker = Rc::new(Worker {
            stats: first.counted.worker.clone(),
            slots: Slots::default(),
            limits,
            date: RefCell::default(),
            ids: RefCell::new(ids),
            parting: Cell::new(false),
            until_parting: Waiters::default(),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            log: RefCell::new(log),
            draining: Cell::new(false),
            udp_batch: RefCell::default(),
            challenges: RefCell::default(),
            current: RefCell::new(Rc::new(Current {
                snapshot: first.snapshot.clone(),
                counted: first.counted.clone(),
                services: Box::default(),
                limits: Box::default(),
                route_counters: Box::default(),
                overrides: None,
            })),
            services: RefCell::default(),
            resolved: RefCell::new(resolved),
            overrides: RefCell::default(),
            standings: RefCell::default(),
            reporter,
            listeners: RefCell::default(),
            connections: RefCell::default(),
            scratch: RefCell::default(),
            epoch_us: Cell::new(0),
            gauges,
            place: first.place,
            shares: RefCell::new(first.shares.clone()),
            memory,
            pressure: Cell::default(),
        });
        worker.apply(first);
        worker
    }

    /// Takes orders until told to stop.
    pub async fn run(self: Rc<Worker>, orders: Receiver<Order>) {
        spawn(self.clone().sweep());
        spawn(overload::watch(self.clone()));
        spawn(self.limits.clone().serve());
        loop {
            match orders.recv().await {
                Order::Apply(apply) => self.apply(*apply),
                Order::Resolved(resolved) => {
                    *self.resolved.borrow_mut() = resolved;
                    self.reconcile_services();
                }
                Order::Shares(shares) => drop(self.shares.replace(shares)),
                Order::Standings(standings) => {
                    let before = self.standings.replace(standings.clone());
                    for (name, service) in self.services.borrow().iter() {
                        let now = standings.get(name);
                        if before.get(name) != now {
                            service.heed(now);
                        }
                    }
                }
                Order::Overrides(overrides) => self.override_by(overrides),
                Order::Look(told) => {
                    let services = self.services.borrow();
                    let seen = services.iter().map(|(name, service)| (name.clone(), service.seen(now())));
                    let _ = told.send(seen.collect());
                }
                Order::Challenges(challenges, done) => {
                    self.challenges.replace(challenges);
                    let _ = done.send(());
                }
                Order::Drain(done) => self.drain(done),
                Order::Part => {
                    self.parting.set(true);
                    self.until_parting.wake_all();
                }
                Order::Stop => return,
            }
        }
    }

    /// What authorities are about to look for; hardly ever anything.
    #[inline]
    pub fn challenges(&self) -> Option<Arc<Challenges>> {
        self.challenges.borrow().clone()
    }

    #[inline]
    pub fn current(&self) -> Rc<Current> {
        self.current.borrow().clone()
    }

    /// What a connection's listener is configured by. Its place is one in this snapshot and no other: whoever keeps the
    /// one keeps the other.
    #[inline]
    pub fn current_of(&self, open: &OpenListener) -> Rc<Current> {
        open.last().unwrap_or_else(|| self.current())
    }

    /// How much more there is to do than can be done.
    #[inline]
    pub fn pressure(&self) -> Pressure {
        self.pressure.get()
    }

    /// From now on it is this.
    pub fn set_pressure(&self, pressure: Pressure) {
        self.pressure.set(pressure);
        self.stats.pressure.set(pressure as u64);
    }

    /// Seconds since 1970, from the loop's clock.
    #[inline]
    pub fn unix_seconds(&self) -> u64 {
        self.unix_micros(now()) / 1_000_000
    }

    /// Microseconds since 1970 at a time of the loop's clock.
    pub fn unix_micros(&self, at: Nanos) -> u64 {
        self.epoch_us.get() + at.0 / 1000
    }

    /// This worker's part of what is allowed on the node: the parts of all workers add up to it.
    pub fn part_of(&self, allowed: u32) -> u32 {
        let (number, of) = self.place;
        allowed / of + u32::from(number < allowed % of)
    }

    pub fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_scratch(&self, mut scratch: Box<Scratch>) {
        scratch.request.clear();
        scratch.response.clear();
        if let Some(kept) = &mut scratch.kept {
            kept.trim();
        }
        scratch.lines.clear();
        scratch.held.clear();
        scratch.permits.clear();
        let mut kept = self.scratch.borrow_mut();
        if kept.len() < SCRATCH_MAX {
            kept.push(scratch);
        }
    }

    fn apply(self: &Rc<Worker>, apply: Apply) {
        let Apply { snapshot, counted, shares, sockets, shared, floors, done, .. } = apply;
        self.shares.replace(shares);
        let (_, route_counters) = counted_pairs(&snapshot);
        let services = self.services_of(&snapshot, &counted, &floors);
        let overrides = Placed::new(&self.overrides.borrow(), &snapshot);
        let old = self.current.replace(Rc::new(Current {
            snapshot: snapshot.clone(),
            counted: counted.clone(),
            services,
            limits: self.limits_of(&snapshot, &counted),
            route_counters,
            overrides,
        }));
        self.reconcile_services();
        self.swap_listeners(&old, &snapshot, &counted, sockets, &shared);
        // The old snapshot may be large: whoever holds its last reference frees it, and that is not a worker, since
        // the engine keeps it until every worker has answered.
        drop(old);
        let _ = done.send(());
    }

    /// The same snapshot, with other things changed by hand.
    fn override_by(&self, overrides: Arc<Overrides>) {
        let current = self.current();
        let placed = Placed::new(&overrides, &current.snapshot);
        self.current.replace(Rc::new(Current { overrides: placed, ..(*current).clone() }));
        self.overrides.replace(overrides);
    }

    /// The services of a snapshot: those that live on by name, and new ones. Those that are gone are let go when their
    /// last exchange ends.
    fn services_of(
        &self,
        snapshot: &Snapshot,
        counted: &Counted,
        floors: &[Arc<Floor>],
    ) -> Box<[Rc<Service>]> {
        let mut kept = self.services.borrow_mut();
        let services: Box<[Rc<Service>]> = snapshot
            .services
            .iter()
            .zip(&counted.services)
            .zip(floors)
            .map(|((plan, counters), floor)| {
                let service = kept.entry(plan.name.clone()).or_insert_with(|| {
                    Rc::new(Service::new(plan, counters.clone(), self.random.borrow_mut().u64(..)))
                });
                service.set_plan(plan, floor);
                service.clone()
            })
            .collect();
        kept.retain(|name, _| snapshot.service_named(name).is_some());
        services
    }

    /// The limits of a snapshot, which go on with what they know; those that are gone are forgotten.
    fn limits_of(&self, snapshot: &Snapshot, counted: &Counted) -> Box<[Rc<Limit>]> {
        let limiter = &self.limits.limiter;
        let plans = snapshot.limits.iter().zip(&counted.limits);
        let limits =
            plans.map(|(plan, counters)| limiter.adopt(now().0, plan.id, plan.spec, counters)).collect();
        limiter.retain(|id| snapshot.limits.iter().any(|plan| plan.id == id));
        limits
    }

    fn reconcile_services(&self) {
        let current = self.current();
        let (resolved, standings) = (self.resolved.borrow().clone(), self.standings.borrow().clone());
        let shares = self.shares.borrow().clone();
        for (plan, service) in current.snapshot.services.iter().zip(&current.services) {
            service.reconcile(plan, &resolved, &standings, (self.place.0 as usize, &shares));
            service.report(plan, &self.reporter);
        }
    }

    fn swap_listeners(
        self: &Rc<Worker>,
        old: &Rc<Current>,
        snapshot: &Arc<Snapshot>,
        counted: &Counted,
        sockets: Vec<(usize, BoundSocket)>,
        shared: &[Arc<SharedListener>],
    ) {
        let mut opened = Vec::new();
        for (place, socket) in sockets {
            if let Mode::Udp(_) = snapshot.listeners[place].mode {
                opened.push((place, Opened::Udp(UdpSocket::new(socket))));
                continue;
            }
            match Listener::new(socket) {
                Ok(listener) => opened.push((place, Opened::Stream(listener))),
                // The socket listens already; only a want of memory or descriptors can fail here.
                Err(_) => self.stats.fd_limit_hits.increment(),
            }
        }
        let mut kept = self.listeners.borrow_mut();
        let is_same = |open: &OpenListener, plan: &ListenerPlan| {
            plan.name == open.name && plan.address == open.address && plan.is_udp() == open.udp
        };
        kept.retain(|open| {
            let place = snapshot.listeners.iter().position(|plan| is_same(open, plan));
            match place.filter(|place| opened.iter().all(|(new, _)| new != place)) {
                Some(place) => {
                    open.place.set(place);
                    open.counters.replace(counted.listeners[place].clone());
                    open.adjust(&snapshot.listeners[place]);
                    true
                }
                None => {
                    open.retire(old.clone());
                    false
                }
            }
        });
        for (place, listener) in opened {
            let plan = &snapshot.listeners[place];
            let open = Rc::new(OpenListener::new(
                plan,
                place,
                counted.listeners[place].clone(),
                shared[place].clone(),
            ));
            kept.push(open.clone());
            match listener {
                Opened::Stream(listener) => spawn(accept::run(self.clone(), open, listener)),
                Opened::Udp(socket) => spawn(udp::run(self.clone(), open, socket)),
            }
        }
        drop(kept);
        self.close_idle_of_closed();
    }

    fn drain(self: &Rc<Worker>, done: mpsc::Sender<()>) {
        self.draining.set(true);
        for open in self.listeners.borrow_mut().drain(..) {
            open.close();
        }
        self.connections.borrow_mut().drained = Some(done);
        self.close_idle_of_closed();
        spawn(self.clone().tell_drained());
    }

    /// Backlogs are served first, so connections may still come: looks a moment later too.
    async fn tell_drained(self: Rc<Worker>) {
        loop {
            sleep(Duration::from_millis(20)).await;
            let connections = self.connections.borrow();
            if connections.live == 0
                && self.stats.udp_sessions_active.get() == 0
                && let Some(done) = &connections.drained
            {
                let _ = done.send(());
                return;
            }
        }
    }

    /// Connections of a closed listener that wait for a request: old ones end now, young ones are given a moment, since
    /// a request may be on its way.
    fn close_idle_of_closed(&self) {
        let now = now();
        for connection in self.connections.borrow().all.iter().flatten() {
            if connection.is_closing(self.draining.get()) {
                connection.close_if_idle(now, DRAIN_IDLE);
            }
        }
    }

    pub fn enter(&self, connection: Rc<Downstream>) -> u32 {
        let mut connections = self.connections.borrow_mut();
        connections.live += 1;
        match connections.spare.pop() {
            Some(place) => {
                connections.all[place as usize] = Some(connection);
                place
            }
            None => {
                connections.all.push(Some(connection));
                connections.all.len() as u32 - 1
            }
        }
    }

    pub fn leave(&self, place: u32) {
        let mut connections = self.connections.borrow_mut();
        let gone = connections.all[place as usize].take();
        connections.live -= 1;
        connections.spare.push(place);
        drop(connections);
        drop(gone);
    }

    async fn sweep(self: Rc<Worker>) {
        loop {
            self.epoch_us.set(wall_epoch_micros());
            for service in self.services.borrow().values() {
                service.sweep(now());
            }
            self.limits.sweep();
            self.tell_gauges(now());
            sleep(SWEEP_EVERY).await;
        }
    }

    fn tell_gauges(&self, now: Nanos) {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = &self.stats;
        stats.buffers_in_use.set(self.gauges.buffers_in_use.load(Relaxed));
        stats.pipes.set(self.gauges.pipes.load(Relaxed));
        stats.loop_turns.add(self.gauges.turns.load(Relaxed).saturating_sub(stats.loop_turns.get()));
        stats.loop_lag.record(self.gauges.turn_max_ns.swap(0, Relaxed) / 1000);
        stats.last_turn_us.set(now.0 / 1000);
    }
}

impl Current {
    /// What is picked from: a route's own split, or the one that is in its place for a while.
    #[inline]
    pub fn split<'a>(&'a self, route: crate::routing::RouteId, own: &'a Split, worker: &Worker) -> &'a Split {
        let by_hand = self.overrides.as_ref();
        by_hand.and_then(|overrides| overrides.split(route, worker.unix_seconds())).unwrap_or(own)
    }

    /// The counters of a route's exchanges with one of its services, or with none.
    pub fn route_counters(
        &self,
        route: Option<crate::routing::RouteId>,
        service: Option<ServiceId>,
    ) -> &crate::observe::RouteCounters {
        let Some(route) = route else { return &self.counted.routes[0] };
        let first = self.route_counters[route.0 as usize] as usize;
        let within = match (&self.snapshot.route(route).action, service) {
            (ActionPlan::Forward(forward), Some(service)) => {
                1 + forward.entries.iter().position(|one| one.part.service == service).unwrap_or(0)
            }
            _ => 0,
        };
        &self.counted.routes[first + within]
    }
}
