//! Breaking: how much a service and each of its endpoints may be asked at once, for the node as a whole.
//!
//! On the line: before `balance`, once for each try. What is counted is shared by all workers:
//!
//! ```text
//! Ledger   permits of one limit, most of them kept where they are used
//! Gate     a service's permits for requests, and the waiting room of those who found none
//! Door     the gate as one worker sees it: its line, and waking who has a turn
//! Line     who waits on this worker, first or last come first
//! Tally    a limit that is asked only now and then: connections, retries
//! Shares   all of that by service and address, as workers are given it
//! ```
//!
//! Invariant: a limit is never exceeded, whatever workers do at the same time; and whoever waits is woken when a permit
//! is free, wherever it was given back.

mod adaptive;
mod door;
mod gate;
mod ledger;
mod line;
mod shares;
mod tally;

#[cfg(test)]
mod simulation;

pub use adaptive::Concurrency;
pub(crate) use adaptive::Samples;
pub(crate) use door::{Door, Ended};
pub(crate) use gate::Gate;
pub(crate) use ledger::Ledger;
pub(crate) use shares::{Board, EndpointShare, ServiceShare, Shares};

pub(crate) use tally::Tally;

/// What `services.X.breaker` says. `u32::MAX`: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to all endpoints together.
    pub connections: u32,
    /// Requests under way, each try counted.
    pub requests: u32,
    /// Requests that wait for their turn.
    pub pending: u32,
    /// How long one may wait.
    pub wait_ms: u64,
    /// Retries under way.
    pub retries: u32,
    /// Connections to one endpoint.
    pub endpoint_connections: u32,
    /// Requests under way at one endpoint.
    pub endpoint_requests: u32,
}
