//! The request path: listeners, protocols, routing, policies, balancing, upstreams, observing.
//!
//! Start at `exchange`: it shows one request from end to end. Codecs, routing, policies and balancing are pure: bytes
//! or values in, decisions out, `now` passed in. Only `snapshot` and `engine` know config types.

mod accept;
mod arrivals;
pub mod balance;
mod body;
pub mod breaker;
mod carried;
mod challenges;
pub mod date;
pub mod detect;
mod downstream;
pub mod engine;
mod exchange;
pub mod explain;
pub mod faults;
pub mod forwarded;
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod grpc_json;
pub mod grpc_web;
pub mod http1;
pub mod http2;
pub mod key;
pub mod limits;
mod link;
pub mod local_reply;
pub mod observe;
pub mod outcomes;
mod outgoing;
pub mod overload;
pub mod overrides;
pub mod path;
pub mod proxy_protocol;
pub mod reason;
pub mod request_id;
pub mod retry;
pub mod routing;
pub mod sink;
#[cfg(test)]
mod sizes;
pub mod snapshot;
pub mod standing;
pub mod tls;
mod tunnel;
mod udp;
mod upstream;
mod waiters;
mod websocket;
mod worker;

pub use challenges::Challenge;
pub use engine::{
    Applied, ApplyError, Check, DrainOutcome, EndpointInfo, Engine, FleetLimit, Handles, Inherited, Judged,
    RouteInfo, ServiceInfo, StartError, Strain, WorkerInfo,
};
