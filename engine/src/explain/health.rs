//! How a service's endpoints are checked and judged, in words.

use super::render::duration;
use crate::snapshot::{CheckPlan, EjectPlan, HealthPlan, ServicePlan};

/// A line for each.
pub(super) fn told(service: &ServicePlan) -> Vec<String> {
    let lines = [service.health.as_ref().map(health), service.eject.as_ref().map(eject)];
    lines.into_iter().flatten().collect()
}

fn health(plan: &HealthPlan) -> String {
    let asked = match &plan.by {
        CheckPlan::Grpc(service) if service.is_empty() => "gRPC health of the server".to_owned(),
        CheckPlan::Grpc(service) => format!("gRPC health of {service}"),
        CheckPlan::Tcp => "a connection".to_owned(),
        CheckPlan::Http(http) => {
            let range = |(first, last): &(u16, u16)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let statuses: Vec<String> = http.statuses.iter().map(range).collect();
            let body =
                http.body.as_ref().map(|body| format!(" with {body:?} in the body")).unwrap_or_default();
            format!("GET {}, well is {}{body}", http.path, statuses.join(", "))
        }
    };
    format!(
        "health: {asked}, every {}; unhealthy after {} failures, healthy after {}",
        duration(plan.interval_ms),
        plan.unhealthy,
        plan.healthy
    )
}

fn eject(plan: &EjectPlan) -> String {
    let percent = |ppm: u32| f64::from(ppm) / 1e4;
    let mut by = Vec::new();
    if plan.consecutive > 0 {
        by.push(format!("{} failures in a row", plan.consecutive));
    }
    let interval = duration(plan.interval_ms);
    if plan.success_ppm > 0 {
        by.push(format!("less than {}% success within {interval}", percent(plan.success_ppm)));
    }
    if let Some(hundredths) = plan.latency_percent {
        by.push(format!("more than {} times its siblings' latency", f64::from(hundredths) / 100.0));
    }
    let only = if plan.enforced { "" } else { ", observed only" };
    let by = if by.is_empty() { "nothing".to_owned() } else { by.join(", ") };
    let (base, max) = (duration(plan.base_ms), duration(plan.max_ms));
    format!("eject: by {by}; for {base} to {max}, at most {}% of them{only}", percent(plan.share_ppm))
}
