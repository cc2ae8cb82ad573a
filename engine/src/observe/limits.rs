//! What each worker counts about each limit, and its Prometheus text.

use super::counter::{Counter, Gauge};
use super::prometheus::{Number, Text};
use super::registry::{Kept, REMOVED};
use super::stats::Fold;

/// What one limit decided on one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LimitCounters {
    /// Requests let through.
    pub allowed: Counter,
    /// Requests refused.
    pub limited: Counter,
    /// Requests that would have been refused if it were not `dry_run`.
    pub dry_run: Counter,
    /// Decisions without an answer of the key's home core.
    pub unsure: Counter,
    /// Asks sent to other cores, or to the fleet's buckets.
    pub asked: Counter,
    /// Decisions of this node because the fleet's buckets did not answer in time.
    pub fleet_late: Counter,
    /// Keys that made room for others.
    pub evicted: Counter,
    /// Decisions from the bucket that keys without a place share.
    pub crowded: Counter,
    /// Keys at home here.
    pub keys: Gauge,
    /// Keys with a lease or a remembered refusal here.
    pub leases: Gauge,
}

impl Fold for LimitCounters {
    fn fold(&self, gone: &Self) {
        self.allowed.add(gone.allowed.get());
        self.limited.add(gone.limited.get());
        self.dry_run.add(gone.dry_run.get());
        self.unsure.add(gone.unsure.get());
        self.asked.add(gone.asked.get());
        self.fleet_late.add(gone.fleet_late.get());
        self.evicted.add(gone.evicted.get());
        self.crowded.add(gone.crowded.get());
    }
}

/// Limits that decided nothing yet are left out.
pub(super) fn render(text: &mut Text<'_>, kept: &Kept) {
    let decided = |c: &LimitCounters| c.allowed.get() + c.limited.get() + c.dry_run.get() > 0;
    let used: Vec<_> =
        kept.limits.iter().filter(|(_, counts)| counts.iter().any(|one| decided(one))).collect();
    let name = "ringway_limit_decisions_total";
    text.family(
        name,
        "counter",
        "Requests that met a limit, by what it decided; dry_run: it would have refused.",
    );
    #[expect(clippy::type_complexity, reason = "names, and how each is read")]
    let outcomes: [(&str, fn(&LimitCounters) -> u64); 3] = [
        ("allowed", |c| c.allowed.get()),
        ("limited", |c| c.limited.get()),
        ("dry_run", |c| c.dry_run.get()),
    ];
    for (limit, counts) in &used {
        let (kind, limit) = limit.map_or(("", REMOVED), |(kind, limit)| (*kind, limit.as_str()));
        for (outcome, value) in outcomes {
            let sum = counts.iter().map(|counts| value(counts)).sum();
            text.sample(name, &[("limit", limit), ("kind", kind), ("outcome", outcome)], sum);
        }
    }
    let families: [Number<LimitCounters>; 7] = [
        (
            "ringway_limit_unsure_total",
            "counter",
            "Decisions without an answer of the key's home core in time.",
            |c| c.unsure.get(),
        ),
        (
            "ringway_limit_asks_total",
            "counter",
            "Asks for tokens sent to other cores or to the fleet.",
            |c| c.asked.get(),
        ),
        (
            "ringway_limit_fleet_late_total",
            "counter",
            "Decisions of this node for a limit of the fleet that was not answered for in time.",
            |c| c.fleet_late.get(),
        ),
        ("ringway_limit_evicted_total", "counter", "Idle keys that made room for new ones.", |c| {
            c.evicted.get()
        }),
        (
            "ringway_limit_crowded_total",
            "counter",
            "Decisions from the bucket that keys share for which there is no room.",
            |c| c.crowded.get(),
        ),
        ("ringway_limit_keys", "gauge", "Keys that are known.", |c| c.keys.get()),
        ("ringway_limit_leases", "gauge", "Keys with a lease or a remembered refusal, on each core.", |c| {
            c.leases.get()
        }),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (limit, counts) in &used {
            let (what, limit) = limit.map_or(("", REMOVED), |(what, limit)| (*what, limit.as_str()));
            let sum = counts.iter().map(|counts| value(counts)).sum();
            text.sample(name, &[("limit", limit), ("kind", what)], sum);
        }
    }
}
