//! Counts by name, kept while snapshots come and go. Off the request path.
//!
//! A worker counts through its [`Counted`], where places are those of its snapshot: an index, no name, no lock. The
//! registry holds the same counts by name, so that a route that is in the next snapshot too goes on counting where it
//! was. Names that went are kept, for what they counted is still true, but only [`REMOVED_MAX`] of a kind: beyond it
//! the oldest are added to [`REMOVED`], once no snapshot holds them any more, so that no sum ever goes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::LimitCounters;
use super::stats::{Fold, ListenerCounters, RouteCounters, ServiceCounters, WorkerStats};

/// All counts of an engine.
#[derive(Debug)]
pub struct Registry {
    workers: Box<[Arc<WorkerStats>]>,
    kept: Mutex<Kept>,
}

/// The names of a snapshot, each kind in the order of its indices. Repeated names share their counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Route and service. A route has one pair for each service it goes to, and one with `""` for what it answered
    /// itself; requests without a route are the pair of [`NO_ROUTE`] and `""`.
    pub routes: &'a [(&'a str, &'a str)],
    /// Services.
    pub services: &'a [&'a str],
    /// Listeners.
    pub listeners: &'a [&'a str],
    /// Limits: what is limited, and the name.
    pub limits: &'a [(&'static str, &'a str)],
}

/// The counts of one worker for one snapshot, each kind in the order of the [`Names`] it was made from.
#[derive(Clone, Debug)]
pub struct Counted {
    /// About the worker itself.
    pub worker: Arc<WorkerStats>,
    /// By route and service.
    pub routes: Box<[Arc<RouteCounters>]>,
    /// By service.
    pub services: Box<[Arc<ServiceCounters>]>,
    /// By listener.
    pub listeners: Box<[Arc<ListenerCounters>]>,
    /// By limit.
    pub limits: Box<[Arc<LimitCounters>]>,
}

impl Registry {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        let kept = Kept {
            routes: Table::new(workers),
            services: Table::new(workers),
            listeners: Table::new(workers),
            limits: Table::new(workers),
        };
        Self { workers: (0..workers).map(|_| Arc::default()).collect(), kept: Mutex::new(kept) }
    }

    /// What each worker counts about itself.
    pub fn workers(&self) -> &[Arc<WorkerStats>] {
        &self.workers
    }

    /// Makes the names of a new snapshot the ones that count: one [`Counted`] for each worker.
    pub fn adopt(&self, names: Names<'_>) -> Vec<Counted> {
        let mut kept = self.kept();
        let pairs = names.routes.iter().map(|(route, service)| (route.to_string(), service.to_string()));
        let mut routes = kept.routes.adopt(pairs);
        let mut services = kept.services.adopt(names.services.iter().map(|name| name.to_string()));
        let mut listeners = kept.listeners.adopt(names.listeners.iter().map(|name| name.to_string()));
        let mut limits = kept.limits.adopt(names.limits.iter().map(|(what, name)| (*what, name.to_string())));
        drop(kept);
        let take = |worker: &Arc<WorkerStats>| Counted {
            worker: Arc::clone(worker),
            routes: routes.next().unwrap_or_default(),
            services: services.next().unwrap_or_default(),
            listeners: listeners.next().unwrap_or_default(),
            limits: limits.next().unwrap_or_default(),
        };
        self.workers.iter().map(take).collect()
    }

    /// All counts by name, for as long as they are looked at. Never held by a worker.
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of a kind that are gone and still told apart.
pub const REMOVED_MAX: usize = 1024;

/// The name under which the oldest of them are added up.
pub const REMOVED: &str = "_removed";

/// The route of requests that no route matched, or that were refused before one was looked for.
pub const NO_ROUTE: &str = "_none";

#[derive(Debug)]
pub(super) struct Kept {
    pub routes: Table<(String, String), RouteCounters>,
    pub services: Table<String, ServiceCounters>,
    pub listeners: Table<String, ListenerCounters>,
    pub limits: Table<(&'static str, String), LimitCounters>,
}

/// The counts of one kind.
#[derive(Debug)]
pub(super) struct Table<K, C> {
    workers: usize,
    snapshots: u64,
    rows: BTreeMap<K, Row<C>>,
    /// What was folded; empty until something is.
    removed: Option<Vec<Arc<C>>>,
}

#[derive(Debug)]
struct Row<C> {
    /// One for each worker.
    of_workers: Vec<Arc<C>>,
    /// The number of the last snapshot that had it.
    last_in: u64,
}

impl<K: Ord + Clone, C: Fold> Table<K, C> {
    fn new(workers: usize) -> Self {
        Self { workers, snapshots: 0, rows: BTreeMap::new(), removed: None }
    }

    /// For each worker its counts by index.
    fn adopt(&mut self, names: impl Iterator<Item = K>) -> std::vec::IntoIter<Box<[Arc<C>]>> {
        self.snapshots += 1;
        let mut by_worker = vec![Vec::new(); self.workers];
        for name in names {
            let row =
                self.rows.entry(name).or_insert_with(|| Row { of_workers: fresh(self.workers), last_in: 0 });
            row.last_in = self.snapshots;
            by_worker
                .iter_mut()
                .zip(&row.of_workers)
                .for_each(|(list, counts)| list.push(Arc::clone(counts)));
        }
        self.fold_oldest();
        by_worker.into_iter().map(Vec::into_boxed_slice).collect::<Vec<_>>().into_iter()
    }

    fn fold_oldest(&mut self) {
        let mut gone: Vec<(u64, K)> = self
            .rows
            .iter()
            .filter(|(_, row)| row.last_in < self.snapshots)
            .map(|(name, row)| (row.last_in, name.clone()))
            .collect();
        let Some(excess) = gone.len().checked_sub(REMOVED_MAX).filter(|excess| *excess > 0) else { return };
        gone.sort();
        // A snapshot that is still held may still count: its rows wait for another time.
        gone.retain(|(_, name)| {
            self.rows[name].of_workers.iter().all(|counts| Arc::strong_count(counts) == 1)
        });
        let removed = self.removed.get_or_insert_with(|| fresh(self.workers));
        for (_, name) in gone.into_iter().take(excess) {
            let Some(row) = self.rows.remove(&name) else { continue };
            removed.iter().zip(&row.of_workers).for_each(|(sum, counts)| sum.fold(counts));
        }
    }

    /// All rows, and what was folded, if anything was, last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&K>, &[Arc<C>])> {
        let rows = self.rows.iter().map(|(name, row)| (Some(name), row.of_workers.as_slice()));
        rows.chain(self.removed.iter().map(|folded| (None, folded.as_slice())))
    }
}

fn fresh<C: Default>(workers: usize) -> Vec<Arc<C>> {
    (0..workers).map(|_| Arc::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopt(registry: &Registry, services: &[&str]) -> Vec<Counted> {
        registry.adopt(Names { services, ..Names::default() })
    }

    fn total(registry: &Registry) -> u64 {
        let kept = registry.kept();
        kept.services.iter().flat_map(|(_, counts)| counts).map(|counts| counts.requests.get()).sum()
    }

    #[test]
    fn counts_survive_a_snapshot_that_orders_names_differently() {
        let registry = Registry::new(2);
        let before = adopt(&registry, &["a", "b"]);
        before[0].services[1].requests.increment();
        let after = adopt(&registry, &["c", "b", "a"]);
        assert_eq!(after[0].services[1].requests.get(), 1);
        assert_eq!(after[1].services[1].requests.get(), 0, "another worker counts for itself");
        before[0].services[1].requests.increment();
        assert_eq!(after[0].services[1].requests.get(), 2, "an exchange of the old snapshot still counts");
    }

    #[test]
    fn a_name_that_comes_back_counts_on() {
        let registry = Registry::new(1);
        adopt(&registry, &["a"])[0].services[0].requests.increment();
        adopt(&registry, &[]);
        assert_eq!(adopt(&registry, &["a"])[0].services[0].requests.get(), 1);
    }

    #[test]
    fn removed_names_are_bounded_and_no_sum_goes_back() {
        let registry = Registry::new(1);
        for number in 0..REMOVED_MAX + 10 {
            adopt(&registry, &[&format!("s{number}")])[0].services[0].requests.increment();
        }
        adopt(&registry, &["last"]);
        assert_eq!(total(&registry), REMOVED_MAX as u64 + 10);
        let kept = registry.kept();
        assert_eq!(kept.services.rows.len(), REMOVED_MAX + 1);
        let folded: u64 = kept.services.removed.iter().flatten().map(|counts| counts.requests.get()).sum();
        assert_eq!(folded, 10);
        assert!(!kept.services.rows.contains_key("s0"), "the oldest went first");
    }

    #[test]
    fn what_a_snapshot_still_holds_is_not_folded() {
        let registry = Registry::new(1);
        let held = adopt(&registry, &["held"]);
        for number in 0..REMOVED_MAX + 5 {
            adopt(&registry, &[&format!("s{number}")]);
        }
        held[0].services[0].requests.increment();
        assert_eq!(total(&registry), 1);
        assert!(registry.kept().services.rows.contains_key("held"));
    }

    #[test]
    fn the_same_name_twice_is_one_count() {
        let registry = Registry::new(1);
        let counted =
            registry.adopt(Names { routes: &[("r", "a"), ("r", ""), ("r", "a")], ..Names::default() });
        assert!(Arc::ptr_eq(&counted[0].routes[0], &counted[0].routes[2]));
        assert!(!Arc::ptr_eq(&counted[0].routes[0], &counted[0].routes[1]));
    }
}
