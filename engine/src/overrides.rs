//! Overrides: what an operator changed by hand for a while, beside the snapshot. Endpoints are not among it: those
//! stand as they are told to.
//!
//! Made on the background thread, by route's name, and handed to every worker whole; a worker finds the places of its
//! snapshot for them once, so that an exchange looks at nothing while there are none. Invariant: an override whose time
//! is over, or whose route is not as it was, has no effect, whoever is late to take it away.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::faults::FaultPlan;
use crate::routing::RouteId;
use crate::snapshot::{ActionPlan, ForwardPlan, Snapshot, Split, Weighted};

/// By the route's name.
pub type Overrides = BTreeMap<Arc<str>, RouteOverride>;

/// What is changed of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteOverride {
    /// Other weights.
    pub split: Option<SplitOverride>,
    /// Further faults, before those of its own.
    pub faults: Vec<FaultPlan>,
}

/// Other weights of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitOverride {
    /// Each part of `to` as it is called, in its order, with what it weighs. Not all weigh nothing.
    pub weights: Box<[(Arc<str>, u32)]>,
    /// Seconds since 1970 at which it ends.
    pub until_s: u64,
}

impl SplitOverride {
    /// Whether it is about a `to` like this one.
    fn fits(&self, forward: &ForwardPlan) -> bool {
        let names = forward.entries.iter().map(Weighted::called);
        names.eq(self.weights.iter().map(|(name, _)| name.clone()))
    }
}

/// Overrides with their places in one snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed {
    splits: FxHashMap<u32, (Split, u64)>,
    faults: FxHashMap<u32, Box<[FaultPlan]>>,
}

impl Placed {
    /// `None`: nothing of it has an effect.
    pub fn new(overrides: &Overrides, snapshot: &Snapshot) -> Option<Box<Placed>> {
        if overrides.is_empty() {
            return None;
        }
        let mut placed = Placed::default();
        for (place, route) in (0..).zip(&snapshot.routes) {
            let Some(change) = overrides.get(&route.name) else { continue };
            if !change.faults.is_empty() {
                placed.faults.insert(place, change.faults.clone().into());
            }
            if let (ActionPlan::Forward(forward), Some(split)) = (&route.action, &change.split)
                && split.fits(forward)
            {
                let parts = forward.entries.iter().cloned().zip(&split.weights);
                let parts = parts.map(|(part, (_, weight))| Weighted { weight: *weight, ..part });
                placed.splits.insert(place, (Split::new(parts), split.until_s));
            }
        }
        (!placed.splits.is_empty() || !placed.faults.is_empty()).then(|| Box::new(placed))
    }

    /// What is picked from in place of a route's own split.
    pub fn split(&self, route: RouteId, now_s: u64) -> Option<&Split> {
        self.splits.get(&route.0).filter(|(_, until_s)| now_s < *until_s).map(|(split, _)| split)
    }

    /// Further faults of a route.
    pub fn faults(&self, route: RouteId) -> &[FaultPlan] {
        self.faults.get(&route.0).map_or(&[], |faults| faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLIT: &str = "
listeners: [ { name: web, address: 127.0.0.1:0, routes: all } ]
services: { a: { endpoints: [ 127.0.0.1:1 ] }, b: { endpoints: [ 127.0.0.1:2 ] } }
routes:
  - { name: other, path: /other, to: a }
  - { name: r, path: /r, to: [ { service: b, weight: 0 }, { service: a, weight: 1 } ] }
";

    fn snapshot(text: &str) -> Snapshot {
        let config = ringway_config::load_str("test.yaml", text, &|_| None).unwrap().config;
        Snapshot::compile(&config, 1).unwrap()
    }

    fn split(weights: &[(&str, u32)]) -> Overrides {
        let weights = weights.iter().map(|(name, weight)| (Arc::from(*name), *weight)).collect();
        let change = RouteOverride { split: Some(SplitOverride { weights, until_s: 100 }), faults: vec![] };
        Overrides::from([("r".into(), change)])
    }

    #[test]
    fn a_split_is_another_one_until_its_time_is_over() {
        let snapshot = snapshot(SPLIT);
        let placed = Placed::new(&split(&[("b", 1), ("a", 0)]), &snapshot).unwrap();
        let service = |split: &Split| snapshot.service(split.pick(7).service).name.to_string();
        assert_eq!(placed.split(RouteId(1), 99).map(service).as_deref(), Some("b"));
        assert!(placed.split(RouteId(1), 100).is_none());
        assert!(placed.split(RouteId(0), 0).is_none());
    }

    #[test]
    fn subsets_are_called_by_their_labels() {
        let snapshot = snapshot(
            "
listeners: [ { name: web, address: 127.0.0.1:0, routes: all } ]
services: { a: { endpoints: [ 127.0.0.1:1, { address: 127.0.0.1:2, labels: { version: v2 } } ] } }
routes: [ { name: r, to: [ { service: a }, { service: a, weight: 0, subset: { version: v2 } } ] } ]
",
        );
        let placed = Placed::new(&split(&[("a", 0), ("a[version=v2]", 1)]), &snapshot).unwrap();
        assert_eq!(placed.split(RouteId(0), 0).map(|split| split.pick(0).view), Some(1));
        assert!(Placed::new(&split(&[("a", 0), ("a", 1)]), &snapshot).is_none());
    }

    #[test]
    fn a_split_of_a_route_that_is_not_as_it_was_has_no_effect() {
        let snapshot = snapshot(SPLIT);
        for weights in [&[("a", 1), ("b", 0)][..], &[("b", 1)], &[("b", 1), ("a", 0), ("a", 0)]] {
            assert!(Placed::new(&split(weights), &snapshot).is_none());
        }
        assert!(Placed::new(&Overrides::default(), &snapshot).is_none());
    }
}
