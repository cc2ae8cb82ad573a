//! A frozen hash table from (scope, bytes) to a number: open addressing, at most half full, keys in one arena.
//!
//! Keys come from configuration only, so nobody who sends requests can make it degenerate. With `FOLD` keys are
//! stored in lower case and looked up in any.

use super::NONE;

#[derive(Debug)]
pub(super) struct Table<const FOLD: bool> {
    slots: Box<[Slot]>,
    keys: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    scope: u32,
    start: u32,
    end: u32,
    /// `NONE`: empty.
    value: u32,
}

impl<const FOLD: bool> Table<FOLD> {
    /// Keys must differ from each other.
    pub(super) fn build<'a>(entries: impl ExactSizeIterator<Item = (u32, &'a [u8], u32)>) -> Table<FOLD> {
        let empty = Slot { hash: 0, scope: 0, start: 0, end: 0, value: NONE };
        let mut slots = vec![empty; (entries.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        let mask = slots.len() - 1;
        let mut keys = Vec::new();
        for (scope, key, value) in entries {
            debug_assert!(value != NONE);
            let hash = finish(hash::<FOLD>(key), scope, key.len());
            let mut at = hash as usize & mask;
            while slots[at].value != NONE {
                at = (at + 1) & mask;
            }
            let start = keys.len() as u32;
            keys.extend_from_slice(key);
            if FOLD {
                keys[start as usize..].make_ascii_lowercase();
            }
            slots[at] = Slot { hash, scope, start, end: keys.len() as u32, value };
        }
        Table { slots, keys: keys.into_boxed_slice() }
    }

    #[inline]
    pub(super) fn get(&self, scope: u32, key: &[u8]) -> Option<u32> {
        self.get_hashed(scope, key, hash::<FOLD>(key))
    }

    /// `hash` is that of `key`, from [`hash`] or [`segment_and_hash`].
    #[inline]
    pub(super) fn get_hashed(&self, scope: u32, key: &[u8], hash: u64) -> Option<u32> {
        let hash = finish(hash, scope, key.len());
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &self.slots[at & mask];
            if slot.value == NONE {
                return None;
            }
            if slot.hash == hash && slot.scope == scope && self.key_equals(slot, key) {
                return Some(slot.value);
            }
            at += 1;
        }
    }

    #[inline]
    fn key_equals(&self, slot: &Slot, key: &[u8]) -> bool {
        let stored = &self.keys[slot.start as usize..slot.end as usize];
        stored == key || (FOLD && stored.eq_ignore_ascii_case(key))
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const EVERY: u64 = 0x0101_0101_0101_0101;

/// Eight bytes at a time, the last ones filled up with zeros. With `FOLD` the bit that tells cases apart is set
/// everywhere; that a few other bytes then hash alike does no harm.
#[inline]
fn hash<const FOLD: bool>(key: &[u8]) -> u64 {
    let fold = |word: u64| if FOLD { word | (0x20 * EVERY) } else { word };
    let mut h = SEED;
    let mut at = 0;
    while at < key.len() {
        h = mix(h ^ fold(word_at(key, at)));
        at += 8;
    }
    h
}

/// The segment that begins at `start` in `path`: where it ends (at a slash or with the path), and its hash. One pass
/// for both, since most segments fit a word.
#[inline]
pub(super) fn segment_and_hash(path: &[u8], start: usize) -> (usize, u64) {
    let mut h = SEED;
    let mut at = start;
    while at < path.len() {
        let word = word_at(path, at);
        // The lowest set bit marks the first byte that is a slash; bits above it may be false.
        let no_slash = word ^ (0x2f * EVERY);
        let slashes = no_slash.wrapping_sub(EVERY) & !no_slash & (0x80 * EVERY);
        if slashes != 0 {
            let bytes = slashes.trailing_zeros() / 8;
            if bytes > 0 {
                h = mix(h ^ (word & (u64::MAX >> (64 - 8 * bytes))));
            }
            return (at + bytes as usize, h);
        }
        h = mix(h ^ word);
        at += 8;
    }
    (path.len(), h)
}

/// Eight bytes from `at` on, zeros where there are fewer.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..at + 8).and_then(|eight| eight.first_chunk::<8>()) {
        return u64::from_le_bytes(*word);
    }
    match bytes.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (8 * (at + 8 - bytes.len())),
        None => bytes[at..].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[inline]
fn finish(hash: u64, scope: u32, length: usize) -> u32 {
    let h = mix(hash ^ (u64::from(scope) << 32 | length as u64));
    (h ^ h >> 32) as u32
}

#[inline]
fn mix(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(0xd6e8_feb8_6659_fd93_u64);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_keys_are_found_and_probed_in_a_few_steps() {
        let keys: Vec<String> = (0..10_000).map(|i| format!("/v1/service-{i}/orders")).collect();
        let table = Table::<false>::build(keys.iter().enumerate().map(|(i, k)| (7, k.as_bytes(), i as u32)));
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(table.get(7, key.as_bytes()), Some(i as u32));
            assert_eq!(table.get(8, key.as_bytes()), None);
        }
        let mask = table.slots.len() - 1;
        let steps: usize = (0..table.slots.len())
            .filter(|&i| table.slots[i].value != NONE)
            .map(|i| i.wrapping_sub(table.slots[i].hash as usize) & mask)
            .sum();
        assert!(steps < 10_000, "{steps} steps beyond the first for 10 000 keys");
    }

    #[test]
    fn a_folding_table_is_asked_in_any_case() {
        for name in ["a", "ab", "abc", "abcd", "abcdefg", "abcdefgh", "api.example.com", "xn--mgba3a4f16a.ir"]
        {
            let table = Table::<true>::build([(0, name.as_bytes(), 5)].into_iter());
            assert_eq!(table.get(0, name.to_uppercase().as_bytes()), Some(5), "{name}");
            assert_eq!(table.get(0, format!("{name}x").as_bytes()), None);
        }
    }

    #[test]
    fn a_segment_ends_and_hashes_as_it_would_alone() {
        for length in 0..40 {
            let segment = "\x2e/\x30\x7f\u{80}abcdefghijklmnopqrstuvwxyzABCDEFGH".replace('/', "0");
            let segment = &segment.as_bytes()[..length.min(segment.len())];
            for (before, after) in
                [("", ""), ("/", "/"), ("/x/", "/y/zzzzzzzzzzzzz"), ("/longer-than-that/", "")]
            {
                let path = [before.as_bytes(), segment, after.as_bytes()].concat();
                let end = before.len() + segment.len();
                assert_eq!(segment_and_hash(&path, before.len()), (end, hash::<false>(segment)), "{path:?}");
            }
        }
    }
}
