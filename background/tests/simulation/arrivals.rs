//! Who comes, when, to which worker: 500 a second on the average, in lulls and bursts, seldom evenly over workers.

use super::requests::Request;
use super::world::{Event, MS, World};

/// Of each request, in which it must be over.
pub const WITHIN_NS: u64 = 1_000 * MS;

impl World {
    pub fn arrive(&mut self) {
        // Half of all come to the first worker.
        let worker = if self.random.bool() { 0 } else { self.random.usize(..self.workers.len()) };
        let key = self.limited.key(&mut self.random);
        self.tally.requests += 1;
        let request = Request::new(worker, key, self.now);
        let place = match self.vacant.pop() {
            Some(place) => {
                self.requests[place] = Some(request);
                place
            }
            None => {
                self.requests.push(Some(request));
                self.requests.len() - 1
            }
        };
        self.admit(place);
        if self.lives() {
            let gap = if self.random.u32(..100) == 0 {
                self.random.u64(..40 * MS)
            } else {
                self.random.u64(..36 * MS / 10)
            };
            self.at(self.now + gap, Event::Arrival);
        }
    }
}
