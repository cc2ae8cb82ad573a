//! What one worker knows about one endpoint, and the mark it bears after refusing a connection.
//!
//! ```text
//! unmarked -- refused --> skipped for 1 s -- time passes --> tried -- answered --> unmarked
//!                            ^                                 |
//!                            +---- refused: twice as long -----+
//! ```

use super::peak_ewma::Latency;
use super::standing::Grade;
use super::{Address, slow_start, stable};
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
    /// Its place on rings.
    pub(super) point: u64,
    pub(super) live: bool,
    pub(super) active: u32,
    /// As configured.
    pub(super) weight: u32,
    /// What policies go by: the weight in parts of [`slow_start::SCALE`], less of it while it warms up.
    pub(super) share: u32,
    /// Which tier it is in: lower ones are asked first.
    pub(super) rank: u16,
    /// The views it is in: one bit each, the service as a whole is bit 0.
    pub(super) views: u64,
    /// Of smooth weighted round robin.
    pub(super) current: i64,
    pub(super) latency: Latency,
    pub(super) refused_until_ns: u64,
    /// Since when it warms up; [`slow_start::WARM`] when it does not.
    pub(super) warms_from_ns: u64,
    /// How it stands.
    pub(super) stand: Stand,
    /// Requests it may still get while it is probing.
    pub(super) probes: u8,
    /// What both come to; as it was when last assessed.
    pub(super) grade: Grade,
    /// Marks since it last answered.
    refusals: u8,
}

impl EndpointState {
    pub(super) fn new(address: Address) -> EndpointState {
        EndpointState {
            point: stable::of_address(&address),
            address,
            live: false,
            active: 0,
            weight: 1,
            share: slow_start::SCALE,
            rank: 0,
            views: 1,
            current: 0,
            latency: Latency::default(),
            refused_until_ns: 0,
            warms_from_ns: slow_start::WARM,
            stand: Stand::Admitting,
            probes: 0,
            grade: Grade::USABLE,
            refusals: 0,
        }
    }

    /// It has not answered since it last refused.
    pub(super) fn is_marked(&self) -> bool {
        self.refusals > 0
    }

    /// Refusals that come while it is marked belong to the same event: they make the mark no longer.
    pub(super) fn mark(&mut self, now_ns: u64, rand: u64) {
        if self.is_marked() && self.refused_until_ns > now_ns {
            return;
        }
        let base = (REFUSED_FOR_MIN_NS << self.refusals.min(8)).min(BASE_MAX_NS);
        self.refusals = self.refusals.saturating_add(1);
        self.refused_until_ns = now_ns.saturating_add(base + rand % (base / 4));
        // What refused connections was not there: it comes back cold.
        self.warms_from_ns = self.refused_until_ns;
    }

    pub(super) fn clear_mark(&mut self, now_ns: u64) {
        self.warms_from_ns = match self.warms_from_ns {
            slow_start::WARM => slow_start::WARM,
            from_ns => from_ns.min(now_ns),
        };
        self.refusals = 0;
        self.refused_until_ns = 0;
    }

    /// Looks at it again. Returns when its share changes next, or its mark ends.
    pub(super) fn assess(&mut self, now_ns: u64, slow_start_ns: u64) -> u64 {
        self.grade = Grade::of(self, now_ns);
        let (share, again_ns) = slow_start::share(self.weight, self.warms_from_ns, slow_start_ns, now_ns);
        self.share = share;
        if again_ns == u64::MAX {
            self.warms_from_ns = slow_start::WARM;
        }
        if self.refused_until_ns > now_ns { again_ns.min(self.refused_until_ns) } else { again_ns }
    }
}
