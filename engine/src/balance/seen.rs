//! What a balancer knows of its endpoints, for whoever looks.

use super::{Address, Balancer};

/// One endpoint as one worker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSeen {
    /// Where it answers.
    pub address: Address,
    /// Its share among its siblings.
    pub weight: u32,
    /// Exchanges under way.
    pub active: u32,
    /// It refused a connection and is skipped for so long, unless all are.
    pub refused_for_ns: u64,
    /// Lower levels are asked first.
    pub rank: u16,
}

impl Balancer {
    /// The endpoints that may be picked, in the order in which they were given.
    pub fn seen(&self, now_ns: u64) -> impl Iterator<Item = EndpointSeen> {
        self.live.iter().map(move |&slot| {
            let state = &self.states[slot as usize];
            EndpointSeen {
                address: state.address.clone(),
                weight: state.weight,
                active: state.active,
                refused_for_ns: state.refused_until_ns.saturating_sub(now_ns),
                rank: state.rank,
            }
        })
    }
}
