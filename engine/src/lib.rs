//! The request path: listeners, protocols, routing, policies, balancing, upstreams, observing.
//!
//! Codecs, routing, policies and balancing are pure: bytes or values in, decisions out, `now` passed in.
//! Only `snapshot` knows config types.

pub mod engine;
pub mod http1;
pub mod path;

pub use engine::{Applied, ApplyError, DrainOutcome, Engine, Handles, Inherited, StartError, WorkerInfo};
