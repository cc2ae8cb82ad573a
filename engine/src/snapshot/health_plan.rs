//! How a service's endpoints are checked and judged, off the workers.

use ringway_config::model;

use super::ms;
use crate::outcomes::RUN_MAX;

/// How endpoints are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// What is asked.
    pub by: CheckPlan,
    /// From one check to the next.
    pub interval_ms: u64,
    /// More or less of it, in parts per million.
    pub jitter_ppm: u32,
    /// Of one check.
    pub timeout_ms: u64,
    /// Good ones in a row that make an endpoint healthy again.
    pub healthy: u32,
    /// Failed ones in a row that make it unhealthy.
    pub unhealthy: u32,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckPlan {
    /// The gRPC health protocol about this service; empty: the server as a whole.
    Grpc(Box<str>),
    /// GET by HTTP.
    Http(HttpCheckPlan),
    /// A connection, and TLS where the service speaks it.
    Tcp,
}

/// What is asked by HTTP, and what is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheckPlan {
    /// With its query.
    pub path: Box<str>,
    /// From one to the other.
    pub statuses: Box<[(u16, u16)]>,
    /// What the body must contain.
    pub body: Option<Box<str>>,
    /// In place of the service's authority.
    pub host: Option<Box<str>>,
}

/// How endpoints are judged by what their exchanges come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectPlan {
    /// Failures in a row; 0: not judged by that.
    pub consecutive: u32,
    /// Least share that must succeed, in parts per million; 0: not judged by that.
    pub success_ppm: u32,
    /// Times the siblings' median latency, in hundredths.
    pub latency_percent: Option<u32>,
    /// Over which the two above are looked at.
    pub interval_ms: u64,
    /// Of a first ejection.
    pub base_ms: u64,
    /// Of any.
    pub max_ms: u64,
    /// Of the endpoints, that may be ejected.
    pub share_ppm: u32,
    /// Within an interval, or an endpoint is not judged by it.
    pub requests: u32,
    /// Else it is only reported.
    pub enforced: bool,
}

impl EjectPlan {
    /// Failures that a worker must tell apart.
    pub fn run_max(&self) -> u32 {
        self.consecutive.clamp(1, RUN_MAX)
    }
}

pub(super) fn health_plan(health: &model::Health) -> HealthPlan {
    HealthPlan {
        by: match &health.by {
            model::CheckBy::Grpc(service) => CheckPlan::Grpc(service.as_str().into()),
            model::CheckBy::Http(http) => CheckPlan::Http(HttpCheckPlan {
                path: http.path.as_str().into(),
                statuses: http.statuses.clone().into(),
                body: http.body.as_deref().map(Into::into),
                host: http.host.as_deref().map(Into::into),
            }),
            model::CheckBy::Tcp => CheckPlan::Tcp,
        },
        interval_ms: ms(health.interval),
        jitter_ppm: health.jitter,
        timeout_ms: ms(health.timeout),
        healthy: health.healthy,
        unhealthy: health.unhealthy,
    }
}

pub(super) fn eject_plan(eject: &model::Eject) -> EjectPlan {
    EjectPlan {
        consecutive: eject.consecutive,
        success_ppm: eject.success,
        latency_percent: eject.latency,
        interval_ms: ms(eject.interval),
        base_ms: ms(eject.base),
        max_ms: ms(eject.max),
        share_ppm: eject.share,
        requests: eject.requests,
        enforced: eject.mode == model::EjectMode::Enforce,
    }
}
