//! How a service's endpoints are picked, compiled: rules, subsets, cookies.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_config::model;

use super::split::{Part, Weighted};
use super::{ServiceId, Split, ms};
use crate::balance::{Policy, Rules, VIEWS_MAX};
use crate::key::KeyPlan;
use crate::routing::{PathRule, RouteId, RouteRule};

/// What there is to picking endpoints besides rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalancingPlan {
    /// The views of the service, in words: itself (empty), then its subsets (`version=v2`).
    pub views: Box<[String]>,
    /// What a policy that goes by keys hashes.
    pub hash_by: KeyPlan,
    /// A cookie leads clients back to who answered them.
    pub sticky: Option<StickyPlan>,
}

/// `sticky`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyPlan {
    /// The cookie's name.
    pub cookie: Box<[u8]>,
    /// How long it is kept; `None`: for a session.
    pub ttl_s: Option<u64>,
    /// What its values are made with.
    pub key: Box<[u8]>,
}

/// The subsets of each service that routes and listeners go to, each once.
pub(super) struct Subsets<'c> {
    config: &'c model::Config,
    of: BTreeMap<model::ServiceId, Vec<&'c model::Labels>>,
}

impl<'c> Subsets<'c> {
    pub fn of(config: &'c model::Config) -> Subsets<'c> {
        let mut of: BTreeMap<model::ServiceId, Vec<&'c model::Labels>> = BTreeMap::new();
        let routes = config.routes.iter().filter_map(|route| match &route.action {
            model::Action::Forward(forward) => Some(&forward.split),
            _ => None,
        });
        let tcp = config.listeners.iter().filter_map(|listener| Some(&listener.tcp.as_ref()?.split));
        let udp = config.listeners.iter().filter_map(|listener| Some(&listener.udp.as_ref()?.split));
        for part in routes.chain(tcp).chain(udp).flatten().filter(|part| !part.subset.is_empty()) {
            let known = of.entry(part.service).or_default();
            if !known.contains(&&part.subset) && known.len() < VIEWS_MAX - 1 {
                known.push(&part.subset);
            }
        }
        Subsets { config, of }
    }

    fn list(&self, service: model::ServiceId) -> &[&'c model::Labels] {
        self.of.get(&service).map_or(&[], Vec::as_slice)
    }

    /// A split of a route or listener.
    pub fn split(&self, split: &[model::Part]) -> Split {
        Split::new(self.weighted(split))
    }

    /// Its parts, those of weight 0 included.
    pub fn weighted(&self, split: &[model::Part]) -> impl Iterator<Item = Weighted> {
        split.iter().map(|part: &model::Part| {
            let place = self.list(part.service).iter().position(|subset| **subset == part.subset);
            let name = self.config.services.get(part.service.0 as usize).map_or("", |service| &service.name);
            Weighted {
                part: Part {
                    service: ServiceId(part.service.0),
                    view: place.map_or(0, |place| place as u32 + 1),
                },
                weight: part.weight,
                names: (Arc::from(name), model::labels_text(&part.subset)),
            }
        })
    }

    /// The views of a service that an endpoint is in, a bit for each.
    pub fn views(&self, service: model::ServiceId, endpoint: &model::Endpoint) -> u64 {
        let labels = &endpoint.position.labels;
        let is_in = |subset: &&model::Labels| subset.iter().all(|label| labels.contains(label));
        let subsets = self.list(service).iter().enumerate().filter(|(_, subset)| is_in(subset));
        subsets.fold(1, |views, (place, _)| views | 1 << (place + 1))
    }

    /// Rules and what goes with them.
    pub fn balancing(&self, id: model::ServiceId, service: &model::Service) -> (Rules, BalancingPlan) {
        let balancing = &service.balancing;
        let subsets = self.list(id);
        let rules = Rules {
            policy: match service.balance {
                model::Balance::RoundRobin => Policy::RoundRobin,
                model::Balance::LeastRequest => Policy::LeastRequest,
                model::Balance::PeakEwma => Policy::PeakEwma,
                model::Balance::Random => Policy::Random,
                model::Balance::RingHash => Policy::RingHash,
                model::Balance::Maglev => Policy::Maglev,
            },
            hash_load: balancing.hash_load.map_or(0, u32::from),
            panic: balancing.panic,
            slow_start_ns: balancing.slow_start.map_or(0, |within| ms(within).saturating_mul(1_000_000)),
            views: subsets.len() as u32 + 1,
        };
        let words = subsets.iter().map(|subset| model::labels_text(subset));
        let sticky = balancing.sticky.as_ref().map(|sticky| StickyPlan {
            cookie: sticky.cookie.as_bytes().into(),
            ttl_s: sticky.ttl.map(|ttl| ms(ttl).div_ceil(1000)),
            key: [service.name.as_bytes(), b"\0", sticky.secret.as_bytes()].concat().into(),
        });
        let views = std::iter::once(String::new()).chain(words).collect();
        (rules, BalancingPlan { views, hash_by: super::key_plan(&balancing.hash_by, &nowhere(), ""), sticky })
    }
}

/// A service has no route of its own, and its keys nothing of one.
fn nowhere() -> RouteRule {
    RouteRule {
        route: RouteId(0),
        hosts: Vec::new(),
        path: PathRule::Exact(String::new()),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
    }
}
