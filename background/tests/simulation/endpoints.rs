//! Endpoints, which behave well or not, and what each worker knows of them.

use std::collections::VecDeque;

use fastrand::Rng;
use ringway_background::ejection::endpoint::State;
use ringway_background::ejection::judge::Seen;
use ringway_engine::balance::{self, Address, Balancer, Outcome, Policy, Slot};
use ringway_engine::retry::Budget;
use ringway_engine::standing::Stand;

use super::rules::CONSECUTIVE_MAX;
use super::world::{MS, S};

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Well,
    /// Answers 503 at once.
    Fails,
    /// Takes longer than anybody waits.
    Hangs,
    /// Takes no connection.
    Refuses,
    /// Every third answer is a 503.
    Limps,
}

#[derive(Debug)]
pub struct Endpoint {
    pub behaviour: Behaviour,
    usual_ns: u64,
    /// When it last did not get, or deserve, what others do.
    pub unwell_at: u64,
    pub refused_at: u64,
    pub stand: Stand,
    pub picked: u64,
}

impl Endpoint {
    pub fn new(random: &mut Rng) -> Endpoint {
        Endpoint {
            behaviour: Behaviour::Well,
            usual_ns: random.u64(1..=20) * MS,
            unwell_at: 0,
            refused_at: 0,
            stand: Stand::Admitting,
            picked: 0,
        }
    }

    /// Behaves otherwise.
    pub fn turn(&mut self, now: u64, random: &mut Rng) {
        use Behaviour::*;
        if self.behaviour == Refuses {
            self.refused_at = now;
        }
        self.unwell_at = now;
        self.behaviour = match self.behaviour {
            Well => [Fails, Hangs, Refuses, Limps, Well, Well][random.usize(..6)],
            _ => Well,
        };
    }

    /// How it is judged now.
    pub fn judged(&mut self, now: u64, state: State) {
        self.stand = match state {
            State::Admitting { .. } => Stand::Admitting,
            State::Ejected { .. } => Stand::Ejected,
            State::Probing { round, .. } => Stand::Probing(round),
        };
        if self.stand != Stand::Admitting {
            self.unwell_at = now;
        }
    }

    /// What becomes of a try, and after how long.
    pub fn answer(&mut self, random: &mut Rng) -> (Outcome, u64) {
        self.picked += 1;
        let usual = self.usual_ns / 2 + random.u64(..self.usual_ns);
        match self.behaviour {
            Behaviour::Well => (Outcome::Answered, usual),
            Behaviour::Fails => (Outcome::Failed, 2 * MS),
            Behaviour::Hangs => (Outcome::Failed, 100 * S),
            Behaviour::Refuses => (Outcome::Refused, MS / 5),
            Behaviour::Limps if random.u32(..3) == 0 => (Outcome::Failed, usual),
            Behaviour::Limps => (Outcome::Answered, usual),
        }
    }
}

/// One worker's part in it.
pub struct Worker {
    pub balancer: Balancer,
    pub budget: Budget,
    /// When it hears last of what was judged so far.
    pub told_at: u64,
    counted: Vec<Counted>,
}

/// What a worker saw of an endpoint.
#[derive(Default)]
struct Counted {
    answered: u64,
    failed: u64,
    latency_us: u64,
    answered_at: u64,
    failed_at: VecDeque<u64>,
}

fn address(endpoint: usize) -> Address {
    Address::Ip(([10, 0, 0, 1], endpoint as u16).into())
}

impl Worker {
    pub fn policy(random: &mut Rng) -> Policy {
        [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma, Policy::Random][random.usize(..4)]
    }

    pub fn new(policy: Policy, endpoints: usize, seed: u64) -> Worker {
        let mut balancer = Balancer::new(policy, seed);
        let all: Vec<balance::Endpoint> = (0..endpoints).map(|n| (address(n), 1).into()).collect();
        balancer.reconcile(&all, 0);
        let counted = (0..endpoints).map(|_| Counted::default()).collect();
        Worker { balancer, budget: Budget::default(), told_at: 0, counted }
    }

    /// Which endpoint lives there.
    pub fn endpoint(&self, slot: Slot) -> usize {
        match self.balancer.address(slot) {
            Some(Address::Ip(ip)) => usize::from(ip.port()),
            _ => unreachable!("endpoints stay, and have addresses"),
        }
    }

    pub fn heed(&mut self, now: u64, stands: &[Stand]) {
        self.balancer.set_standings(now, |address| match address {
            Address::Ip(ip) => stands[usize::from(ip.port())],
            Address::Unix(_) => Stand::Admitting,
        });
    }

    pub fn counts(&mut self, endpoint: usize, now: u64, outcome: Outcome, latency_ns: u64) {
        let counted = &mut self.counted[endpoint];
        match outcome {
            Outcome::Answered => {
                counted.answered += 1;
                counted.latency_us += latency_ns / 1000;
                counted.answered_at = now;
            }
            Outcome::Failed | Outcome::Refused => {
                counted.failed += 1;
                counted.failed_at.push_back(now);
                if counted.failed_at.len() > CONSECUTIVE_MAX as usize {
                    counted.failed_at.pop_front();
                }
            }
            Outcome::Abandoned | Outcome::Outrun => {}
        }
    }

    /// What all workers saw of an endpoint since it was last asked.
    pub fn seen(workers: &mut [Worker], endpoint: usize) -> Seen {
        let mut seen = Seen::default();
        for worker in workers {
            let counted = &mut worker.counted[endpoint];
            seen.answered += std::mem::take(&mut counted.answered);
            seen.failed += std::mem::take(&mut counted.failed);
            seen.latency_us += std::mem::take(&mut counted.latency_us);
            seen.answered_at_ns = seen.answered_at_ns.max(counted.answered_at);
            seen.failed_at_ns.extend(&counted.failed_at);
        }
        seen
    }
}
