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
            let hash = hash::<FOLD>(scope, key);
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
        let hash = hash::<FOLD>(scope, key);
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
        if FOLD { stored.eq_ignore_ascii_case(key) } else { stored == key }
    }
}

/// Eight bytes at a time, the last ones overlapping. With `FOLD` the bit that tells cases apart is set everywhere;
/// that a few other bytes then hash alike does no harm.
#[inline]
fn hash<const FOLD: bool>(scope: u32, key: &[u8]) -> u32 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const CASE: u64 = 0x2020_2020_2020_2020;
    let fold = |word: u64| if FOLD { word | CASE } else { word };
    let mut h = SEED ^ u64::from(scope).rotate_left(32) ^ key.len() as u64;
    let (words, tail) = key.as_chunks::<8>();
    for word in words {
        h = mix(h ^ fold(u64::from_le_bytes(*word)));
    }
    if !tail.is_empty() {
        let last = if let Some(word) = key.last_chunk::<8>() {
            u64::from_le_bytes(*word)
        } else if let (Some(a), Some(b)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            u64::from(u32::from_le_bytes(*a)) << 32 | u64::from(u32::from_le_bytes(*b))
        } else {
            let middle = u64::from(tail[tail.len() / 2]) << 8;
            u64::from(tail[0]) << 16 | middle | u64::from(tail[tail.len() - 1])
        };
        h = mix(h ^ fold(last));
    }
    let h = mix(h ^ SEED);
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
}
