//! A service's gate: permits for its requests, and turns for those who wait for one, on whichever worker.
//!
//! Who finds no permit waits in its worker's room. A permit that is given back goes where anybody could take it, and a
//! turn is promised to one who waits: the word of its room says so, and its worker is rung. With its turn a request
//! tries again. So there are two rules, and no wake-up is lost between them:
//!
//! - who gives back puts the permit down first and looks for who waits after that;
//! - who waits is known to wait first and looks for a permit that is promised to nobody after that.
//!
//! One turn is promised for each permit that is free: [`Gate::promise`] promises none while as many are outstanding as
//! there are permits. Who has acted on its turn, or leaves, looks again. Newcomers stand back: they take only what is
//! promised to nobody.
//!
//! Who found a permit but no endpoint with room steps aside: it stays among those who wait, without a claim to turns,
//! and looks again after a while ([`LOOK_AGAIN`]), since what it waits for is not the gate's.
//!
//! Whose turn it is: over all workers the one who came first. While the one who waits longest has waited half of what it
//! may, the line is longer than can be served in time: then the one who came last, for whom it is not too late.
//! Invariant: in each room `turns <= waiting`, and `promised` is the sum of turns; so every turn is somebody's.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringway_runtime::mailbox::{Receiver, Sender, mailbox};

use super::Ledger;
use super::ledger::Alone;

/// How often who waits for an endpoint rather than for its turn looks again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Nobody waits.
const NOBODY: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Gate {
    pub requests: Ledger,
    hall: Alone<Hall>,
    rooms: Box<[Alone<Room>]>,
}

/// Of all workers together. Written only while somebody waits.
#[derive(Debug, Default)]
struct Hall {
    waiting: AtomicU32,
    /// Turns that nobody has acted on yet.
    promised: AtomicU32,
    waiting_max: AtomicU32,
    wait_ns: AtomicU64,
}

/// Those who wait on one worker.
#[derive(Debug)]
struct Room {
    /// How many, and how many turns are theirs: `waiting << 32 | turns`.
    word: AtomicU64,
    /// Since when the first and the last of them wait that have no turn.
    oldest_ns: AtomicU64,
    newest_ns: AtomicU64,
    bell: Bell,
}

/// Rings a worker.
struct Bell {
    ring: Sender<()>,
    heard: Mutex<Option<Receiver<()>>>,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl Gate {
    pub fn new(requests_max: u32, waiting_max: u32, wait_ns: u64, workers: usize) -> Gate {
        let room = || {
            // One ring is as good as many.
            let (ring, heard) = mailbox(1);
            Alone(Room {
                word: AtomicU64::new(0),
                oldest_ns: AtomicU64::new(NOBODY),
                newest_ns: AtomicU64::new(0),
                bell: Bell { ring, heard: Mutex::new(Some(heard)) },
            })
        };
        let gate = Gate {
            requests: Ledger::new(requests_max, workers),
            hall: Alone::default(),
            rooms: (0..workers.max(1)).map(|_| room()).collect(),
        };
        gate.adjust(waiting_max, wait_ns);
        gate
    }

    /// Takes over other bounds on waiting.
    pub fn adjust(&self, waiting_max: u32, wait_ns: u64) {
        self.hall.0.waiting_max.store(waiting_max, SeqCst);
        self.hall.0.wait_ns.store(wait_ns, SeqCst);
    }

    /// How long one may wait.
    pub fn wait_ns(&self) -> u64 {
        self.hall.0.wait_ns.load(Relaxed)
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.hall.0.waiting.load(SeqCst)
    }

    /// How many may.
    pub fn waiting_max(&self) -> u32 {
        self.hall.0.waiting_max.load(Relaxed)
    }

    /// The receiving end of a worker's bell; once.
    pub fn bell(&self, worker: usize) -> Option<Receiver<()>> {
        self.rooms[worker].0.bell.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells a worker that there are turns for it.
    pub fn ring(&self, worker: usize) {
        let _ = self.rooms[worker].0.bell.ring.send(());
    }

    /// Whether who comes now may try for a permit: nobody waits, or one is promised to nobody.
    #[inline]
    pub fn may_pass(&self) -> bool {
        self.waiting() == 0 || self.is_one_spare()
    }

    /// Whether a permit is promised to nobody.
    pub fn is_one_spare(&self) -> bool {
        self.requests.available() > u64::from(self.hall.0.promised.load(SeqCst))
    }

    /// Is known to wait from now on; `false`: too many do.
    pub fn enter(&self, worker: usize) -> bool {
        let max = self.hall.0.waiting_max.load(SeqCst);
        let one_more = |waiting: u32| (waiting < max).then_some(waiting + 1);
        if self.hall.0.waiting.fetch_update(SeqCst, SeqCst, one_more).is_err() {
            return false;
        }
        self.claim(worker);
        true
    }

    /// One who waits has a claim to turns (again).
    pub fn claim(&self, worker: usize) {
        self.rooms[worker].0.word.fetch_add(1 << 32, SeqCst);
    }

    /// Says since when the first and the last wait in a worker's room.
    pub fn publish(&self, worker: usize, ends_ns: Option<(u64, u64)>) {
        let (oldest, newest) = ends_ns.unwrap_or((NOBODY, 0));
        let room = &self.rooms[worker].0;
        room.oldest_ns.store(oldest, SeqCst);
        room.newest_ns.store(newest, SeqCst);
    }

    /// Waits no longer.
    pub fn leave(&self) {
        self.hall.0.waiting.fetch_sub(1, SeqCst);
    }

    /// Has no claim any more, having had a turn or not. Turns that nobody is left for are no longer promised: look
    /// whose they are.
    pub fn waive(&self, worker: usize, had_turn: bool) {
        let mut unpromised = 0;
        let _ = self.rooms[worker].0.word.fetch_update(SeqCst, SeqCst, |word| {
            let (waiting, turns) = ((word >> 32) - 1, (word & 0xFFFF_FFFF) - u64::from(had_turn));
            let left = turns.min(waiting);
            unpromised = turns - left + u64::from(had_turn);
            Some(waiting << 32 | left)
        });
        self.hall.0.promised.fetch_sub(unpromised as u32, SeqCst);
    }

    /// A turn came to nothing; whoever had it waits on.
    pub fn missed(&self, worker: usize) {
        self.rooms[worker].0.word.fetch_sub(1, SeqCst);
        self.hall.0.promised.fetch_sub(1, SeqCst);
    }

    /// Turns of a worker that were promised and not acted on.
    pub fn turns(&self, worker: usize) -> u32 {
        self.rooms[worker].0.word.load(SeqCst) as u32
    }

    /// Promises a turn, if there is a permit that is nobody's and somebody without a turn. On which worker.
    #[cold]
    pub fn promise(&self, now_ns: u64) -> Option<usize> {
        while self.waiting() > 0 && self.is_one_spare() {
            let worker = self.next_room(now_ns)?;
            let one_more = |word: u64| (word & 0xFFFF_FFFF < word >> 32).then_some(word + 1);
            // Promised before it is given: who looks meanwhile sees one too many rather than one too few.
            self.hall.0.promised.fetch_add(1, SeqCst);
            if self.rooms[worker].0.word.fetch_update(SeqCst, SeqCst, one_more).is_ok() {
                return Some(worker);
            }
            self.hall.0.promised.fetch_sub(1, SeqCst);
        }
        None
    }

    fn next_room(&self, now_ns: u64) -> Option<usize> {
        let without_turn = self.rooms.iter().enumerate().filter(|(_, room)| {
            let word = room.0.word.load(SeqCst);
            word & 0xFFFF_FFFF < word >> 32
        });
        let chosen = match self.last_comes_first(now_ns) {
            false => without_turn.min_by_key(|(_, room)| room.0.oldest_ns.load(SeqCst)),
            true => without_turn.max_by_key(|(_, room)| room.0.newest_ns.load(SeqCst)),
        };
        chosen.map(|(worker, _)| worker)
    }

    /// The line is longer than can be served in time.
    pub fn last_comes_first(&self, now_ns: u64) -> bool {
        let oldest = self.rooms.iter().map(|room| room.0.oldest_ns.load(SeqCst)).min().unwrap_or(NOBODY);
        now_ns.saturating_sub(oldest) >= self.wait_ns() / 2 && oldest != NOBODY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_is_promised_for_each_permit_to_who_came_first() {
        let gate = Gate::new(1, 10, 1000, 3);
        assert!(gate.requests.take(0));
        for (worker, since) in [(1, 20), (2, 10), (0, 30)] {
            assert!(gate.enter(worker));
            gate.publish(worker, Some((since, since)));
        }
        assert_eq!(gate.promise(40), None, "no permit");
        gate.requests.give(0);
        assert_eq!(gate.promise(40), Some(2));
        assert_eq!(gate.promise(40), None, "it is promised");
        assert!(!gate.may_pass());
    }

    #[test]
    fn while_the_line_is_too_long_who_came_last_is_first() {
        let gate = Gate::new(2, 10, 1000, 2);
        for (worker, ends) in [(0, (10, 10)), (1, (20, 500))] {
            gate.enter(worker);
            gate.publish(worker, Some(ends));
        }
        assert!(!gate.last_comes_first(509) && gate.last_comes_first(510));
        assert_eq!(gate.promise(600), Some(1));
    }

    #[test]
    fn a_turn_of_who_left_is_somebody_elses() {
        let gate = Gate::new(1, 10, 1000, 2);
        for worker in 0..2 {
            gate.enter(worker);
            gate.publish(worker, Some((worker as u64, worker as u64)));
        }
        assert_eq!(gate.promise(5), Some(0));
        // It never heard of it.
        gate.waive(0, false);
        gate.leave();
        assert_eq!((gate.turns(0), gate.waiting()), (0, 1));
        assert_eq!(gate.promise(5), Some(1));
        gate.waive(1, true);
        gate.leave();
        assert_eq!((gate.waiting(), gate.promise(5)), (0, None));
        assert!(gate.may_pass());
    }

    #[test]
    fn the_room_is_bounded() {
        let gate = Gate::new(0, 2, 1000, 2);
        assert!(gate.enter(0) && gate.enter(1) && !gate.enter(0));
        gate.waive(1, false);
        gate.leave();
        assert!(gate.enter(0));
    }
}
