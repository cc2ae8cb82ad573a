//! What was asked of others and is not answered yet, and who waits for it.
//!
//! ```text
//!   ask -> Waiting -> answered: Decided -> taken: over
//!             |-----> in time nobody answered: Unsure -> taken; over once the answer came too
//!             |-----> gone: Nobody -> over once the answer came
//! ```
//!
//! An ask is kept until its answer has come, since that may bring tokens that are somebody's. Invariant: each ask is
//! answered once, and its request decided at most once. Pure; wakers are only kept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::limiter::{Decision, Limit, Source};
use super::shard::Key;

/// Asks under way on one worker. Beyond it nobody is asked and the limit's policy decides.
pub(super) const WAITS_MAX: usize = 4096;

/// Beyond it those who don't wait any more are forgotten; each ask has two at most.
const DUE_MAX: usize = 4 * WAITS_MAX;

/// Which ask an answer is to, on the worker that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: u32,
    turn: u32,
}

/// What was asked, and for whom.
pub(super) struct Ask {
    pub limit: Rc<Limit>,
    pub key: Key,
    /// Of the request that waits; 0 where none does.
    pub cost: u32,
    pub source: Source,
    /// The answer is the key's lease's.
    pub batch: bool,
    /// How long its request waits.
    pub wait_ns: u64,
}

/// How it is with the request for which was asked.
pub(super) enum Waiter {
    /// None waits any more, or ever did.
    Nobody,
    Waiting {
        waker: Option<Waker>,
        until_ns: u64,
    },
    /// To be taken by the one who waited.
    Decided(Decision),
    /// It waits for another answer now.
    Moved(Ticket),
}

struct Slot {
    turn: u32,
    ask: Option<Ask>,
    waiter: Waiter,
    /// It was let through without an answer.
    unsure_allowed: bool,
}

/// All asks of a worker.
#[derive(Default)]
pub(super) struct Waits {
    slots: Vec<Slot>,
    spare: Vec<u32>,
    /// When who waits must be decided for, by slot and turn, the first on top; also of those who don't wait any more.
    due: BinaryHeap<Due>,
}

type Due = Reverse<(u64, u32, u32)>;

/// An answer's ask, and what its request has come to.
pub(super) struct Answered {
    pub ask: Ask,
    /// It still waits.
    pub waits: bool,
    /// It was let through already.
    pub unsure_allowed: bool,
}

impl Waits {
    /// A new ask, for a request that waits until then, or for nobody.
    pub fn begin(&mut self, ask: Ask, until_ns: Option<u64>) -> Option<Ticket> {
        let waiter = until_ns.map_or(Waiter::Nobody, |until_ns| Waiter::Waiting { waker: None, until_ns });
        let ticket = match self.spare.pop() {
            Some(slot) => {
                let place = &mut self.slots[slot as usize];
                (place.ask, place.waiter, place.unsure_allowed) = (Some(ask), waiter, false);
                Ticket { slot, turn: place.turn }
            }
            None if self.slots.len() == WAITS_MAX => return None,
            None => {
                self.slots.push(Slot { turn: 0, ask: Some(ask), waiter, unsure_allowed: false });
                Ticket { slot: self.slots.len() as u32 - 1, turn: 0 }
            }
        };
        if let Some(until_ns) = until_ns {
            self.due_at(until_ns, ticket);
        }
        Some(ticket)
    }

    /// Whoever waits begins to now: what came before in this turn of the loop is nobody's fault.
    pub fn waits_from(&mut self, ticket: Ticket, now: u64) {
        let Some(Slot { ask: Some(ask), waiter: Waiter::Waiting { until_ns, .. }, .. }) = self.slot(ticket)
        else {
            return;
        };
        *until_ns = now.saturating_add(ask.wait_ns);
        let until_ns = *until_ns;
        self.due_at(until_ns, ticket);
    }

    fn due_at(&mut self, until_ns: u64, ticket: Ticket) {
        if self.due.len() == DUE_MAX {
            let slots = &self.slots;
            self.due.retain(|due| waits(slots, due));
        }
        self.due.push(Reverse((until_ns, ticket.slot, ticket.turn)));
    }

    /// An answer came; the ask is over but for its waiter.
    pub fn answered(&mut self, ticket: Ticket) -> Option<Answered> {
        let slot = self.slot(ticket)?;
        let ask = slot.ask.take()?;
        let waits = matches!(slot.waiter, Waiter::Waiting { .. });
        let unsure_allowed = slot.unsure_allowed;
        self.tidy(ticket);
        Some(Answered { ask, waits, unsure_allowed })
    }

    /// Who waits is told.
    pub fn decide(&mut self, ticket: Ticket, waiter: Waiter) {
        let Some(slot) = self.slot(ticket) else { return };
        if let Waiter::Waiting { waker, .. } = std::mem::replace(&mut slot.waiter, waiter) {
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Who waits was let through without an answer.
    pub fn allow_unsure(&mut self, ticket: Ticket, decision: Decision) {
        if let Some(slot) = self.slot(ticket) {
            slot.unsure_allowed = true;
        }
        self.decide(ticket, Waiter::Decided(decision));
    }

    /// For whom it is to be decided now without an answer.
    pub fn late(&mut self, now: u64) -> Option<(Ticket, Rc<Limit>, Key, u32, Source)> {
        let (until_ns, ticket) = self.first()?;
        let ask = self.slots[ticket.slot as usize].ask.as_ref().filter(|_| until_ns <= now)?;
        Some((ticket, ask.limit.clone(), ask.key, ask.cost, ask.source))
    }

    /// When the first of those who wait must be decided for.
    pub fn first_due(&mut self) -> Option<u64> {
        self.first().map(|(until_ns, _)| until_ns)
    }

    /// The first of those who wait.
    fn first(&mut self) -> Option<(u64, Ticket)> {
        while let Some(due) = self.due.peek() {
            if waits(&self.slots, due) {
                let Reverse((until_ns, slot, turn)) = *due;
                return Some((until_ns, Ticket { slot, turn }));
            }
            self.due.pop();
        }
        None
    }

    /// The decision, once there is one; `ticket` is changed where the wait goes on for another answer.
    pub fn poll(&mut self, ticket: &mut Ticket, cx: &Context<'_>) -> Poll<Decision> {
        loop {
            let Some(slot) = self.slot(*ticket) else { return Poll::Ready(Decision::default()) };
            match &mut slot.waiter {
                Waiter::Waiting { waker, .. } => {
                    match waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => *waker = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
                Waiter::Moved(to) => {
                    // Only this ask is left: who waits goes on with the other one.
                    let to = *to;
                    slot.waiter = Waiter::Nobody;
                    self.tidy(*ticket);
                    *ticket = to;
                }
                Waiter::Decided(decision) => {
                    let decision = *decision;
                    self.leave(*ticket);
                    return Poll::Ready(decision);
                }
                Waiter::Nobody => return Poll::Ready(Decision::default()),
            }
        }
    }

    /// Nobody waits for it any more. What was decided and not taken is the outcome.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Decision> {
        let slot = self.slot(ticket)?;
        let waiter = std::mem::replace(&mut slot.waiter, Waiter::Nobody);
        self.tidy(ticket);
        match waiter {
            Waiter::Decided(decision) => Some(decision),
            Waiter::Moved(to) => self.leave(to),
            _ => None,
        }
    }

    fn slot(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        self.slots.get_mut(ticket.slot as usize).filter(|slot| slot.turn == ticket.turn)
    }

    /// Frees a slot that is answered and has nobody who waits.
    fn tidy(&mut self, ticket: Ticket) {
        let slot = &mut self.slots[ticket.slot as usize];
        if slot.ask.is_none() && matches!(slot.waiter, Waiter::Nobody) {
            slot.turn = slot.turn.wrapping_add(1);
            self.spare.push(ticket.slot);
        }
    }
}

/// Somebody still waits until then.
fn waits(slots: &[Slot], Reverse((due_ns, slot, turn)): &Due) -> bool {
    let slot = slots.get(*slot as usize).filter(|slot| slot.turn == *turn && slot.ask.is_some());
    slot.is_some_and(|slot| matches!(slot.waiter, Waiter::Waiting { until_ns, .. } if until_ns == *due_ns))
}
