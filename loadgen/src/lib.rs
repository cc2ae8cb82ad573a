//! The load generator.
pub mod report;
