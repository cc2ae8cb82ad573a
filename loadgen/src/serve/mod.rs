//! An origin with known behaviour: to prove the load generator right, and to try things against.
pub mod behaviour;
pub mod delay;
