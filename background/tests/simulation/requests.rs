//! One request's way: admitted by the limit, tried, tried again within the budget, and over by its deadline.

use ringway_engine::balance::{Asked, Outcome, Slot};
use ringway_engine::retry::{Taken, delay_ns};
use ringway_engine::standing::Stand;

use super::arrivals::WITHIN_NS;
use super::world::{Event, MS, World};

/// Of one try.
const TRY_WITHIN_NS: u64 = 250 * MS;
/// Tries beyond the first.
const ATTEMPTS: usize = 2;

#[derive(Debug)]
pub struct Request {
    pub worker: usize,
    pub key: u128,
    began: u64,
    deadline: u64,
    tried: Vec<Slot>,
    /// The try under way.
    current: Option<Try>,
    permit: Option<Taken>,
    /// It counts among those under way.
    admitted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    slot: Slot,
    began: u64,
    outcome: Outcome,
}

impl Request {
    pub fn new(worker: usize, key: u128, now: u64) -> Request {
        Request {
            worker,
            key,
            began: now,
            deadline: now + WITHIN_NS,
            tried: Vec::new(),
            current: None,
            permit: None,
            admitted: false,
        }
    }
}

impl World {
    fn request(&mut self, place: usize) -> &mut Request {
        self.requests[place].as_mut().expect("it is under way")
    }

    /// The limit has decided.
    pub fn decided(&mut self, place: usize, allowed: bool) {
        if !allowed {
            self.tally.refused += 1;
            return self.over(place);
        }
        let worker = self.request(place).worker;
        self.request(place).admitted = true;
        self.workers[worker].budget.began();
        self.try_once(place);
    }

    pub fn try_once(&mut self, place: usize) {
        let (now, random) = (self.now, self.random.u64(..));
        let request = self.requests[place].as_ref().expect("it is under way");
        let worker = &mut self.workers[request.worker];
        let whom = Asked::default();
        let picked = worker.balancer.pick_for(&whom, now, random, &request.tried);
        let Some(picked) = picked.or_else(|| worker.balancer.pick_for(&whom, now, random, &[])) else {
            return self.failed(place);
        };
        worker.balancer.began(picked.slot);
        let endpoint = worker.endpoint(picked.slot);
        let (outcome, takes) = self.endpoints[endpoint].answer(&mut self.random);
        let request = self.request(place);
        let left = request.deadline.saturating_sub(now);
        let within = TRY_WITHIN_NS.min(left);
        let (outcome, takes) = if takes > within { (Outcome::Failed, within) } else { (outcome, takes) };
        request.tried.push(picked.slot);
        request.current = Some(Try { slot: picked.slot, began: now, outcome });
        self.at(now + takes, Event::Ended { request: place });
    }

    /// The try under way is.
    pub fn ended(&mut self, place: usize) {
        let (now, random) = (self.now, self.random.u64(..));
        let request = self.requests[place].as_mut().expect("it is under way");
        let Try { slot, began, outcome } = request.current.take().expect("a try is under way");
        let worker = &mut self.workers[request.worker];
        worker.balancer.ended(slot, now, now - began, outcome, random);
        let endpoint = worker.endpoint(slot);
        worker.counts(endpoint, now, outcome, now - began);
        if let Some(permit) = request.permit.take() {
            worker.budget.give_back(permit);
        }
        match outcome {
            Outcome::Answered => {
                if let Stand::Probing(_) = self.endpoints[endpoint].stand {
                    self.look_soon();
                }
                self.over(place);
            }
            _ => {
                self.look_soon();
                self.again(place);
            }
        }
    }

    /// Once more, if the budget and the deadline have it.
    fn again(&mut self, place: usize) {
        let (now, random) = (self.now, self.random.u64(..));
        let request = self.requests[place].as_ref().expect("it is under way");
        let tries = request.tried.len();
        let delay = delay_ns(25, 250, tries as u32, random);
        if tries > ATTEMPTS || now + delay >= request.deadline {
            return self.failed(place);
        }
        let worker = request.worker;
        let Some(permit) = self.workers[worker].budget.take(&self.plan, &self.floor, now) else {
            self.tally.retries_refused += 1;
            return self.failed(place);
        };
        self.budgeted.taken(permit, now, &self.workers[worker], &self.plan);
        self.tally.retries += 1;
        self.request(place).permit = Some(permit);
        self.at(now + delay, Event::Again { request: place });
    }

    fn failed(&mut self, place: usize) {
        self.tally.failed += 1;
        self.over(place);
    }

    fn over(&mut self, place: usize) {
        let request = self.requests[place].take().expect("it ends once");
        self.vacant.push(place);
        assert!(self.now <= request.deadline, "{} ns after its deadline", self.now - request.deadline);
        let worker = &mut self.workers[request.worker];
        if let Some(permit) = request.permit {
            worker.budget.give_back(permit);
        }
        if request.admitted {
            worker.budget.ended();
        }
        self.tally.took_ns += self.now - request.began;
    }

    /// A failure has whoever judges look, but not at once.
    fn look_soon(&mut self) {
        if !self.looks_soon {
            self.looks_soon = true;
            self.at(self.now + 25 * MS, Event::Look);
        }
    }
}
