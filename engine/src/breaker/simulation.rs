//! The gate under every interleaving that a seed brings about: simulated workers whose steps, each one atomic operation
//! or a few of one, are mixed at random.
//!
//! What is checked after each step: never more permits held than the limit. And once nobody has anything to do but to
//! wait: nobody waits while a permit is free.

use super::Gate;
use super::line::{Line, Number};

/// Where a simulated request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Comes,
    /// Looks at its own stock, what is free, the others' stocks.
    Takes(u8),
    Enters,
    LooksOnce,
    Waits(Number),
    /// Tries with a place in the line.
    Tries(Number, u8),
    Missed(Number),
    Holds,
    GivesBack,
    /// Looks for who waits.
    Promises,
    Gone,
}

struct Simulated {
    worker: usize,
    at: At,
    number: Option<Number>,
    /// It may go before it had its turn.
    impatient: bool,
}

struct World {
    gate: Gate,
    lines: Vec<Line>,
    rung: Vec<bool>,
    requests: Vec<Simulated>,
    dice: fastrand::Rng,
    now: u64,
    held: u32,
    served: u32,
    refused: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = fastrand::Rng::with_seed(seed);
        let workers = dice.usize(1..=8);
        let gate = Gate::new(dice.u32(1..=12), dice.u32(1..40), 1000, workers);
        let requests = (0..dice.usize(1..60)).map(|_| {
            let (worker, impatient) = (dice.usize(..workers), dice.u8(..) < 60);
            Simulated { worker, at: At::Comes, number: None, impatient }
        });
        World {
            requests: requests.collect(),
            lines: (0..workers).map(|_| Line::default()).collect(),
            rung: vec![false; workers],
            gate,
            dice,
            now: 0,
            held: 0,
            served: 0,
            refused: 0,
        }
    }

    /// One step of somebody. `false`: there is nobody who can do anything.
    fn step(&mut self, resize: bool) -> bool {
        self.now += self.dice.u64(..20);
        if resize && self.dice.u8(..) == 0 {
            self.gate.requests.resize(self.dice.u32(1..=12));
            self.ring_all();
        }
        let bells = self.rung.iter().filter(|rung| **rung).count();
        let able: Vec<usize> = (0..self.requests.len()).filter(|&one| self.can_act(one)).collect();
        match self.dice.usize(..(bells + able.len()).max(1)) {
            _ if bells + able.len() == 0 => return false,
            chosen if chosen < bells => {
                let worker = (0..self.rung.len()).filter(|&worker| self.rung[worker]).nth(chosen);
                let worker = worker.expect("one that is rung");
                self.rung[worker] = false;
                self.call(worker);
            }
            chosen => self.act(able[chosen - bells]),
        }
        true
    }

    fn can_act(&mut self, one: usize) -> bool {
        match self.requests[one].at {
            At::Gone => false,
            At::Waits(number) => {
                let Simulated { worker, impatient, .. } = self.requests[one];
                impatient || self.lines[worker].is_called(number, std::task::Waker::noop())
            }
            _ => true,
        }
    }

    fn act(&mut self, one: usize) {
        let Simulated { worker, at, .. } = self.requests[one];
        let next = match at {
            At::Comes => {
                if self.gate.may_pass() {
                    At::Takes(0)
                } else {
                    At::Enters
                }
            }
            At::Takes(step) => self.take(worker, step).map_or(At::Enters, |taken| match taken {
                true => At::Holds,
                false => At::Takes(step + 1),
            }),
            At::Enters => match self.gate.enter(worker) {
                false => {
                    self.refused += 1;
                    At::Gone
                }
                true => {
                    self.requests[one].number = Some(self.lines[worker].join(self.now));
                    self.publish(worker);
                    At::LooksOnce
                }
            },
            At::LooksOnce => {
                let number = self.requests[one].number.expect("a place");
                if self.gate.is_one_spare() { At::Tries(number, 0) } else { At::Waits(number) }
            }
            At::Waits(number) => match self.lines[worker].is_called(number, std::task::Waker::noop()) {
                true => At::Tries(number, 0),
                false => {
                    self.waive(one, number);
                    self.refused += 1;
                    At::Promises
                }
            },
            At::Tries(number, step) => match self.take(worker, step) {
                None => At::Missed(number),
                Some(false) => At::Tries(number, step + 1),
                Some(true) => {
                    self.waive(one, number);
                    self.promise(worker);
                    At::Holds
                }
            },
            At::Missed(number) => {
                if self.lines[worker].wait_on(number) {
                    self.gate.missed(worker);
                    self.publish(worker);
                }
                self.promise(worker);
                At::Waits(number)
            }
            At::Holds => At::GivesBack,
            At::GivesBack => {
                self.held -= 1;
                self.served += 1;
                self.gate.requests.give(worker);
                At::Promises
            }
            At::Promises => {
                self.promise(worker);
                At::Gone
            }
            At::Gone => At::Gone,
        };
        self.requests[one].at = next;
    }

    /// `None`: there was nowhere else to look.
    fn take(&mut self, worker: usize, step: u8) -> Option<bool> {
        let taken = match step {
            0 => self.gate.requests.take_own(worker),
            1 => self.gate.requests.take_free(worker),
            2 => self.gate.requests.take_others(worker),
            _ => return None,
        };
        self.held += u32::from(taken);
        Some(taken)
    }

    fn waive(&mut self, one: usize, number: Number) {
        let worker = self.requests[one].worker;
        let had_turn = self.lines[worker].wait_on(number);
        self.lines[worker].leave(number);
        self.publish(worker);
        self.gate.waive(worker, had_turn);
        self.gate.leave();
    }

    fn promise(&mut self, from: usize) {
        while let Some(worker) = self.gate.promise(self.now) {
            if worker == from { self.call(worker) } else { self.rung[worker] = true }
        }
    }

    fn ring_all(&mut self) {
        while let Some(worker) = self.gate.promise(self.now) {
            self.rung[worker] = true;
        }
    }

    fn call(&mut self, worker: usize) {
        let last_comes_first = self.gate.last_comes_first(self.now);
        let line = &mut self.lines[worker];
        while line.called() < self.gate.turns(worker) && line.call(last_comes_first) {}
        self.publish(worker);
    }

    fn publish(&self, worker: usize) {
        self.gate.publish(worker, self.lines[worker].ends_ns());
    }
}

#[test]
fn no_interleaving_exceeds_the_limit_or_leaves_anybody_waiting() {
    let mut waited = 0;
    for seed in 0..3000 {
        let mut world = World::new(seed);
        let max = world.gate.requests.max();
        while world.step(false) {
            assert!(world.held <= max, "seed {seed}: {} of {max}", world.held);
            waited += u32::from(world.gate.waiting() > 0);
        }
        // All that can be done is done: whoever came was served or turned away.
        let left = world.requests.iter().filter(|one| one.at != At::Gone).count();
        assert_eq!((left, world.gate.waiting()), (0, 0), "seed {seed}: somebody waits for ever");
        assert_eq!(world.served + world.refused, world.requests.len() as u32, "seed {seed}");
        assert_eq!(world.gate.requests.available(), u64::from(max), "seed {seed}: a permit was lost");
    }
    assert!(waited > 1000, "lines formed");
}

#[test]
fn a_limit_that_changes_meanwhile_leaves_nobody_waiting_and_loses_nothing() {
    for seed in 0..2000 {
        let mut world = World::new(seed);
        while world.step(true) {}
        let left = world.requests.iter().filter(|one| one.at != At::Gone).count();
        assert_eq!(left, 0, "seed {seed}: somebody waits for ever");
        assert_eq!(world.gate.requests.in_use(), 0, "seed {seed}: a permit was lost");
        assert_eq!(world.gate.requests.available(), u64::from(world.gate.requests.max()), "seed {seed}");
    }
}
