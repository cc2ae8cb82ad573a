//! Request ids: 32 lower-case hexadecimal digits, unique without coordination.
//!
//! An id is a mixed counter (first 16 digits) and the worker's random number (last 16).
//!
//! - Within one worker the counter takes 2^64 values before one returns, and the mixing is a bijection, so the first
//!   halves differ.
//! - Between workers, processes and machines the second halves differ: they are 64 random bits drawn when the worker
//!   starts. Among n workers ever started two share one with probability about n^2 / 2^65 (a million of them: 3 in
//!   10^8), and even those two count from different random places.
//!
//! The mixing spreads ids evenly over their first digits, for whoever samples or shards by them. They are not secret:
//! who knows the mixing and one id can tell the next. On the line: made after `read head`, where none was kept.

use crate::sink::Sink;

/// Makes the ids of one worker.
#[derive(Clone, Debug)]
pub struct RequestIds {
    worker: u64,
    counter: u64,
}

/// An id as it is sent.
pub type RequestId = [u8; REQUEST_ID_BYTES];

impl RequestIds {
    /// Seeds from the operating system, once for each worker.
    pub fn seeded() -> Result<Self, getrandom::Error> {
        Ok(Self::from_seed(getrandom::u64()?, getrandom::u64()?))
    }

    /// Ids of worker number `worker` (random), counted from `counter` (random).
    pub fn from_seed(worker: u64, counter: u64) -> Self {
        Self { worker, counter }
    }

    /// The next id.
    #[inline]
    pub fn make(&mut self) -> RequestId {
        self.counter = self.counter.wrapping_add(1);
        let mixed = mix(self.counter);
        let mut id = [0; REQUEST_ID_BYTES];
        for (place, half) in id.as_chunks_mut::<8>().0.iter_mut().zip([
            (mixed >> 32) as u32,
            mixed as u32,
            (self.worker >> 32) as u32,
            self.worker as u32,
        ]) {
            *place = hex(half);
        }
        id
    }
}

/// Whether an id from a trusted hop may be kept: 1 to [`KEPT_BYTES_MAX`] visible ASCII characters.
#[inline]
pub fn may_keep(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= KEPT_BYTES_MAX && id.iter().all(u8::is_ascii_graphic)
}

/// Writes the field for the upstream: `X-Request-Id: ...`.
#[inline]
pub fn put_field(sink: &mut impl Sink, id: &[u8]) {
    sink.put(b"X-Request-Id: ");
    sink.put(id);
    sink.put(b"\r\n");
}

/// Digits of a made id.
pub const REQUEST_ID_BYTES: usize = 32;

/// Longest id kept from a trusted hop.
pub const KEPT_BYTES_MAX: usize = 128;

/// A bijection on 64 bits that changes about half of them for each bit of its input: each step (xor with the own
/// upper bits, multiplication by an odd number) can be undone. The finisher of SplitMix64.
#[inline]
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Eight hexadecimal digits at once: one nibble a byte, then `0` or `a - 10` is added to each.
#[inline]
fn hex(value: u32) -> [u8; 8] {
    let mut nibbles = u64::from(value);
    nibbles = (nibbles | (nibbles << 16)) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | (nibbles << 8)) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | (nibbles << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_lower_case_hex_and_differ() {
        let mut ids = RequestIds::from_seed(0x0123_4567_89ab_cdef, u64::MAX - 2);
        let made: HashSet<RequestId> = (0..10_000).map(|_| ids.make()).collect();
        assert_eq!(made.len(), 10_000);
        for id in &made {
            assert!(id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            assert_eq!(&id[16..], b"0123456789abcdef");
        }
    }

    #[test]
    fn workers_that_count_alike_make_different_ids() {
        assert_ne!(RequestIds::from_seed(1, 7).make(), RequestIds::from_seed(2, 7).make());
        let mut two = [RequestIds::seeded().unwrap(), RequestIds::seeded().unwrap()];
        let [one, other] = &mut two;
        assert_ne!(one.make(), other.make());
    }

    #[test]
    fn only_bounded_visible_ascii_is_kept() {
        assert!(may_keep(b"a"));
        assert!(may_keep(b"7f3e-4b2a/x==:1"));
        assert!(may_keep(&[b'x'; KEPT_BYTES_MAX]));
        for bad in [&b""[..], b"a b", b"a\tb", b"caf\xc3\xa9", b"x\x7f", &[b'x'; KEPT_BYTES_MAX + 1]] {
            assert!(!may_keep(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_field_is_one_line() {
        let mut out = Vec::new();
        put_field(&mut out, b"abc");
        assert_eq!(out, b"X-Request-Id: abc\r\n");
    }

    proptest! {
        #[test]
        fn hex_reads_as_core_fmt_writes_it(value: u32) {
            prop_assert_eq!(hex(value).to_vec(), format!("{value:08x}").into_bytes());
        }

        #[test]
        fn mixing_can_be_undone(value: u64) {
            // Inverses of the three steps, newest first.
            let mut back = mix(value);
            back ^= (back >> 31) ^ (back >> 62);
            back = back.wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
            back ^= (back >> 27) ^ (back >> 54);
            back = back.wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
            back ^= (back >> 30) ^ (back >> 60);
            prop_assert_eq!(back, value);
        }
    }

    /// Multiplicative inverse of an odd number modulo 2^64, by Newton's iteration.
    fn inverse(odd: u64) -> u64 {
        (0..6).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))))
    }
}
