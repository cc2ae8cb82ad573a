//! What a connection costs in memory, held to bounds: a future that grows fails a test here.
//!
//! An idle connection is its task, its record and the runtime's record; an exchange takes a slot of the worker only
//! while it runs. A bound may be raised for a reason; the reason belongs into the commit.

use crate::downstream::{self, Downstream};
use crate::exchange;
use crate::tunnel;
use crate::worker::Scratch;

/// The task of a connection, as long as the connection lives.
const CONNECTION_TASK_BYTES_MAX: usize = 800;
/// A connection's record.
const DOWNSTREAM_BYTES_MAX: usize = 80;
/// An exchange under way, in its slot.
const EXCHANGE_BYTES_MAX: usize = 3328;
/// A tunnel under way, in its slot.
const TUNNEL_BYTES_MAX: usize = 1024;
/// Parts that exchanges use again, without what they point to.
const SCRATCH_BYTES_MAX: usize = 640;

#[test]
fn an_idle_connection_is_small() {
    let task = of_three(downstream::serve);
    assert!(task <= CONNECTION_TASK_BYTES_MAX, "the task of a connection: {task} bytes");
    let record = size_of::<Downstream>();
    assert!(record <= DOWNSTREAM_BYTES_MAX, "the record of a connection: {record} bytes");
}

#[test]
fn an_exchange_fits_its_slot() {
    let running = of_five(exchange::run);
    assert!(running <= EXCHANGE_BYTES_MAX, "an exchange: {running} bytes");
    let tunnel = of_three(tunnel::run);
    assert!(tunnel <= TUNNEL_BYTES_MAX, "a tunnel: {tunnel} bytes");
    let scratch = size_of::<Scratch>();
    assert!(scratch <= SCRATCH_BYTES_MAX, "a scratch: {scratch} bytes");
}

/// Bytes of the future that a function returns, without calling it.
fn of_three<A, B, C, F>(_function: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

fn of_five<A, B, C, D, E, F>(_function: impl FnOnce(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}
