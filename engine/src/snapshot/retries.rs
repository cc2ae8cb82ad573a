//! Plans of what is sent more than once: retries, hedges, copies.

use ringway_config::model;

use super::{ServiceId, ms};
use crate::retry::{BudgetPlan, Conditions, RetryPlan};

/// When another endpoint is asked though the first may yet answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePlan {
    /// After this time, or that within which this share of answers came of late.
    pub after: HedgeAfter,
    /// Never earlier.
    pub at_least_ms: u64,
}

/// See [`HedgePlan::after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// Parts per million of the answers.
    Share(u32),
    /// A time.
    Ms(u64),
}

/// Where copies of requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorPlan {
    /// Whom.
    pub service: ServiceId,
    /// Parts per million of the requests.
    pub share_ppm: u32,
    /// Copies under way at once, on the node.
    pub concurrency: u32,
    /// Of a body; larger ones are not mirrored.
    pub body_bytes_max: u32,
}

pub(super) fn retries(retries: &model::Retries) -> RetryPlan {
    RetryPlan {
        attempts: retries.attempts,
        when: conditions(&retries.when),
        per_try_ms: retries.per_try_timeout.map(ms),
        backoff_ms: ms(retries.backoff),
        backoff_max_ms: ms(retries.backoff_max),
        buffer_bytes: retries.buffer,
        unsafe_too: retries.unsafe_too,
    }
}

fn conditions(when: &[model::RetryWhen]) -> Conditions {
    let mut conditions = Conditions::default();
    for one in when {
        match one {
            model::RetryWhen::Connect => conditions.connect = true,
            model::RetryWhen::Reset => conditions.reset = true,
            model::RetryWhen::Timeout => conditions.timeout = true,
            model::RetryWhen::Gateway => (502..=504).for_each(|status| conditions.add_status(status)),
            model::RetryWhen::ServerErrors => (500..600).for_each(|status| conditions.add_status(status)),
            model::RetryWhen::Status(status) => conditions.add_status(*status),
            model::RetryWhen::Grpc(code) => conditions.add_grpc(*code),
        }
    }
    conditions
}

pub(super) fn hedge(hedge: &model::Hedge) -> HedgePlan {
    let after = match hedge.after {
        model::HedgeAfter::Share(ppm) => HedgeAfter::Share(ppm),
        model::HedgeAfter::Time(time) => HedgeAfter::Ms(ms(time)),
    };
    HedgePlan { after, at_least_ms: ms(hedge.at_least) }
}

pub(super) fn mirror(mirror: &model::Mirror) -> MirrorPlan {
    MirrorPlan {
        service: ServiceId(mirror.service.0),
        share_ppm: mirror.share,
        concurrency: mirror.concurrency,
        body_bytes_max: mirror.body,
    }
}

pub(super) fn budget(budget: &model::RetryBudget) -> BudgetPlan {
    BudgetPlan { share_ppm: budget.share, floor: budget.floor }
}
