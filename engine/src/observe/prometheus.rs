//! Prometheus text (exposition format 0.0.4) of everything the workers count.
//!
//! Read when scraped, from counters that go on counting: every number was true at some moment of the scrape. Each
//! family is written once, with HELP and TYPE before its samples. Off the request path.

mod retries;

use std::fmt::Write;
use std::sync::Arc;

use super::breaking::{self, BreakerRow};
use super::dropped::DroppedCounts;
use super::histogram::{Bounds, DURATIONS, Histogram, LAGS, Merged};
use super::registry::{Kept, REMOVED, Registry};
use crate::grpc::CODES;

use super::stats::{CLASSES, FAULT_KINDS, ReasonCounts, RouteCounters, ServiceCounters, Shown, WorkerStats};

/// Appends the text. `version` is that of the binary.
pub fn render(registry: &Registry, version: &str, out: &mut String) {
    let mut text = Text { out };
    text.family("ringway_build_info", "gauge", "Constant 1; the version is in the label.");
    text.sample("ringway_build_info", &[("version", version)], 1);
    workers(&mut text, registry);
    let kept = registry.kept();
    listeners(&mut text, &kept);
    routes(&mut text, &kept);
    services(&mut text, &kept);
    super::limits::render(&mut text, &kept);
    breaking::services(&mut text, &kept);
    breaking::shed(&mut text, registry, &kept);
}

/// Appends what is known of limits of all workers together.
pub fn render_limits(rows: &[BreakerRow], out: &mut String) {
    breaking::limits(&mut Text { out }, rows);
}

/// Appends one family without labels, for numbers that others keep.
pub fn render_one(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    let mut text = Text { out };
    text.family(name, kind, help);
    text.sample(name, &[], value);
}

fn workers(text: &mut Text<'_>, registry: &Registry) {
    let numbers: Vec<String> = (0..registry.workers().len()).map(|number| number.to_string()).collect();
    for (place, scalar) in WorkerStats::SCALARS.iter().enumerate() {
        let values =
            registry.workers().iter().filter_map(|stats| stats.scalars().nth(place)).map(|(_, value)| value);
        text.family(scalar.metric, scalar.kind, scalar.help);
        match scalar.shown {
            Shown::Summed => text.sample(scalar.metric, &[], values.sum()),
            Shown::Each => {
                for (number, value) in numbers.iter().zip(values) {
                    text.sample(scalar.metric, &[("worker", number)], value);
                }
            }
        }
    }
    text.family("ringway_worker_loop_lag_seconds", "histogram", "How late the event loop was.");
    for (number, stats) in numbers.iter().zip(registry.workers()) {
        let mut merged = Merged::new(&LAGS);
        merged.add(&stats.loop_lag);
        text.histogram("ringway_worker_loop_lag_seconds", &[("worker", number)], &merged);
    }
    reasons(
        text,
        registry,
        "ringway_local_replies_total",
        "Responses the proxy made itself, by reason.",
        |stats| &stats.local_replies,
    );
    reasons(
        text,
        registry,
        "ringway_exchanges_cut_total",
        "Exchanges that ended before their response was complete, or with nobody to respond to, by reason.",
        |stats| &stats.cut,
    );
    text.family("ringway_udp_dropped_total", "counter", "Datagrams that went nowhere, by reason.");
    for (place, (reason, _)) in DroppedCounts::default().iter().enumerate() {
        let of = registry.workers().iter().filter_map(|stats| stats.udp_dropped.iter().nth(place));
        text.sample("ringway_udp_dropped_total", &[("reason", reason)], of.map(|(_, count)| count).sum());
    }
}

fn reasons(
    text: &mut Text<'_>,
    registry: &Registry,
    name: &str,
    help: &str,
    counts: impl Fn(&WorkerStats) -> &ReasonCounts,
) {
    let mut sums = std::collections::BTreeMap::new();
    for (what, count) in registry.workers().iter().flat_map(|stats| counts(stats).iter()) {
        *sums.entry(what).or_insert(0) += count;
    }
    text.family(name, "counter", help);
    for ((reason, status), count) in sums {
        text.sample(name, &[("reason", reason), ("code", &status.to_string())], count);
    }
}

fn listeners(text: &mut Text<'_>, kept: &Kept) {
    let families: [Number<super::stats::ListenerCounters>; 4] = [
        ("ringway_connections_accepted_total", "counter", "Connections accepted.", |c| c.accepted.get()),
        ("ringway_connections_active", "gauge", "Connections open.", |c| c.active.get()),
        ("ringway_listener_requests_total", "counter", "Requests read.", |c| c.requests.get()),
        (
            "ringway_connections_refused_total",
            "counter",
            "Connections reset beyond `limits.client_rate`.",
            |c| c.refused.get(),
        ),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (listener, counts) in kept.listeners.iter() {
            let sum = counts.iter().map(|counts| value(counts)).sum();
            text.sample(name, &[("listener", listener.map_or(REMOVED, String::as_str))], sum);
        }
    }
}

/// Name, kind, help, and how to read it.
pub(super) type Number<C> = (&'static str, &'static str, &'static str, fn(&C) -> u64);

/// Labels, counts of each worker, and their durations together.
type UsedRoute<'a> = ([(&'a str, &'a str); 2], &'a [Arc<RouteCounters>], Merged);

/// Routes without a request yet are left out: there may be ten thousand.
fn routes(text: &mut Text<'_>, kept: &Kept) {
    let used: Vec<UsedRoute<'_>> = kept
        .routes
        .iter()
        .map(|(name, counts)| {
            let (route, service) = name.map_or((REMOVED, ""), |(route, service)| (route, service));
            let merged = merged(&DURATIONS, counts, |counts| &counts.duration);
            ([("route", route), ("service", service)], counts, merged)
        })
        .filter(|(_, _, merged)| merged.count() > 0)
        .collect();

    let name = "ringway_http_requests_total";
    text.family(name, "counter", "Requests ended, by class of their status.");
    for ([route, service], counts, _) in &used {
        for (place, class) in CLASSES.into_iter().enumerate() {
            let sum: u64 = counts.iter().map(|counts| counts.classes()[place]).sum();
            if sum > 0 {
                text.sample(name, &[*route, *service, ("code_class", class)], sum);
            }
        }
    }
    text.family("ringway_grpc_calls_total", "counter", "Calls of gRPC ended, by status.");
    for ([route, service], counts, _) in &used {
        for (place, code) in CODES.into_iter().enumerate() {
            let sum: u64 = counts.iter().map(|counts| counts.grpc_codes()[place]).sum();
            if sum > 0 {
                text.sample("ringway_grpc_calls_total", &[*route, *service, ("grpc_status", code)], sum);
            }
        }
    }
    faults(text, kept);
    let families: [Number<RouteCounters>; 2] = [
        ("ringway_http_request_bytes_total", "counter", "Bytes of request bodies.", |c| {
            c.request_bytes.get()
        }),
        ("ringway_http_response_bytes_total", "counter", "Bytes of response bodies.", |c| {
            c.response_bytes.get()
        }),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (labels, counts, _) in &used {
            text.sample(name, labels, counts.iter().map(|counts| value(counts)).sum());
        }
    }
    let name = "ringway_http_request_duration_seconds";
    text.family(name, "histogram", "First byte of a request to the last of its response.");
    for (labels, _, merged) in &used {
        text.histogram(name, labels, merged);
    }
}

/// Of routes that have had any.
fn faults(text: &mut Text<'_>, kept: &Kept) {
    let name = "ringway_faults_injected_total";
    text.family(name, "counter", "Errors made on purpose, by route and kind.");
    for (route, counts) in kept.routes.iter() {
        let route = route.map_or(REMOVED, |(route, _)| route);
        for (place, kind) in FAULT_KINDS.into_iter().enumerate() {
            let sum: u64 = counts.iter().map(|counts| counts.faults()[place]).sum();
            if sum > 0 {
                text.sample(name, &[("route", route), ("kind", kind)], sum);
            }
        }
    }
}

fn services(text: &mut Text<'_>, kept: &Kept) {
    let families: [Number<ServiceCounters>; 8] = [
        ("ringway_upstream_requests_total", "counter", "Requests sent, tries counted.", |c| c.requests.get()),
        ("ringway_upstream_requests_active", "gauge", "Exchanges under way.", |c| c.active.get()),
        ("ringway_upstream_connects_total", "counter", "Connections begun.", |c| c.connects.get()),
        (
            "ringway_upstream_connect_failures_total",
            "counter",
            "Connections refused, unreachable or too late.",
            |c| c.connect_failures.get(),
        ),
        ("ringway_upstream_reuses_total", "counter", "Requests sent on a pooled connection.", |c| {
            c.reuses.get()
        }),
        ("ringway_upstream_connections_active", "gauge", "Connections with an exchange on them.", |c| {
            c.connections_active.get()
        }),
        (
            "ringway_upstream_pings_unanswered_total",
            "counter",
            "Connections of HTTP/2 ended because a PING was not answered.",
            |c| c.pings_unanswered.get(),
        ),
        ("ringway_upstream_connections_idle", "gauge", "Connections in the pool.", |c| {
            c.connections_idle.get()
        }),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (service, counts) in kept.services.iter() {
            let sum = counts.iter().map(|counts| value(counts)).sum();
            text.sample(name, &[("service", service.map_or(REMOVED, String::as_str))], sum);
        }
    }
    for (name, help, value) in super::picks::PickCounters::FAMILIES {
        text.family(name, "counter", help);
        for (service, counts) in kept.services.iter() {
            let sum = counts.iter().map(|counts| value(&counts.picks)).sum();
            text.sample(name, &[("service", service.map_or(REMOVED, String::as_str))], sum);
        }
    }
    retries::services(text, kept);
    let name = "ringway_upstream_response_head_seconds";
    text.family(name, "histogram", "Request sent to response head read.");
    for (service, counts) in kept.services.iter() {
        let labels = [("service", service.map_or(REMOVED, String::as_str))];
        text.histogram(name, &labels, &merged(&DURATIONS, counts, |counts| &counts.response_head));
    }
}

fn merged<C>(bounds: &'static Bounds, counts: &[Arc<C>], histogram: impl Fn(&C) -> &Histogram) -> Merged {
    let mut merged = Merged::new(bounds);
    counts.iter().for_each(|counts| merged.add(histogram(counts)));
    merged
}

/// The text so far. Writing to a `String` can't fail.
pub(crate) struct Text<'a> {
    out: &'a mut String,
}

impl Text<'_> {
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.out.push_str(name);
        self.labels(labels);
        let _ = writeln!(self.out, " {value}");
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], merged: &Merged) {
        let mut with_bound = labels.to_vec();
        with_bound.push(("le", ""));
        for (bound, count) in merged.cumulative() {
            if let Some(last) = with_bound.last_mut() {
                *last = ("le", bound);
            }
            let _ = write!(self.out, "{name}_bucket");
            self.labels(&with_bound);
            let _ = writeln!(self.out, " {count}");
        }
        let _ = write!(self.out, "{name}_sum");
        self.labels(labels);
        let _ = writeln!(self.out, " {}.{:06}", merged.sum_us() / 1_000_000, merged.sum_us() % 1_000_000);
        let _ = write!(self.out, "{name}_count");
        self.labels(labels);
        let _ = writeln!(self.out, " {}", merged.count());
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        for (place, (name, value)) in labels.iter().enumerate() {
            self.out.push(if place == 0 { '{' } else { ',' });
            self.out.push_str(name);
            self.out.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    _ => self.out.push(character),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
    }
}

#[cfg(test)]
mod tests;
