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
#[derive(Clone, Debug, PartialEq)]
pub struct Terms0 {
    /// What is limited.
    pub what: What,
    /// Keys that are told apart on the node.
    pub keys: usize,
    /// What becomes of a request for which home does not answer in time.
    pub unsure_allowed: bool,
    /// How long a request waits for an answer.
    pub wait_ns: u64,
    /// The bucket is the fleet's.
    pub fleet: Option<fleet::Terms>,
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
    pub counters: Arc<LimitCounters>,
    state: RefCell<State>,
}

struct State {
    terms: Terms0,
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
    Ask { limit: u64, key: Key, least: u32, want: u32, from: u16, ticket: Ticket },
    /// To an ask, of a home or of the fleet's.
    Answer { ticket: Ticket, told: Told },
    /// Tokens were not used, or a request is over.
    GiveBack { limit: u64, key: Key, tokens: u32 },
    /// These were used all the same.
    Debit { limit: u64, key: Key, tokens: u32 },
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
