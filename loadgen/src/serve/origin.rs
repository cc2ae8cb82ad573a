//! What the connections of one loop share: the behaviour and its dice, the clock, answers that are ready, counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringway_runtime::Nanos;

use super::behaviour::{Behaviour, Failure, Plan, Wish};
use super::clock::Clock;
use super::request::{Head, Persistence};
use super::response::{Answer, Response};

/// The origin as one loop has it.
pub struct Origin {
    /// How it behaves.
    pub behaviour: Behaviour,
    /// Every answer is the same, and due at once.
    pub is_plain: bool,
    /// Bodies are sent in chunks.
    pub chunked: bool,
    /// For answers that are due later.
    pub clock: Rc<Clock>,
    /// Answers that are ready.
    pub ready: Ready,
    /// What happened.
    pub tally: Arc<Tally>,
    dice: RefCell<fastrand::Rng>,
    /// When the server started: stalls count from here.
    start: Nanos,
}

impl Origin {
    /// The origin for the loop on this thread.
    pub fn new(
        behaviour: &Behaviour,
        chunked: bool,
        seed: u64,
        start: Nanos,
        tally: Arc<Tally>,
    ) -> Rc<Origin> {
        Rc::new(Origin {
            behaviour: behaviour.clone(),
            is_plain: behaviour.is_plain(),
            chunked,
            clock: Clock::start(),
            ready: Ready::new(behaviour, chunked),
            tally,
            dice: RefCell::new(fastrand::Rng::with_seed(seed)),
            start,
        })
    }

    /// What becomes of a request that has just arrived, and until when it waits, if it does.
    pub fn plan(&self, wish: &Wish) -> (Plan, Option<Nanos>) {
        let arrival_ns = Nanos::precise().0.saturating_sub(self.start.0);
        let plan = self.behaviour.plan(wish, arrival_ns, &mut self.dice.borrow_mut());
        let due = (plan.due_ns > arrival_ns).then(|| Nanos(self.start.0 + plan.due_ns));
        (plan, due)
    }
}

/// Answers to requests that wish for nothing.
pub struct Ready {
    /// By whether they fail, whether the request is HEAD, and persistence.
    all: Box<[Response]>,
    size: usize,
    fail_status: Option<u16>,
}

impl Ready {
    fn new(behaviour: &Behaviour, chunked: bool) -> Ready {
        let fail_status = match behaviour.fail_with {
            Failure::Status(status) => Some(status),
            _ => None,
        };
        let mut all = Vec::with_capacity(16);
        for status in [200, fail_status.unwrap_or(200)] {
            for is_head in [false, true] {
                for persistence in PERSISTENCES {
                    let size = behaviour.size;
                    all.push(Response::new(&Answer { status, size, is_head, persistence, chunked }));
                }
            }
        }
        Ready { all: all.into(), size: behaviour.size, fail_status }
    }

    /// The answer to a request with this head.
    #[inline]
    pub fn get(&self, head: &Head, fails: bool) -> &Response {
        &self.all[usize::from(fails) * 8 + usize::from(head.is_head) * 4 + head.persistence as usize]
    }

    /// The answer with this status and size, if it is ready.
    pub fn find(&self, head: &Head, status: u16, size: usize) -> Option<&Response> {
        let fails = self.fail_status == Some(status);
        (size == self.size && (status == 200 || fails)).then(|| self.get(head, fails))
    }
}

/// In the order of their numbers.
const PERSISTENCES: [Persistence; 4] =
    [Persistence::Keep, Persistence::Close, Persistence::KeepOld, Persistence::CloseOld];

/// What happened on one loop; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    /// Requests that arrived whole; pieces, for an echo.
    pub requests: Count,
    /// Those that failed on purpose.
    pub failed: Count,
    /// Connections accepted.
    pub connections: Count,
}

/// A counter that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Only the loop's own thread adds, so that no bus cycle is needed.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
