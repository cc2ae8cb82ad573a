//! Services by weight: who gets an exchange. Pure.

use std::sync::Arc;

use super::ServiceId;
use crate::balance::stable;
use crate::key::Seed;

/// What splits by key are seeded with. Not what rings go by: who is in a split's part must be spread over all of its
/// endpoints.
pub const SPLIT_SEED: Seed = *b"ringway.split.v1";

/// Services, or subsets of them, by weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// In the order written.
    parts: Box<[Share]>,
}

/// One part of a split.
#[derive(Clone, Debug, PartialEq)]
struct Share {
    part: Part,
    /// The sum of the weights up to its own.
    sum: u64,
    weight: u64,
    /// What it is, for choices that hold still: of its names, not of its place or weight.
    identity: u64,
}

/// Where an exchange goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which service.
    pub service: ServiceId,
    /// Which view of it: 0 is all of its endpoints.
    pub view: u32,
}

/// A part as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// Where it leads.
    pub part: Part,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// Its service's name, and its subset in words.
    pub names: (Arc<str>, String),
}

impl Weighted {
    /// What it is called by hand: `orders`, or `orders[version=v2]`.
    pub fn called(&self) -> Arc<str> {
        match &self.names {
            (service, subset) if subset.is_empty() => service.clone(),
            (service, subset) => format!("{service}[{subset}]").into(),
        }
    }
}

impl Split {
    /// Weights must add up to more than zero; parts of weight zero are never picked.
    pub fn new(parts: impl Iterator<Item = Weighted>) -> Split {
        let mut sum = 0;
        let share = |Weighted { part, weight, names: (service, subset) }| {
            let weight = u64::from(weight);
            sum += weight;
            let identity = stable::of_bytes(service.as_bytes(), stable::of_bytes(subset.as_bytes(), 2));
            Share { part, sum, weight, identity }
        };
        let parts: Box<[Share]> = parts.filter(|part| part.weight > 0).map(share).collect();
        debug_assert!(!parts.is_empty());
        Split { parts }
    }

    /// The part for this exchange. `rand` is evenly drawn from all of `u32`; a split of one does not look at it.
    #[inline]
    pub fn pick(&self, rand: u32) -> Part {
        match &self.parts[..] {
            [only] => only.part,
            [.., last] => {
                let point = ((u128::from(rand) * u128::from(last.sum)) >> 32) as u64;
                self.parts.iter().find(|share| point < share.sum).map_or(last.part, |share| share.part)
            }
            [] => Part { service: ServiceId(0), view: 0 },
        }
    }

    /// The part for this key, the same for as long as the split stays as it is, in whatever order it is written.
    ///
    /// Each part draws for the key a time until something happens at a rate of its weight; the first one has it. So
    /// shares are the weights exactly, and where weights change only keys move from parts whose share fell to such
    /// whose share grew: whoever is in a part that grows stays, as long as no other grows more.
    pub fn pick_by(&self, hash: u64) -> Part {
        let time = |share: &Share| {
            // Uniform within (0, 1].
            let uniform = ((stable::mix(hash ^ share.identity) >> 11) + 1) as f64 / (1u64 << 53) as f64;
            -uniform.ln() / share.weight as f64
        };
        let times = self.parts.iter().map(|share| (time(share), share.part));
        times.min_by(|one, other| one.0.total_cmp(&other.0)).map_or_else(|| self.pick(0), |(_, part)| part)
    }

    /// Needs a random number or a key.
    #[inline]
    pub fn is_split(&self) -> bool {
        self.parts.len() > 1
    }

    /// Parts with their weights.
    pub fn weights(&self) -> impl Iterator<Item = (Part, u64)> {
        self.parts.iter().map(|share| (share.part, share.weight))
    }
}

#[cfg(test)]
mod tests;
