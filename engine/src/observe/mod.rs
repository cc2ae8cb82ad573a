//! What can be seen from outside: counters, histograms, Prometheus text, the access log. The end of the line.
//!
//! Invariant: observing never makes a request wait. Counters have one writer each and no lock; a log line that does
//! not fit its ring is dropped and counted.

pub mod access_log;
pub mod breaking;
pub mod counter;
pub mod dropped;
pub mod escape;
pub mod histogram;
mod limits;
pub mod picks;
pub mod prometheus;
pub mod record;
pub mod redact;
pub mod registry;
pub mod retries;
pub mod stats;

pub use access_log::{AccessLog, LogWake};
pub use breaking::{BreakerRow, Refusal};
pub use dropped::Dropped;
pub use limits::LimitCounters;
pub use record::{CarriedRecord, LineFormat, Record};
pub use registry::{Counted, NO_ROUTE, Names, Registry};
pub use stats::{FaultKind, ListenerCounters, RouteCounters, ServiceCounters, WorkerStats};
