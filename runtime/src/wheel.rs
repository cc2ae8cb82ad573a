//! Coarse time-outs: a wheel of slots, each about 8 ms wide, re-armed by writing one number.
//!
//! A timer moved later stays in its slot; when the wheel reaches that slot, the timer is put where it now belongs.
//! So re-arming for each request costs a store. A timer moved earlier changes slots at once. Deadlines beyond the
//! wheel's horizon (about half a minute) are looked at once a horizon.
//!
//! Invariant: a timer never fires before its deadline, and at most one slot and one turn after it.

use crate::clock::Nanos;

const SHIFT: u32 = 23;
const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A connection, by its place.
    Conn(u32),
    /// A sleeping task's timer, by its own id.
    Sleep(u32),
}

pub(crate) struct Wheel {
    timers: Vec<Timer>,
    spare: Vec<u32>,
    heads: Box<[u32; SLOTS]>,
    filled: Box<[u64; SLOTS / 64]>,
    /// The slot number reached so far (a tick, not reduced to the wheel).
    reached: u64,
    /// No slot before this tick holds a timer.
    first: u64,
}

struct Timer {
    deadline: Nanos,
    owner: Owner,
    prev: u32,
    next: u32,
    /// Tick of the slot it sits in; `u64::MAX` while in none.
    tick: u64,
}

/// A timer's place in its wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(u32);

impl TimerId {
    pub fn number(self) -> u32 {
        self.0
    }
}

impl Wheel {
    pub fn new(now: Nanos) -> Wheel {
        Wheel {
            timers: Vec::new(),
            spare: Vec::new(),
            heads: Box::new([NONE; SLOTS]),
            filled: Box::new([0; SLOTS / 64]),
            reached: now.0 >> SHIFT,
            first: u64::MAX,
        }
    }

    /// A timer that is not set.
    pub fn add(&mut self, owner: Owner) -> TimerId {
        let timer = Timer { deadline: Nanos::NEVER, owner, prev: NONE, next: NONE, tick: u64::MAX };
        match self.spare.pop() {
            Some(id) => {
                self.timers[id as usize] = timer;
                TimerId(id)
            }
            None => {
                self.timers.push(timer);
                TimerId(self.timers.len() as u32 - 1)
            }
        }
    }

    /// Takes the timer out for good. Its id may be used again.
    pub fn remove(&mut self, id: TimerId) {
        self.unlink(id.0);
        self.spare.push(id.0);
    }

    /// The id that [`Owner::Sleep`] carries for a timer of its own.
    pub fn add_sleep(&mut self) -> TimerId {
        let id = self.add(Owner::Sleep(0));
        self.timers[id.0 as usize].owner = Owner::Sleep(id.0);
        id
    }

    /// Sets the deadline anew; [`Nanos::NEVER`] unsets it.
    #[inline]
    pub fn set(&mut self, id: TimerId, deadline: Nanos) {
        let timer = &mut self.timers[id.0 as usize];
        timer.deadline = deadline;
        if deadline == Nanos::NEVER || tick_of(deadline) >= timer.tick && timer.tick != u64::MAX {
            return;
        }
        self.place(id.0);
    }

    /// When the next slot that holds a timer ends, or `None` if none does.
    #[inline]
    pub fn next(&mut self) -> Option<Nanos> {
        if self.first == u64::MAX {
            return None;
        }
        let slot = self.first as usize % SLOTS;
        if self.first <= self.reached || self.filled[slot / 64] & (1 << (slot % 64)) == 0 {
            self.first = self.find_first();
        }
        (self.first != u64::MAX).then(|| Nanos((self.first + 1) << SHIFT))
    }

    /// The first tick from the one after `reached` on whose slot holds a timer.
    fn find_first(&self) -> u64 {
        let start = (self.reached + 1) as usize % SLOTS;
        let words = SLOTS / 64;
        let mut word = start / 64;
        let mut bits = self.filled[word] & (u64::MAX << (start % 64));
        for _ in 0..=words {
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return self.reached + 1 + ((slot + SLOTS - start) % SLOTS) as u64;
            }
            word = (word + 1) % words;
            bits = self.filled[word];
        }
        u64::MAX
    }

    /// Moves to `now`; pushes onto `fired` the owner of each timer whose deadline has passed, and unsets it.
    pub fn advance(&mut self, now: Nanos, fired: &mut Vec<Owner>) {
        let target = (now.0 >> SHIFT).saturating_sub(1);
        if target <= self.reached {
            return;
        }
        let steps = (target - self.reached).min(SLOTS as u64);
        let first = target - steps + 1;
        self.reached = target;
        for tick in first..=target {
            let slot = tick as usize % SLOTS;
            if self.filled[slot / 64] & (1 << (slot % 64)) != 0 {
                self.empty_slot(slot, now, fired);
            }
        }
    }

    fn empty_slot(&mut self, slot: usize, now: Nanos, fired: &mut Vec<Owner>) {
        let mut id = std::mem::replace(&mut self.heads[slot], NONE);
        self.filled[slot / 64] &= !(1 << (slot % 64));
        while id != NONE {
            let timer = &mut self.timers[id as usize];
            let next = timer.next;
            (timer.prev, timer.next, timer.tick) = (NONE, NONE, u64::MAX);
            if timer.deadline <= now {
                timer.deadline = Nanos::NEVER;
                fired.push(timer.owner);
            } else if timer.deadline != Nanos::NEVER {
                self.place(id);
            }
            id = next;
        }
    }

    fn place(&mut self, id: u32) {
        self.unlink(id);
        let wanted = tick_of(self.timers[id as usize].deadline);
        let tick = wanted.clamp(self.reached + 1, self.reached + SLOTS as u64 - 1);
        self.first = self.first.min(tick);
        let slot = tick as usize % SLOTS;
        let head = self.heads[slot];
        let timer = &mut self.timers[id as usize];
        (timer.prev, timer.next, timer.tick) = (NONE, head, tick);
        if head != NONE {
            self.timers[head as usize].prev = id;
        }
        self.heads[slot] = id;
        self.filled[slot / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, id: u32) {
        let timer = &mut self.timers[id as usize];
        if timer.tick == u64::MAX {
            return;
        }
        let (prev, next, slot) = (timer.prev, timer.next, timer.tick as usize % SLOTS);
        (timer.prev, timer.next, timer.tick) = (NONE, NONE, u64::MAX);
        if prev == NONE {
            self.heads[slot] = next;
            if next == NONE {
                self.filled[slot / 64] &= !(1 << (slot % 64));
            }
        } else {
            self.timers[prev as usize].next = next;
        }
        if next != NONE {
            self.timers[next as usize].prev = prev;
        }
    }
}

fn tick_of(deadline: Nanos) -> u64 {
    deadline.0 >> SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOT: u64 = 1 << SHIFT;

    fn fired_at(wheel: &mut Wheel, now: u64) -> Vec<Owner> {
        let mut fired = Vec::new();
        wheel.advance(Nanos(now), &mut fired);
        fired
    }

    #[test]
    fn a_timer_moved_later_does_not_fire_early() {
        let mut wheel = Wheel::new(Nanos(0));
        let id = wheel.add(Owner::Conn(7));
        wheel.set(id, Nanos(3 * SLOT));
        wheel.set(id, Nanos(10 * SLOT));
        assert_eq!(fired_at(&mut wheel, 9 * SLOT), []);
        assert_eq!(fired_at(&mut wheel, 12 * SLOT), [Owner::Conn(7)]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_timer_moved_earlier_fires_earlier() {
        let mut wheel = Wheel::new(Nanos(0));
        let id = wheel.add(Owner::Conn(7));
        wheel.set(id, Nanos(900 * SLOT));
        wheel.set(id, Nanos(2 * SLOT));
        assert_eq!(fired_at(&mut wheel, 4 * SLOT), [Owner::Conn(7)]);
    }

    proptest! {
        #[test]
        fn every_timer_fires_once_and_in_time(deadlines in proptest::collection::vec(1u64..200_000, 1..60), step in 1u64..3000) {
            let mut wheel = Wheel::new(Nanos(0));
            let ms = 1_000_000;
            for (i, d) in deadlines.iter().enumerate() {
                let id = wheel.add(Owner::Conn(i as u32));
                wheel.set(id, Nanos(d * ms));
            }
            let mut seen = vec![false; deadlines.len()];
            let mut now = 0;
            while now < 200_500 + step {
                now += step;
                for owner in fired_at(&mut wheel, now * ms) {
                    let Owner::Conn(i) = owner else { unreachable!() };
                    prop_assert!(!seen[i as usize]);
                    seen[i as usize] = true;
                    prop_assert!(deadlines[i as usize] <= now);
                    prop_assert!(now - deadlines[i as usize] <= step + 2 * SLOT / ms + 1);
                }
            }
            prop_assert!(seen.iter().all(|s| *s));
            prop_assert_eq!(wheel.next(), None);
        }

        #[test]
        fn the_next_wake_is_never_too_late(deadlines in proptest::collection::vec(1u64..100_000, 1..30)) {
            let mut wheel = Wheel::new(Nanos(0));
            for (i, d) in deadlines.iter().enumerate() {
                let id = wheel.add(Owner::Conn(i as u32));
                wheel.set(id, Nanos(d * 1_000_000));
            }
            let mut left = deadlines.len();
            let mut turns = 0;
            while left > 0 {
                let next = wheel.next();
                prop_assert!(next.is_some());
                let mut fired = Vec::new();
                wheel.advance(next.unwrap(), &mut fired);
                left -= fired.len();
                turns += 1;
                prop_assert!(turns < 1000);
            }
        }
    }
}
