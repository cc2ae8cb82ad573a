//! A view of a service: all of its endpoints, or those of a subset. Load, health and slots belong to the service.

use super::overflow::{self, Level};
use super::state::EndpointState;
use super::tier::{Found, Tier, Who};
use super::{Asked, Rules, Slot, stable};

#[derive(Debug, Default)]
pub(super) struct View {
    /// In the order in which they are asked; none without endpoints.
    pub tiers: Vec<Tier>,
    levels: Vec<Level>,
    /// Where one tier gets everything.
    whole: Option<u32>,
}

impl View {
    /// Makes the endpoints of this view, which is number `number`, the ones to pick. `live` are the service's.
    pub fn reconcile(
        &mut self,
        number: u32,
        live: &[u32],
        states: &[EndpointState],
        rules: &Rules,
        cursor: u32,
    ) {
        self.tiers.iter_mut().for_each(|tier| tier.live.clear());
        for &slot in live {
            let state = &states[slot as usize];
            if state.views & (1 << number) == 0 {
                continue;
            }
            match self.tiers.iter_mut().find(|tier| tier.rank == state.rank) {
                Some(tier) => tier.live.push(slot),
                None => {
                    let mut tier = Tier::new(state.rank, cursor);
                    tier.live.push(slot);
                    self.tiers.push(tier);
                }
            }
        }
        self.tiers.retain(|tier| !tier.live.is_empty());
        self.tiers.sort_by_key(|tier| tier.rank);
        self.tiers.iter_mut().for_each(|tier| tier.lay_table(rules.policy, states));
        self.levels.resize(self.tiers.len(), Level::default());
    }

    /// Settles who gets how much until it is assessed again.
    pub fn assess(&mut self, now_ns: u64, states: &[EndpointState], rules: &Rules) {
        for (tier, level) in self.tiers.iter().zip(&mut self.levels) {
            *level = tier.level(states, rules.panic > 0);
        }
        let is_bare = self.levels.iter().all(|level| level.usable == 0);
        overflow::spread(&mut self.levels, rules.panic);
        for (tier, level) in self.tiers.iter_mut().zip(&self.levels) {
            tier.settle(level, is_bare, rules.panic > 0, now_ns, states);
            tier.sum(states, rules.bounds_loads());
        }
        let whole = self.levels.iter().position(|level| u64::from(level.load) == overflow::WHOLE);
        self.whole = whole.map(|place| place as u32);
    }

    /// The tier for an exchange with this number or key.
    #[inline]
    pub fn place(&self, number: u64) -> usize {
        match self.whole {
            Some(place) => place as usize,
            None => self.drawn(number),
        }
    }

    #[cold]
    fn drawn(&self, number: u64) -> usize {
        // The number's own bits go on to draw within the tier.
        let point = (u128::from(stable::mix(number)) * u128::from(overflow::WHOLE)) >> 64;
        let mut sum = 0;
        let covers = |level: &Level| {
            sum += u128::from(level.load);
            point < sum
        };
        self.levels.iter().position(covers).unwrap_or(0)
    }

    /// One of another tier than the first asked, in order, with that tier's place.
    #[cold]
    pub fn elsewhere(
        &mut self,
        but: usize,
        states: &mut [EndpointState],
        rules: &Rules,
        asked: &Asked,
        at: (u64, u64),
        tried: &[Slot],
    ) -> Option<(usize, Found)> {
        // Who refuses comes last.
        for refusing in [false, true] {
            for (place, tier) in self.tiers.iter_mut().enumerate() {
                let is_refusing = matches!(tier.who(), Who::Last(_));
                if place != but
                    && is_refusing == refusing
                    && let Some(found) = tier.pick(states, rules, asked, at, tried)
                {
                    return Some((place, found));
                }
            }
        }
        None
    }

    /// Whether this tier is in panic.
    #[inline]
    pub fn panics(&self, place: usize) -> bool {
        self.levels[place].panics
    }
}
