//! Picking by a key: along a ring or a maglev table, past who is out, marked or over its bound of load. Pure.
//!
//! Bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads"): an endpoint that has, of
//! all exchanges under way with this tier and the one to come, as many as `load` percent of its share by weight, rounded
//! up, is passed over. Load is this worker's own. Where `load` is above 100% somebody is always below; a key that hogs
//! its endpoint thus spills over to the same next ones, instead of felling it.

use super::choice::Choice;
use super::maglev::Maglev;
use super::ring_hash::Ring;
use super::state::EndpointState;
use super::{Policy, stable};

/// Owners looked at on a walk, repeated ones counted, before all that are left are gone through at once.
const WALK_MAX: usize = 512;

/// An endpoint as tables are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Of its address.
    pub point: u64,
    pub weight: u32,
    pub slot: u32,
}

/// What leads from keys to endpoints.
#[derive(Debug, Default)]
pub(super) enum Table {
    #[default]
    None,
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// For this policy; none where it does not go by keys.
    pub(super) fn new(policy: Policy, members: &[Member]) -> Table {
        match policy {
            _ if members.is_empty() => Table::None,
            Policy::RingHash => Table::Ring(Ring::new(members)),
            Policy::Maglev => Table::Maglev(Maglev::new(members)),
            _ => Table::None,
        }
    }
}

/// When an endpoint has enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Percent of its share; 0: never.
    pub load: u32,
    /// Exchanges under way with all that may be picked.
    pub active: u64,
    /// Sum of the shares of all that may be picked.
    pub shares: u64,
}

impl Bound {
    fn is_over(&self, state: &EndpointState) -> bool {
        if self.load == 0 || state.active == 0 {
            return false;
        }
        // active >= load * (all + 1) * share / shares, without dividing.
        u128::from(state.active) * u128::from(self.shares) * 100
            >= u128::from(self.load) * u128::from(self.active + 1) * u128::from(state.share)
    }
}

/// Whom a key goes to.
pub(super) struct Led {
    pub slot: u32,
    /// Somebody before it on the way had enough.
    pub passed_over: bool,
}

pub(super) fn pick(choice: &Choice<'_>, table: &Table, bound: &Bound, hash: u64) -> Option<Led> {
    match table {
        Table::None => None,
        Table::Ring(ring) => along(choice, ring.walk(hash), bound, hash),
        Table::Maglev(maglev) => along(choice, maglev.walk(hash), bound, hash),
    }
}

#[inline]
fn along(choice: &Choice<'_>, walk: impl Iterator<Item = u32>, bound: &Bound, hash: u64) -> Option<Led> {
    let mut passed_over = false;
    for slot in walk.take(WALK_MAX) {
        if !choice.will_do(slot) {
            continue;
        }
        if !bound.is_over(choice.state(slot)) {
            return Some(Led { slot, passed_over });
        }
        passed_over = true;
    }
    rest(choice, bound, hash).map(|slot| Led { slot, passed_over })
}

/// Hardly anybody is left: the key has an order of its own for each of them. Where none is below its bound, which
/// rounding can make so, the bound does not count.
#[cold]
fn rest(choice: &Choice<'_>, bound: &Bound, hash: u64) -> Option<u32> {
    let order = |slot: &&u32| {
        let state = choice.state(**slot);
        (bound.is_over(state), stable::mix(state.point ^ hash))
    };
    choice.live.iter().filter(|slot| choice.will_do(**slot)).min_by_key(order).copied()
}
