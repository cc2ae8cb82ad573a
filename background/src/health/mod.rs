//! Health: every endpoint that is to be checked is, from here, for all workers.
//!
//! A task for each endpoint checks it again and again; what a change of its verdict means for balancing is the workers'
//! to know. Invariant: a verdict outlives reloads as long as the endpoint is checked, and no longer.

mod grpc;
mod http;
mod probe;
mod tally;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringway_engine::snapshot::CheckPlan;
use ringway_engine::tls::Offer;
use ringway_engine::{Check, Handles};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use crate::say;
use crate::standing::{Key, Opinions, beside};
use tally::Tally;

/// Checks under way at once.
const CHECKS_MAX: usize = 256;

/// What is known of endpoints by checks. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    known: Mutex<Known>,
    /// What is to be checked may have changed.
    changed: Notify,
    /// Who is told of verdicts.
    opinions: Opinions,
}

#[derive(Default)]
struct Known {
    tallies: BTreeMap<Key, Tally>,
    /// Of those that are unhealthy.
    why: BTreeMap<Key, Arc<str>>,
    /// Checks by service: good ones and failed ones.
    counts: BTreeMap<Arc<str>, [u64; 2]>,
}

impl Health {
    /// Nothing is known yet; verdicts become opinions.
    pub fn new(opinions: Opinions) -> Health {
        let shared = Shared { known: Mutex::default(), changed: Notify::new(), opinions };
        Health { shared: Arc::new(shared) }
    }

    /// The configuration or the addresses of names have changed.
    pub fn look_again(&self) {
        self.shared.changed.notify_one();
    }

    /// Keeps one task for each endpoint that is to be checked, until the runtime ends.
    pub async fn run(self, handles: Handles) {
        let permits = Arc::new(Semaphore::new(CHECKS_MAX));
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<Key, (Check, AbortHandle)> = BTreeMap::new();
        loop {
            let Some(checks) = beside(&handles, Handles::checks).await else { return };
            let wanted: BTreeMap<Key, Check> = checks.into_iter().map(|check| (key(&check), check)).collect();
            running.retain(|key, (check, task)| {
                let stays = wanted.get(key).is_some_and(|wanted| is_same(check, wanted));
                if !stays {
                    task.abort();
                }
                stays
            });
            let services: BTreeSet<Arc<str>> = wanted.keys().map(|(service, _)| service.clone()).collect();
            {
                let mut known = self.shared.known();
                known.tallies.retain(|key, _| wanted.contains_key(key));
                known.counts.retain(|service, _| services.contains(service));
                known.why.retain(|key, _| wanted.contains_key(key));
                self.shared.opinions.set_unhealthy(known.why.clone());
            }
            for (key, check) in wanted {
                if let Entry::Vacant(entry) = running.entry(key) {
                    let keep = keep(check.clone(), self.shared.clone(), permits.clone());
                    entry.insert((check, tasks.spawn(keep)));
                }
            }
            while tasks.try_join_next().is_some() {}
            self.shared.changed.notified().await;
        }
    }

    /// Appends what is counted as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        let known = self.shared.known();
        let family = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        };
        let (name, help) = ("ringway_health_checks_total", "Checks of endpoints, by result.");
        family(out, name, "counter", help);
        for (service, counts) in &known.counts {
            for (result, count) in ["passed", "failed"].into_iter().zip(counts) {
                let _ = writeln!(out, "{name}{{service=\"{service}\",result=\"{result}\"}} {count}");
            }
        }
        let (name, help) = ("ringway_endpoints_unhealthy", "Endpoints that fail their checks.");
        family(out, name, "gauge", help);
        for service in known.counts.keys() {
            let of_service =
                known.tallies.iter().filter(|((of, _), tally)| of == service && !tally.is_healthy());
            let _ = writeln!(out, "{name}{{service=\"{service}\"}} {}", of_service.count());
        }
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks one endpoint until it is no longer wanted.
async fn keep(check: Check, shared: Arc<Shared>, permits: Arc<Semaphore>) {
    let interval = Duration::from_millis(check.health.interval_ms);
    // Those that begin together do not stay together.
    tokio::time::sleep(interval.mul_f64(fastrand::f64())).await;
    loop {
        let Ok(permit) = permits.acquire().await else { return };
        let result = ask(&check).await;
        drop(permit);
        learn(&check, &result, &shared);
        let jitter = f64::from(check.health.jitter_ppm) / 1e6;
        tokio::time::sleep(interval.mul_f64(1.0 + jitter * (2.0 * fastrand::f64() - 1.0))).await;
    }
}

/// One check, within its time.
async fn ask(check: &Check) -> Result<(), String> {
    let asking = async {
        match &check.health.by {
            CheckPlan::Grpc(service) => grpc::ask(check, service).await,
            CheckPlan::Http(plan) => http::ask(check, plan).await,
            CheckPlan::Tcp => probe::connect(check, Offer::None).await.map(drop),
        }
    };
    match tokio::time::timeout(Duration::from_millis(check.health.timeout_ms), asking).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} ms", check.health.timeout_ms)),
    }
}

/// Takes a result in. Without an await: a task that is no longer wanted says nothing any more.
fn learn(check: &Check, result: &Result<(), String>, shared: &Shared) {
    let mut known = shared.known();
    known.counts.entry(check.service.clone()).or_default()[usize::from(result.is_err())] += 1;
    let tally = known.tallies.entry(key(check)).or_default();
    if !tally.observe(result.is_ok(), check.health.healthy, check.health.unhealthy) {
        return;
    }
    match result {
        Ok(()) => drop(known.why.remove(&key(check))),
        Err(why) => drop(known.why.insert(key(check), why.as_str().into())),
    }
    shared.opinions.set_unhealthy(known.why.clone());
    let (service, endpoint) = (&check.service, &check.address);
    match result {
        Ok(()) => say::info(format_args!("service {service}: the endpoint {endpoint} is healthy again")),
        Err(why) => {
            say::warning(format_args!("service {service}: the endpoint {endpoint} is unhealthy: {why}"))
        }
    }
}

fn key(check: &Check) -> Key {
    (check.service.clone(), check.address.clone())
}

/// A check that goes on as it is. Certificates may have been read anew, so TLS begins again with each reload.
fn is_same(one: &Check, other: &Check) -> bool {
    let same_tls = match (&one.tls, &other.tls) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    };
    let same_asked = one.health == other.health && one.authority == other.authority;
    same_tls && same_asked && one.protocol == other.protocol
}
