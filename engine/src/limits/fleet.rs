//! The seam to buckets that are not on this node: how a worker asks for tokens that a whole fleet shares.
//!
//! A limit whose [`Spec::fleet`](super::limiter::Spec) is set is leased from whoever keeps the fleet's buckets, and not
//! from the key's home core; the state machine is the same ([`super::lease`]). For whoever keeps them, on the
//! background thread:
//!
//! 1. [`Handles::take_fleet`](crate::Handles::take_fleet) gives the one [`Receiver`](ringway_runtime::mailbox::Receiver)
//!    of [`Letter`]s; its `recv` works on tokio as on a worker.
//! 2. Each [`Ask`] is to be answered once by [`Handles::tell_fleet`](crate::Handles::tell_fleet), with a [`Told`]: tokens
//!    *taken from the fleet's bucket* (at least `least`, at most `want`) that may be spent until `until_ns`; a refusal
//!    with what is left and when there is more; or that nobody knows, and for how long it is no use to ask. Asks for the
//!    same key may come from several workers; they may be put together.
//! 3. An ask that is not answered within [`Terms::wait_ns`] is decided by the node: the limit's own rate with its home core,
//!    as if it had no fleet. So nobody waits for a dead store, and a dead store is no outage. An answer that comes later is
//!    welcome still: its tokens are leased.
//! 4. Unspent tokens come back as [`Letter::GiveBack`] soon after `until_ns`, best effort; they may be ignored, then the
//!    bucket refills as it does. What requests cost beyond what they took is a [`Letter::Debit`].
//!
//! Times are nanoseconds of [`Nanos::precise`](ringway_runtime::Nanos::precise), the same on every thread.

use super::gcra::Rate;
use super::shard::Key;
use super::waits::Ticket;

pub use super::gcra::Left;
pub use super::lease::Told;

/// Letters that may wait for the background thread. Beyond it the node decides.
pub const LETTERS_MAX: usize = 8192;

/// Of a burst one part in so many may be in one worker's hand.
const BATCH_PART: u32 = 8;
/// Smaller batches than this are not worth it: each request is decided by the fleet.
const BATCH_MIN: u32 = 2;
/// More than this is never in one hand.
const BATCH_MAX: u32 = 10_000;

/// Tokens of a key that one worker may have in hand.
pub fn batch(rate: Rate) -> u32 {
    match (rate.burst() / BATCH_PART).min(BATCH_MAX) {
        small if small < BATCH_MIN => 0,
        batch => batch,
    }
}

/// How a limit is leased from the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tokens of a key that one worker may have in hand. 0: each request is decided by the fleet.
    pub batch: u32,
    /// How long a request waits for an answer before the node decides.
    pub wait_ns: u64,
}

/// The time so much later, as a lease says it.
pub fn until_ns(term: std::time::Duration) -> u64 {
    ringway_runtime::Nanos::precise().after(term).0
}

/// The parts of a key, as they are written, with their values. Empty: one key for all; or a request lacks a part.
pub type Values = Vec<(String, String)>;

/// A letter to whoever keeps the fleet's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// For tokens.
    Ask(Ask),
    /// Tokens were not used. Whose values these were is known from the ask, if anybody remembers.
    GiveBack {
        /// Of this limit.
        limit: u64,
        /// Of this key.
        key: Key,
        /// How many.
        tokens: u32,
    },
    /// These were used all the same, and are to be taken even if they are not there.
    Debit {
        /// Of this limit.
        limit: u64,
        /// Of this key.
        key: Key,
        /// How many.
        tokens: u32,
    },
}

/// An ask for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which limit: [`id_of`](super::limiter::id_of) its name.
    pub limit: u64,
    /// A hash with this process's secret: the same for the same values, here and nowhere else.
    pub key: Key,
    /// What was hashed.
    pub values: Values,
    /// With less a request does not pass.
    pub least: u32,
    /// As much would be welcome.
    pub want: u32,
    /// Of this worker.
    pub from: usize,
    /// To be told with the answer.
    pub ticket: Ticket,
}
