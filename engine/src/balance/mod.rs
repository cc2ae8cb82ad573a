//! Balancing: which endpoint of a service gets an exchange. Pure, on the line between `policies on request` and
//! `checkout upstream`; a retry comes here again.
//!
//! A [`Balancer`] is one worker's view of one service. It outlives snapshots. Endpoints live in slots whose numbers
//! hold still while an endpoint stays, so that pools and health can be kept beside it under the same number.
//!
//! ```text
//! view (the service, or a subset of it) -> tier (by overflow) -> policy among those of it that will do
//! ```
//!
//! What hangs on time and on who is out (usable endpoints, loads of tiers, panic, shares that warm up) is assessed when
//! it changes, not for each pick: a pick compares one time. Invariant: every [`Balancer::began`] is followed by one
//! [`Balancer::ended`] for the same slot, even where the endpoint left meanwhile. Nothing here allocates but
//! [`Balancer::reconcile`].

mod choice;
mod hashed;
mod least_request;
mod maglev;
mod overflow;
mod peak_ewma;
mod random;
mod ring_hash;
mod round_robin;
mod seen;
mod slow_start;
pub(crate) mod stable;
mod standing;
mod state;
mod tier;
mod view;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use peak_ewma::DECAY_NS;
pub use seen::EndpointSeen;
use state::EndpointState;
pub use state::{REFUSED_FOR_MAX_NS, REFUSED_FOR_MIN_NS};
use view::View;

/// Views of one service: itself, and its subsets.
pub const VIEWS_MAX: usize = 64;

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
    /// By key, along a ring.
    RingHash,
    /// By key, by a table.
    Maglev,
}

impl Policy {
    /// It goes by the exchange's key.
    pub fn is_hashed(self) -> bool {
        matches!(self, Policy::RingHash | Policy::Maglev)
    }
}

/// What a balancer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How endpoints are picked.
    pub policy: Policy,
    /// Where a key's endpoint has more than this of its share of what is under way, in percent, another takes it; 0: never.
    pub hash_load: u32,
    /// With less than this part of a million of its endpoints usable a tier is in panic.
    pub panic: u32,
    /// How long an endpoint that is new, or back, warms up; 0: not at all.
    pub slow_start_ns: u64,
    /// Views there are, the service as a whole included: 1 to [`VIEWS_MAX`].
    pub views: u32,
}

impl Rules {
    /// The load of endpoints is looked at when a key leads to them.
    fn bounds_loads(&self) -> bool {
        self.hash_load > 0 && self.policy.is_hashed()
    }
}

impl From<Policy> for Rules {
    fn from(policy: Policy) -> Rules {
        Rules { policy, hash_load: 125, panic: 500_000, slow_start_ns: 0, views: 1 }
    }
}

/// An endpoint that may be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// 1 or more.
    pub weight: u16,
    /// Lower levels are asked first.
    pub priority: u8,
    /// In the node's own zone: asked before the others of its level.
    pub is_near: bool,
    /// The views it is in, a bit for each; that of the service as a whole needs not be set.
    pub views: u64,
}

impl From<(Address, u16)> for Endpoint {
    fn from((address, weight): (Address, u16)) -> Endpoint {
        Endpoint { address, weight, priority: 0, is_near: false, views: 1 }
    }
}

/// Number of an endpoint within its balancer. After [`Change::Removed`] it may come to mean another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Which view; 0 is the service as a whole.
    pub view: u32,
    /// Of the exchange's key, where the policy goes by one and it has one.
    pub hash: Option<u64>,
    /// Who answered this client before: picked for as long as it may be.
    pub stick: Option<Slot>,
}

/// Who is picked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Who.
    pub slot: Slot,
    /// What there is to be said of it.
    pub how: How,
}

/// What is out of the ordinary about a pick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Its tier is in panic.
    pub panic: bool,
    /// It is not of the first tier.
    pub overflow: bool,
    /// It is the one that was to be stuck to.
    pub stuck: bool,
    /// It is another one than that.
    pub missed: bool,
    /// The policy goes by keys, and there was none.
    pub keyless: bool,
    /// Somebody had enough before it.
    pub passed_over: bool,
}

impl How {
    const PLAIN: How = How {
        panic: false,
        overflow: false,
        stuck: false,
        missed: false,
        keyless: false,
        passed_over: false,
    };

    /// Nothing is to be said.
    #[inline]
    pub fn is_plain(self) -> bool {
        self == How::PLAIN
    }
}

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
    /// Another endpoint answered first: it took so long at least, and nothing more is known of it.
    Outrun,
    /// Ended for reasons of our own or of downstream: says nothing about the endpoint.
    Abandoned,
}

/// One worker's choice among the endpoints of one service.
#[derive(Debug)]
pub struct Balancer {
    rules: Rules,
    states: Vec<EndpointState>,
    /// Slots that may be picked, in the order in which endpoints were given.
    live: Vec<u32>,
    /// The service as a whole first.
    views: Vec<View>,
    /// Until then what was assessed holds.
    assessed_until_ns: u64,
    /// Where turns begin.
    cursor: u32,
}

impl Balancer {
    /// Without endpoints yet. `seed` differs between workers, so that they do not all begin with the same endpoint.
    pub fn new(rules: impl Into<Rules>, seed: u64) -> Balancer {
        let cursor = (seed >> 33) as u32;
        Balancer {
            rules: rules.into(),
            states: vec![],
            live: vec![],
            views: vec![View::default()],
            assessed_until_ns: 0,
            cursor,
        }
    }

    /// Goes by other rules from the next [`Balancer::reconcile`] on; what is known about endpoints stays.
    pub fn set_rules(&mut self, rules: impl Into<Rules>) {
        self.rules = rules.into();
        self.rules.views = self.rules.views.clamp(1, VIEWS_MAX as u32);
    }

    /// Makes `endpoints` the ones to choose among. One given twice weighs the sum. Those that are new, but for the first
    /// ones of all, warm up.
    pub fn reconcile(&mut self, endpoints: &[Endpoint], now_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut wanted: FxHashMap<&Address, Wanted> = FxHashMap::default();
        for endpoint in endpoints {
            wanted.entry(&endpoint.address).or_default().add(endpoint);
        }
        for (slot, state) in self.states.iter_mut().enumerate() {
            if state.live && !wanted.contains_key(&state.address) {
                state.live = false;
                changes.push(Change::Removed(Slot(slot as u32)));
            }
        }
        let known = self.states.iter().enumerate().map(|(slot, s)| (s.address.clone(), slot as u32));
        let known: FxHashMap<Address, u32> = known.collect();
        let are_first = self.live.is_empty();
        self.live.clear();
        for Endpoint { address, .. } in endpoints {
            let Some(wanted) = wanted.remove(address) else { continue };
            let slot = match known.get(address) {
                // Its last exchanges may still be under way, so a slot on its way out is taken up again.
                Some(&slot) if self.states[slot as usize].address == *address => slot,
                _ => self.vacant_slot(address),
            };
            let state = &mut self.states[slot as usize];
            if !state.live {
                state.live = true;
                state.warms_from_ns = if are_first { slow_start::WARM } else { now_ns };
                changes.push(Change::Added(Slot(slot), address.clone()));
            }
            (state.weight, state.rank, state.views) = (wanted.weight, wanted.rank, wanted.views);
            self.live.push(slot);
        }
        self.views.resize_with(self.rules.views as usize, View::default);
        for (number, view) in self.views.iter_mut().enumerate() {
            view.reconcile(number as u32, &self.live, &self.states, &self.rules, self.cursor);
        }
        self.assess(now_ns);
        changes
    }

    /// Looks at all that hangs on time and on who is out.
    #[cold]
    fn assess(&mut self, now_ns: u64) {
        let mut until_ns = u64::MAX;
        for &slot in &self.live {
            let again_ns = self.states[slot as usize].assess(now_ns, self.rules.slow_start_ns);
            until_ns = until_ns.min(again_ns);
        }
        self.views.iter_mut().for_each(|view| view.assess(now_ns, &self.states, &self.rules));
        self.assessed_until_ns = until_ns;
    }

    /// The endpoint for the next exchange, of the service as a whole: [`Balancer::pick_for`].
    #[inline]
    pub fn pick(&mut self, now_ns: u64, rand: u64, exclude: Option<Slot>) -> Option<Slot> {
        self.pick_for(&Asked::default(), now_ns, rand, exclude.as_slice()).map(|picked| picked.slot)
    }

    /// The endpoint for the next exchange; `rand` is fresh for each call. `tried` have failed in this exchange
    /// and are never returned.
    ///
    /// Marked endpoints and those that are out are skipped. In panic those whose checks fail or that are ejected are not,
    /// unless they refuse. If all refuse, the one whose mark ends first is tried, then the next. `None` also where there is no endpoint, or no other than those: whoever wants to try one of them
    /// again asks without `tried`.
    #[inline]
    pub fn pick_for(&mut self, asked: &Asked, now_ns: u64, rand: u64, tried: &[Slot]) -> Option<Picked> {
        if now_ns >= self.assessed_until_ns {
            self.assess(now_ns);
        }
        if let Some(picked) = asked.stick.and_then(|slot| self.stuck(asked.view, slot, tried)) {
            return Some(picked);
        }
        let view = self.views.get_mut(asked.view as usize)?;
        let first = view.place(asked.hash.unwrap_or(rand));
        let tier = view.tiers.get_mut(first)?;
        let found = tier.pick(&mut self.states, &self.rules, asked, (now_ns, rand), tried);
        let (place, found) = match found {
            Some(found) => (first, found),
            None => view.elsewhere(first, &mut self.states, &self.rules, asked, (now_ns, rand), tried)?,
        };
        let how = How {
            panic: view.panics(place),
            overflow: place > 0,
            stuck: false,
            missed: asked.stick.is_some(),
            keyless: found.keyless,
            passed_over: found.passed_over,
        };
        Some(Picked { slot: Slot(found.slot), how })
    }

    /// The endpoint that is to be stuck to, if it may be.
    fn stuck(&self, view: u32, slot: Slot, tried: &[Slot]) -> Option<Picked> {
        let state = self.states.get(slot.0 as usize).filter(|state| state.live && !tried.contains(&slot))?;
        let tiers = &self.views.get(view as usize)?.tiers;
        let place = tiers.iter().position(|tier| tier.rank == state.rank)?;
        let is_in = state.views & (1 << view) != 0;
        (is_in && tiers[place].who().admits(state))
            .then_some(Picked { slot, how: How { stuck: true, ..How::PLAIN } })
    }

    /// The endpoint with the lowest score by address and weight, for choices that hold still; `None` as a score: not that
    /// one. The tier is drawn by the hash; others are gone through where it has nobody, and those that refuse come last.
    pub fn pick_lowest(
        &mut self,
        asked: &Asked,
        now_ns: u64,
        score: impl Fn(&Address, u32) -> Option<f64>,
    ) -> Option<Picked> {
        if now_ns >= self.assessed_until_ns {
            self.assess(now_ns);
        }
        let view = self.views.get(asked.view as usize)?;
        let first = view.place(asked.hash.unwrap_or_default());
        let lowest = |place: usize, refusing: bool| {
            let tier = view.tiers.get(place)?;
            let scored = tier.lowest_of(&self.states, refusing).filter_map(|slot| {
                let state = &self.states[slot as usize];
                Some((score(&state.address, state.weight)?, slot))
            });
            let (_, slot) = scored.min_by(|one, other| one.0.total_cmp(&other.0))?;
            let how = How { panic: view.panics(place), overflow: place > 0, ..How::PLAIN };
            Some(Picked { slot: Slot(slot), how })
        };
        let everywhere = |refusing| {
            lowest(first, refusing)
                .or_else(|| (0..view.tiers.len()).find_map(|place| lowest(place, refusing)))
        };
        everywhere(false).or_else(|| everywhere(true))
    }

    /// An exchange with this endpoint begins.
    #[inline]
    pub fn began(&mut self, slot: Slot) {
        if let Some(state) = self.states.get_mut(slot.0 as usize) {
            state.active += 1;
            if state.take_probe() {
                self.assessed_until_ns = 0;
            }
            if self.rules.bounds_loads() {
                self.count(slot, true);
            }
        }
    }

    /// It ended. `latency_ns` is from request sent to response head; it counts only where the endpoint answered or
    /// failed. `rand` spreads how long a refusal marks.
    pub fn ended(&mut self, slot: Slot, now_ns: u64, latency_ns: u64, outcome: Outcome, rand: u64) {
        let Some(state) = self.states.get_mut(slot.0 as usize) else { return };
        debug_assert!(state.active > 0);
        state.active = state.active.saturating_sub(1);
        let was_marked = state.is_marked();
        match outcome {
            Outcome::Answered => {
                if was_marked {
                    state.clear_mark(now_ns);
                    self.assessed_until_ns = 0;
                }
                if self.rules.policy == Policy::PeakEwma {
                    state.latency.observe(now_ns, latency_ns);
                }
            }
            Outcome::Failed | Outcome::Outrun => {
                if self.rules.policy == Policy::PeakEwma {
                    state.latency.observe_failure(now_ns, latency_ns);
                }
            }
            Outcome::Refused => {
                state.mark(now_ns, rand);
                self.assessed_until_ns = 0;
            }
            Outcome::Abandoned => {}
        }
        if self.rules.bounds_loads() {
            self.count(slot, false);
        }
    }

    /// Keeps the tiers' sums of what is under way.
    fn count(&mut self, slot: Slot, begins: bool) {
        let state = &self.states[slot.0 as usize];
        if !state.live {
            return;
        }
        for (number, view) in self.views.iter_mut().enumerate() {
            if state.views & (1 << number) != 0
                && let Some(tier) = view.tiers.iter_mut().find(|tier| tier.rank == state.rank)
            {
                tier.count(state, begins);
            }
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

    /// Whether a view has any endpoint.
    pub fn is_empty(&self, view: u32) -> bool {
        self.views.get(view as usize).is_none_or(|view| view.tiers.is_empty())
    }

    /// When the first endpoint of a view is no longer skipped; `None` if one may be picked now, or there is none. For
    /// Retry-After.
    pub fn usable_at_ns(&mut self, view: u32, now_ns: u64) -> Option<u64> {
        if now_ns >= self.assessed_until_ns {
            self.assess(now_ns);
        }
        let tiers = &self.views.get(view as usize)?.tiers;
        let times = tiers.iter().map(|tier| tier.usable_at_ns(&self.states));
        times.min().flatten().filter(|&until| until > now_ns)
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

/// What is wanted of an address that may be given more than once.
struct Wanted {
    weight: u32,
    rank: u16,
    views: u64,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { weight: 0, rank: u16::MAX, views: 1 }
    }
}

impl Wanted {
    fn add(&mut self, endpoint: &Endpoint) {
        self.weight = self.weight.saturating_add(u32::from(endpoint.weight).max(1));
        self.rank = self.rank.min(u16::from(endpoint.priority) << 1 | u16::from(!endpoint.is_near));
        self.views |= endpoint.views;
    }
}
