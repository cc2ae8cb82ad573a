//! How many requests of each key are under way: concurrency limits, on a key's home core.
//!
//! A key is in the table as long as any of its requests is under way, so nobody is ever driven out; keys that find no
//! place share one count, the *overflow*. Invariant: what was let in and is not over is counted exactly once. Pure.

use super::gcra::Left;
use super::shard::{Inserted, Key, Shard};

/// The counts of the keys that are at home on one core.
#[derive(Debug)]
pub struct Counts {
    most: u32,
    keys: Shard,
    overflow: u32,
    /// Decisions from the overflow.
    pub overflowed: u64,
}

impl Counts {
    /// At most `most` requests at once of each of so many keys.
    pub fn new(most: u32, keys: usize) -> Counts {
        Counts { most, keys: Shard::new(keys), overflow: 0, overflowed: 0 }
    }

    /// Another bound from now on; who is in stays in.
    pub fn set_most(&mut self, most: u32) {
        self.most = most;
    }

    /// Keys with requests under way.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.overflow == 0
    }

    /// One more, or an `Err` if there are as many as may be.
    pub fn enter(&mut self, key: Key) -> Result<Left, Left> {
        let most = self.most;
        let left = |count: u32| Left { tokens: most.saturating_sub(count), more_ns: 0 };
        if let Some(place) = self.keys.find(key) {
            let [count, _] = self.keys.words(place);
            if count >= u64::from(most) {
                return Err(left(most));
            }
            self.keys.set_words(place, [count + 1, 0]);
            return Ok(left(count as u32 + 1));
        }
        if most == 0 {
            return Err(left(0));
        }
        match self.keys.insert(key, [1, 0], |_| None) {
            Inserted::Here { .. } => Ok(left(1)),
            Inserted::Full => {
                self.overflowed += 1;
                if self.overflow >= most {
                    return Err(left(most));
                }
                self.overflow += 1;
                Ok(left(self.overflow))
            }
        }
    }

    /// One less.
    pub fn leave(&mut self, key: Key) {
        match self.keys.find(key) {
            None => self.overflow = self.overflow.saturating_sub(1),
            Some(place) => match self.keys.words(place)[0] {
                0 | 1 => self.keys.remove(place),
                count => self.keys.set_words(place, [count - 1, 0]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may_be_are_let_in_and_who_leaves_makes_room() {
        let mut counts = Counts::new(2, 100);
        assert_eq!(counts.enter(7), Ok(Left { tokens: 1, more_ns: 0 }));
        assert_eq!(counts.enter(7), Ok(Left { tokens: 0, more_ns: 0 }));
        assert!(counts.enter(7).is_err());
        assert!(counts.enter(8).is_ok());
        counts.leave(7);
        assert!(counts.enter(7).is_ok());
        counts.leave(7);
        counts.leave(7);
        counts.leave(8);
        assert!(counts.is_empty());
    }

    #[test]
    fn keys_without_a_place_share_one_count_and_none_is_lost() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = Counts::new(3, 10);
        let mut under_way = Vec::new();
        for _ in 0..50_000 {
            if random.bool() || under_way.is_empty() {
                let key = random.u128(..1000) << 30 | random.u128(..1000) << 90;
                if counts.enter(key).is_ok() {
                    under_way.push(key);
                }
            } else {
                counts.leave(under_way.swap_remove(random.usize(..under_way.len())));
            }
        }
        assert!(counts.overflowed > 0);
        under_way.into_iter().for_each(|key| counts.leave(key));
        assert!(counts.is_empty());
    }
}
