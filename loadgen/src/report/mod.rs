//! What a run found, and how it is told.
pub mod model;
