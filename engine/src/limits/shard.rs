//! One core's table of keys: bounded, without moves, and fair to those who are in it.
//!
//! A key may live in either of two sets of `WAYS` places, in which it is looked for by a byte of its hash and then by
//! all of it. Nothing is ever moved or made anew as the table fills, so no look-up waits for such work, and memory that
//! no key has come to is never touched. A newcomer that finds both sets full takes the place of a key that carries no
//! information, if there is one; which those are, and which of them goes first, is said by who owns the values. So no
//! number of new keys drives out one that is in use. Pure.
//!
//! Keys are hashes with a secret seed: uniform, and nobody can aim at a set. Invariant: a key is in the table at most
//! once.

/// A hash of a key's parts, in which all bits are equally good.
pub type Key = u128;

/// What is kept of a key: two numbers, whose meaning is their owner's.
pub type Words = [u64; 2];

/// Places in a set.
const WAYS: usize = 7;
/// A set is four words, of which the first has a byte of each key's hash, and then four words for each key.
const SET_WORDS: usize = 4 + WAYS * 4;
/// A cache line.
const LINE_WORDS: usize = 8;
/// So many places for each key that is to find one.
const ROOM: (usize, usize) = (7, 4);
/// Sets of the smallest table.
const SETS_MIN: usize = 4;
const LOW_BITS: u64 = 0x7F7F_7F7F_7F7F_7F7F;
/// A byte for each place; the eighth is nobody's.
const OF_WAYS: u64 = 0x0080_8080_8080_8080;

/// A table for one limit.
#[derive(Debug)]
pub struct Shard {
    words: Vec<u64>,
    /// Where sets begin: at a cache line, so that no key is on two.
    base: usize,
    sets: usize,
    keys: usize,
}

/// Where a key is, until the next insertion or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// What became of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is here; somebody who carried no information had to go.
    Here {
        /// Where.
        place: Place,
        /// Another key went for it.
        evicted: bool,
    },
    /// Everyone where it could be carries information.
    Full,
}

impl Shard {
    /// For so many keys. Takes 64 bytes of address space a key; resident is what keys come to.
    pub fn new(keys: usize) -> Shard {
        let sets = (keys.saturating_mul(ROOM.0) / ROOM.1).div_ceil(WAYS).max(SETS_MIN);
        let words = vec![0; sets * SET_WORDS + LINE_WORDS - 1];
        // Always so few; what is said of it leaves more open.
        let base = words.as_ptr().align_offset(LINE_WORDS * 8).min(LINE_WORDS - 1);
        Shard { words, base, sets, keys: 0 }
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// No key is in it.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Bytes it may take.
    pub fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// Looks a key up.
    #[inline]
    pub fn find(&self, key: Key) -> Option<Place> {
        let (one, other) = self.sets_of(key);
        self.find_in(one, key).or_else(|| self.find_in(other, key))
    }

    /// What is kept of it.
    #[inline]
    pub fn words(&self, place: Place) -> Words {
        [self.words[place.0 + 2], self.words[place.0 + 3]]
    }

    /// Keeps something else of it.
    #[inline]
    pub fn set_words(&mut self, place: Place, words: Words) {
        self.words[place.0 + 2..place.0 + 4].copy_from_slice(&words);
    }

    /// Puts in a key that is not there. `worth` says of another's words `None`: it must stay; else the one of whom it
    /// says least goes first.
    pub fn insert(&mut self, key: Key, words: Words, worth: impl Fn(Words) -> Option<u64>) -> Inserted {
        debug_assert!(self.find(key).is_none(), "a key is in the table once");
        let (one, other) = self.sets_of(key);
        let set = if self.free_in(one) >= self.free_in(other) { one } else { other };
        if let Some(way) = first(self.empty_in(set)) {
            self.keys += 1;
            return Inserted::Here { place: self.put(set, way, key, words), evicted: false };
        }
        let places = [one, other].into_iter().flat_map(|set| (0..WAYS).map(move |way| (set, way)));
        let worthless = places.filter_map(|(set, way)| {
            let place = Place(set + 4 + way * 4);
            worth(self.words(place)).map(|worth| (worth, set, way))
        });
        match worthless.min() {
            Some((_, set, way)) => Inserted::Here { place: self.put(set, way, key, words), evicted: true },
            None => Inserted::Full,
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, place: Place) {
        let set = place.0 - (place.0 - self.base) % SET_WORDS;
        let way = (place.0 - set - 4) / 4;
        self.words[set] &= !(0xFF << (way * 8));
        self.keys -= 1;
    }

    /// Keeps something else of every key. Goes through the whole table.
    pub fn change_all(&mut self, change: impl Fn(Words) -> Words) {
        for set in (self.base..).step_by(SET_WORDS).take(self.sets) {
            let mut taken = !self.empty_in(set) & OF_WAYS;
            while let Some(way) = first(taken) {
                let place = Place(set + 4 + way * 4);
                self.set_words(place, change(self.words(place)));
                taken &= taken - 1;
            }
        }
    }

    fn put(&mut self, set: usize, way: usize, key: Key, words: Words) -> Place {
        let shift = way * 8;
        self.words[set] = self.words[set] & !(0xFF << shift) | tag(key) << shift;
        let place = set + 4 + way * 4;
        self.words[place..place + 4].copy_from_slice(&[key as u64, (key >> 64) as u64, words[0], words[1]]);
        Place(place)
    }

    #[inline]
    fn find_in(&self, set: usize, key: Key) -> Option<Place> {
        let mut likely = zeros(self.words[set] ^ (tag(key) * 0x0101_0101_0101_0101));
        while let Some(way) = first(likely) {
            let place = set + 4 + way * 4;
            if self.words[place] == key as u64 && self.words[place + 1] == (key >> 64) as u64 {
                return Some(Place(place));
            }
            likely &= likely - 1;
        }
        None
    }

    #[inline]
    fn empty_in(&self, set: usize) -> u64 {
        zeros(self.words[set])
    }

    #[inline]
    fn free_in(&self, set: usize) -> u32 {
        self.empty_in(set).count_ones()
    }

    /// The first words of a key's two sets. The hash's highest bits are left out: by them keys are given to cores.
    #[inline]
    fn sets_of(&self, key: Key) -> (usize, usize) {
        let place = |hash: u64| ((u128::from(hash) * self.sets as u128) >> 64) as usize;
        let pick = |hash: u64| self.base + place(hash) * SET_WORDS;
        (pick(key as u64), pick(((key >> 64) as u64) << 32 | (key as u64) >> 56))
    }
}

/// 1 to 255: 0 is an empty place.
#[inline]
fn tag(key: Key) -> u64 {
    ((key >> 96) as u64 & 0xFF).max(1)
}

/// The high bit of each of a set's bytes that is zero.
#[inline]
fn zeros(bytes: u64) -> u64 {
    !(((bytes & LOW_BITS) + LOW_BITS) | bytes | LOW_BITS) & OF_WAYS
}

#[inline]
fn first(ways: u64) -> Option<usize> {
    (ways != 0).then(|| ways.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use rustc_hash::FxHashMap;

    use super::*;

    fn stays(_: Words) -> Option<u64> {
        None
    }

    fn keys(seed: u64) -> impl Iterator<Item = Key> {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::from_fn(move || Some(random.u128(..)))
    }

    #[test]
    fn as_many_keys_as_it_is_for_find_a_place() {
        for room in [10, 100, 12_500, 200_000] {
            let mut shard = Shard::new(room);
            for key in keys(room as u64).take(room) {
                let inserted = shard.insert(key, [1, 2], stays);
                assert!(
                    matches!(inserted, Inserted::Here { evicted: false, .. }),
                    "{} of {room}",
                    shard.len()
                );
            }
            assert!(keys(room as u64).take(room).all(|key| shard.find(key).is_some()));
            assert!(keys(room as u64 + 1).take(room).all(|key| shard.find(key).is_none()));
        }
    }

    #[test]
    fn a_million_keys_take_less_than_96_mib() {
        assert!(Shard::new(1_000_000).bytes() <= 96 << 20, "{}", Shard::new(1_000_000).bytes());
    }

    #[test]
    fn it_does_what_a_map_does() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut shard, mut map) = (Shard::new(1000), FxHashMap::default());
        let known: Vec<Key> = keys(3).take(900).collect();
        for step in 0..50_000u64 {
            let key = known[random.usize(..known.len())];
            match shard.find(key) {
                None => {
                    assert!(!map.contains_key(&key));
                    assert!(matches!(shard.insert(key, [step, 1], stays), Inserted::Here { .. }));
                    map.insert(key, [step, 1]);
                }
                Some(place) => {
                    assert_eq!(Some(&shard.words(place)), map.get(&key));
                    if random.bool() {
                        shard.remove(place);
                        map.remove(&key);
                    } else {
                        shard.set_words(place, [step, 2]);
                        map.insert(key, [step, 2]);
                    }
                }
            }
            assert_eq!(shard.len(), map.len());
        }
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_least_worth_and_of_nobody_who_must_stay() {
        let mut shard = Shard::new(1);
        let mut known = Vec::new();
        for key in keys(1) {
            match shard.insert(key, [known.len() as u64, 0], stays) {
                Inserted::Here { .. } => known.push(key),
                Inserted::Full => break,
            }
        }
        let stayed = |shard: &Shard| known.iter().filter(|key| shard.find(**key).is_some()).count();
        assert_eq!(stayed(&shard), known.len());
        // Of the even ones the lowest goes, of those where the newcomer can be.
        let worth = |words: Words| words[0].is_multiple_of(2).then_some(words[0]);
        for key in keys(2).take(1000) {
            let _ = shard.insert(key, [1, 1], worth);
        }
        for (number, key) in known.iter().enumerate().filter(|(number, _)| number % 2 == 1) {
            assert!(shard.find(*key).is_some(), "key {number} carried information");
        }
        assert!(stayed(&shard) < known.len());
    }

    #[test]
    fn keys_that_share_their_tag_are_told_apart() {
        let mut shard = Shard::new(100);
        let alike: Vec<Key> = keys(5).take(60).map(|key| key & !(0xFF << 96) | 0x55 << 96).collect();
        for (n, key) in alike.iter().enumerate() {
            assert!(matches!(shard.insert(*key, [n as u64, 0], stays), Inserted::Here { .. }));
        }
        for (n, key) in alike.iter().enumerate() {
            assert_eq!(shard.find(*key).map(|place| shard.words(place)[0]), Some(n as u64));
        }
    }
}
