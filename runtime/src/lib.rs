//! (being written)

pub mod activation;
