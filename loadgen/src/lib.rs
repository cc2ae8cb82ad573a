//! Ringway's load generator: how long answers take, and how sure that is.

pub mod environment;
pub mod progress;
pub mod report;
pub mod scenario;
pub mod units;
pub mod watch;
