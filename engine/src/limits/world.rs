//! A world of workers on a virtual clock: letters take time, arrivals are random, and the bound is never exceeded.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::gcra::Rate;
use super::lease::{LEASED, Terms};
use super::limiter::{Decision, Letter, Limit, Limiter, Post, Spec, Taken, Ticket, What, id_of};
use super::shard::Key;
use crate::observe::LimitCounters;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const US: u64 = 1000;
/// Workers look at who waits so often: somebody may wait so much longer.
const TURN_NS: u64 = 200 * US;
/// A letter takes as long at least.
const LEAST_NS: u64 = 5 * US;

/// Something that happens at a time.
enum Event {
    Request {
        worker: usize,
        key: Key,
        cost: u32,
    },
    Letter {
        to: usize,
        letter: Letter,
    },
    /// A worker looks at its waits, and at its leases.
    Turn {
        worker: usize,
    },
}

/// A request that waits.
struct Waiting {
    worker: usize,
    key: Key,
    cost: u32,
    ticket: Ticket,
}

struct World {
    now: u64,
    random: fastrand::Rng,
    workers: Vec<(Limiter, Rc<Limit>)>,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    waiting: Vec<Waiting>,
    /// When what passed, by key.
    passed: Vec<(u64, Key, u32)>,
    refused: usize,
    unsure: usize,
    unsure_cost: u64,
    /// Letters take up to so long.
    delay_ns: u64,
    letters: Cell<u64>,
    /// Mailboxes keep their order: when the last letter from one to another comes.
    last: BTreeMap<(usize, usize), u64>,
}

fn rate_spec(rate: Rate, unsure_allowed: bool) -> Spec {
    Spec {
        what: What::Rate(rate),
        keys: 1000,
        unsure_allowed: Some(unsure_allowed),
        wait_ns: MS,
        fleet: None,
    }
}

impl World {
    fn new(seed: u64, count: usize, spec: Spec, delay_ns: u64) -> World {
        let worker = |me| {
            let limiter = Limiter::new(me, count);
            let counters: Arc<LimitCounters> = Arc::default();
            let limit = limiter.adopt(0, id_of(&spec, "api"), spec, &counters);
            (limiter, limit)
        };
        let mut world = World {
            now: S,
            random: fastrand::Rng::with_seed(seed),
            workers: (0..count).map(worker).collect(),
            events: BTreeMap::new(),
            number: 0,
            waiting: vec![],
            passed: vec![],
            refused: 0,
            unsure: 0,
            unsure_cost: 0,
            delay_ns,
            letters: Cell::new(0),
            last: BTreeMap::new(),
        };
        for worker in 0..count {
            world.at(S, Event::Turn { worker });
        }
        world
    }

    fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.insert((time, self.number), event);
    }

    /// Runs all that happens until then.
    fn run(&mut self, until: u64) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= until
        {
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            match event {
                Event::Request { worker, key, cost } => self.request(worker, key, cost),
                Event::Letter { to, letter } => {
                    self.workers[to].0.receive(now, letter);
                    self.settle(to);
                }
                Event::Turn { worker } => {
                    self.workers[worker].0.expire(now);
                    self.workers[worker].0.sweep(now);
                    self.settle(worker);
                    self.at(now + TURN_NS, Event::Turn { worker });
                }
            }
        }
        self.now = until;
    }

    fn request(&mut self, worker: usize, key: Key, cost: u32) {
        let (limiter, limit) = &self.workers[worker];
        match limiter.take(self.now, limit, key, cost, &Vec::new) {
            Taken::Now(decision) => self.decided(key, cost, decision),
            Taken::Later(ticket) => self.waiting.push(Waiting { worker, key, cost, ticket }),
        }
        self.settle(worker);
    }

    fn decided(&mut self, key: Key, cost: u32, decision: Decision) {
        self.unsure += usize::from(decision.unsure);
        self.unsure_cost += if decision.unsure { u64::from(cost) } else { 0 };
        if decision.allowed {
            self.passed.push((self.now, key, cost));
        } else {
            self.refused += 1;
        }
    }

    /// Letters go on their way; decisions are taken.
    fn settle(&mut self, worker: usize) {
        let mut posted = vec![];
        self.workers[worker].0.carry(|post| {
            posted.push(post);
            Ok(())
        });
        for post in posted {
            let Post::Worker(to, letter) = post else { panic!("there is no fleet") };
            self.letters.set(self.letters.get() + 1);
            let comes = self.now + LEAST_NS + self.random.u64(..=self.delay_ns);
            let last = self.last.entry((worker, to)).or_default();
            *last = comes.max(*last);
            let comes = *last;
            self.at(comes, Event::Letter { to, letter });
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|waits| {
            if waits.worker != worker {
                return true;
            }
            let polled = self.workers[worker].0.poll(&mut waits.ticket, &Context::from_waker(Waker::noop()));
            let Poll::Ready(decision) = polled else { return true };
            self.decided(waits.key, waits.cost, decision);
            false
        });
        self.waiting = waiting;
    }

    /// In no window more has passed than was said.
    fn check(&self, key: Key, rate: Rate, workers: usize) {
        let terms = Terms::between_cores(rate, workers);
        let leased = u64::from(terms.batch) * (workers as u64 - 1);
        assert!(leased <= u64::from(rate.burst() / LEASED));
        let passed: Vec<_> = self.passed.iter().filter(|(_, of, _)| *of == key).collect();
        // The window that begins with each: a sum that never passes the line from there.
        let mut least = i128::MAX;
        let mut sum = 0i128;
        for (at, _, cost) in passed {
            let line = i128::from(*at);
            let interval = i128::from(rate.interval_ns());
            // before + burst + leased + (at - start + wait) / interval >= after, for each start.
            least = least.min(sum * interval - line);
            sum += i128::from(*cost);
            let tokens = u64::from(rate.burst()) + leased + self.unsure_cost;
            let room = i128::from(tokens) * interval + i128::from(MS + TURN_NS);
            assert!(
                sum * interval - line - least <= room,
                "{} tokens too many",
                (sum * interval - line - least - room) / interval
            );
        }
    }
}

#[test]
fn no_window_ever_exceeds_the_bound_on_any_number_of_workers() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let workers = random.usize(1..=8);
        let burst = [1, 5, 20, 100, 1000, 5000][random.usize(..6)];
        let rate = Rate::new([5, 100, 1000, 20_000][random.usize(..4)], S, burst);
        // In every other world all answers come in time, so nothing is unsure.
        let in_time = seed % 2 == 0;
        let delay_ns = random.u64(0..if in_time { 400 } else { 1500 }) * US;
        let mut world = World::new(seed, workers, rate_spec(rate, false), delay_ns);
        let keys: Vec<Key> = (0..3).map(|_| random.u128(..)).collect();
        let mut now = S;
        let mean = [20, 200, 2000][random.usize(..3)] * US;
        for _ in 0..20_000 {
            // Lulls and bursts.
            now += if random.u32(..200) == 0 { random.u64(..500 * MS) } else { random.u64(..2 * mean) };
            let key = keys[random.usize(..keys.len())];
            let cost = if random.u32(..10) == 0 { random.u32(1..=4).min(burst) } else { 1 };
            world.at(now, Event::Request { worker: random.usize(..workers), key, cost });
        }
        world.run(now + S);
        assert!(world.waiting.is_empty(), "each was decided");
        assert!(!in_time || world.unsure == 0, "{} were unsure", world.unsure);
        keys.iter().for_each(|key| world.check(*key, rate, workers));
    }
}

#[test]
fn almost_all_of_the_rate_gets_through_on_one_core_of_eight() {
    for (count, burst) in [(100, 20), (1000, 1000), (10_000, 10_000), (50_000, 5000)] {
        let rate = Rate::new(count, S, burst);
        let mut random = fastrand::Rng::with_seed(u64::from(count));
        // Neither is the home of this key on each seed, so that both are tried.
        for worker in 0..3 {
            let key: Key = random.u128(..);
            let mut world = World::new(1, 8, rate_spec(rate, false), 40 * US);
            let mut now = S;
            while now < 6 * S {
                now += random.u64(..2 * S / (u64::from(count) * 2));
                world.at(now, Event::Request { worker, key, cost: 1 });
            }
            world.run(7 * S);
            let passed = world.passed.len() as f64;
            let may = f64::from(count) * 5.0 + f64::from(burst);
            assert!(passed >= 0.98 * may, "{count}/s: {passed} of {may}");
            world.check(key, rate, 8);
        }
    }
}

#[test]
fn demand_that_moves_between_cores_still_gets_the_rate() {
    let rate = Rate::new(2000, S, 2000);
    let mut world = World::new(3, 8, rate_spec(rate, false), 40 * US);
    let mut now = S;
    while now < 9 * S {
        now += 300 * US;
        // Another core each half second.
        let worker = (now / (S / 2)) as usize % 8;
        world.at(now, Event::Request { worker, key: 77 << 90, cost: 1 });
    }
    world.run(10 * S);
    let may = 2000.0 * 8.0 + 2000.0;
    assert!(world.passed.len() as f64 >= 0.98 * may, "{} of {may}", world.passed.len());
    world.check(77 << 90, rate, 8);
}

#[test]
fn five_a_minute_are_five_on_any_number_of_cores() {
    for workers in 1..=8 {
        let rate = Rate::new(5, 60 * S, 5);
        let mut world = World::new(9, workers, rate_spec(rate, false), 100 * US);
        let mut random = fastrand::Rng::with_seed(workers as u64);
        for n in 0..2000 {
            world.at(
                S + n * 5 * MS,
                Event::Request { worker: random.usize(..workers), key: 1 << 100, cost: 1 },
            );
        }
        world.run(12 * S);
        assert_eq!(world.passed.len(), 5, "on {workers} workers");
        assert!(world.letters.get() < 100, "who was refused does not ask again: {}", world.letters.get());
    }
}

#[test]
fn a_warm_key_asks_seldom() {
    let rate = Rate::new(10_000, S, 10_000);
    let mut world = World::new(5, 8, rate_spec(rate, false), 40 * US);
    for n in 0..50_000u64 {
        world.at(S + n * 110 * US, Event::Request { worker: 3, key: 1 << 127, cost: 1 });
    }
    world.run(8 * S);
    assert_eq!(world.passed.len(), 50_000);
    assert!(world.letters.get() < 2500, "{} letters", world.letters.get());
}

#[test]
fn what_is_let_through_unsure_is_owed() {
    let rate = Rate::new(10, S, 10);
    // Letters take longer than anybody waits.
    let mut world = World::new(2, 2, rate_spec(rate, true), 0);
    world.delay_ns = 20 * MS;
    for n in 0..2000u64 {
        world.at(S + n * 5 * MS, Event::Request { worker: 0, key: 1 << 127, cost: 1 });
    }
    world.run(13 * S);
    assert!(world.unsure > 0);
    let may = 10 + 10 * 10;
    assert!(
        world.passed.len() <= may + world.unsure,
        "{} passed, {} unsure",
        world.passed.len(),
        world.unsure
    );
    assert!(world.passed.len() <= may * 2, "what was owed was not let through again: {}", world.passed.len());
}

#[test]
fn a_rate_outlives_its_table_and_requests_at_once_are_another_limit_in_another_one() {
    let rate = rate_spec(Rate::new(10, S, 10), true);
    let more = |spec: Spec| Spec { keys: spec.keys * 2, ..spec };
    assert_eq!(id_of(&rate, "api"), id_of(&more(rate), "api"));
    let at_once = Spec { what: What::AtOnce(5), ..rate };
    assert_ne!(id_of(&at_once, "api"), id_of(&more(at_once), "api"));
    assert_eq!(id_of(&at_once, "api"), id_of(&Spec { what: What::AtOnce(6), ..at_once }, "api"));
}
