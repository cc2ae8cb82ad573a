//! How endpoints are checked, and judged by what their exchanges come to.

use std::time::Duration;

/// `services.X.health`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub by: CheckBy,
    /// From one check to the next.
    pub interval: Duration,
    /// More or less of it, in parts per million.
    pub jitter: u32,
    /// Of one check, connecting included.
    pub timeout: Duration,
    /// Checks in a row that make an endpoint healthy again.
    pub healthy: u32,
    /// Failed checks in a row that make it unhealthy.
    pub unhealthy: u32,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckBy {
    /// `health.grpc`: the name that is asked about; empty: the server as a whole.
    Grpc(String),
    /// `health.http`
    Http(HttpCheck),
    /// `health.tcp`
    Tcp,
}

/// `services.X.health.http`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// With its query, as written.
    pub path: String,
    /// What is well, each from one to the other.
    pub statuses: Vec<(u16, u16)>,
    /// What the body must contain.
    pub body: Option<String>,
    /// Host, in place of the service's authority.
    pub host: Option<String>,
}

/// `services.X.eject`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row; 0: not judged by that.
    pub consecutive: u32,
    /// Least share that must succeed, in parts per million; 0: not judged by that.
    pub success: u32,
    /// Times the siblings' median latency, in hundredths.
    pub latency: Option<u32>,
    /// Over which the two above are looked at.
    pub interval: Duration,
    /// Of a first ejection.
    pub base: Duration,
    /// Of any; not less.
    pub max: Duration,
    /// Of the endpoints, that may be ejected, in parts per million; one may always be.
    pub share: u32,
    /// Within an interval, or an endpoint is not judged by it.
    pub requests: u32,
    /// Whether anything comes of it.
    pub mode: EjectMode,
}

/// `services.X.eject.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EjectMode {
    /// Ejected endpoints get nothing.
    #[default]
    Enforce,
    /// It is only reported.
    Observe,
}
