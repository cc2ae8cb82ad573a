//! What the background thread holds of the engine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ringway_runtime::{Address, Nanos};

use super::{Shared, post};
use crate::balance;
use crate::challenges::{Challenge, Challenges};
use crate::limits::fleet;
use crate::limits::gcra::Rate;
use crate::limits::limiter::{Ticket, What};
use crate::observe::prometheus;
use crate::outcomes::Reports;
use crate::overload::{OverloadPlan, Pressure};
use crate::snapshot::{EjectPlan, HealthPlan, LimitPlan, Protocol, ServicePlan};
use crate::standing::Standings;
use crate::tls::ClientPlan;
use crate::worker::{Order, Resolved};

/// How long a worker may take to know of a challenge.
const CHALLENGES_MAX: Duration = Duration::from_secs(10);

/// Cheap to clone, `Send + Sync`.
#[derive(Clone)]
pub struct Handles {
    pub(super) shared: Arc<Shared>,
}

/// A limit that a fleet counts.
#[derive(Clone, Debug)]
pub struct FleetLimit {
    /// As workers call it.
    pub id: u64,
    /// As it is configured.
    pub name: Arc<str>,
    /// Which fleet.
    pub fleet: Arc<str>,
    /// How much.
    pub rate: Rate,
}

/// A service whose endpoints are judged by what their exchanges come to.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its name.
    pub service: Arc<str>,
    /// By what.
    pub eject: EjectPlan,
    /// Its endpoints, names resolved.
    pub endpoints: Vec<balance::Address>,
}

/// An endpoint that is to be checked.
#[derive(Clone, Debug)]
pub struct Check {
    /// Of this service.
    pub service: Arc<str>,
    /// Where it answers.
    pub address: balance::Address,
    /// The `:authority` of calls.
    pub authority: String,
    /// What its endpoints speak.
    pub protocol: Protocol,
    /// Where it speaks TLS.
    pub tls: Option<Arc<ClientPlan>>,
    /// What is asked, and how often.
    pub health: HealthPlan,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handles({} workers)", self.shared.workers.len())
    }
}

impl Handles {
    /// The addresses a `dns:` name of a running configuration resolves to now; replaces the earlier ones. Not the
    /// port: the endpoint says it.
    pub fn set_resolved(&self, name: &str, addresses: &[IpAddr]) {
        let mut state = self.shared.state();
        if state.resolved.get(name).is_some_and(|known| **known == *addresses) {
            return;
        }
        let mut resolved = (*state.resolved).clone();
        resolved.insert(name.into(), addresses.into());
        state.resolved = Arc::new(resolved);
        let state = &mut *state;
        let shares = state.board.update(&state.snapshot, &state.resolved, Nanos::precise());
        for worker in &self.shared.workers {
            post(worker, Order::Shares(shares.clone()));
            post(worker, Order::Resolved(state.resolved.clone()));
        }
    }

    /// How endpoints stand, all of them; what was said earlier no longer holds. A service's endpoint that is not among its
    /// own is nobody's. Blocks while a worker's mailbox is full.
    pub fn set_standings(&self, standings: Standings) {
        // Kept locked, so that the workers hear of changes in their order.
        let mut told = self.shared.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if **told == standings {
            return;
        }
        *told = Arc::new(standings);
        for worker in &self.shared.workers {
            post(worker, Order::Standings(told.clone()));
        }
    }

    /// How endpoints stand, as the workers were told last.
    pub fn standings(&self) -> Arc<Standings> {
        self.shared.standings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The endpoints of the running configuration, names resolved, by service. May wait for a reload.
    pub fn endpoints(&self) -> BTreeMap<Arc<str>, Vec<balance::Address>> {
        let state = self.shared.state();
        let of = |service: &ServicePlan| (service.name.clone(), addresses(service, &state.resolved));
        state.snapshot.services.iter().map(of).collect()
    }

    /// The services of the running configuration that say `eject`. May wait for a reload.
    pub fn judged(&self) -> Vec<Judged> {
        let state = self.shared.state();
        let judged = |service: &ServicePlan| {
            let (eject, endpoints) = (service.eject?, addresses(service, &state.resolved));
            Some(Judged { service: service.name.clone(), eject, endpoints })
        };
        state.snapshot.services.iter().filter_map(judged).collect()
    }

    /// What workers count for whoever judges endpoints. Once.
    pub fn take_reports(&self) -> Option<Reports> {
        self.shared.reports.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The time on the clock that all workers share, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        Nanos::precise().0
    }

    /// The checks that the running configuration asks for: one for each address of each endpoint.
    pub fn checks(&self) -> Vec<Check> {
        let state = self.shared.state();
        let services = state.snapshot.services.iter();
        let checked = services.filter_map(|service| Some((service, service.health.clone()?)));
        let of_service = |(service, health): (&ServicePlan, HealthPlan)| {
            let ips = |name: &str| state.resolved.get(name).map_or(&[][..], |ips| ips).iter().copied();
            let check = |(address, _)| Check {
                service: service.name.clone(),
                authority: String::from_utf8_lossy(&service.authority).into_owned(),
                protocol: service.protocol,
                tls: service.tls.clone(),
                health: health.clone(),
                address,
            };
            service.addresses(ips).into_iter().map(check).collect::<Vec<_>>()
        };
        checked.flat_map(of_service).collect()
    }

    /// What authorities are about to look for, in place of what it was before. Blocks until every worker knows, so that
    /// an authority may be told.
    ///
    /// # Errors
    /// A certificate can't be used, or a worker did not take it in time.
    pub fn set_challenges(&self, challenges: &[Challenge]) -> Result<(), String> {
        let challenges = match challenges {
            [] => None,
            some => Some(Arc::new(Challenges::new(some)?)),
        };
        let (done, told) = mpsc::channel();
        for worker in &self.shared.workers {
            post(worker, Order::Challenges(challenges.clone(), done.clone()));
        }
        drop(done);
        let deadline = Instant::now() + CHALLENGES_MAX;
        for _ in &self.shared.workers {
            if told.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                return Err("a worker did not take a challenge in time".into());
            }
        }
        Ok(())
    }

    /// The limits of the running configuration that fleets count.
    pub fn fleet_limits(&self) -> Vec<FleetLimit> {
        let state = self.shared.state();
        let counted = |limit: &LimitPlan| {
            let What::Rate(rate) = limit.spec.what else { return None };
            Some(FleetLimit { id: limit.id, name: limit.name.clone(), fleet: limit.fleet.clone()?, rate })
        };
        state.snapshot.limits.iter().filter_map(counted).collect()
    }

    /// The one end of what workers ask of the fleet's buckets (`limits/fleet.rs`); `None`: somebody has it.
    pub fn take_fleet(&self) -> Option<ringway_runtime::mailbox::Receiver<fleet::Letter>> {
        self.shared.limits.take_fleet()
    }

    /// Answers an ask of the fleet's.
    ///
    /// # Errors
    /// The worker has too many letters; the answer is given back to be told later.
    pub fn tell_fleet(&self, from: usize, ticket: Ticket, told: fleet::Told) -> Result<(), fleet::Told> {
        self.shared.limits.tell_fleet(from, ticket, told)
    }

    /// Appends the Prometheus text of everything the workers count.
    pub fn metrics(&self, out: &mut String) {
        prometheus::render(&self.shared.registry, env!("CARGO_PKG_VERSION"), out);
        // A reload holds the lock for as long as sockets take to be bound: a scrape doesn't wait for that.
        let rows = self.shared.state.try_lock().map(|state| state.board.rows());
        prometheus::render_limits(&rows.unwrap_or_default(), out);
    }

    /// What the running configuration says about overload, unless one is being applied just now.
    pub fn overload_plan(&self) -> Option<OverloadPlan> {
        self.shared.state.try_lock().ok().map(|state| state.snapshot.overload)
    }

    /// How much memory the process uses, of how much it may, and what is to be shed for it.
    pub fn set_memory(&self, pressure: Pressure, used: u64, cap: Option<u64>) {
        self.shared.memory.tell(pressure, used, cap);
    }

    /// Looks at how services do and moves the limits that are found; now and then.
    pub fn look_at_services(&self) {
        if let Ok(mut state) = self.shared.state.try_lock() {
            state.board.look(Nanos::precise());
        }
    }

    /// What is shed now: the most by any worker, and how much memory is used of how much may be.
    pub fn strain(&self) -> Strain {
        let workers = self.shared.registry.workers();
        let each = workers.iter().map(|stats| (Pressure::of(stats.pressure.get() as u8), stats.lag_us.get()));
        let (pressure, lag_us) = each.max().unwrap_or_default();
        let (memory_used, memory_cap) = self.shared.memory.bytes();
        Strain { pressure, lag_us, memory: self.shared.memory.pressure(), memory_used, memory_cap }
    }

    /// What each worker is doing.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let now = Nanos::precise();
        let stats = self.shared.registry.workers();
        self.shared
            .workers
            .iter()
            .zip(stats)
            .enumerate()
            .map(|(id, (worker, stats))| {
                let last_turn = Nanos(worker.gauges.last_turn_ns.load(Relaxed));
                let mut counters = stats.listed();
                counters.push(("sockets_open", worker.gauges.connections.load(Relaxed)));
                counters.push(("tasks", worker.gauges.tasks.load(Relaxed)));
                counters.push(("buffers_starved", worker.gauges.buffers_starved.load(Relaxed)));
                counters.push(("busy_us", worker.gauges.busy_ns.load(Relaxed) / 1000));
                WorkerInfo {
                    id: id as u16,
                    core: worker.core,
                    driver: worker.driver.clone(),
                    last_turn_us: now.since(last_turn).as_micros() as u64,
                    counters,
                }
            })
            .collect()
    }

    /// Where each listener really is bound (port 0 resolved), by name.
    pub fn bound(&self) -> Vec<(String, Option<SocketAddr>)> {
        let state = self.shared.state();
        let of = |address: &Address| match address {
            Address::Ip(ip) => Some(*ip),
            Address::Unix(_) => None,
        };
        state.listeners.iter().map(|open| (open.name.to_string(), of(&open.bound))).collect()
    }

    /// Registers a thread to be unparked when a log ring has lines after having been empty.
    pub fn wake_for_logs(&self, thread: std::thread::Thread) {
        self.shared.log_wake.register(thread);
    }
}

/// How hard it is, for `/readyz`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// Of the worker that sheds most.
    pub pressure: Pressure,
    /// How late that one's loop was.
    pub lag_us: u64,
    /// What memory alone asks for.
    pub memory: Pressure,
    /// Bytes in use.
    pub memory_used: u64,
    /// Bytes that may be, where that is known.
    pub memory_cap: Option<u64>,
}

/// The endpoints of a service, each once.
fn addresses(service: &ServicePlan, resolved: &Resolved) -> Vec<balance::Address> {
    let ips = |name: &str| resolved.get(name).map_or(&[][..], |ips| ips).iter().copied();
    let mut addresses: Vec<_> = service.addresses(ips).into_iter().map(|(address, _)| address).collect();
    addresses.sort();
    addresses.dedup();
    addresses
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
