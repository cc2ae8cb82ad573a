//! Ringway's load generator: how long answers take, and how sure that is.

pub mod report;
pub mod serve;
pub mod units;
