//! What a key's home core decides of one rate limit: for itself, and for other cores that ask.
//!
//! Each key has one home, so what is decided here is exact. A key that is not in the table has a full bucket; so one whose
//! bucket is full again can be dropped without harm, and it is such keys that make room for newcomers:
//!
//! - a key that came only once goes first, then those that have been idle for longest;
//! - one that came back after `KNOWN_AFTER_NS` is *known*, and is kept for `KNOWN_NS` after it became idle, so that who
//!   uses a limit politely keeps a place under any number of new keys;
//! - where nobody can go, newcomers share one bucket of the same rate, the limit's *overflow*.
//!
//! Pure.

use super::gcra::{Full, Left, Rate};
use super::shard::{Inserted, Key, Place, Shard, Words};

/// A key that comes again so much later is known.
const KNOWN_AFTER_NS: u64 = 1_000_000_000;
/// How long a known key is kept after its bucket is full again.
const KNOWN_NS: u64 = 60_000_000_000;
/// In a key's second word: when it first came, or, with this bit, that it is known.
const KNOWN: u64 = 1 << 63;

/// The buckets of the keys that are at home on one core.
#[derive(Debug)]
pub struct Home {
    rate: Rate,
    keys: Shard,
    overflow: Full,
    /// Keys that made room for others.
    pub evicted: u64,
    /// Decisions from the overflow.
    pub overflowed: u64,
}

/// Where a key's bucket is.
enum Bucket {
    Own(Place),
    Overflow,
}

impl Home {
    /// For so many keys.
    pub fn new(rate: Rate, keys: usize) -> Home {
        Home { rate, keys: Shard::new(keys), overflow: Full::default(), evicted: 0, overflowed: 0 }
    }

    /// Another rate from now on, also for what is known: as many tokens as were missing are missing. Goes through all keys.
    pub fn set_rate(&mut self, now: u64, rate: Rate) {
        let (before, after) = (self.rate.interval_ns(), rate.interval_ns());
        self.rate = rate;
        if before == after {
            return;
        }
        let anew = |full: u64| match full.checked_sub(now) {
            Some(missing_ns) => {
                let missing_ns = u128::from(missing_ns) * u128::from(after) / u128::from(before);
                now.saturating_add(u64::try_from(missing_ns).unwrap_or(u64::MAX).min(u64::MAX / 4))
            }
            None => full,
        };
        self.keys.change_all(|[full, seen]| [anew(full), seen]);
        self.overflow = Full(anew(self.overflow.0));
    }

    /// Keys that have a bucket of their own.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// No key has a bucket of its own.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes `cost` tokens, all or none.
    #[inline]
    pub fn take(&mut self, now: u64, key: Key, cost: u32) -> Result<Left, Left> {
        let bucket = self.bucket(now, key);
        let mut full = self.full(&bucket);
        let taken = self.rate.take(&mut full, now, cost);
        self.set_full(bucket, full);
        taken
    }

    /// Takes tokens for another core to spend: see [`Rate::take_some`].
    pub fn lease(&mut self, now: u64, key: Key, least: u32, want: u32) -> Result<(u32, Left), Left> {
        let bucket = self.bucket(now, key);
        if matches!(bucket, Bucket::Overflow) && want > least {
            // What keys share is spent by each as it comes.
            return self.lease(now, key, least, least);
        }
        let mut full = self.full(&bucket);
        let taken = self.rate.take_some(&mut full, now, least, want);
        self.set_full(bucket, full);
        taken
    }

    /// Takes tokens whether they are there or not.
    pub fn debit(&mut self, now: u64, key: Key, tokens: u32) {
        let bucket = self.bucket(now, key);
        let mut full = self.full(&bucket);
        self.rate.debit(&mut full, now, tokens);
        self.set_full(bucket, full);
    }

    /// Tokens were not used. Of a key that has lost its place there is nothing to be given back: its bucket was full.
    pub fn give_back(&mut self, key: Key, tokens: u32) {
        if let Some(place) = self.keys.find(key) {
            let [full, seen] = self.keys.words(place);
            let mut full = Full(full);
            self.rate.credit(&mut full, tokens);
            self.keys.set_words(place, [full.0, seen]);
        }
    }

    /// What a key has left, without touching it.
    pub fn left(&self, now: u64, key: Key) -> Left {
        let full = self.keys.find(key).map_or(0, |place| self.keys.words(place)[0]);
        self.rate.left(Full(full), now)
    }

    #[inline]
    fn bucket(&mut self, now: u64, key: Key) -> Bucket {
        if let Some(place) = self.keys.find(key) {
            return Bucket::Own(self.seen_again(now, place));
        }
        match self.keys.insert(key, [0, now & !KNOWN], |words| worth(words, now)) {
            Inserted::Here { place, evicted } => {
                self.evicted += u64::from(evicted);
                Bucket::Own(place)
            }
            Inserted::Full => {
                self.overflowed += 1;
                Bucket::Overflow
            }
        }
    }

    #[inline]
    fn seen_again(&mut self, now: u64, place: Place) -> Place {
        let [full, seen] = self.keys.words(place);
        if seen & KNOWN == 0 && now.saturating_sub(seen) >= KNOWN_AFTER_NS {
            self.keys.set_words(place, [full, seen | KNOWN]);
        }
        place
    }

    #[inline]
    fn full(&self, bucket: &Bucket) -> Full {
        match bucket {
            Bucket::Own(place) => Full(self.keys.words(*place)[0]),
            Bucket::Overflow => self.overflow,
        }
    }

    #[inline]
    fn set_full(&mut self, bucket: Bucket, full: Full) {
        match bucket {
            Bucket::Own(place) => {
                let [_, seen] = self.keys.words(place);
                self.keys.set_words(place, [full.0, seen]);
            }
            Bucket::Overflow => self.overflow = full,
        }
    }
}

/// What it is worth to keep a key: the least goes first. `None`: its bucket is not full, or it is known and was here.
fn worth([full, seen]: Words, now: u64) -> Option<u64> {
    let idle_ns = now.checked_sub(full)?;
    match (seen & KNOWN != 0, idle_ns >= KNOWN_NS) {
        (true, false) => None,
        (true, true) => Some(KNOWN | (KNOWN - 1 - idle_ns.min(KNOWN - 1))),
        (false, _) => Some(KNOWN - 1 - idle_ns.min(KNOWN - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    fn keys(seed: u64) -> impl Iterator<Item = Key> {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::from_fn(move || Some(random.u128(..)))
    }

    #[test]
    fn each_key_has_a_bucket_of_its_own() {
        let mut home = Home::new(Rate::new(5, 60 * S, 5), 100);
        for key in keys(1).take(20) {
            let passed = (0..10).filter(|_| home.take(S, key, 1).is_ok()).count();
            assert_eq!(passed, 5);
        }
        assert_eq!(home.len(), 20);
    }

    #[test]
    fn a_million_new_keys_drive_out_nobody_who_is_in_use() {
        let mut home = Home::new(Rate::new(100, S, 20), 10_000);
        let polite: Vec<Key> = keys(1).take(5000).collect();
        let mut strangers = keys(2);
        let (mut now, mut refused) = (S, 0);
        for round in 0..10 {
            now += 2 * S;
            refused += polite.iter().filter(|key| home.take(now, **key, 1).is_err()).count();
            if round < 2 {
                continue;
            }
            for _ in 0..125_000 {
                now += 10_000;
                let _ = home.take(now, strangers.next().unwrap_or_default(), 1);
            }
        }
        assert_eq!(refused, 0, "their buckets were full each time, and still they kept their places");
        assert!(home.len() <= 17_600, "{}", home.len());
        assert!(home.evicted > 100_000, "strangers go for strangers: {}", home.evicted);
    }

    #[test]
    fn who_has_spent_keeps_what_was_spent_under_a_flood() {
        let mut home = Home::new(Rate::new(5, 60 * S, 5), 1000);
        let spent: Vec<Key> = keys(1).take(500).collect();
        for key in &spent {
            assert_eq!((0..9).filter(|_| home.take(S, *key, 1).is_ok()).count(), 5);
        }
        for key in keys(2).take(100_000) {
            let _ = home.take(S + MS, key, 1);
        }
        assert!(spent.iter().all(|key| home.take(S + 2 * MS, *key, 1).is_err()));
    }

    #[test]
    fn newcomers_without_a_place_share_the_rate_of_one() {
        let mut home = Home::new(Rate::new(5, 60 * S, 5), 28);
        let places = keys(1).take(10_000).filter(|key| home.take(S, *key, 1).is_ok()).count();
        assert_eq!(places as u64, home.len() as u64 + 5, "each that found a place, and five of the others");
        assert!(home.overflowed > 9000);
    }

    #[test]
    fn another_rate_holds_for_known_keys() {
        let mut home = Home::new(Rate::new(5, 60 * S, 5), 28);
        while home.take(S, 7, 1).is_ok() {}
        home.set_rate(S, Rate::new(100, S, 10));
        assert!(home.take(S, 7, 6).is_err(), "the five that were spent are spent");
        assert!(home.take(S, 7, 5).is_ok());
        assert!(home.take(S, 7, 1).is_err());
        assert!(home.take(S + 10 * MS, 7, 1).is_ok());
        home.set_rate(S + 10 * MS, Rate::new(1, 60 * S, 10));
        assert_eq!(home.take(S + 10 * MS, 7, 1), Err(Left { tokens: 0, more_ns: 60 * S }));
    }

    #[test]
    fn what_comes_back_is_there_for_others() {
        let mut home = Home::new(Rate::new(10, S, 10), 28);
        assert_eq!(home.lease(S, 7, 1, 8).map(|(granted, _)| granted), Ok(5));
        home.give_back(7, 5);
        assert_eq!(home.left(S, 7).tokens, 10);
        home.debit(S, 7, 12);
        assert_eq!(home.take(S, 7, 1), Err(Left { tokens: 0, more_ns: 300 * MS }));
    }
}
