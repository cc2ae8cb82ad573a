//! The gate of a service as one worker sees it: permits for its requests, and who waits here for a turn.
//!
//! A request that finds no permit takes a [`Place`]. Turns promised by other workers come with a ring of the bell, which
//! a task of its own hears; those promised here are told at once. Invariant: whoever acts on a turn, misses it or goes
//! away has the gate look for the next, so no promise is left with somebody who is gone.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;

use ringway_runtime::mailbox::Receiver;
use ringway_runtime::{Nanos, now, sleep_until, spawn};

use super::Gate;
use super::gate::LOOK_AGAIN;
use super::line::{Line, Number};
use crate::link::Link;

pub(crate) struct Door {
    gate: Arc<Gate>,
    worker: usize,
    line: RefCell<Line>,
    /// Its bell is heard.
    heard: Cell<bool>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Try again.
    Turn,
    /// The time was up.
    Late,
    /// Nobody is there any more to answer.
    Gone,
}

impl Door {
    pub fn new(gate: Arc<Gate>, worker: usize) -> Rc<Door> {
        Rc::new(Door { gate, worker, line: RefCell::default(), heard: Cell::new(false) })
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether who comes now may ask for a permit, or stands behind those who wait.
    #[inline]
    pub fn may_pass(&self) -> bool {
        self.gate.may_pass()
    }

    /// Takes a permit.
    #[inline]
    pub fn take(&self) -> bool {
        self.gate.requests.take(self.worker)
    }

    /// Gives one back, and sees to it that whoever waits hears of it.
    #[inline]
    pub fn give(&self) {
        self.gate.requests.give(self.worker);
        if self.gate.waiting() > 0 {
            self.promise();
        }
    }

    /// A place in the line; `None`: too many wait already.
    pub fn join(self: &Rc<Door>) -> Option<Place> {
        if !self.gate.enter(self.worker) {
            return None;
        }
        self.listen();
        let since = now().0;
        let number = self.line.borrow_mut().join(since);
        self.publish();
        Some(Place { door: self.clone(), number: Some(number), since })
    }

    /// Hears its bell from now on.
    fn listen(self: &Rc<Door>) {
        if !self.heard.replace(true)
            && let Some(bell) = self.gate.bell(self.worker)
        {
            spawn(hear(Rc::downgrade(self), bell));
        }
    }

    /// Promises what is free to those who wait, here or elsewhere.
    #[cold]
    fn promise(&self) {
        while let Some(worker) = self.gate.promise(now().0) {
            match worker == self.worker {
                true => self.call(),
                false => self.gate.ring(worker),
            }
        }
    }

    /// Tells as many as have turns here.
    fn call(&self) {
        let last_comes_first = self.gate.last_comes_first(now().0);
        let mut line = self.line.borrow_mut();
        while line.called() < self.gate.turns(self.worker) && line.call(last_comes_first) {}
        drop(line);
        self.publish();
    }

    fn publish(&self) {
        self.gate.publish(self.worker, self.line.borrow().ends_ns());
    }
}

impl Drop for Door {
    /// Its task ends.
    fn drop(&mut self) {
        self.gate.ring(self.worker);
    }
}

async fn hear(door: Weak<Door>, bell: Receiver<()>) {
    loop {
        bell.recv().await;
        let Some(door) = door.upgrade() else { return };
        door.call();
    }
}

/// A request's place in the line, until it is dropped: served, late or gone.
pub(crate) struct Place {
    door: Rc<Door>,
    /// `None`: it stepped aside.
    number: Option<Number>,
    since: u64,
}

impl Place {
    /// Whether it may try without a turn: a permit that came back before it was known to wait is promised to nobody.
    pub fn may_try(&self) -> bool {
        self.door.gate.is_one_spare()
    }

    /// It tried and found no permit: it waits on where it was.
    pub fn missed(&mut self) {
        let Some(number) = self.number else { return };
        if self.door.line.borrow_mut().wait_on(number) {
            self.door.gate.missed(self.door.worker);
            self.door.publish();
        }
        // What was put down while it looked elsewhere.
        self.door.promise();
    }

    /// It tried, and what it lacks is not a permit: waits a moment without a claim to turns.
    pub async fn step_aside(&mut self, until: Nanos, client: Option<&Link>) -> Ended {
        self.waive();
        let again = now().after(LOOK_AGAIN);
        match self.wait(until.min(again), client).await {
            Ended::Late if again < until => {
                self.number = Some(self.door.line.borrow_mut().join(self.since));
                self.door.gate.claim(self.door.worker);
                self.door.publish();
                Ended::Turn
            }
            ended => ended,
        }
    }

    /// Waits for its turn.
    pub async fn turn(&mut self, until: Nanos, client: Option<&Link>) -> Ended {
        self.wait(until, client).await
    }

    async fn wait(&mut self, until: Nanos, client: Option<&Link>) -> Ended {
        let mut patience = pin!(sleep_until(until));
        let (line, number) = (&self.door.line, self.number);
        poll_fn(|cx| {
            if number.is_some_and(|number| line.borrow_mut().is_called(number, cx.waker())) {
                return Poll::Ready(Ended::Turn);
            }
            if client.is_some_and(|client| client.poll_broken(cx).is_ready()) {
                return Poll::Ready(Ended::Gone);
            }
            patience.as_mut().poll(cx).map(|()| Ended::Late)
        })
        .await
    }

    /// Out of the line; what was its turn is somebody else's.
    fn waive(&mut self) {
        let Some(number) = self.number.take() else { return };
        let door = &self.door;
        let had_turn = {
            let mut line = door.line.borrow_mut();
            let had_turn = line.wait_on(number);
            line.leave(number);
            had_turn
        };
        door.publish();
        door.gate.waive(door.worker, had_turn);
        door.promise();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waive();
        self.door.gate.leave();
    }
}
