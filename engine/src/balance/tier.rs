//! A tier: endpoints of one priority level that are in the node's zone, or those that are not. What is picked from it.

use super::choice::{Choice, Filter};
use super::hashed::{self, Bound, Member, Table};
use super::overflow::Level;
use super::standing::Grade;
use super::state::EndpointState;
use super::{Asked, Policy, Slot, least_request, peak_ewma, random, round_robin};
use crate::standing::Stand;

#[derive(Debug)]
pub(super) struct Tier {
    pub rank: u16,
    /// Slots that may be picked, in the order in which endpoints were given.
    pub live: Vec<u32>,
    /// Sums of the shares of `live`, for draws by weight; empty if all have the same.
    cumulative: Vec<u64>,
    /// Next in turn, for round robin with equal weights.
    cursor: u32,
    who: Who,
    table: Table,
    made_of: Vec<Member>,
    /// Of those that will do: exchanges under way and shares, where picks are bounded by load.
    active: u64,
    shares: u64,
}

/// Whom a tier picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Anybody: all are of a grade that is picked.
    All,
    /// Those of these grades, of whom there are some.
    Some(Grade),
    /// All refuse: only the one whose mark ends first.
    Last(u32),
    /// Nobody.
    Nobody,
}

impl Who {
    #[inline]
    pub fn admits(self, state: &EndpointState) -> bool {
        match self {
            Who::All => true,
            Who::Some(grades) => state.grade.is_among(grades),
            Who::Last(_) | Who::Nobody => false,
        }
    }
}

/// One endpoint of a tier, and how it came to be it.
pub(super) struct Found {
    pub slot: u32,
    pub passed_over: bool,
    pub keyless: bool,
}

impl From<u32> for Found {
    fn from(slot: u32) -> Found {
        Found { slot, passed_over: false, keyless: false }
    }
}

impl Tier {
    pub fn new(rank: u16, cursor: u32) -> Tier {
        Tier {
            rank,
            live: Vec::new(),
            cumulative: Vec::new(),
            cursor,
            who: Who::All,
            table: Table::None,
            made_of: Vec::new(),
            active: 0,
            shares: 0,
        }
    }

    /// Makes the table anew, if somebody came, went or weighs something else.
    pub fn lay_table(&mut self, policy: Policy, states: &[EndpointState]) {
        if !policy.is_hashed() {
            (self.table, self.made_of) = (Table::None, Vec::new());
            return;
        }
        let member = |slot: &u32| {
            let state = &states[*slot as usize];
            Member { point: state.point, weight: state.weight, slot: *slot }
        };
        let members: Vec<Member> = self.live.iter().map(member).collect();
        let is_of_policy = matches!(
            (policy, &self.table),
            (Policy::RingHash, Table::Ring(_)) | (Policy::Maglev, Table::Maglev(_))
        );
        if !is_of_policy || members != self.made_of {
            self.table = Table::new(policy, &members);
            self.made_of = members;
        }
    }

    /// Counts who is usable.
    pub fn level(&self, states: &[EndpointState], panic: bool) -> Level {
        let mut level = Level { total: self.live.len() as u32, ..Level::default() };
        let doubted = if panic { Grade::DOUBTED } else { Grade::NONE };
        for &slot in &self.live {
            let state = &states[slot as usize];
            level.usable += u32::from(state.grade == Grade::USABLE);
            level.spare += u32::from(state.grade.is_among(doubted.and(Grade::DRAINING)));
            level.held += u32::from(matches!(state.stand, Stand::Draining | Stand::Barred));
        }
        level
    }

    /// Settles whom it picks until it is assessed again. `is_bare`: nobody of the view is usable.
    pub fn settle(
        &mut self,
        level: &Level,
        is_bare: bool,
        panic: bool,
        at_ns: u64,
        states: &[EndpointState],
    ) {
        let mut grades = Grade::USABLE;
        if level.panics {
            grades = grades.and(Grade::DOUBTED);
        }
        if is_bare {
            grades = grades.and(Grade::DRAINING);
        }
        let grade_of = |slot: &u32| states[*slot as usize].grade;
        let picked = self.live.iter().filter(|slot| grade_of(slot).is_among(grades)).count();
        self.who = match picked {
            0 => {
                // What is doubted is asked only where that is not believed any more.
                let doubted = if panic { Grade::DOUBTED_REFUSING } else { Grade::NONE };
                let refusing =
                    self.live.iter().filter(|slot| grade_of(slot).is_among(doubted.and(Grade::REFUSING)));
                let first = refusing.min_by_key(|slot| {
                    let state = &states[**slot as usize];
                    (state.refused_until_ns.max(at_ns), state.grade != Grade::REFUSING)
                });
                first.map_or(Who::Nobody, |slot| Who::Last(*slot))
            }
            count if count == self.live.len() => Who::All,
            _ => Who::Some(grades),
        };
    }

    /// Sums of shares; of what is under way too, where that bounds picks.
    pub fn sum(&mut self, states: &[EndpointState], is_bounded: bool) {
        let shares = self.live.iter().map(|&slot| states[slot as usize].share);
        random::cumulate(shares, &mut self.cumulative);
        if is_bounded {
            let who = self.who;
            let counted =
                self.live.iter().map(|&slot| &states[slot as usize]).filter(|state| who.admits(state));
            (self.active, self.shares) = counted.fold((0, 0), |(active, shares), state| {
                (active + u64::from(state.active), shares + u64::from(state.share))
            });
        }
    }

    /// Exchanges under way with those that are picked, where that bounds picks.
    #[cfg(test)]
    pub fn active(&self) -> u64 {
        self.active
    }

    /// Whom it picks.
    pub fn who(&self) -> Who {
        self.who
    }

    /// An exchange with this endpoint has begun, or ended.
    pub fn count(&mut self, state: &EndpointState, begins: bool) {
        if self.who.admits(state) {
            self.active = if begins { self.active + 1 } else { self.active.saturating_sub(1) };
        }
    }

    /// When the first of its endpoints is no longer skipped; `None` if one may be picked now, or none ever.
    pub fn usable_at_ns(&self, states: &[EndpointState]) -> Option<u64> {
        match self.who {
            Who::Last(slot) => Some(states[slot as usize].refused_until_ns),
            _ => None,
        }
    }

    /// Who of it may be picked for a score, or those that refuse.
    pub fn lowest_of<'a>(&'a self, states: &'a [EndpointState], refusing: bool) -> impl Iterator<Item = u32> {
        self.live.iter().copied().filter(move |&slot| {
            let state = &states[slot as usize];
            let is_last = self.who == Who::Last(slot);
            if refusing { is_last || state.grade == Grade::REFUSING } else { self.who.admits(state) }
        })
    }

    /// Where all refuse and the first to be free was tried: the next one.
    #[cold]
    fn next_refusing(&self, states: &[EndpointState], but: &[Slot]) -> Option<Found> {
        let untried = self.live.iter().filter(|slot| !but.contains(&Slot(**slot)));
        let refusing = untried.filter(|slot| states[**slot as usize].grade == Grade::REFUSING);
        refusing.min_by_key(|slot| states[**slot as usize].refused_until_ns).map(|slot| (*slot).into())
    }

    /// One of its endpoints, but none of these.
    #[inline]
    pub fn pick(
        &mut self,
        states: &mut [EndpointState],
        rules: &super::Rules,
        asked: &Asked,
        (now_ns, rand): (u64, u64),
        but: &[Slot],
    ) -> Option<Found> {
        let only = match (self.who, &self.live[..]) {
            (Who::Nobody, _) | (_, []) => return None,
            (Who::Last(last), _) if but.contains(&Slot(last)) => return self.next_refusing(states, but),
            (Who::Last(last), _) => Some(last),
            (_, [only]) => Some(*only),
            _ => None,
        };
        if let Some(only) = only {
            return (!but.contains(&Slot(only))).then(|| only.into());
        }
        let all = self.who == Who::All && but.is_empty();
        let mut choice = Choice {
            states,
            live: &self.live,
            cumulative: &self.cumulative,
            cursor: &mut self.cursor,
            filter: (!all).then_some(Filter { who: self.who, but }),
        };
        let slot = match rules.policy {
            Policy::RoundRobin => round_robin::pick(&mut choice),
            Policy::LeastRequest => least_request::pick(&choice, rand),
            Policy::PeakEwma => peak_ewma::pick(&choice, now_ns, rand),
            Policy::Random => random::pick(&choice, rand),
            Policy::RingHash | Policy::Maglev => {
                let Some(hash) = asked.hash else {
                    let slot = least_request::pick(&choice, rand)?;
                    return Some(Found { keyless: true, ..slot.into() });
                };
                let bound = Bound { load: rules.hash_load, active: self.active, shares: self.shares };
                let led = hashed::pick(&choice, &self.table, &bound, hash)?;
                return Some(Found { passed_over: led.passed_over, ..led.slot.into() });
            }
        };
        slot.map(Found::from)
    }
}
