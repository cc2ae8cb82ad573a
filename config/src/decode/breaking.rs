//! `services.X.breaker`, `services.X.concurrency`, `overload`, `routes[].priority`

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{Breaker, Concurrency, ConcurrencyMode, EndpointBreaker, Overload, Priority};
use crate::units::Problem;

use super::Sink;
use super::fields::Fields;

pub(super) fn breaker(service: &Fields<'_>, sink: &mut Sink) -> Breaker {
    let fields = service.object_or_default("breaker", &tables::BREAKER, sink);
    let endpoint = fields.object_or_default("endpoint", &tables::ENDPOINT_BREAKER, sink);
    let limit = |fields: &Fields<'_>, name, sink: &mut Sink| {
        fields.integer_or(name, sink).and_then(|limit| u32::try_from(limit).ok())
    };
    let breaker = Breaker {
        connections: limit(&fields, "connections", sink),
        requests: limit(&fields, "requests", sink),
        pending: fields.integer("pending", sink),
        wait: fields.duration("wait", sink),
        retries: limit(&fields, "retries", sink),
        endpoint: EndpointBreaker {
            connections: endpoint.integer("connections", sink),
            requests: limit(&endpoint, "requests", sink),
        },
    };
    for (name, whole) in [("connections", breaker.connections), ("requests", breaker.requests)] {
        let of_endpoint =
            if name == "requests" { breaker.endpoint.requests } else { Some(breaker.endpoint.connections) };
        if let (Some(node), Some(one), Some(whole)) = (endpoint.node(name), of_endpoint, whole)
            && one > whole
        {
            let message = format!("an endpoint never gets {one}: the service as a whole may have {whole}");
            sink.push(Diagnostic::warning("never-reached", node.place, message));
        }
    }
    let counts = breaker.requests.is_some()
        || breaker.endpoint.requests.is_some()
        || breaker.connections.is_some()
        || service.has("concurrency");
    for name in ["pending", "wait"] {
        if fields.has(name) && !counts {
            let message = format!("`{name}` says how requests wait, but there is no limit to wait for");
            let diagnostic = Diagnostic::warning("no-effect", fields.key_place(name), message);
            sink.push(diagnostic.help("give `breaker` a limit: `requests`, for instance"));
        }
    }
    breaker
}

pub(super) fn concurrency(service: &Fields<'_>, sink: &mut Sink) -> Option<Concurrency> {
    let fields = service.object("concurrency", sink)?;
    let concurrency = Concurrency {
        mode: fields.chosen("mode", &[ConcurrencyMode::Gradient, ConcurrencyMode::Aimd], sink),
        min: fields.integer("min", sink),
        max: fields.integer("max", sink),
        tolerance: fields.share("tolerance", sink),
        remeasure: fields.duration("remeasure", sink),
        latency: fields.duration("latency", sink),
        failures: fields.share("failures", sink),
    };
    if concurrency.min > concurrency.max
        && let Some(node) = fields.node("min").or(fields.node("max"))
    {
        let message = format!("`min` ({}) is above `max` ({})", concurrency.min, concurrency.max);
        sink.problem(node, Problem::new("out-of-range", message));
    }
    let (others, mode) = match concurrency.mode {
        ConcurrencyMode::Gradient => (["latency", "failures"], "gradient"),
        ConcurrencyMode::Aimd => (["tolerance", "remeasure"], "aimd"),
    };
    for name in others {
        if fields.has(name) {
            let message = format!("`{name}` means nothing to `mode: {mode}`");
            sink.push(Diagnostic::warning("no-effect", fields.key_place(name), message));
        }
    }
    Some(concurrency)
}

pub(super) fn overload(config: &Fields<'_>, sink: &mut Sink) -> Overload {
    let fields = config.object_or_default("overload", &tables::OVERLOAD, sink);
    let memory = fields.share_or("memory", sink);
    if let Some(node) = fields.node("memory")
        && memory == Some(0)
    {
        sink.problem(
            node,
            Problem::new("out-of-range", "some memory is always used").help("write a larger share"),
        );
    }
    Overload { loop_lag: fields.duration_or("loop_lag", sink), memory }
}

/// Of a route that says nothing: what it answers by itself costs next to nothing, and is what health checks ask for.
pub(super) fn priority(route: &Fields<'_>, sink: &mut Sink) -> Priority {
    let priorities = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
    match route.choice("priority", sink) {
        Some(index) => priorities.get(index).copied().unwrap_or_default(),
        None if route.has("respond") => Priority::Critical,
        None => Priority::Normal,
    }
}
