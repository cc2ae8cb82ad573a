//! Ejection: endpoints whose exchanges fail are taken out, over all workers, and let back by probing.
//!
//! ```text
//! workers count (engine/src/outcomes.rs) -- the first failure wakes --> here: merged, judged --> standings --> workers
//! ```
//! A look is taken at most every `LOOKS_EVERY`, whenever something failed, an interval is over or an ejection ends. From
//! a failure to every worker's knowing is that, `standing::TOLD_EVERY`, and the work. [`judge`] and [`endpoint`]
//! decide, and are pure; here is what feeds them. Invariant: a verdict lives as long as its endpoint is judged, through
//! reloads.

pub mod endpoint;
pub mod judge;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringway_engine::balance::Address;
use ringway_engine::snapshot::EjectPlan;
use ringway_engine::standing::{Stand, Standing, Standings};
use ringway_engine::{Handles, Judged};
use tokio::sync::Notify;

use crate::say;
use crate::standing::{Key, Opinions, beside};
use endpoint::State;
use judge::{Event, Judge};
use merge::Workers;

/// Looks are no closer together.
const LOOKS_EVERY: Duration = Duration::from_millis(25);

/// By what endpoints are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Failures in a row; 0: not judged by that.
    pub consecutive: u32,
    /// Least share that must succeed, in parts per million; 0: not judged by that.
    pub success_ppm: u32,
    /// Times the siblings' median, in hundredths.
    pub latency_percent: Option<u32>,
    /// Of the two above.
    pub interval_ns: u64,
    /// Of a first ejection.
    pub base_ns: u64,
    /// Of any.
    pub max_ns: u64,
    /// Of the endpoints, that may be out.
    pub share_ppm: u32,
    /// Within an interval, or an endpoint is not judged by it.
    pub requests: u32,
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many failures in a row.
    Consecutive(u32),
    /// So few succeeded, in parts per million.
    Success(u32),
    /// Slower than its siblings.
    Latency {
        /// Its mean.
        mean_us: u64,
        /// What it was held to.
        limit_us: u64,
    },
    /// So many failed of the first it got again.
    Probe(u32),
}

/// What is known of endpoints by their exchanges. Cheap to clone.
#[derive(Clone)]
pub struct Ejection {
    shared: Arc<Shared>,
}

struct Shared {
    known: Mutex<Known>,
    /// Whom to judge may have changed.
    stale: AtomicBool,
    /// Something is to be looked at.
    wake: Notify,
    opinions: Opinions,
}

#[derive(Default)]
struct Known {
    services: BTreeMap<Arc<str>, Service>,
}

struct Service {
    judge: Judge<Address>,
    plan: EjectPlan,
    /// Ejections by kind, in the order of [`KINDS`].
    ejected: [u64; KINDS.len()],
    kept: u64,
    why: BTreeMap<Address, Arc<str>>,
}

const KINDS: [&str; 4] = ["consecutive", "success", "latency", "probe"];

impl Ejection {
    /// Nothing is known yet; verdicts become opinions.
    pub fn new(opinions: Opinions) -> Ejection {
        let shared = Shared { known: Mutex::default(), stale: true.into(), wake: Notify::new(), opinions };
        Ejection { shared: Arc::new(shared) }
    }

    /// The configuration or the addresses of names have changed.
    pub fn look_again(&self) {
        self.shared.stale.store(true, Release);
        self.shared.wake.notify_one();
    }

    /// Judges until the runtime ends.
    pub async fn run(self, handles: Handles) {
        let Some(reports) = handles.take_reports() else { return };
        let waked = self.shared.clone();
        reports.wake_by(move || waked.wake.notify_one());
        let mut workers = Workers::default();
        loop {
            let stale = self.shared.stale.swap(false, Acquire);
            if stale {
                let Some(judged) = beside(&handles, Handles::judged).await else { return };
                let known = &mut self.shared.known();
                change(&mut known.services, judged, handles.now_ns());
                self.shared.opinions.set_ejection(known.standings());
            }
            reports.looking();
            workers.take_in(reports.counting.try_iter());
            if stale {
                workers.let_go();
            }
            let due_ns = self.look(&mut workers, handles.now_ns());
            tokio::time::sleep(LOOKS_EVERY).await;
            let wait = Duration::from_nanos(due_ns.saturating_sub(handles.now_ns()).min(WAIT_MAX_NS));
            let _ = tokio::time::timeout(wait, self.shared.wake.notified()).await;
        }
    }

    /// Looks at what workers saw. When to look again at the latest.
    fn look(&self, workers: &mut Workers, now_ns: u64) -> u64 {
        let standings = self.shared.opinions.standings();
        let mut known = self.shared.known();
        let (mut due_ns, mut anything) = (u64::MAX, false);
        for (name, service) in &mut known.services {
            let out = |address: &Address| is_out_otherwise(&standings, name, address);
            let seen = |address: &Address| workers.seen(name, address);
            let events = service.judge.look(now_ns, seen, out);
            anything |= !events.is_empty();
            for event in events {
                match &event {
                    Event::Probing(address) => workers.set_probed(name, address, true),
                    Event::Ejected(address, ..) | Event::Admitted(address) => {
                        workers.set_probed(name, address, false);
                    }
                    Event::Kept(..) => {}
                }
                service.tell(name, event);
            }
            due_ns = due_ns.min(service.judge.due_ns());
        }
        if anything {
            self.shared.opinions.set_ejection(known.standings());
        }
        due_ns
    }

    /// Appends what is counted as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        let known = self.shared.known();
        if known.services.is_empty() {
            return;
        }
        let family = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        };
        let mode = |service: &Service| if service.plan.enforced { "enforce" } else { "observe" };
        let (name, help) =
            ("ringway_ejections_total", "Endpoints ejected, by why; those only observed among them.");
        family(out, name, "counter", help);
        for (service, state) in &known.services {
            for (kind, count) in KINDS.into_iter().zip(state.ejected) {
                let mode = mode(state);
                let _ =
                    writeln!(out, "{name}{{service=\"{service}\",kind=\"{kind}\",mode=\"{mode}\"}} {count}");
            }
        }
        let (name, help) = (
            "ringway_ejections_kept_total",
            "Endpoints that were found failing where too many were out already.",
        );
        family(out, name, "counter", help);
        for (service, state) in &known.services {
            let _ = writeln!(out, "{name}{{service=\"{service}\"}} {}", state.kept);
        }
        let (name, help) = ("ringway_endpoints_ejected", "Endpoints that are ejected or probing.");
        family(out, name, "gauge", help);
        for (service, state) in &known.services {
            let _ = writeln!(out, "{name}{{service=\"{service}\"}} {}", state.why.len());
        }
        let (name, help) = ("ringway_endpoint_ejected", "1: the endpoint is ejected or probing.");
        family(out, name, "gauge", help);
        for (service, state) in &known.services {
            for address in state.why.keys().map(label) {
                let _ = writeln!(out, "{name}{{service=\"{service}\",endpoint=\"{address}\"}} 1");
            }
        }
    }
}

/// As a value in Prometheus text: the path of a socket may have anything in it.
fn label(address: &Address) -> String {
    address.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// However quiet it is, clocks are looked at again.
const WAIT_MAX_NS: u64 = 60_000_000_000;

/// Makes these the services that are judged; verdicts on endpoints that stay, stay.
fn change(services: &mut BTreeMap<Arc<str>, Service>, judged: Vec<Judged>, now_ns: u64) {
    let mut before = std::mem::take(services);
    for one in judged {
        let terms = Terms::from(&one.eject);
        let mut service = before.remove(&one.service).unwrap_or_else(|| Service {
            judge: Judge::new(terms, now_ns),
            plan: one.eject,
            ejected: Default::default(),
            kept: 0,
            why: BTreeMap::new(),
        });
        service.plan = one.eject;
        service.why.retain(|address, _| one.endpoints.contains(address));
        service.judge.change(terms, one.endpoints, now_ns);
        services.insert(one.service, service);
    }
}

/// It gets nothing for another reason than ejection.
fn is_out_otherwise(standings: &Standings, service: &Arc<str>, address: &Address) -> bool {
    let standing = standings.get(service).and_then(|standings| standings.get(address));
    standing
        .is_some_and(|standing| matches!(standing.stand, Stand::Unhealthy | Stand::Draining | Stand::Barred))
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// How endpoints stand, but for those that are only observed.
    fn standings(&self) -> BTreeMap<Key, Standing> {
        let mut standings = BTreeMap::new();
        for (name, service) in self.services.iter().filter(|(_, service)| service.plan.enforced) {
            for (address, state, _) in service.judge.states() {
                let stand = match state {
                    State::Admitting { .. } => continue,
                    State::Ejected { .. } => Stand::Ejected,
                    State::Probing { round, .. } => Stand::Probing(round),
                };
                let why = service.why.get(address).cloned().unwrap_or_else(|| "ejected".into());
                standings.insert((name.clone(), address.clone()), Standing { stand, why });
            }
        }
        standings
    }
}

impl Service {
    /// Takes in what became of an endpoint, and says it.
    fn tell(&mut self, name: &str, event: Event<Address>) {
        let enforced = self.plan.enforced;
        let observed = if enforced { "" } else { " (observed only)" };
        match event {
            Event::Ejected(address, kind, for_ns) => {
                let place = KINDS.iter().position(|name| *name == kind.name()).unwrap_or_default();
                self.ejected[place] += 1;
                let seconds = for_ns as f64 / 1e9;
                say::warning(format_args!(
                    "service {name}: the endpoint {address} is ejected for {seconds} s: {kind}{observed}"
                ));
                self.why.insert(address, kind.to_string().into());
            }
            Event::Kept(address, kind) => {
                self.kept += 1;
                say::warning(format_args!(
                    "service {name}: the endpoint {address} is not ejected, too many are out already: {kind}{observed}"
                ));
            }
            Event::Probing(address) => {
                say::info(format_args!("service {name}: the endpoint {address} is probed{observed}"));
            }
            Event::Admitted(address) => {
                say::info(format_args!("service {name}: the endpoint {address} is asked again{observed}"));
                self.why.remove(&address);
            }
        }
    }
}

impl From<&EjectPlan> for Terms {
    fn from(plan: &EjectPlan) -> Terms {
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        Terms {
            consecutive: plan.consecutive,
            success_ppm: plan.success_ppm,
            latency_percent: plan.latency_percent,
            interval_ns: ns(plan.interval_ms),
            base_ns: ns(plan.base_ms),
            max_ns: ns(plan.max_ms),
            share_ppm: plan.share_ppm,
            requests: plan.requests,
        }
    }
}

impl Kind {
    /// In metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Consecutive(_) => "consecutive",
            Kind::Success(_) => "success",
            Kind::Latency { .. } => "latency",
            Kind::Probe(_) => "probe",
        }
    }

    /// The worse, the more, among those of one kind; success before latency.
    fn weight(self) -> u64 {
        match self {
            Kind::Consecutive(run) | Kind::Probe(run) => u64::from(run),
            Kind::Success(ppm) => (1 << 60) + u64::from(1_000_000 - ppm.min(1_000_000)),
            Kind::Latency { mean_us, limit_us } => {
                (mean_us.saturating_mul(1000) / limit_us.max(1)).min(1 << 59)
            }
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |us: u64| us as f64 / 1000.0;
        match *self {
            Kind::Consecutive(run) => write!(f, "{run} failures in a row"),
            Kind::Success(ppm) => write!(f, "only {:.1}% of its requests succeeded", f64::from(ppm) / 1e4),
            Kind::Latency { mean_us, limit_us } => {
                write!(f, "it takes {} ms, its siblings allow {} ms", ms(mean_us), ms(limit_us))
            }
            Kind::Probe(1) => write!(f, "it failed when it was probed"),
            Kind::Probe(failed) => write!(f, "it failed {failed} times when it was probed"),
        }
    }
}
