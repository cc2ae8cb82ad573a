//! A ring: endpoints have points on it, a key goes to whose point comes next. Pure.
//!
//! An endpoint's points hang on its address alone. So whoever comes takes only keys of its own, from each of the others,
//! and whoever goes leaves its keys to all of them; all other keys stay. Points follow weights. What is passed over (out,
//! marked, over its bound of load) leaves its keys to who comes next on the ring.

use super::hashed::Member;
use super::stable;

/// Points of an endpoint of weight 1: shares are within a few percent of even.
const POINTS: u64 = 160;
/// Points of a ring. Beyond it each has half as many as before, and so on; at least one.
const RING_MAX: u64 = 1 << 16;

#[derive(Debug)]
pub(super) struct Ring {
    /// In order; apart from their owners, since a search looks only at them.
    points: Box<[u64]>,
    slots: Box<[u32]>,
}

impl Ring {
    /// Of members in any order.
    pub(super) fn new(members: &[Member]) -> Ring {
        let weights: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let mut each = POINTS;
        while each > 1 && each * weights > RING_MAX {
            each /= 2;
        }
        let scale = |weight: u32| match each * weights > RING_MAX {
            true => (u64::from(weight) * RING_MAX / weights).max(1),
            false => each * u64::from(weight),
        };
        let points_of = |member: &Member| {
            let (point, slot) = (member.point, member.slot);
            (0..scale(member.weight)).map(move |n| (stable::mix(point ^ stable::mix(n)), point, slot))
        };
        let mut all: Vec<(u64, u64, u32)> = members.iter().flat_map(points_of).collect();
        // Two at the same place: by address, not by slot, which differs between workers.
        all.sort_unstable();
        Ring {
            points: all.iter().map(|(place, _, _)| *place).collect(),
            slots: all.iter().map(|(_, _, slot)| *slot).collect(),
        }
    }

    /// The owners of all points once around, from the key's place on.
    pub(super) fn walk(&self, hash: u64) -> impl Iterator<Item = u32> {
        let from = self.points.partition_point(|point| *point < hash);
        let (before, after) = self.slots.split_at(from);
        after.iter().chain(before).copied()
    }
}
