//! Maglev: a table with a place for each endpoint in turn, a key goes to whose place it meets. Pure.
//!
//! Each endpoint has a permutation of the places, made of its address, and in turn takes the next one of it that is
//! free, by weight (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", section 3.4). Shares
//! are even to a hundredth, and a look-up is one access; when endpoints come or go a few keys of others move too. A key
//! has a permutation as well: what is passed over leaves it to whose place is next on that.

use super::hashed::Member;
use super::stable;

/// Places of a table. A prime, so that every step is a permutation; the same for any number of endpoints, since another
/// one would move every key.
pub(super) const PLACES: u32 = 65_537;
const FREE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Maglev {
    slots: Box<[u32]>,
}

/// A walk over all places.
struct Permutation {
    at: u32,
    step: u32,
}

impl Permutation {
    fn of(hash: u64) -> Permutation {
        let step = 1 + (stable::mix(hash) % u64::from(PLACES - 1)) as u32;
        Permutation { at: (hash % u64::from(PLACES)) as u32, step }
    }
}

impl Iterator for Permutation {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let at = self.at;
        let next = at + self.step;
        self.at = if next >= PLACES { next - PLACES } else { next };
        Some(at)
    }
}

impl Maglev {
    /// Of members in any order; at least one, and no more than there are places.
    pub(super) fn new(members: &[Member]) -> Maglev {
        let mut members = members.to_vec();
        // The order of turns must not hang on the order in which they were given.
        members.sort_unstable_by_key(|member| (member.point, member.slot));
        members.truncate(PLACES as usize);
        let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1);
        // All take a place in the first round: the lightest has one too.
        let first = |member: &Member| heaviest - u64::from(member.weight);
        let mut turns: Vec<(Permutation, u64)> =
            members.iter().map(|member| (Permutation::of(member.point), first(member))).collect();
        let mut slots = vec![FREE; PLACES as usize];
        let mut free = if members.is_empty() { 0 } else { PLACES };
        while free > 0 {
            for (member, (permutation, owed)) in members.iter().zip(&mut turns) {
                *owed += u64::from(member.weight);
                if *owed < heaviest {
                    continue;
                }
                *owed -= heaviest;
                let place = permutation.by_ref().find(|place| slots[*place as usize] == FREE);
                slots[place.unwrap_or_default() as usize] = member.slot;
                free -= 1;
                if free == 0 {
                    break;
                }
            }
        }
        Maglev { slots: slots.into() }
    }

    /// Owners of places, from the key's first one on; each place comes once.
    pub(super) fn walk(&self, hash: u64) -> impl Iterator<Item = u32> {
        Permutation::of(hash)
            .take(PLACES as usize)
            .map(|place| self.slots[place as usize])
            .filter(|slot| *slot != FREE)
    }
}
