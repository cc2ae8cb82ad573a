//! What is counted about limits that are reached and what is shed, and how it is exported.

use super::counter::Counter;
use super::histogram::{DURATIONS, Histogram, Merged};
use super::prometheus::Text;
use super::registry::{Kept, REMOVED, Registry};
use crate::overload::Priority;

/// What a try was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// As many requests as may be, and none may wait.
    Requests,
    /// The same of each endpoint.
    Endpoints,
    /// As many as may wait already.
    Full,
    /// It waited as long as it may.
    Late,
    /// As many retries as may be.
    Retries,
}

/// Values of the label `limit`, in the order of [`Refusal`].
pub const REFUSALS: [&str; 5] = ["requests", "endpoint_requests", "pending", "wait", "retries"];

/// About one service, by one worker. Taken when a limit is first reached: most services never reach one.
#[derive(Debug)]
pub struct Breaking {
    /// Tries that had to wait.
    pub queued: Counter,
    /// How long those waited that had their turn.
    pub waited: Histogram,
    /// By [`Refusal`].
    pub refused: [Counter; REFUSALS.len()],
}

impl Default for Breaking {
    fn default() -> Breaking {
        Breaking {
            queued: Counter::default(),
            waited: Histogram::new(&DURATIONS),
            refused: Default::default(),
        }
    }
}

impl Breaking {
    /// Adds what `gone` counted.
    pub fn fold(&self, gone: &Breaking) {
        self.queued.add(gone.queued.get());
        self.waited.fold(&gone.waited);
        self.refused.iter().zip(&gone.refused).for_each(|(mine, theirs)| mine.add(theirs.get()));
    }
}

/// One limit of a service, of all workers together, at the time of a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerRow {
    /// Which service.
    pub service: String,
    /// `requests`, `pending`, `connections`, `retries`
    pub limit: &'static str,
    /// How many there are.
    pub in_use: u64,
    /// How many there may be.
    pub max: u32,
}

/// Limits that are set, and how much of them is in use.
pub(crate) fn limits(text: &mut Text<'_>, rows: &[BreakerRow]) {
    #[expect(clippy::type_complexity, reason = "names, and how each is read")]
    let families: [(&str, &str, fn(&BreakerRow) -> u64); 2] = [
        ("ringway_breaker_in_use", "What counts towards a limit now, by all workers.", |row| row.in_use),
        ("ringway_breaker_limit", "How much may; `requests` may be found rather than written.", |row| {
            row.max.into()
        }),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        for row in rows {
            text.sample(name, &[("service", &row.service), ("limit", row.limit)], value(row));
        }
    }
}

/// What was counted where limits were reached.
pub(super) fn services(text: &mut Text<'_>, kept: &Kept) {
    let counted = kept.services.iter().map(|(service, counts)| {
        let breaking: Vec<&Breaking> = counts.iter().filter_map(|counts| counts.breaking_seen()).collect();
        (service.map_or(REMOVED, String::as_str), breaking)
    });
    let counted: Vec<_> = counted.filter(|(_, breaking)| !breaking.is_empty()).collect();
    let name = "ringway_breaker_refused_total";
    text.family(name, "counter", "Tries that did not begin because of a limit.");
    for (service, breaking) in &counted {
        for (place, limit) in REFUSALS.into_iter().enumerate() {
            let sum = breaking.iter().map(|one| one.refused[place].get()).sum();
            text.sample(name, &[("service", service), ("limit", limit)], sum);
        }
    }
    let name = "ringway_breaker_queued_total";
    text.family(name, "counter", "Tries that had to wait for their turn.");
    for (service, breaking) in &counted {
        text.sample(name, &[("service", service)], breaking.iter().map(|one| one.queued.get()).sum());
    }
    let name = "ringway_breaker_wait_seconds";
    text.family(name, "histogram", "How long those waited that had their turn.");
    for (service, breaking) in &counted {
        let mut merged = Merged::new(&DURATIONS);
        breaking.iter().for_each(|one| merged.add(&one.waited));
        text.histogram(name, &[("service", service)], &merged);
    }
}

/// What was shed, by priority and by route.
pub(super) fn shed(text: &mut Text<'_>, registry: &Registry, kept: &Kept) {
    let name = "ringway_shed_total";
    text.family(name, "counter", "Requests turned away under overload, by priority.");
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        let sum = registry.workers().iter().map(|stats| stats.shed(priority).get()).sum();
        text.sample(name, &[("priority", priority.name())], sum);
    }
    let name = "ringway_route_shed_total";
    text.family(name, "counter", "Requests turned away under overload, by route.");
    for (route, counts) in kept.routes.iter() {
        let route = match route {
            Some((route, service)) if service.is_empty() => route.as_str(),
            None => REMOVED,
            Some(_) => continue,
        };
        let sum: u64 = counts.iter().map(|counts| counts.shed.get()).sum();
        if sum > 0 {
            text.sample(name, &[("route", route)], sum);
        }
    }
}
