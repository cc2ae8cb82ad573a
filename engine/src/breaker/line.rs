//! Who waits for a turn on one worker. Pure.
//!
//! ```text
//! waits -- chosen --> called -- found nothing --> waits, at its old place
//!                       |
//!                       +----- served, or gone --> (out of the line)
//! ```
//!
//! Invariant: places are kept in the order in which they were taken, and nothing allocates once as many have waited
//! at once before.

use std::task::Waker;

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Line {
    places: Vec<Spot>,
    vacant: Vec<u32>,
    first: Option<u32>,
    last: Option<u32>,
    called: u32,
}

#[derive(Debug)]
struct Spot {
    since_ns: u64,
    called: bool,
    waker: Option<Waker>,
    before: u32,
    after: u32,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u32);

impl Line {
    /// Takes the last place.
    pub fn join(&mut self, now_ns: u64) -> Number {
        let spot = Spot {
            since_ns: now_ns,
            called: false,
            waker: None,
            before: self.last.unwrap_or(NONE),
            after: NONE,
        };
        let place = match self.vacant.pop() {
            Some(place) => {
                self.places[place as usize] = spot;
                place
            }
            None => {
                self.places.push(spot);
                self.places.len() as u32 - 1
            }
        };
        match self.last {
            Some(last) => self.places[last as usize].after = place,
            None => self.first = Some(place),
        }
        self.last = Some(place);
        Number(place)
    }

    /// Leaves it.
    pub fn leave(&mut self, number: Number) {
        let spot = &mut self.places[number.0 as usize];
        let (before, after) = (spot.before, spot.after);
        spot.waker = None;
        self.called -= u32::from(std::mem::take(&mut spot.called));
        match self.places.get_mut(before as usize) {
            Some(spot) => spot.after = after,
            None => self.first = (after != NONE).then_some(after),
        }
        match self.places.get_mut(after as usize) {
            Some(spot) => spot.before = before,
            None => self.last = (before != NONE).then_some(before),
        }
        self.vacant.push(number.0);
    }

    /// Calls the one that came first (or last) of those not called yet, and wakes it.
    pub fn call(&mut self, last_come_first: bool) -> bool {
        let chosen = if last_come_first { self.last_waiting() } else { self.first_waiting() };
        let Some(place) = chosen else { return false };
        let spot = &mut self.places[place as usize];
        spot.called = true;
        self.called += 1;
        if let Some(waker) = spot.waker.take() {
            waker.wake();
        }
        true
    }

    /// Whether it was called; else `waker` is woken when it is.
    pub fn is_called(&mut self, number: Number, waker: &Waker) -> bool {
        let spot = &mut self.places[number.0 as usize];
        if !spot.called {
            match &mut spot.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        spot.called
    }

    /// Its turn came to nothing: it waits on where it was. `false`: it had none.
    pub fn wait_on(&mut self, number: Number) -> bool {
        let called = std::mem::take(&mut self.places[number.0 as usize].called);
        self.called -= u32::from(called);
        called
    }

    /// How many were called and have not acted yet.
    pub fn called(&self) -> u32 {
        self.called
    }

    /// Since when the first and the last of those wait that were not called.
    pub fn ends_ns(&self) -> Option<(u64, u64)> {
        let since = |place: u32| self.places[place as usize].since_ns;
        Some((since(self.first_waiting()?), since(self.last_waiting()?)))
    }

    fn first_waiting(&self) -> Option<u32> {
        self.waiting(self.first, |spot| spot.after)
    }

    fn last_waiting(&self) -> Option<u32> {
        self.waiting(self.last, |spot| spot.before)
    }

    /// Those called are few: they act as soon as their task runs.
    fn waiting(&self, from: Option<u32>, next: impl Fn(&Spot) -> u32) -> Option<u32> {
        let mut place = from?;
        while let Some(spot) = self.places.get(place as usize) {
            if !spot.called {
                return Some(place);
            }
            place = next(spot);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &mut Line, numbers: &[Number]) -> Vec<bool> {
        numbers.iter().map(|number| line.is_called(*number, Waker::noop())).collect()
    }

    #[test]
    fn first_come_is_first_called_and_the_other_way_round() {
        let mut line = Line::default();
        let numbers: Vec<Number> = (0..4).map(|at| line.join(at)).collect();
        assert!(line.call(false));
        assert_eq!(called(&mut line, &numbers), [true, false, false, false]);
        assert!(line.call(true));
        assert_eq!(called(&mut line, &numbers), [true, false, false, true]);
        assert_eq!((line.called(), line.ends_ns()), (2, Some((1, 2))));
        assert!(line.call(false) && line.call(false) && !line.call(false));
    }

    #[test]
    fn who_found_nothing_keeps_its_place() {
        let mut line = Line::default();
        let numbers: Vec<Number> = (0..2).map(|at| line.join(at)).collect();
        line.call(false);
        assert!(line.wait_on(numbers[0]) && !line.wait_on(numbers[0]));
        assert_eq!(line.ends_ns(), Some((0, 1)));
        line.call(false);
        assert_eq!(called(&mut line, &numbers), [true, false]);
    }

    #[test]
    fn places_are_used_again_and_order_holds_whoever_leaves() {
        let mut dice = fastrand::Rng::with_seed(7);
        let (mut line, mut model) = (Line::default(), Vec::<(u64, Number)>::new());
        for at in 0..5000 {
            if model.len() < 50 && dice.bool() {
                model.push((at, line.join(at)));
            } else if !model.is_empty() {
                let (_, number) = model.remove(dice.usize(..model.len()));
                line.leave(number);
            }
            let ends = model.first().zip(model.last()).map(|(first, last)| (first.0, last.0));
            assert_eq!(line.ends_ns(), ends);
        }
        assert!(line.places.len() <= 50);
    }
}
