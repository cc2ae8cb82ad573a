//! How much a service may be asked at once, and how late a route is shed.

use super::render::duration;
use super::services::Carries;
use crate::breaker::{Concurrency, Limits};
use crate::overload::Priority;
use crate::snapshot::ServicePlan;

/// `None`: as most are.
pub(super) fn priority(priority: Priority) -> Option<String> {
    match priority {
        Priority::Normal => None,
        Priority::Critical => Some("overload: critical, never shed".to_owned()),
        other => Some(format!("overload: of {} priority", other.name())),
    }
}

pub(super) fn of(service: &ServicePlan, carries: Carries) -> String {
    let Limits { connections, requests, pending, wait_ms, retries, .. } = service.breaker;
    let Limits { endpoint_connections, endpoint_requests, .. } = service.breaker;
    let mut told = Vec::new();
    let mut limit = |count: u32, of: &str| {
        if count != u32::MAX {
            told.push(format!("{count} {of}"));
        }
    };
    if carries == Carries::Datagrams {
        return String::new();
    }
    limit(connections, "connections");
    limit(endpoint_connections, "connections to each endpoint");
    if carries == Carries::Bytes {
        return told.join(", ");
    }
    limit(requests, "requests");
    limit(endpoint_requests, "requests at each endpoint");
    limit(retries, "retries");
    match service.concurrency {
        None => {}
        Some(Concurrency::Gradient { min, max, .. }) => {
            told.push(format!("{min} to {max} requests, found by latency at rest"));
        }
        Some(Concurrency::Aimd { min, max, latency_ns, .. }) => {
            let ms = latency_ns / 1_000_000;
            told.push(format!("{min} to {max} requests, while answers take {} or less", duration(ms)));
        }
    }
    if service.has_gate() {
        told.push(format!("{pending} more wait, up to {}, else 503", duration(wait_ms)));
    }
    told.join(", ")
}
