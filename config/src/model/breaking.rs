//! How much a service may be asked at once, and what is shed when there is too much.

use std::time::Duration;

/// `services.X.breaker`: limits for the node as a whole. `None`: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Connections to all endpoints together.
    pub connections: Option<u32>,
    /// Requests under way, tries counted.
    pub requests: Option<u32>,
    /// Requests that wait for their turn (default 1024).
    pub pending: u32,
    /// How long one may wait (default 1 s).
    pub wait: Duration,
    /// Retries under way.
    pub retries: Option<u32>,
    /// Of each endpoint.
    pub endpoint: EndpointBreaker,
}

/// `services.X.breaker.endpoint`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointBreaker {
    /// Connections to it (default 8192).
    pub connections: u32,
    /// Requests under way there.
    pub requests: Option<u32>,
}

/// `services.X.concurrency`: a limit on requests under way that is found rather than written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// How.
    pub mode: ConcurrencyMode,
    /// Never fewer than this many (default 4).
    pub min: u32,
    /// Never more (default 1000).
    pub max: u32,
    /// `gradient`: how much slower than at rest is still well, in parts per million (default 25%).
    pub tolerance: u32,
    /// `gradient`: how often what "at rest" means is measured anew (default 1 min).
    pub remeasure: Duration,
    /// `aimd`: slower than this on average is too much (default 250 ms).
    pub latency: Duration,
    /// `aimd`: more failures than this are too many, in parts per million (default 10%).
    pub failures: u32,
}

/// `services.X.concurrency.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConcurrencyMode {
    /// By how latency compares with that at rest (default).
    #[default]
    Gradient,
    /// One more while all is well, a tenth fewer when it is not.
    Aimd,
}

/// `overload`. `None`: not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// A worker's loop that is this late is overloaded (default 250 ms).
    pub loop_lag: Option<Duration>,
    /// So much of the memory that may be used is too much, in parts per million (default 90%).
    pub memory: Option<u32>,
}

/// `routes[].priority`: what is shed last comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Never shed.
    Critical,
    /// Shed after all others.
    High,
    /// Shed after those that are low (default).
    #[default]
    Normal,
    /// Shed first.
    Low,
}
