//! What a run found, and how it is told.

pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod model;
pub(crate) mod plot;
#[cfg(test)]
pub(crate) mod sample;
pub mod text;
