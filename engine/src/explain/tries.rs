//! What of a request is sent more than once, and why it is not.

use super::Request;
use super::render::{bytes, duration, percent};
use crate::http1::Method;
use crate::retry::RetryPlan;
use crate::snapshot::{ForwardPlan, HedgeAfter, Snapshot};

/// One line for each thing; none where the route says nothing of it.
pub(super) fn tell(snapshot: &Snapshot, forward: &ForwardPlan, request: &Request) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(plan) = &forward.retries {
        told.push(retries(plan));
        told.extend(why_not(plan, request));
        for (part, _) in forward.split.weights() {
            let service = snapshot.service(part.service);
            let budget = service.retry_budget;
            let share = percent(budget.share_ppm);
            let floor = budget.floor;
            told.push(format!(
                "retry budget of {}: {share} of its requests under way, and {floor} a second",
                service.name
            ));
        }
    }
    if let Some(plan) = &forward.hedge {
        let after = match plan.after {
            HedgeAfter::Share(ppm) => {
                format!("the time of {} of answers", percent(ppm))
            }
            HedgeAfter::Ms(ms) => duration(ms),
        };
        let when = format!(
            "hedge: another endpoint is asked too after {after}, at least {}",
            duration(plan.at_least_ms)
        );
        told.push(
            match is_idempotent(request) || forward.retries.as_ref().is_some_and(|plan| plan.unsafe_too) {
                true => when,
                false => format!(
                    "hedge: none, for {} is not idempotent and there is no Idempotency-Key",
                    request.method
                ),
            },
        );
    }
    if let Some(plan) = &forward.mirror {
        told.push(format!(
            "mirror: {} are copied to {}, {} at once, bodies up to {}",
            percent(plan.share_ppm),
            snapshot.service(plan.service).name,
            plan.concurrency,
            bytes(u64::from(plan.body_bytes_max))
        ));
    }
    told
}

fn retries(plan: &RetryPlan) -> String {
    let each = plan.per_try_ms.map_or_else(String::new, |ms| format!(", each within {}", duration(ms)));
    format!(
        "retries: up to {} more after {}{each}, on another endpoint where there is one; waits up to {}, doubling up to {}; \
         bodies up to {}",
        plan.attempts,
        plan.when.words().join(", "),
        duration(plan.backoff_ms),
        duration(plan.backoff_max_ms),
        bytes(u64::from(plan.buffer_bytes))
    )
}

fn why_not(plan: &RetryPlan, request: &Request) -> Option<String> {
    if plan.unsafe_too || is_idempotent(request) {
        return None;
    }
    Some(format!(
        "retries: {} is not idempotent and there is no Idempotency-Key, so only where no endpoint has worked on it (no \
         connection, or it says so) or a listed code of gRPC came",
        request.method
    ))
}

fn is_idempotent(request: &Request) -> bool {
    Method::of(request.method.as_bytes()).is_idempotent() || request.header("idempotency-key").is_some()
}
