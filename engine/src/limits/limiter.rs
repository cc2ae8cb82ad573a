//! All limits of one worker: decides what can be decided here, asks for the rest, and answers who asks.
//!
//! Letters go to other workers, and to the fleet's buckets, by an outbox that whoever holds this carries away. A letter
//! that could not be carried stays in it, so nothing that was taken or let in is ever forgotten. Pure: `now` is passed in,
//! and so a world of these can be run on a virtual clock (`world.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustc_hash::FxHashMap;

use super::counts::Counts;
use super::fleet;
use super::gcra::{Left, Rate};
use super::home::Home;
use super::lease::{Leases, Step, TERM_NS, Terms, Told, Wanted};
use super::shard::Key;
use super::waits::{Answered, Ask, WAITS_MAX, Waiter, Waits};
use crate::observe::LimitCounters;

pub use super::waits::Ticket;

/// Keys of one limit with a lease or a remembered refusal, on one worker.
const LEASES_MAX: usize = 16_384;
/// Letters that may be given up (tokens given back) are, while more than this wait to be carried.
const OUTBOX_MAX: usize = 16_384;

/// What a limit is on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What is limited.
    pub what: What,
    /// Keys that are told apart on the node.
    pub keys: usize,
    /// What becomes of a request for which home does not answer in time. `None`: it passes only where tokens are leased.
    pub unsure_allowed: Option<bool>,
    /// How long a request waits for an answer.
    pub wait_ns: u64,
    /// The bucket is the fleet's.
    pub fleet: Option<fleet::Terms>,
}

/// The number by which workers speak of a limit: of its name, and the same in every process. Requests at once that are
/// counted in a table of another size are counted anew, so what was let in before must not be given back there.
pub fn id_of(spec: &Spec, name: &str) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    let keys = if matches!(spec.what, What::AtOnce(_)) { spec.keys } else { 0 };
    std::hash::Hasher::write_usize(&mut hasher, keys);
    std::hash::Hasher::write(&mut hasher, name.as_bytes());
    std::hash::Hasher::finish(&hasher)
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Requests in a time.
    Rate(Rate),
    /// Requests at once.
    AtOnce(u32),
}

/// A limit on one worker. What it knows outlives snapshots.
pub struct Limit {
    /// The same on every worker: of its name.
    id: u64,
    /// What it decides here.
    pub counters: Arc<LimitCounters>,
    state: RefCell<State>,
}

struct State {
    spec: Spec,
    home: Bucket,
    away: Leases,
    fleet: Leases,
    /// The fleet is not asked before.
    fleet_from_ns: u64,
}

enum Bucket {
    Rate(Home),
    AtOnce(Counts),
}

/// Where a key's bucket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// On the key's home core, which may be this one.
    #[default]
    Home,
    /// Beyond this node.
    Fleet,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It passes.
    pub allowed: bool,
    /// Nobody answered in time: the limit's policy decided, and nothing was taken.
    pub unsure: bool,
    /// What there is, or when there is more.
    pub left: Left,
    /// Of whom the tokens are.
    pub source: Source,
}

/// A decision, or who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is decided.
    Now(Decision),
    /// It will be: see [`Limiter::poll`].
    Later(Ticket),
}

/// A letter between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// For tokens at the key's home, or to be let in there.
    Ask {
        /// Which limit.
        limit: u64,
        /// Which key.
        key: Key,
        /// With less a request does not pass.
        least: u32,
        /// As much would be welcome.
        want: u32,
        /// Who asks.
        from: u16,
        /// To be told with the answer.
        ticket: Ticket,
    },
    /// To an ask, of a home or of the fleet's.
    Answer {
        /// Which ask.
        ticket: Ticket,
        /// What is said.
        told: Told,
    },
    /// Tokens were not used, or a request is over.
    GiveBack {
        /// Which limit.
        limit: u64,
        /// Which key.
        key: Key,
        /// How many.
        tokens: u32,
    },
    /// These were used all the same.
    Debit {
        /// Which limit.
        limit: u64,
        /// Which key.
        key: Key,
        /// How many.
        tokens: u32,
    },
}

/// Where a letter goes.
#[derive(Debug)]
pub enum Post {
    /// To a worker.
    Worker(usize, Letter),
    /// To whoever keeps the fleet's buckets.
    Fleet(fleet::Letter),
}

/// The limits of one worker.
pub struct Limiter {
    me: usize,
    workers: usize,
    limits: RefCell<FxHashMap<u64, Rc<Limit>>>,
    waits: RefCell<Waits>,
    outbox: RefCell<VecDeque<Post>>,
}

impl Limiter {
    /// For worker `me` of so many.
    pub fn new(me: usize, workers: usize) -> Limiter {
        Limiter {
            me,
            workers,
            limits: RefCell::default(),
            waits: RefCell::default(),
            outbox: RefCell::default(),
        }
    }

    /// The limit of this id, which is known already or begins here; it is as `spec` says from now on.
    pub fn adopt(&self, now: u64, id: u64, spec: Spec, counters: &Arc<LimitCounters>) -> Rc<Limit> {
        let mut limits = self.limits.borrow_mut();
        if let Some(limit) = limits.get(&id)
            && limit.change(now, spec, self.workers)
        {
            return limit.clone();
        }
        let limit = Rc::new(Limit::new(id, spec, self.workers, counters.clone()));
        limits.insert(id, limit.clone());
        limit
    }

    /// Forgets all limits but these.
    pub fn retain(&self, holds: impl Fn(u64) -> bool) {
        self.limits.borrow_mut().retain(|id, _| holds(*id));
    }

    /// Takes `cost` for a request; what costs nothing passes and asks nobody. `values` of the key are asked for only where the fleet is.
    #[inline]
    pub fn take(
        &self,
        now: u64,
        limit: &Rc<Limit>,
        key: Key,
        cost: u32,
        values: &dyn Fn() -> fleet::Values,
    ) -> Taken {
        let mut state = limit.state.borrow_mut();
        let of_fleet = state.spec.fleet.is_some() && now >= state.fleet_from_ns;
        if cost == 0
            && let What::Rate(rate) = state.spec.what
            && (of_fleet || self.home_of(key) != self.me)
        {
            let (leases, source) =
                if of_fleet { (&state.fleet, Source::Fleet) } else { (&state.away, Source::Home) };
            return Taken::Now(limit.decided(Ok(leases.left(now, key, rate.burst())), source));
        }
        if of_fleet {
            let step = state.fleet.take(now, key, cost);
            drop(state);
            return self.step(now, limit, key, cost, Source::Fleet, step, values);
        }
        self.take_here(now, limit, &mut state, key, cost).unwrap_or_else(|step| {
            drop(state);
            self.step(now, limit, key, cost, Source::Home, step, values)
        })
    }

    /// The same without waiting: what would have to be waited for is unsure. What is answered later is leased, or owed.
    pub fn take_now(&self, now: u64, limit: &Rc<Limit>, key: Key, cost: u32) -> Decision {
        match self.take(now, limit, key, cost, &Vec::new) {
            Taken::Now(decision) => decision,
            Taken::Later(ticket) => {
                let decision = self.unsure(limit);
                let mut waits = self.waits.borrow_mut();
                if decision.allowed {
                    waits.allow_unsure(ticket, decision);
                }
                waits.leave(ticket);
                decision
            }
        }
    }

    /// The time to wait begins now.
    pub fn waits_from(&self, ticket: Ticket, now: u64) {
        self.waits.borrow_mut().waits_from(ticket, now);
    }

    /// Whether what is waited for has been decided.
    pub fn poll(&self, ticket: &mut Ticket, cx: &Context<'_>) -> Poll<Decision> {
        self.waits.borrow_mut().poll(ticket, cx)
    }

    /// Who waited is gone: what was taken for it is given back.
    pub fn abandon(&self, limit: &Rc<Limit>, key: Key, cost: u32, ticket: Ticket) {
        let decided = self.waits.borrow_mut().leave(ticket);
        if let Some(decision) = decided {
            self.give_back(limit, key, cost, &decision);
        }
    }

    /// What was taken was not used: the request was refused for another reason, or it is over where requests at once are
    /// limited.
    pub fn give_back(&self, limit: &Rc<Limit>, key: Key, cost: u32, decision: &Decision) {
        if decision.unsure || !decision.allowed || cost == 0 {
            return;
        }
        let mut state = limit.state.borrow_mut();
        let over = match decision.source {
            Source::Fleet => state.fleet.give_back(key, cost),
            Source::Home if self.home_of(key) == self.me => {
                state.home.give_back(key, cost);
                0
            }
            Source::Home => state.away.give_back(key, cost),
        };
        drop(state);
        self.send_back(limit.id, key, over, decision.source);
    }

    /// A request cost more than was taken.
    pub fn debit(&self, now: u64, limit: &Rc<Limit>, key: Key, tokens: u32, source: Source) {
        let home = self.home_of(key);
        let id = limit.id;
        match source {
            _ if tokens == 0 => {}
            Source::Fleet => self.put(Post::Fleet(fleet::Letter::Debit { limit: id, key, tokens })),
            Source::Home if home == self.me => limit.state.borrow_mut().home.debit(now, key, tokens),
            Source::Home => self.put(Post::Worker(home, Letter::Debit { limit: id, key, tokens })),
        }
    }

    /// A letter came.
    pub fn receive(&self, now: u64, letter: Letter) {
        match letter {
            Letter::Ask { limit, key, least, want, from, ticket } => {
                let told = match self.limits.borrow().get(&limit) {
                    Some(limit) => limit.state.borrow_mut().home.lease(now, key, least, want),
                    // It is new, or gone, and not every worker has heard of that.
                    None => Told::Unavailable { for_ns: 0 },
                };
                self.put(Post::Worker(usize::from(from), Letter::Answer { ticket, told }));
            }
            Letter::Answer { ticket, told } => self.answered(now, ticket, told),
            Letter::GiveBack { limit, key, tokens } => {
                if let Some(limit) = self.limits.borrow().get(&limit) {
                    limit.state.borrow_mut().home.give_back(key, tokens);
                }
            }
            Letter::Debit { limit, key, tokens } => {
                if let Some(limit) = self.limits.borrow().get(&limit) {
                    limit.state.borrow_mut().home.debit(now, key, tokens);
                }
            }
        }
    }

    /// Decides for those who have waited long enough.
    pub fn expire(&self, now: u64) {
        loop {
            let Some((ticket, limit, key, cost, source)) = self.waits.borrow_mut().late(now) else { return };
            if source == Source::Fleet {
                limit.counters.fleet_late.increment();
                self.decide_on_node(now, ticket, &limit, key, cost);
                continue;
            }
            self.decide_unsure(ticket, &limit);
        }
    }

    /// When somebody will have waited long enough.
    pub fn first_due(&self) -> Option<u64> {
        self.waits.borrow_mut().first_due()
    }

    /// Ends what leases are over, and tells the gauges.
    pub fn sweep(&self, now: u64) {
        for limit in self.limits.borrow().values() {
            let state = &mut *limit.state.borrow_mut();
            for (leases, source) in [(&mut state.away, Source::Home), (&mut state.fleet, Source::Fleet)] {
                leases.lapse(now, |key, tokens| self.send_back(limit.id, key, tokens, source));
            }
            limit.tell_gauges(state);
        }
    }

    /// Carries letters until one can't be: then the rest waits for another time.
    pub fn carry(&self, mut post: impl FnMut(Post) -> Result<(), Post>) {
        let mut outbox = self.outbox.borrow_mut();
        while let Some(letter) = outbox.pop_front() {
            if let Err(back) = post(letter) {
                outbox.push_front(back);
                return;
            }
        }
    }

    /// Letters wait to be carried.
    #[inline]
    pub fn has_letters(&self) -> bool {
        !self.outbox.borrow().is_empty()
    }

    #[inline]
    fn take_here(
        &self,
        now: u64,
        limit: &Limit,
        state: &mut State,
        key: Key,
        cost: u32,
    ) -> Result<Taken, Step> {
        if self.home_of(key) == self.me {
            let decided = match &mut state.home {
                Bucket::Rate(home) => home.take(now, key, cost),
                Bucket::AtOnce(counts) => counts.enter(key),
            };
            return Ok(Taken::Now(limit.decided(decided, Source::Home)));
        }
        Err(match &state.home {
            Bucket::Rate(_) => state.away.take(now, key, cost),
            Bucket::AtOnce(_) => Step::Ask(Wanted { least: 1, want: 1, batch: false }),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "each is another thing about one request")]
    fn step(
        &self,
        now: u64,
        limit: &Rc<Limit>,
        key: Key,
        cost: u32,
        source: Source,
        step: Step,
        values: &dyn Fn() -> fleet::Values,
    ) -> Taken {
        match step {
            Step::Allowed(left, more) => {
                if more > 0 {
                    let wanted = Wanted { least: 1, want: more, batch: true };
                    let ask = Ask { limit: limit.clone(), key, cost: 0, source, batch: true, wait_ns: 0 };
                    if self.ask(ask, wanted, None, values).is_none() {
                        limit.leases(source, |leases| leases.told(now, key, NOBODY, 0, false));
                    }
                }
                Taken::Now(limit.decided(Ok(left), source))
            }
            Step::Refused(left) => Taken::Now(limit.decided(Err(left), source)),
            Step::Ask(wanted) => {
                let spec = limit.state.borrow().spec;
                let wait_ns = match (source, spec.fleet) {
                    (Source::Fleet, Some(terms)) => terms.wait_ns,
                    _ => spec.wait_ns,
                };
                let ask = Ask { limit: limit.clone(), key, cost, source, batch: wanted.batch, wait_ns };
                match self.ask(ask, wanted, Some(now.saturating_add(wait_ns)), values) {
                    Some(ticket) => Taken::Later(ticket),
                    None => {
                        if wanted.batch {
                            limit.leases(source, |leases| leases.told(now, key, NOBODY, 0, false));
                        }
                        Taken::Now(self.unsure(limit))
                    }
                }
            }
        }
    }

    fn ask(
        &self,
        ask: Ask,
        wanted: Wanted,
        until_ns: Option<u64>,
        values: &dyn Fn() -> fleet::Values,
    ) -> Option<Ticket> {
        let Wanted { least, want, .. } = wanted;
        let (limit, key, source) = (ask.limit.id, ask.key, ask.source);
        ask.limit.counters.asked.increment();
        let ticket = self.waits.borrow_mut().begin(ask, until_ns)?;
        self.put(match source {
            Source::Home => {
                let from = self.me as u16;
                Post::Worker(self.home_of(key), Letter::Ask { limit, key, least, want, from, ticket })
            }
            Source::Fleet => {
                let values = fleet::bounded(values());
                let ask = fleet::Ask { limit, key, values, least, want, from: self.me, ticket };
                Post::Fleet(fleet::Letter::Ask(ask))
            }
        });
        Some(ticket)
    }

    fn answered(&self, now: u64, ticket: Ticket, told: Told) {
        let Some(Answered { ask, waits, unsure_allowed }) = self.waits.borrow_mut().answered(ticket) else {
            return;
        };
        let Ask { limit, key, cost, source, batch, .. } = ask;
        let at_once = matches!(limit.state.borrow().spec.what, What::AtOnce(_));
        // A request at once that was let through without an answer is not counted, so it takes nothing.
        let spends = waits || (unsure_allowed && !at_once);
        let spent = if spends { cost } else { 0 };
        let over = match told {
            told if batch => limit.leases(source, |leases| leases.told(now, key, told, cost, spends)),
            Told::Granted { tokens, .. } => tokens.saturating_sub(spent),
            Told::Refused(left) if !at_once => limit.leases(source, |leases| {
                leases.refused(now, key, left, cost);
                0
            }),
            _ => 0,
        };
        self.send_back(limit.id, key, over, source);
        match told {
            Told::Granted { left, .. } if waits => self.decide(ticket, limit.decided(Ok(left), source)),
            Told::Refused(left) if waits => self.decide(ticket, limit.decided(Err(left), source)),
            Told::Unavailable { for_ns } => {
                if source == Source::Fleet {
                    let mut state = limit.state.borrow_mut();
                    state.fleet_from_ns = state.fleet_from_ns.max(now.saturating_add(for_ns));
                }
                match source {
                    Source::Fleet if waits => self.decide_on_node(now, ticket, &limit, key, cost),
                    Source::Home if waits => self.decide_unsure(ticket, &limit),
                    _ => {}
                }
            }
            Told::Refused(_) if unsure_allowed && !at_once => self.debit(now, &limit, key, cost, source),
            _ => {}
        }
    }

    /// The fleet does not say: as if the limit had none.
    fn decide_on_node(&self, now: u64, ticket: Ticket, limit: &Rc<Limit>, key: Key, cost: u32) {
        let mut state = limit.state.borrow_mut();
        let taken = self.take_here(now, limit, &mut state, key, cost).unwrap_or_else(|step| {
            drop(state);
            self.step(now, limit, key, cost, Source::Home, step, &Vec::new)
        });
        match taken {
            Taken::Now(decision) => self.decide(ticket, decision),
            Taken::Later(other) => {
                let mut waits = self.waits.borrow_mut();
                waits.decide(ticket, Waiter::Moved(other));
            }
        }
    }

    fn decide_unsure(&self, ticket: Ticket, limit: &Rc<Limit>) {
        let decision = self.unsure(limit);
        let mut waits = self.waits.borrow_mut();
        if decision.allowed {
            waits.allow_unsure(ticket, decision);
        } else {
            waits.decide(ticket, Waiter::Decided(decision));
        }
    }

    fn decide(&self, ticket: Ticket, decision: Decision) {
        self.waits.borrow_mut().decide(ticket, Waiter::Decided(decision));
    }

    fn unsure(&self, limit: &Limit) -> Decision {
        let state = limit.state.borrow();
        let allowed = state.spec.unsure_allowed.unwrap_or_else(|| state.away.leases());
        limit.counters.unsure.increment();
        Decision { allowed, unsure: true, ..Decision::default() }
    }

    fn send_back(&self, limit: u64, key: Key, tokens: u32, source: Source) {
        if tokens == 0 {
            return;
        }
        self.put(match source {
            Source::Fleet => Post::Fleet(fleet::Letter::GiveBack { limit, key, tokens }),
            Source::Home => Post::Worker(self.home_of(key), Letter::GiveBack { limit, key, tokens }),
        });
    }

    fn put(&self, post: Post) {
        let mut outbox = self.outbox.borrow_mut();
        // What the fleet gets back is best effort.
        if outbox.len() >= OUTBOX_MAX && matches!(post, Post::Fleet(fleet::Letter::GiveBack { .. })) {
            return;
        }
        outbox.push_back(post);
    }

    /// By the hash's highest bits, which the tables don't look at.
    #[inline]
    fn home_of(&self, key: Key) -> usize {
        (((key >> 96) * self.workers as u128) >> 32) as usize
    }
}

/// Nobody can be asked just now.
const NOBODY: Told = Told::Unavailable { for_ns: 0 };

impl Limit {
    fn new(id: u64, spec: Spec, workers: usize, counters: Arc<LimitCounters>) -> Limit {
        // Homes have about the same number of keys each.
        let at_home = spec.keys.div_ceil(workers) + if workers > 1 { spec.keys.isqrt() } else { 0 };
        let (home, terms) = match spec.what {
            What::Rate(rate) => (Bucket::Rate(Home::new(rate, at_home)), Terms::between_cores(rate, workers)),
            What::AtOnce(most) => {
                (Bucket::AtOnce(Counts::new(most, at_home)), Terms { batch: 0, interval_ns: 0 })
            }
        };
        let away = if workers > 1 { spec.keys.min(LEASES_MAX) } else { 0 };
        let beyond = if spec.fleet.is_some() { spec.keys.min(LEASES_MAX) } else { 0 };
        let state = State {
            spec,
            home,
            away: Leases::new(terms, away),
            fleet: Leases::new(fleet_terms(&spec), beyond),
            fleet_from_ns: 0,
        };
        Limit { id, counters, state: RefCell::new(state) }
    }

    /// Becomes what `spec` says and keeps what it knows; `false` where it can't.
    fn change(&self, now: u64, spec: Spec, workers: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.spec.keys != spec.keys || state.spec.fleet.is_some() != spec.fleet.is_some() {
            return false;
        }
        match (&mut state.home, spec.what) {
            (Bucket::Rate(_), What::Rate(_))
                if state.spec.what == spec.what && state.spec.fleet == spec.fleet => {}
            (Bucket::Rate(home), What::Rate(rate)) => {
                home.set_rate(now, rate);
                state.away.set_terms(Terms::between_cores(rate, workers), now);
                state.fleet.set_terms(fleet_terms(&spec), now);
            }
            (Bucket::AtOnce(counts), What::AtOnce(most)) => counts.set_most(most),
            _ => return false,
        }
        state.spec = spec;
        true
    }

    fn leases(&self, source: Source, told: impl FnOnce(&mut Leases) -> u32) -> u32 {
        let mut state = self.state.borrow_mut();
        told(match source {
            Source::Home => &mut state.away,
            Source::Fleet => &mut state.fleet,
        })
    }

    #[inline]
    fn decided(&self, decided: Result<Left, Left>, source: Source) -> Decision {
        let (allowed, left) = match decided {
            Ok(left) => (true, left),
            Err(left) => (false, left),
        };
        Decision { allowed, unsure: false, left, source }
    }

    fn tell_gauges(&self, state: &mut State) {
        let taken = std::mem::take::<u64>;
        let (keys, evicted, crowded) = match &mut state.home {
            Bucket::Rate(home) => (home.len(), taken(&mut home.evicted), taken(&mut home.overflowed)),
            Bucket::AtOnce(counts) => (counts.len(), 0, taken(&mut counts.overflowed)),
        };
        self.counters.keys.set(keys as u64);
        self.counters.leases.set((state.away.len() + state.fleet.len()) as u64);
        self.counters.evicted.add(evicted);
        self.counters.crowded.add(crowded);
    }
}

fn fleet_terms(spec: &Spec) -> Terms {
    let interval_ns = match spec.what {
        What::Rate(rate) => rate.interval_ns(),
        What::AtOnce(_) => 0,
    };
    Terms { batch: spec.fleet.map_or(0, |terms| terms.batch), interval_ns }
}

impl Bucket {
    fn lease(&mut self, now: u64, key: Key, least: u32, want: u32) -> Told {
        let granted = match self {
            Bucket::Rate(home) => home.lease(now, key, least, want),
            Bucket::AtOnce(counts) => counts.enter(key).map(|left| (1, left)),
        };
        match granted {
            Ok((tokens, left)) => Told::Granted { tokens, left, until_ns: now + TERM_NS },
            Err(left) => Told::Refused(left),
        }
    }

    fn give_back(&mut self, key: Key, tokens: u32) {
        match self {
            Bucket::Rate(home) => home.give_back(key, tokens),
            Bucket::AtOnce(counts) => (0..tokens).for_each(|_| counts.leave(key)),
        }
    }

    fn debit(&mut self, now: u64, key: Key, tokens: u32) {
        if let Bucket::Rate(home) = self {
            home.debit(now, key, tokens);
        }
    }
}

const _: () = assert!(WAITS_MAX < OUTBOX_MAX, "every ask and answer finds room");
