//! What carries a worker's letters about limits, and has requests wait for answers.
//!
//! A worker has one [`Node`]: its limiter, the inbox for letters of other workers, and a clock for those who wait, which
//! costs nothing while nobody does. Invariant: who waits is decided for, by an answer or by its limit's policy.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use ringway_runtime::mailbox::{Receiver, Sender, mailbox};
use ringway_runtime::{Nanos, PreciseTimer, now, spawn};

use super::fleet;
use super::lease::Told;
use super::limiter::{Decision, Letter, Limit, Limiter, Post, Taken, Ticket};
use super::shard::Key;
use crate::key::Seed;

/// Letters that may wait for a worker. Beyond it they wait where they were written.
const LETTERS_MAX: usize = 4096;
/// When a full mailbox is tried again.
const AGAIN_NS: u64 = 500_000;
/// Whoever keeps the fleet's buckets has more letters than can wait: it is not asked for so long.
const FULL_NS: u64 = 10_000_000;

/// Where the workers, and whoever keeps the fleet's buckets, are written to.
pub(crate) struct Posts {
    workers: Box<[Sender<Letter>]>,
    fleet: Sender<fleet::Letter>,
    /// Until somebody takes it. Without anybody letters fill it, and then each node decides by itself.
    fleet_end: Mutex<Option<Receiver<fleet::Letter>>>,
    /// Of keys' hashes: this process's secret.
    seed: Seed,
}

impl Posts {
    /// For so many workers; the inbox of each.
    pub fn new(workers: usize) -> Result<(Arc<Posts>, Vec<Receiver<Letter>>), getrandom::Error> {
        let mut seed = Seed::default();
        getrandom::fill(&mut seed)?;
        let (workers, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mailbox(LETTERS_MAX)).unzip();
        let (fleet, fleet_end) = mailbox(fleet::LETTERS_MAX);
        let fleet_end = Mutex::new(Some(fleet_end));
        Ok((Arc::new(Posts { workers: workers.into(), fleet, fleet_end, seed }), inboxes))
    }

    pub fn take_fleet(&self) -> Option<Receiver<fleet::Letter>> {
        self.fleet_end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// An answer to an ask of the fleet's; `Err`: the worker's mailbox is full, try again.
    pub fn tell_fleet(&self, from: usize, ticket: Ticket, told: Told) -> Result<(), Told> {
        let Some(post) = self.workers.get(from) else { return Ok(()) };
        post.send(Letter::Answer { ticket, told }).map_err(|_| told)
    }

    fn post(&self, post: Post) -> Result<(), Post> {
        match post {
            Post::Worker(to, letter) => {
                self.workers[to].send(letter).map_err(|letter| Post::Worker(to, letter))
            }
            Post::Fleet(letter) => match self.fleet.send(letter) {
                // An ask must not be left without its answer: the node decides.
                Err(fleet::Letter::Ask(ask)) => {
                    let told = Told::Unavailable { for_ns: FULL_NS };
                    let answered = self.tell_fleet(ask.from, ask.ticket, told);
                    answered.map_err(|_| Post::Fleet(fleet::Letter::Ask(ask)))
                }
                _ => Ok(()),
            },
        }
    }
}

/// A worker's part in the limits of its node.
pub(crate) struct Node {
    pub limiter: Limiter,
    posts: Arc<Posts>,
    inbox: Receiver<Letter>,
    clock: Clock,
}

#[derive(Default)]
struct Clock {
    runs: Cell<bool>,
    /// What it waits for.
    due_ns: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Node {
    pub fn new(me: usize, posts: Arc<Posts>, inbox: Receiver<Letter>) -> Rc<Node> {
        let limiter = Limiter::new(me, posts.workers.len());
        Rc::new(Node { limiter, posts, inbox, clock: Clock::default() })
    }

    #[inline]
    pub fn seed(&self) -> &Seed {
        &self.posts.seed
    }

    /// Reads letters for as long as the worker lives.
    pub async fn serve(self: Rc<Node>) {
        loop {
            let letter = self.inbox.recv().await;
            self.limiter.receive(now().0, letter);
            self.read_all();
            self.carry();
            if self.limiter.first_due().is_some() {
                // An answer may have led to another question, which is due sooner.
                self.watch();
            }
        }
    }

    /// See [`Limiter::take`]; who must wait goes on with [`Node::decided`].
    #[inline]
    pub fn take(
        self: &Rc<Node>,
        limit: &Rc<Limit>,
        key: Key,
        cost: u32,
        values: &dyn Fn() -> fleet::Values,
    ) -> Taken {
        let taken = self.limiter.take(now().0, limit, key, cost, values);
        if self.limiter.has_letters() {
            self.carry();
        }
        taken
    }

    /// What was waited for.
    pub async fn decided(
        self: &Rc<Node>,
        limit: &Rc<Limit>,
        key: Key,
        cost: u32,
        ticket: Ticket,
    ) -> Decision {
        self.limiter.waits_from(ticket, Nanos::precise().0);
        self.watch();
        let mut waiting = Waiting { node: self, limit, key, cost, ticket: Some(ticket) };
        poll_fn(|cx| waiting.poll(cx)).await
    }

    /// What was taken was not used.
    pub fn give_back(self: &Rc<Node>, limit: &Rc<Limit>, key: Key, cost: u32, decision: &Decision) {
        self.limiter.give_back(limit, key, cost, decision);
        self.carry();
    }

    /// A request cost more than was taken for it.
    pub fn debit(self: &Rc<Node>, limit: &Rc<Limit>, key: Key, tokens: u32, decision: &Decision) {
        self.limiter.debit(now().0, limit, key, tokens, decision.source);
        self.carry();
    }

    /// Now and then.
    pub fn sweep(self: &Rc<Node>) {
        self.limiter.sweep(now().0);
        self.carry();
    }

    fn read_all(&self) {
        for _ in 0..LETTERS_MAX {
            let Some(letter) = self.inbox.try_recv() else { return };
            self.limiter.receive(now().0, letter);
        }
    }

    fn carry(self: &Rc<Node>) {
        self.limiter.carry(|post| self.posts.post(post));
        if self.limiter.has_letters() {
            self.watch();
        }
    }

    /// Has the clock look at who waits.
    fn watch(self: &Rc<Node>) {
        let clock = &self.clock;
        if !clock.runs.replace(true) {
            spawn(self.clone().run_clock());
        } else if self.due_ns() < clock.due_ns.get()
            && let Some(waker) = clock.waker.take()
        {
            waker.wake();
        }
    }

    fn due_ns(&self) -> u64 {
        let again = if self.limiter.has_letters() { now().0 + AGAIN_NS } else { u64::MAX };
        self.limiter.first_due().unwrap_or(u64::MAX).min(again)
    }

    async fn run_clock(self: Rc<Node>) {
        let mut timer = PreciseTimer::new();
        poll_fn(|cx| self.poll_clock(cx, &mut timer)).await
    }

    fn poll_clock(self: &Rc<Node>, cx: &mut Context<'_>, timer: &mut PreciseTimer) -> Poll<()> {
        loop {
            let due_ns = self.due_ns();
            self.clock.due_ns.set(due_ns);
            if due_ns == u64::MAX || timer.poll_until(cx, Nanos(due_ns)).is_pending() {
                self.clock.waker.replace(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            // Answers that have come are not late.
            self.read_all();
            self.limiter.expire(Nanos::precise().0);
            self.limiter.carry(|post| self.posts.post(post));
            if self.limiter.has_letters() && self.limiter.first_due().is_none() {
                // Only a full mailbox is waited for, and that takes a while.
                let again = Nanos::precise().0 + AGAIN_NS;
                self.clock.due_ns.set(again);
                if timer.poll_until(cx, Nanos(again)).is_pending() {
                    self.clock.waker.replace(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
            }
        }
    }
}

/// A request that waits, or is gone.
struct Waiting<'a> {
    node: &'a Rc<Node>,
    limit: &'a Rc<Limit>,
    key: Key,
    cost: u32,
    ticket: Option<Ticket>,
}

impl Waiting<'_> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Decision> {
        let Some(ticket) = &mut self.ticket else { return Poll::Ready(Decision::default()) };
        let polled = self.node.limiter.poll(ticket, cx);
        if polled.is_ready() {
            self.ticket = None;
        }
        polled
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.node.limiter.abandon(self.limit, self.key, self.cost, ticket);
            self.node.carry();
        }
    }
}
