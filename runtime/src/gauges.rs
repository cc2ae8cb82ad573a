//! What one loop tells about itself. Written by its worker only, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters and gauges of one runtime, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    /// Turns of the loop.
    pub turns: AtomicU64,
    /// When the last turn began, as [`crate::Nanos`].
    pub last_turn_ns: AtomicU64,
    /// Longest time from the end of a wait to the start of the next, since it was last read.
    pub turn_max_ns: AtomicU64,
    /// Time spent out of waits, in all.
    pub busy_ns: AtomicU64,
    /// Time spent looking at the kernel rather than sleeping, with nothing to do (see
    /// [`crate::PreciseTimer::spin_within`]).
    pub spun_ns: AtomicU64,
    /// Open sockets.
    pub connections: AtomicU64,
    /// Live tasks.
    pub tasks: AtomicU64,
    /// Receive buffers handed out.
    pub buffers_in_use: AtomicU64,
    /// Times a connection had to wait for a buffer.
    pub buffers_starved: AtomicU64,
    /// Pipes that are open, for [`crate::Splice`].
    pub pipes: AtomicU64,
    /// Times accepting stopped because no descriptor was left.
    pub fd_limit_hits: AtomicU64,
}

impl Gauges {
    /// Adds to a counter that only this thread writes: no read-modify-write cycle on the bus.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn set(gauge: &AtomicU64, n: u64) {
        gauge.store(n, Relaxed);
    }
}
