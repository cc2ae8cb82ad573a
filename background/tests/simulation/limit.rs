//! A rate limit over all workers: keys have a home, others lease.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use ringway_engine::limits::gcra::Rate;
use ringway_engine::limits::lease::Terms;
use ringway_engine::limits::limiter::{Letter, Limit, Limiter, Post, Spec, Taken, Ticket, What, id_of};

use super::world::{BEGIN_NS, Event, MS, S, World};

/// How long a request waits for a key's home.
const WAIT_NS: u64 = MS;
/// What a letter takes at least.
const LETTER_MIN_NS: u64 = 5_000;
const KEYS: usize = 6;

pub struct Limited {
    rate: Rate,
    workers: Vec<(Limiter, Rc<Limit>)>,
    keys: Vec<u128>,
    waiting: Vec<(usize, usize, Ticket)>,
    /// When something passed, by key.
    passed: Vec<Vec<u64>>,
    /// So that answers come in time.
    delay_max_ns: u64,
}

impl Limited {
    pub fn new(workers: usize, random: &mut Rng) -> Limited {
        let rate = Rate::new([20, 100, 400][random.usize(..3)], S, [5, 50, 400][random.usize(..3)]);
        let spec = Spec {
            what: What::Rate(rate),
            keys: 100,
            unsure_allowed: Some(false),
            wait_ns: WAIT_NS,
            fleet: None,
        };
        let worker = |me| {
            let limiter = Limiter::new(me, workers);
            let limit = limiter.adopt(BEGIN_NS, id_of(&spec, "all"), spec, &Arc::default());
            (limiter, limit)
        };
        Limited {
            rate,
            workers: (0..workers).map(worker).collect(),
            keys: (0..KEYS).map(|_| random.u128(..)).collect(),
            waiting: Vec::new(),
            passed: vec![Vec::new(); KEYS],
            delay_max_ns: random.u64(10_000..450_000),
        }
    }

    /// The first key is asked for as often as all others.
    pub fn key(&self, random: &mut Rng) -> u128 {
        self.keys[if random.bool() { 0 } else { random.usize(..KEYS) }]
    }

    /// In no time did more of a key pass than was said (see `limits`): what passed runs ahead of the rate by no more
    /// than the burst, what may be on lease, and an answer's age.
    pub fn check(&self) {
        assert!(self.waiting.is_empty(), "each was decided");
        let others = self.workers.len() as i128 - 1;
        let leased = i128::from(Terms::between_cores(self.rate, self.workers.len()).batch) * others;
        let interval = i128::from(self.rate.interval_ns());
        let room = (i128::from(self.rate.burst()) + leased) * interval + i128::from(WAIT_NS);
        for passed in &self.passed {
            let mut least = i128::MAX;
            for (before, at) in passed.iter().enumerate() {
                let ahead = before as i128 * interval - i128::from(*at);
                least = least.min(ahead);
                let over = ahead + interval - least - room;
                assert!(over <= 0, "{over} ns too much, of {:?}", self.rate);
            }
        }
    }
}

impl World {
    /// Asks the limit.
    pub fn admit(&mut self, place: usize) {
        let (now, limited) = (self.now, &mut self.limited);
        let request = self.requests[place].as_ref().expect("it is under way");
        let (worker, key) = (request.worker, request.key);
        let (limiter, limit) = &limited.workers[worker];
        match limiter.take(now, limit, key, 1, &Vec::new) {
            Taken::Now(decision) => self.limit_decided(place, decision.allowed),
            Taken::Later(ticket) => {
                let due = limiter.first_due();
                limited.waiting.push((worker, place, ticket));
                if let Some(due) = due {
                    self.at(due.max(now), Event::Expire { worker });
                }
            }
        }
        self.settle(worker);
    }

    fn limit_decided(&mut self, place: usize, allowed: bool) {
        if allowed {
            let key = self.requests[place].as_ref().expect("it is under way").key;
            let number = self.limited.keys.iter().position(|known| *known == key).expect("one of the keys");
            self.limited.passed[number].push(self.now);
        }
        self.decided(place, allowed);
    }

    pub fn letter(&mut self, to: usize, letter: Letter) {
        self.limited.workers[to].0.receive(self.now, letter);
        self.settle(to);
    }

    pub fn expire(&mut self, worker: usize) {
        self.limited.workers[worker].0.expire(self.now);
        self.settle(worker);
    }

    pub fn sweep(&mut self) {
        for worker in 0..self.workers.len() {
            self.limited.workers[worker].0.sweep(self.now);
            self.settle(worker);
        }
        if self.lives() {
            self.at(self.now + 100 * MS, Event::Sweep);
        }
    }

    /// Letters go on their way, and who has an answer goes on.
    fn settle(&mut self, worker: usize) {
        let mut posted = Vec::new();
        self.limited.workers[worker].0.carry(|post| {
            posted.push(post);
            Ok(())
        });
        for post in posted {
            let Post::Worker(to, letter) = post else { unreachable!("there is no fleet") };
            let delay = LETTER_MIN_NS + self.random.u64(..self.limited.delay_max_ns);
            self.at(self.now + delay, Event::Letter { to, letter });
        }
        let mut waiting = std::mem::take(&mut self.limited.waiting);
        let mut decided = Vec::new();
        waiting.retain_mut(|(at, place, ticket)| {
            if *at != worker {
                return true;
            }
            let polled = self.limited.workers[worker].0.poll(ticket, &Context::from_waker(Waker::noop()));
            let Poll::Ready(decision) = polled else { return true };
            decided.push((*place, decision.allowed));
            false
        });
        self.limited.waiting = waiting;
        for (place, allowed) in decided {
            self.limit_decided(place, allowed);
        }
    }
}
