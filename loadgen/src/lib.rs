//! Ringway's load generator: how long answers take, and how sure that is.
//!
//! `setup` turns what was asked into a `plan`; `run` carries it on one event loop for each thread; [`report`] tells
//! what came of it, and `compare` whether one set of runs is better than another. It shares no protocol code with the
//! engine, so that it can't share its mistakes.

pub mod cli;
pub mod commands;
mod compare;
mod cores;
mod environment;
mod expect;
mod find;
mod grpc;
mod lane;
mod plan;
mod progress;
pub mod report;
mod run;
mod scenario;
mod schedule;
mod serve;
mod setup;
mod target;
mod tls;
mod transport;
mod units;
mod watch;
