//! What one worker knows about one endpoint, and the mark it bears after refusing a connection.
//!
//! ```text
//! unmarked -- refused --> skipped for 1 s -- time passes --> tried -- answered --> unmarked
//!                            ^                                 |
//!                            +---- refused: twice as long -----+
//! ```

use super::Address;
use super::peak_ewma::Latency;
use crate::standing::Stand;

/// How long a first refusal marks, at least.
pub const REFUSED_FOR_MIN_NS: u64 = 1_000_000_000;
/// How long any refusal marks, at most.
pub const REFUSED_FOR_MAX_NS: u64 = 30_000_000_000;
/// The longest time before a quarter of it is added at random.
const BASE_MAX_NS: u64 = 24_000_000_000;
const _: () = assert!(BASE_MAX_NS + BASE_MAX_NS / 4 == REFUSED_FOR_MAX_NS);

#[derive(Debug)]
pub(super) struct EndpointState {
    pub(super) address: Address,
    pub(super) live: bool,
    pub(super) active: u32,
    pub(super) weight: u32,
    /// Of smooth weighted round robin.
    pub(super) current: i64,
    pub(super) latency: Latency,
    pub(super) refused_until_ns: u64,
    /// How it stands.
    pub(super) stand: Stand,
    /// Requests it may still get while it is probing.
    pub(super) probes: u8,
    /// Its standing is heeded: it is not picked.
    pub(super) out: bool,
    /// Marks since it last answered.
    refusals: u8,
}

impl EndpointState {
    pub(super) fn new(address: Address) -> EndpointState {
        EndpointState {
            address,
            live: false,
            active: 0,
            weight: 1,
            current: 0,
            latency: Latency::default(),
            refused_until_ns: 0,
            stand: Stand::Admitting,
            probes: 0,
            out: false,
            refusals: 0,
        }
    }

    /// It has not answered since it last refused.
    pub(super) fn is_marked(&self) -> bool {
        self.refusals > 0
    }

    /// It is not to be picked as others are.
    pub(super) fn is_suspect(&self) -> bool {
        self.out || self.is_marked()
    }

    pub(super) fn is_usable(&self, now_ns: u64) -> bool {
        !self.out && self.refused_until_ns <= now_ns
    }

    /// Refusals that come while it is marked belong to the same event: they make the mark no longer.
    pub(super) fn mark(&mut self, now_ns: u64, rand: u64) {
        if self.is_marked() && self.refused_until_ns > now_ns {
            return;
        }
        let base = (REFUSED_FOR_MIN_NS << self.refusals.min(8)).min(BASE_MAX_NS);
        self.refusals = self.refusals.saturating_add(1);
        self.refused_until_ns = now_ns.saturating_add(base + rand % (base / 4));
    }

    pub(super) fn clear_mark(&mut self) {
        self.refusals = 0;
        self.refused_until_ns = 0;
    }
}
