//! Breaking and overload as they run.

use ringway_config::model;

use super::ms;
use crate::breaker::{Concurrency, Limits};
use crate::overload::{OverloadPlan, Priority};

const PPM: f64 = 1e6;

pub(super) fn limits(breaker: &model::Breaker) -> Limits {
    let limit = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
    Limits {
        connections: limit(breaker.connections),
        requests: limit(breaker.requests),
        pending: breaker.pending,
        wait_ms: ms(breaker.wait),
        retries: limit(breaker.retries),
        endpoint_connections: breaker.endpoint.connections,
        endpoint_requests: limit(breaker.endpoint.requests),
    }
}

pub(super) fn concurrency(concurrency: &model::Concurrency) -> Concurrency {
    let model::Concurrency { mode, min, max, .. } = *concurrency;
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    match mode {
        model::ConcurrencyMode::Gradient => Concurrency::Gradient {
            min,
            max,
            tolerance: 1.0 + f64::from(concurrency.tolerance) / PPM,
            remeasure_ns: nanos(concurrency.remeasure),
        },
        model::ConcurrencyMode::Aimd => Concurrency::Aimd {
            min,
            max,
            latency_ns: nanos(concurrency.latency),
            failures: f64::from(concurrency.failures) / PPM,
        },
    }
}

pub(super) fn priority(priority: model::Priority) -> Priority {
    match priority {
        model::Priority::Critical => Priority::Critical,
        model::Priority::High => Priority::High,
        model::Priority::Normal => Priority::Normal,
        model::Priority::Low => Priority::Low,
    }
}

pub(super) fn overload(config: &model::Config) -> OverloadPlan {
    let lag = config.overload.loop_lag.map(|lag| u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX));
    OverloadPlan {
        loop_lag_ns: lag,
        memory: config.overload.memory.map(|share| f64::from(share) / PPM),
        memory_bytes: config.runtime.memory,
    }
}
