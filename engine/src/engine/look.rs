//! Services and routes as they run, for whoever looks, and what is changed by hand.
//!
//! What only workers know they are asked for, through their mailboxes; one that does not answer in time is left out.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{Handles, post};
use crate::balance::{Address, EndpointSeen};
use crate::overrides::Overrides;
use crate::snapshot::{ActionPlan, Snapshot};
use crate::worker::Order;

/// How long workers may take to tell what they see.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A service as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Unique.
    pub name: Arc<str>,
    /// Names resolved, in the order written.
    pub endpoints: Vec<EndpointInfo>,
}

/// An endpoint as the workers together know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Where it answers.
    pub address: Address,
    /// Its share among its siblings.
    pub weight: u32,
    /// Exchanges under way.
    pub active: u64,
    /// Workers that skip it because it refused a connection.
    pub refused_by: u32,
    /// Lower ones are asked first: by its level, and whether it is in the node's own zone.
    pub rank: u16,
}

/// A route as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Unique.
    pub name: Arc<str>,
    /// The parts of `to`, as they are called, with their weights; empty where it is not forwarded.
    pub to: Vec<(Arc<str>, u32)>,
    /// What its own faults do, of those that are not over.
    pub faults: Vec<Arc<str>>,
}

impl Handles {
    /// What is changed of routes by hand, all of it; what was said earlier no longer holds.
    pub fn set_overrides(&self, overrides: Overrides) {
        // Kept locked, so that the workers hear of changes in their order.
        let _state = self.shared.state();
        let overrides = Arc::new(overrides);
        for worker in &self.shared.workers {
            post(worker, Order::Overrides(overrides.clone()));
        }
    }

    /// The running configuration's routes. Those are looked at with `now_s`, seconds since 1970.
    pub fn routes(&self, now_s: u64) -> Vec<RouteInfo> {
        let snapshot = self.snapshot();
        let to = |action: &ActionPlan| match action {
            ActionPlan::Forward(forward) => {
                forward.entries.iter().map(|part| (part.called(), part.weight)).collect()
            }
            ActionPlan::Respond(_) | ActionPlan::Redirect(_) => Vec::new(),
        };
        let routes = snapshot.routes.iter().map(|route| RouteInfo {
            name: route.name.clone(),
            to: to(&route.action),
            faults: route.faults.iter().filter(|one| one.holds(now_s)).map(|one| one.told.clone()).collect(),
        });
        routes.collect()
    }

    /// The running configuration's services. Blocks until the workers have told what they see, for a moment at most.
    pub fn services(&self) -> Vec<ServiceInfo> {
        let snapshot = self.snapshot();
        let mut seen = self.look();
        let info = |service: &crate::snapshot::ServicePlan| ServiceInfo {
            name: service.name.clone(),
            endpoints: seen.remove(&service.name).unwrap_or_default(),
        };
        snapshot.services.iter().map(info).collect()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.state().snapshot.clone()
    }

    /// What the workers see, added up.
    fn look(&self) -> BTreeMap<Arc<str>, Vec<EndpointInfo>> {
        let (tell, told) = mpsc::channel();
        for worker in &self.shared.workers {
            post(worker, Order::Look(tell.clone()));
        }
        drop(tell);
        let deadline = Instant::now() + LOOK_MAX;
        let mut sums: BTreeMap<Arc<str>, Vec<EndpointInfo>> = BTreeMap::new();
        for _ in &self.shared.workers {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(services) = told.recv_timeout(left) else { break };
            for (service, endpoints) in services {
                let sum = sums.entry(service).or_default();
                endpoints.into_iter().for_each(|endpoint| add(sum, endpoint));
            }
        }
        sums
    }
}

fn add(sum: &mut Vec<EndpointInfo>, seen: EndpointSeen) {
    let (active, refuses) = (u64::from(seen.active), seen.refused_for_ns > 0);
    let place = sum.iter().position(|known| known.address == seen.address).unwrap_or_else(|| {
        let EndpointSeen { address, weight, rank, .. } = seen;
        sum.push(EndpointInfo { address, weight, rank, active: 0, refused_by: 0 });
        sum.len() - 1
    });
    let known = &mut sum[place];
    known.active += active;
    known.refused_by += u32::from(refuses);
}
