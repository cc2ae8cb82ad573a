//! What is sent more than once, as configured: retries and their budget, hedges, copies.

use std::time::Duration;

use super::ServiceId;

/// `routes[].retries`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries beyond the first.
    pub attempts: u32,
    /// After what. Never empty.
    pub when: Vec<RetryWhen>,
    /// Of each try, to the head of its response.
    pub per_try_timeout: Option<Duration>,
    /// The first wait is up to this.
    pub backoff: Duration,
    /// No wait is up to more. Not less than `backoff`.
    pub backoff_max: Duration,
    /// Bytes of a request's body that are kept to be sent again.
    pub buffer: u32,
    /// Also methods that are not idempotent (`unsafe`).
    pub unsafe_too: bool,
}

/// One of `routes[].retries.when`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryWhen {
    /// `connect`: there is no connection.
    Connect,
    /// `reset`: the connection ended before the response's head.
    Reset,
    /// `timeout`: the endpoint took too long.
    Timeout,
    /// `gateway`: 502, 503 and 504.
    Gateway,
    /// `5xx`
    ServerErrors,
    /// A status, 400 to 599.
    Status(u16),
    /// `grpc:unavailable`: a code of gRPC, 1 to 16.
    Grpc(u8),
}

/// `routes[].hedge`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// When another endpoint is asked too.
    pub after: HedgeAfter,
    /// Never earlier.
    pub at_least: Duration,
}

/// `routes[].hedge.after`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// The time in which this share (parts per million) of answers came of late.
    Share(u32),
    /// A time.
    Time(Duration),
}

/// `routes[].mirror`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets copies.
    pub service: ServiceId,
    /// Parts per million of requests.
    pub share: u32,
    /// Copies under way at once, on the node.
    pub concurrency: u32,
    /// Bytes of a body; larger ones are not copied.
    pub body: u32,
}

/// `services.X.retry_budget`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Parts per million of the requests under way.
    pub share: u32,
    /// A second, on the node.
    pub floor: u32,
}
