//! Balancing: which endpoint of a service gets an exchange. Pure, on the line between `policies on request` and
//! `checkout upstream`; a retry comes here again.
//!
//! A [`Balancer`] is one worker's view of one service. It outlives snapshots. Endpoints live in slots whose numbers
//! hold still while an endpoint stays, so that pools and health can be kept beside it under the same number.
//! Invariant: every [`Balancer::began`] is followed by one [`Balancer::ended`] for the same slot, even where the
//! endpoint left meanwhile. Nothing here allocates but [`Balancer::reconcile`].

mod least_request;
mod peak_ewma;
mod random;
mod round_robin;
mod standing;
mod state;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use peak_ewma::DECAY_NS;
use state::EndpointState;
pub use state::{REFUSED_FOR_MAX_NS, REFUSED_FOR_MIN_NS};

/// Where an endpoint answers, names resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix-domain stream socket.
    Unix(Arc<Path>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Ip(ip) => ip.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How endpoints are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// In turn, by weight, evenly spread.
    RoundRobin,
    /// The less busy of two.
    LeastRequest,
    /// The one of two that promises to answer sooner.
    PeakEwma,
    /// By weight.
    Random,
}

/// Number of an endpoint within its balancer. After [`Change::Removed`] it may come to mean another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What [`Balancer::reconcile`] did to one slot. Slots not named stayed as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An endpoint lives here that was not there before. Only if it had this very slot earlier is its past kept.
    Added(Slot, Address),
    /// The endpoint is gone; it is no longer picked. Exchanges under way still end with this slot.
    Removed(Slot),
}

/// How an exchange with an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered. Clears its mark.
    Answered,
    /// It took the connection and then failed: reset, timed out, broke the protocol, or a status that counts as such.
    Failed,
    /// It took no connection: marked, and skipped for a while.
    Refused,
    /// Ended for reasons of our own or of downstream: says nothing about the endpoint.
    Abandoned,
}

/// One worker's choice among the endpoints of one service.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    states: Vec<EndpointState>,
    /// Slots that may be picked, in the order in which endpoints were given.
    live: Vec<u32>,
    /// Sums of the weights of `live`, for draws by weight; empty if all weigh the same.
    cumulative: Vec<u32>,
    /// Endpoints among `live` whose last connection was refused, or that are unhealthy.
    suspects: u32,
    /// Next in turn, for round robin with equal weights.
    cursor: u32,
}

impl Balancer {
    /// Without endpoints yet. `seed` differs between workers, so that they do not all begin with the same endpoint.
    pub fn new(policy: Policy, seed: u64) -> Balancer {
        let cursor = (seed >> 33) as u32;
        Balancer { policy, states: vec![], live: vec![], cumulative: vec![], suspects: 0, cursor }
    }

    /// Picks by another policy from now on; what is known about endpoints stays.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Makes `endpoints` (address and weight, 1 or more) the ones to choose among. One given twice weighs the sum.
    pub fn reconcile(&mut self, endpoints: &[(Address, u16)]) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut weights: FxHashMap<&Address, u32> = FxHashMap::default();
        for (address, weight) in endpoints {
            *weights.entry(address).or_default() += u32::from(*weight).max(1);
        }
        for (slot, state) in self.states.iter_mut().enumerate() {
            if state.live && !weights.contains_key(&state.address) {
                state.live = false;
                changes.push(Change::Removed(Slot(slot as u32)));
            }
        }
        let known = self.states.iter().enumerate().map(|(slot, s)| (s.address.clone(), slot as u32));
        let known: FxHashMap<Address, u32> = known.collect();
        self.live.clear();
        for (address, _) in endpoints {
            let Some(weight) = weights.remove(address) else { continue };
            let slot = match known.get(address) {
                // Its last exchanges may still be under way, so a slot on its way out is taken up again.
                Some(&slot) if self.states[slot as usize].address == *address => slot,
                _ => self.vacant_slot(address),
            };
            let state = &mut self.states[slot as usize];
            if !state.live {
                state.live = true;
                changes.push(Change::Added(Slot(slot), address.clone()));
            }
            state.weight = weight;
            self.live.push(slot);
        }
        self.count_suspects();
        self.cumulative = random::cumulative(self.live.iter().map(|&slot| self.states[slot as usize].weight));
        changes
    }

    fn count_suspects(&mut self) {
        let suspects = self.live.iter().filter(|&&slot| self.states[slot as usize].is_suspect());
        self.suspects = suspects.count() as u32;
    }

    /// The endpoint for the next exchange; `rand` is fresh for each call. `exclude` is the one that just failed in
    /// this exchange and is never returned.
    ///
    /// Marked and unhealthy endpoints are skipped. If all that are healthy are marked, the one whose mark ends first is tried; if that is the one
    /// that just failed, there is none. `None` also where there is no endpoint, or no other than the excluded one:
    /// whoever wants to try that one again asks without `exclude`.
    pub fn pick(&mut self, now_ns: u64, rand: u64, exclude: Option<Slot>) -> Option<Slot> {
        match self.live[..] {
            [] => return None,
            [only] => return (exclude != Some(Slot(only))).then_some(Slot(only)),
            _ => {}
        }
        let exclude = exclude.filter(|slot| self.states.get(slot.0 as usize).is_some_and(|s| s.live));
        if self.suspects > 0 && !self.live.iter().any(|&slot| self.states[slot as usize].is_usable(now_ns)) {
            let healthy = self.live.iter().filter(|&&slot| !self.states[slot as usize].out);
            let first = healthy.min_by_key(|&&slot| self.states[slot as usize].refused_until_ns);
            return first.map(|&slot| Slot(slot)).filter(|slot| exclude != Some(*slot));
        }
        let all = self.suspects == 0 && exclude.is_none();
        let exclude = exclude.map_or(u32::MAX, |slot| slot.0);
        let mut choice = Choice {
            states: &mut self.states,
            live: &self.live,
            cumulative: &self.cumulative,
            cursor: &mut self.cursor,
            filter: (!all).then_some(Filter { now_ns, exclude }),
        };
        let picked = match self.policy {
            Policy::RoundRobin => round_robin::pick(&mut choice),
            Policy::LeastRequest => least_request::pick(&choice, rand),
            Policy::PeakEwma => peak_ewma::pick(&choice, now_ns, rand),
            Policy::Random => random::pick(&choice, rand),
        };
        picked.map(Slot)
    }

    /// The endpoint with the lowest score by address and weight, for choices that hold still; `None` as a score: not that
    /// one. Marked endpoints are skipped while there are others.
    pub fn pick_lowest(&self, now_ns: u64, score: impl Fn(&Address, u32) -> Option<f64>) -> Option<Slot> {
        let scored = self.live.iter().filter_map(|&slot| {
            let state = &self.states[slot as usize];
            Some((!state.is_usable(now_ns), score(&state.address, state.weight)?, slot))
        });
        let lowest = scored.min_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        lowest.map(|(_, _, slot)| Slot(slot))
    }

    /// An exchange with this endpoint begins.
    pub fn began(&mut self, slot: Slot) {
        if let Some(state) = self.states.get_mut(slot.0 as usize) {
            state.active += 1;
            let was_suspect = state.is_suspect();
            if state.take_probe() && state.live && !was_suspect {
                self.suspects += 1;
            }
        }
    }

    /// It ended. `latency_ns` is from request sent to response head; it counts only where the endpoint answered or
    /// failed. `rand` spreads how long a refusal marks.
    pub fn ended(&mut self, slot: Slot, now_ns: u64, latency_ns: u64, outcome: Outcome, rand: u64) {
        let Some(state) = self.states.get_mut(slot.0 as usize) else { return };
        debug_assert!(state.active > 0);
        state.active = state.active.saturating_sub(1);
        let was_suspect = state.is_suspect();
        match outcome {
            Outcome::Answered => {
                state.clear_mark();
                if self.policy == Policy::PeakEwma {
                    state.latency.observe(now_ns, latency_ns);
                }
            }
            Outcome::Failed => {
                if self.policy == Policy::PeakEwma {
                    state.latency.observe_failure(now_ns, latency_ns);
                }
            }
            Outcome::Refused => state.mark(now_ns, rand),
            Outcome::Abandoned => {}
        }
        if state.live && was_suspect != state.is_suspect() {
            self.suspects = if was_suspect { self.suspects - 1 } else { self.suspects + 1 };
        }
    }

    /// Exchanges under way with this endpoint.
    pub fn active(&self, slot: Slot) -> u32 {
        self.states.get(slot.0 as usize).map_or(0, |state| state.active)
    }

    /// Where this endpoint answers, unless it is gone.
    pub fn address(&self, slot: Slot) -> Option<&Address> {
        self.states.get(slot.0 as usize).filter(|state| state.live).map(|state| &state.address)
    }

    /// The endpoints that may be picked.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.live.iter().map(|&slot| Slot(slot))
    }

    /// When the first endpoint is no longer skipped; `None` if one is usable now, or there is none. For Retry-After.
    pub fn usable_at_ns(&self, now_ns: u64) -> Option<u64> {
        let healthy = self.live.iter().map(|&slot| &self.states[slot as usize]).filter(|state| !state.out);
        let first = healthy.map(|state| state.refused_until_ns).min();
        first.filter(|&until| until > now_ns)
    }

    /// A slot nothing refers to any more, or a new one.
    fn vacant_slot(&mut self, address: &Address) -> u32 {
        let state = EndpointState::new(address.clone());
        match self.states.iter().position(|s| !s.live && s.active == 0) {
            Some(slot) => {
                self.states[slot] = state;
                slot as u32
            }
            None => {
                self.states.push(state);
                self.states.len() as u32 - 1
            }
        }
    }
}

/// What a policy chooses among: at least two endpoints, of which at least one passes the filter or is excluded.
struct Choice<'a> {
    states: &'a mut [EndpointState],
    live: &'a [u32],
    cumulative: &'a [u32],
    cursor: &'a mut u32,
    /// `None`: all will do.
    filter: Option<Filter>,
}

#[derive(Clone, Copy)]
struct Filter {
    now_ns: u64,
    exclude: u32,
}

impl Choice<'_> {
    fn state(&self, slot: u32) -> &EndpointState {
        &self.states[slot as usize]
    }

    fn will_do(&self, slot: u32) -> bool {
        self.filter.is_none_or(|f| slot != f.exclude && self.state(slot).is_usable(f.now_ns))
    }

    /// Two different endpoints that will do, each drawn by weight; the second is `None` where there is only one.
    fn two(&self, rand: u64) -> Option<(u32, Option<u32>)> {
        let first = self.draw(rand as u32, None)?;
        Some((first, self.draw((rand >> 32) as u32, Some(first))))
    }

    /// One that will do and is not `but`, drawn by weight.
    fn draw(&self, rand: u32, but: Option<u32>) -> Option<u32> {
        random::draw(self, rand, but)
    }
}
