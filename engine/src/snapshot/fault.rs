//! Faults: from what was configured, or is started by hand.

use std::sync::Arc;

use ringway_config::{model, time, units};

use super::condition;
use crate::faults::{Abort, FaultPlan, SHARE_ALL};

/// What an exchange may suffer.
pub fn fault_plan(fault: &model::Fault) -> FaultPlan {
    FaultPlan {
        delay: fault.delay,
        abort: fault.abort.map(|abort| match abort {
            model::Abort::Status(status) => Abort::Status(status),
            model::Abort::Grpc(code) => Abort::Grpc(code),
        }),
        share_ppm: fault.share,
        headers: fault.headers.iter().map(condition).collect(),
        until_s: fault.until,
        told: told(fault),
    }
}

/// `delay by 2s, then abort with 503, 10% of those with x-chaos: 1, until 2026-12-01T00:00:00Z`
fn told(fault: &model::Fault) -> Arc<str> {
    let delay = fault.delay.map(|delay| format!("delay by {}", units::duration_text(delay)));
    let abort = fault.abort.map(|abort| format!("abort with {}", abort.text()));
    let mut told = delay.into_iter().chain(abort).collect::<Vec<_>>().join(", then ");
    if fault.share < SHARE_ALL {
        told.push_str(&format!(", {}", units::share_text(fault.share)));
    }
    // Values may be secrets.
    let names: Vec<&str> = fault.headers.iter().map(|one| one.name.as_str()).collect();
    if !names.is_empty() {
        told.push_str(&format!(" of those with {} as said", names.join(" and ")));
    }
    told.push_str(&format!(", until {}", time::text(fault.until)));
    told.into()
}
