//! Fleets: limits that several gateways hold together, counted in a store that all of them ask.
//!
//! Workers ask for batches of tokens and spend them by themselves; what is asked comes here by a mailbox and is answered
//! to the worker's. Invariant: an answer always comes, at the latest after the fleet's `timeout`; while a store is slow or
//! gone it is "unavailable", at once, and the node's own limit holds.

mod answers;
mod line;
mod redis;
mod rls;
mod standing;
mod store;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringway_config::model::Config;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use answers::Limits;
use line::{Counts, LATENCIES_US, Line};

/// The fleets of the running configuration. Cheap to clone.
#[derive(Clone, Default)]
pub struct Fleets {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    limits: Mutex<Limits>,
    changed: Notify,
}

impl Fleets {
    /// These from now on. One that is as it was goes on; of one that changed what is counted does.
    pub fn want(&self, config: &Config) {
        let mut lines = self.shared.lines();
        let before = std::mem::take(&mut *lines);
        for fleet in &config.fleets {
            let line = match before.get(&fleet.name) {
                Some(line) if line.fleet() == fleet => line.clone(),
                was => {
                    let counts = was.map_or_else(Arc::<Counts>::default, |line| line.counts.clone());
                    Arc::new(Line::new(fleet.clone(), counts))
                }
            };
            lines.insert(fleet.name.clone(), line);
        }
        // Looked up anew.
        self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.changed.notify_one();
    }

    /// Keeps a connection to each store, until the runtime ends.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        let mut kept: Vec<(Arc<Line>, AbortHandle)> = Vec::new();
        loop {
            let wanted: Vec<Arc<Line>> = self.shared.lines().values().cloned().collect();
            kept.retain(|(line, task)| {
                let stays = wanted.iter().any(|wanted| Arc::ptr_eq(wanted, line));
                if !stays {
                    task.abort();
                }
                stays
            });
            for line in wanted {
                if !kept.iter().any(|(kept, _)| Arc::ptr_eq(kept, &line)) {
                    let task = tasks.spawn(line.clone().keep());
                    kept.push((line, task));
                }
            }
            while tasks.try_join_next().is_some() {}
            self.shared.changed.notified().await;
        }
    }

    /// Appends what is counted as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        let lines: Vec<(String, Arc<Counts>)> =
            self.shared.lines().iter().map(|(name, line)| (name.clone(), line.counts.clone())).collect();
        if lines.is_empty() {
            return;
        }
        let family = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        };
        let name = "ringway_fleet_asks_total";
        family(out, name, "counter", "Asks for tokens of a fleet's limits, by result.");
        for (fleet, counts) in &lines {
            for (result, count) in ["granted", "refused", "unavailable"].into_iter().zip(&counts.asks) {
                let _ =
                    writeln!(out, "{name}{{fleet=\"{fleet}\",result=\"{result}\"}} {}", count.load(Relaxed));
            }
        }
        #[expect(clippy::type_complexity, reason = "names, and how each is read")]
        let singles: [(&str, &str, &str, fn(&Counts) -> u64); 5] = [
            (
                "ringway_fleet_failures_total",
                "counter",
                "Asks that the store answered late, wrongly or not at all.",
                |c| c.failed.load(Relaxed),
            ),
            ("ringway_fleet_tokens_total", "counter", "Tokens that the store granted.", |c| {
                c.tokens.load(Relaxed)
            }),
            (
                "ringway_fleet_given_back_total",
                "counter",
                "Tokens that were given back to the store unspent.",
                |c| c.given_back.load(Relaxed),
            ),
            ("ringway_fleet_asks_active", "gauge", "Asks under way.", |c| c.under_way.load(Relaxed)),
            (
                "ringway_fleet_up",
                "gauge",
                "1: the store is asked. 0: each gateway holds the fleet's limits by itself.",
                |c| c.up.load(Relaxed),
            ),
        ];
        for (name, kind, help, value) in singles {
            family(out, name, kind, help);
            for (fleet, counts) in &lines {
                let _ = writeln!(out, "{name}{{fleet=\"{fleet}\"}} {}", value(counts));
            }
        }
        let name = "ringway_fleet_ask_seconds";
        family(out, name, "histogram", "From an ask to the store's answer.");
        for (fleet, counts) in &lines {
            latencies(out, name, fleet, counts);
        }
    }
}

fn latencies(out: &mut String, name: &str, fleet: &str, counts: &Counts) {
    let mut sum = 0;
    let ends = LATENCIES_US.iter().map(|us| (*us as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
    for (end, count) in ends.zip(&counts.latencies) {
        sum += count.load(Relaxed);
        let _ = writeln!(out, "{name}_bucket{{fleet=\"{fleet}\",le=\"{end}\"}} {sum}");
    }
    let seconds = counts.latency_sum.load(Relaxed) as f64 / 1e6;
    let _ =
        writeln!(out, "{name}_sum{{fleet=\"{fleet}\"}} {seconds}\n{name}_count{{fleet=\"{fleet}\"}} {sum}");
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
