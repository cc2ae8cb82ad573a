//! The request path: listeners, protocols, routing, policies, balancing, upstreams, observing.
//!
//! Codecs, routing, policies and balancing are pure: bytes or values in, decisions out, `now` passed in.
//! Only `snapshot` knows config types.

pub mod balance;
pub mod date;
pub mod engine;
pub mod explain;
pub mod forwarded;
pub mod http1;
pub mod local_reply;
pub mod observe;
pub mod path;
pub mod proxy_protocol;
pub mod reason;
pub mod request_id;
pub mod routing;
pub mod sink;
pub mod snapshot;

pub use engine::{Applied, ApplyError, DrainOutcome, Engine, Handles, Inherited, StartError, WorkerInfo};
