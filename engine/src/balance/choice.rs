//! What a policy chooses among.

use super::state::EndpointState;
use super::tier::Who;
use super::{Slot, random};

/// The endpoints of a tier: at least two, of which at least one will do or was tried.
pub(super) struct Choice<'a> {
    pub states: &'a mut [EndpointState],
    pub live: &'a [u32],
    pub cumulative: &'a [u64],
    pub cursor: &'a mut u32,
    /// `None`: all will do.
    pub filter: Option<Filter<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    pub who: Who,
    /// Tried already.
    pub but: &'a [Slot],
}

impl Choice<'_> {
    #[inline]
    pub fn state(&self, slot: u32) -> &EndpointState {
        &self.states[slot as usize]
    }

    #[inline]
    pub fn will_do(&self, slot: u32) -> bool {
        self.filter
            .is_none_or(|filter| !filter.but.contains(&Slot(slot)) && filter.who.admits(self.state(slot)))
    }

    /// Two different endpoints that will do, each drawn by weight; the second is `None` where there is only one.
    pub fn two(&self, rand: u64) -> Option<(u32, Option<u32>)> {
        let first = random::draw(self, rand as u32, None)?;
        Some((first, random::draw(self, (rand >> 32) as u32, Some(first))))
    }
}
