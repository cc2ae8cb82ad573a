//! What is off the request path: the admin API, DNS, reloading, the access log's way out, the service manager.
//!
//! Start with [`background::Background`]. Workers are reached only through the engine's handles and never waited
//! for on the request path.

mod acme;
pub mod admin;
pub mod background;
pub mod dns;
mod drift;
pub mod ejection;
mod fleet;
mod grpc;
mod health;
pub mod log_writer;
mod look;
mod overrides;
mod pressure;
mod process;
mod reload;
pub mod say;
pub mod standing;
pub mod status;
pub mod systemd;
pub mod watch;
