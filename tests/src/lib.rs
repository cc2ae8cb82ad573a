//! The harness of the end-to-end tests: it starts the real binary and talks to it from both sides.
//!
//! Threads, blocking sockets and raw bytes only, and no protocol code of the engine's, so that it can't share its
//! bugs. `gateway` runs the binary, `client` is the side that asks, `origins` the side that answers (and how they
//! misbehave), `case` and `play` are the wire texts under `tests/wire/`.
//!
//! `RINGWAY_BIN` names another binary to test; `RINGWAY_TEST_BACKEND` is `auto` (default), `io_uring` or `epoll`.
#![forbid(unsafe_code)]

pub mod acme;
pub mod binary;
pub mod case;
pub mod client;
pub mod escape;
pub mod gateway;
pub mod generator;
pub mod http2;
pub mod load;
pub mod metrics;
pub mod names;
pub mod origins;
pub mod peers;
pub mod play;
pub mod ports;
pub mod process;
pub mod redis;
pub mod tls;
pub mod wait;
pub mod wire;

pub use client::{Client, Response};
pub use gateway::Gateway;
pub use origins::Origin;
