//! `breaker`, `concurrency`, `overload` and `priority` as they are shown.

use serde_json::{Value, json};

use crate::model::{Breaker, Concurrency, ConcurrencyMode, Overload, Priority};
use crate::units::{duration_text, share_text};

fn limit(limit: Option<u32>) -> Value {
    limit.map_or(json!("none"), |limit| json!(limit))
}

pub(super) fn breaker(breaker: &Breaker) -> Value {
    json!({
        "connections": limit(breaker.connections),
        "requests": limit(breaker.requests),
        "pending": breaker.pending,
        "wait": duration_text(breaker.wait),
        "retries": limit(breaker.retries),
        "endpoint": {
            "connections": breaker.endpoint.connections,
            "requests": limit(breaker.endpoint.requests),
        },
    })
}

/// What means nothing to the mode is left out.
pub(super) fn concurrency(concurrency: &Concurrency) -> Value {
    match concurrency.mode {
        ConcurrencyMode::Gradient => json!({
            "mode": "gradient",
            "min": concurrency.min,
            "max": concurrency.max,
            "tolerance": share_text(concurrency.tolerance),
            "remeasure": duration_text(concurrency.remeasure),
        }),
        ConcurrencyMode::Aimd => json!({
            "mode": "aimd",
            "min": concurrency.min,
            "max": concurrency.max,
            "latency": duration_text(concurrency.latency),
            "failures": share_text(concurrency.failures),
        }),
    }
}

pub(super) fn overload(overload: &Overload) -> Value {
    json!({
        "loop_lag": overload.loop_lag.map_or("none".to_owned(), duration_text),
        "memory": overload.memory.map_or("none".to_owned(), share_text),
    })
}

pub(super) fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "critical",
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}
