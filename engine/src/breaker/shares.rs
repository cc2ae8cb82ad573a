//! What all workers share about services and endpoints, by name and address.
//!
//! A [`Board`] is the engine's: it makes and keeps what a snapshot and the addresses of names ask for, off the workers
//! and under the engine's lock. Workers get [`Shares`], which never change, and find their part when they take up a
//! service or an endpoint. What is still in use lives on under its name, so a limit holds through reloads.

use std::collections::VecDeque;
use std::sync::Arc;

use ringway_runtime::Nanos;
use rustc_hash::FxHashMap;

use super::adaptive::{Adaptive, Samples};
use super::{Gate, Ledger, Limits, Tally};
use crate::balance::Address;
use crate::observe::BreakerRow;
use crate::snapshot::{ServicePlan, Snapshot};
use crate::worker::Resolved;

/// Earlier shares that are kept for workers that have not let go of them.
const EARLIER_MAX: usize = 64;

/// Of a service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceShare {
    /// Where its requests are limited.
    pub gate: Option<Arc<Gate>>,
    pub connections: Arc<Tally>,
    pub retries: Arc<Tally>,
    /// Where its limit is found.
    pub samples: Option<Arc<Samples>>,
    /// Only found, by how long heads take: so what comes after them, for hours where that is a stream, is not counted.
    pub until_head: bool,
}

/// Of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct EndpointShare {
    pub requests: Option<Arc<Ledger>>,
    pub connections: Arc<Tally>,
}

#[derive(Debug, Default)]
pub(crate) struct Shares {
    services: FxHashMap<Arc<str>, OfService>,
}

#[derive(Clone, Debug)]
struct OfService {
    share: Arc<ServiceShare>,
    endpoints: FxHashMap<Address, Arc<EndpointShare>>,
}

impl Shares {
    pub fn service(&self, name: &str) -> Option<&Arc<ServiceShare>> {
        self.services.get(name).map(|of| &of.share)
    }

    pub fn endpoint(&self, service: &str, address: &Address) -> Option<&Arc<EndpointShare>> {
        self.services.get(service)?.endpoints.get(address)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Board {
    workers: usize,
    shares: Arc<Shares>,
    adaptive: FxHashMap<Arc<str>, Adaptive>,
    /// What the requests of a service are limited to but for what is found, and what is found.
    written: FxHashMap<Arc<str>, u32>,
    /// Endpoints that are gone while something of theirs is still in use.
    gone: FxHashMap<(Arc<str>, Address), Arc<EndpointShare>>,
    /// What workers may still look at.
    earlier: VecDeque<Arc<Shares>>,
}

impl Board {
    pub fn new(workers: usize) -> Board {
        Board {
            workers,
            shares: Arc::default(),
            adaptive: FxHashMap::default(),
            written: FxHashMap::default(),
            gone: FxHashMap::default(),
            earlier: VecDeque::new(),
        }
    }

    pub fn shares(&self) -> Arc<Shares> {
        self.shares.clone()
    }

    /// Makes the shares fit a snapshot and what its names resolve to.
    pub fn update(&mut self, snapshot: &Snapshot, resolved: &Resolved, now: Nanos) -> Arc<Shares> {
        let before = std::mem::take(&mut self.shares);
        self.adaptive.retain(|name, _| snapshot.service_named(name).is_some());
        self.written.clear();
        let mut services = FxHashMap::default();
        for plan in &snapshot.services {
            let of = self.service(plan, before.services.get(&plan.name), resolved, now);
            services.insert(plan.name.clone(), of);
        }
        for (name, of) in &before.services {
            let now: Option<&OfService> = services.get(name);
            for (address, share) in &of.endpoints {
                if now.is_none_or(|now| !now.endpoints.contains_key(address)) {
                    self.gone.insert((name.clone(), address.clone()), share.clone());
                }
            }
        }
        self.gone.retain(|_, share| share.is_in_use());
        // Freed here, not by the worker that lets go of it last.
        self.earlier.push_back(before);
        self.earlier.retain(|shares| Arc::strong_count(shares) > 1);
        self.earlier.truncate(EARLIER_MAX);
        self.shares = Arc::new(Shares { services });
        self.shares()
    }

    fn service(
        &mut self,
        plan: &ServicePlan,
        before: Option<&OfService>,
        resolved: &Resolved,
        now: Nanos,
    ) -> OfService {
        let (name, limits) = (&plan.name, plan.breaker);
        let addresses = plan.addresses(|name| resolved.get(name).map_or(&[][..], |ips| ips).iter().copied());
        let mut endpoints = FxHashMap::default();
        for (address, _) in addresses {
            let known = before.and_then(|of| of.endpoints.get(&address)).cloned();
            let known = known.or_else(|| self.gone.remove(&(name.clone(), address.clone())));
            endpoints.insert(address, EndpointShare::fitting(known, &limits, self.workers));
        }
        // Who has a permit of the service finds an endpoint with room.
        let all_endpoints = u64::from(limits.endpoint_requests) * (endpoints.len() as u64).max(1);
        let written = limits.requests.min(u32::try_from(all_endpoints).unwrap_or(u32::MAX));
        self.written.insert(name.clone(), written);
        let requests = match (plan.concurrency, self.adaptive.get_mut(name)) {
            (None, _) => {
                self.adaptive.remove(name);
                written
            }
            (Some(how), Some(known)) => known.adjust(how, now).min(written),
            (Some(how), None) => {
                let adaptive = Adaptive::new(how, self.workers, now);
                let limit = adaptive.limit();
                self.adaptive.insert(name.clone(), adaptive);
                limit.min(written)
            }
        };
        let samples = self.adaptive.get(name).map(|adaptive| adaptive.samples().clone());
        let counted = plan.has_gate();
        let before = before.map(|of| &of.share);
        let wait_ns = limits.wait_ms.saturating_mul(1_000_000);
        let gate = match before.and_then(|share| share.gate.clone()) {
            _ if !counted => None,
            Some(gate) => {
                gate.adjust(limits.pending, wait_ns);
                resize(&gate, requests, now);
                Some(gate)
            }
            None => Some(Arc::new(Gate::new(requests, limits.pending, wait_ns, self.workers))),
        };
        let share = ServiceShare {
            gate,
            connections: tally(before.map(|share| &share.connections), limits.connections),
            retries: tally(before.map(|share| &share.retries), limits.retries),
            until_head: samples.is_some() && written == u32::MAX,
            samples,
        };
        let share = match before {
            Some(before) if before.is_same(&share) => before.clone(),
            _ => Arc::new(share),
        };
        OfService { share, endpoints }
    }

    /// Looks at how the services do, and moves the limits that are found. From time to time, by one thread.
    pub fn look(&mut self, now: Nanos) {
        for (name, adaptive) in &mut self.adaptive {
            let Some(gate) = self.shares.service(name).and_then(|share| share.gate.as_ref()) else {
                continue;
            };
            let busy = gate.requests.in_use() + u64::from(gate.waiting());
            let limit = adaptive.look(now, busy);
            let written = self.written.get(name).copied().unwrap_or(u32::MAX);
            if limit.min(written) != gate.requests.max() {
                resize(gate, limit.min(written), now);
            }
        }
    }

    /// What there is to tell of limits that are set.
    pub fn rows(&self) -> Vec<BreakerRow> {
        let mut rows = Vec::new();
        for (name, of) in &self.shares.services {
            let mut row = |limit, in_use, max: u32| {
                if max != u32::MAX {
                    rows.push(BreakerRow { service: name.to_string(), limit, in_use, max });
                }
            };
            if let Some(gate) = &of.share.gate {
                row("requests", gate.requests.in_use(), gate.requests.max());
                row("pending", gate.waiting().into(), gate.waiting_max());
            }
            row("connections", of.share.connections.taken().into(), of.share.connections.max());
            row("retries", of.share.retries.taken().into(), of.share.retries.max());
        }
        rows.sort_by(|one, other| (&one.service, one.limit).cmp(&(&other.service, other.limit)));
        rows
    }
}

/// Whoever waits gets what a higher limit leaves.
fn resize(gate: &Gate, max: u32, now: Nanos) {
    gate.requests.resize(max);
    while let Some(worker) = gate.promise(now.0) {
        gate.ring(worker);
    }
}

fn tally(before: Option<&Arc<Tally>>, max: u32) -> Arc<Tally> {
    match before {
        Some(tally) => {
            tally.resize(max);
            tally.clone()
        }
        None => Arc::new(Tally::new(max)),
    }
}

impl ServiceShare {
    fn is_same(&self, other: &ServiceShare) -> bool {
        let same = |one: &Option<Arc<Gate>>, other: &Option<Arc<Gate>>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let samples = match (&self.samples, &other.samples) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same(&self.gate, &other.gate)
            && samples
            && self.until_head == other.until_head
            && Arc::ptr_eq(&self.connections, &other.connections)
            && Arc::ptr_eq(&self.retries, &other.retries)
    }
}

impl EndpointShare {
    fn fitting(known: Option<Arc<EndpointShare>>, limits: &Limits, workers: usize) -> Arc<EndpointShare> {
        let max = limits.endpoint_requests;
        let limited = max != u32::MAX;
        match known {
            Some(known) => {
                known.connections.resize(limits.endpoint_connections);
                known.requests.iter().for_each(|requests| requests.resize(max));
                if known.requests.is_some() == limited {
                    return known;
                }
                let requests = limited.then(|| Arc::new(Ledger::new(max, workers)));
                Arc::new(EndpointShare { requests, connections: known.connections.clone() })
            }
            None => Arc::new(EndpointShare {
                requests: limited.then(|| Arc::new(Ledger::new(max, workers))),
                connections: Arc::new(Tally::new(limits.endpoint_connections)),
            }),
        }
    }

    fn is_in_use(&self) -> bool {
        self.connections.taken() > 0 || self.requests.as_ref().is_some_and(|requests| requests.in_use() > 0)
    }
}
