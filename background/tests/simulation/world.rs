//! The world: its clock, what happens next, and what came of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use ringway_background::ejection::judge::{Event as Verdict, Judge};
use ringway_engine::balance::Policy;
use ringway_engine::limits::limiter::Letter;
use ringway_engine::retry::{BudgetPlan, Floor};
use ringway_engine::standing::Stand;

use super::endpoints::{Endpoint, Worker};
use super::limit::Limited;
use super::requests::Request;
use super::rules::{self, Budgeted};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
/// How long a world lives; then nothing new comes, and what is under way ends.
pub const LIFE_NS: u64 = 60 * S;
/// The clock begins here: zero means "never" to some.
pub const BEGIN_NS: u64 = S;

/// What happens at a time.
#[derive(Clone, Debug)]
pub enum Event {
    Arrival,
    /// A try is over.
    Ended {
        request: usize,
    },
    /// A request has waited before its next try.
    Again {
        request: usize,
    },
    Letter {
        to: usize,
        letter: Letter,
    },
    /// A worker looks at who waits for the limit's answer.
    Expire {
        worker: usize,
    },
    Sweep,
    /// What endpoints did is judged.
    Look,
    /// The same, where nothing has happened meanwhile.
    LookAgain,
    /// A worker hears of it.
    Told {
        worker: usize,
        stands: Vec<Stand>,
    },
    /// An endpoint begins to behave otherwise.
    Turn {
        endpoint: usize,
    },
    /// Who was forgotten is looked for.
    Count,
}

/// What came of a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub refused: u64,
    pub failed: u64,
    pub retries: u64,
    pub retries_refused: u64,
    pub ejections: u64,
    pub readmitted: u64,
    /// Sum of how long requests took.
    pub took_ns: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.failed += other.failed;
        self.retries += other.retries;
        self.retries_refused += other.retries_refused;
        self.ejections += other.ejections;
        self.readmitted += other.readmitted;
        self.took_ns += other.took_ns;
    }
}

pub struct World {
    pub now: u64,
    pub random: Rng,
    pub workers: Vec<Worker>,
    pub policy: Policy,
    pub endpoints: Vec<Endpoint>,
    pub requests: Vec<Option<Request>>,
    pub vacant: Vec<usize>,
    pub judge: Judge<u32>,
    pub plan: BudgetPlan,
    pub floor: Floor,
    pub budgeted: Budgeted,
    pub limited: Limited,
    pub tally: Tally,
    /// A look is due within 25 ms.
    pub looks_soon: bool,
    events: BinaryHeap<Reverse<Due>>,
    number: u64,
}

struct Due {
    at: (u64, u64),
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.at == other.at
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut random = Rng::with_seed(seed);
        let (workers, endpoints) = (random.usize(1..=8), random.usize(2..=8));
        let policy = Worker::policy(&mut random);
        let terms = rules::terms(&mut random);
        let mut judge = Judge::new(terms, BEGIN_NS);
        judge.change(terms, 0..endpoints as u32, BEGIN_NS);
        let mut world = World {
            now: BEGIN_NS,
            workers: (0..workers).map(|_| Worker::new(policy, endpoints, random.u64(..))).collect(),
            endpoints: (0..endpoints).map(|_| Endpoint::new(&mut random)).collect(),
            policy,
            requests: Vec::new(),
            vacant: Vec::new(),
            judge,
            plan: BudgetPlan { share_ppm: random.u32(0..=500_000), floor: random.u32(0..=20) },
            floor: Floor::default(),
            budgeted: Budgeted::default(),
            limited: Limited::new(workers, &mut random),
            tally: Tally::default(),
            looks_soon: false,
            events: BinaryHeap::new(),
            number: 0,
            random,
        };
        world.at(BEGIN_NS, Event::Arrival);
        world.at(BEGIN_NS, Event::Sweep);
        world.at(BEGIN_NS + rules::COUNTED_NS, Event::Count);
        world.look_within(terms.interval_ns);
        for endpoint in 0..endpoints {
            let after = world.random.u64(..10 * S);
            world.at(BEGIN_NS + after, Event::Turn { endpoint });
        }
        world
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse(Due { at: (time, self.number), event }));
    }

    /// Until nothing happens any more.
    pub fn run(mut self) -> Tally {
        while let Some(Reverse(Due { at: (now, _), event })) = self.events.pop() {
            debug_assert!(now >= self.now);
            self.now = now;
            match event {
                Event::Arrival => self.arrive(),
                Event::Ended { request } => self.ended(request),
                Event::Again { request } => self.try_once(request),
                Event::Letter { to, letter } => self.letter(to, letter),
                Event::Expire { worker } => self.expire(worker),
                Event::Sweep => self.sweep(),
                Event::Look => {
                    self.looks_soon = false;
                    self.look();
                }
                Event::LookAgain => {
                    self.look();
                    let due = self.judge.due_ns().max(now + 25 * MS) - now;
                    self.look_within(due);
                }
                Event::Told { worker, stands } => self.workers[worker].heed(now, &stands),
                Event::Turn { endpoint } => self.turn(endpoint),
                Event::Count => self.count(),
            }
        }
        assert!(self.requests.iter().all(Option::is_none), "each request ended");
        for worker in &self.workers {
            assert_eq!((worker.budget.active(), worker.budget.lent()), (0, 0), "all of the budget is back");
            for slot in worker.balancer.slots() {
                assert_eq!(worker.balancer.active(slot), 0, "each try that began has ended");
            }
        }
        self.limited.check();
        self.budgeted.check_floor(&self.plan);
        self.tally
    }

    /// It goes on.
    pub fn lives(&self) -> bool {
        self.now < BEGIN_NS + LIFE_NS
    }

    /// What endpoints did is judged so soon at the latest.
    fn look_within(&mut self, within_ns: u64) {
        if self.lives() {
            self.at(self.now + within_ns, Event::LookAgain);
        }
    }

    fn look(&mut self) {
        let (now, workers) = (self.now, &mut self.workers);
        let verdicts = self.judge.look(now, |endpoint| Worker::seen(workers, *endpoint as usize), |_| false);
        rules::ejections(&self.judge);
        for verdict in &verdicts {
            match verdict {
                Verdict::Ejected(..) => self.tally.ejections += 1,
                Verdict::Admitted(_) => self.tally.readmitted += 1,
                _ => {}
            }
        }
        for (endpoint, state, _) in self.judge.states() {
            self.endpoints[*endpoint as usize].judged(now, state);
        }
        if !verdicts.is_empty() {
            let stands: Vec<Stand> = self.endpoints.iter().map(|endpoint| endpoint.stand).collect();
            for worker in 0..self.workers.len() {
                // Orders arrive in the order in which they were given.
                let at = (now + self.random.u64(..75 * MS)).max(self.workers[worker].told_at);
                self.workers[worker].told_at = at;
                self.at(at, Event::Told { worker, stands: stands.clone() });
            }
        }
    }

    fn turn(&mut self, endpoint: usize) {
        self.endpoints[endpoint].turn(self.now, &mut self.random);
        if self.lives() {
            let after = S / 2 + self.random.u64(..20 * S);
            self.at(self.now + after, Event::Turn { endpoint });
        }
    }

    fn count(&mut self) {
        rules::nobody_is_forgotten(self);
        if self.lives() {
            self.at(self.now + rules::COUNTED_NS, Event::Count);
        }
    }
}
