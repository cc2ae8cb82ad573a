//! Where bytes of a message go: the narrowest face of a writer.
//!
//! Head writers, test vectors and scratch buffers take bytes alike. `put` never fails: a bounded sink counts what
//! did not fit and its owner looks once, at the end. Used by everything on the line that writes a head.

/// Takes bytes in order.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<const N: usize> Sink for smallvec::SmallVec<[u8; N]> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes and keeps none: how long something will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting(pub usize);

impl Sink for Counting {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// A small text made once and read often, held in place.
///
/// `N` is at most 255 and is chosen by its owner so that everything fits; a byte beyond it is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Inline<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Inline<N> {
    /// Empty.
    pub const fn new() -> Self {
        const { assert!(N <= u8::MAX as usize) };
        Self { bytes: [0; N], len: 0 }
    }

    /// What was put.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl<const N: usize> Default for Inline<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Sink for Inline<N> {
    fn put(&mut self, bytes: &[u8]) {
        let free = &mut self.bytes[usize::from(self.len)..];
        debug_assert!(bytes.len() <= free.len(), "an inline text is sized for all it may hold");
        let taken = bytes.len().min(free.len());
        free[..taken].copy_from_slice(&bytes[..taken]);
        self.len += taken as u8;
    }
}

/// Appends `value` in decimal, without `core::fmt`.
#[inline]
pub fn put_decimal(sink: &mut impl Sink, value: u64) {
    if value < 10 {
        return sink.put(&[b'0' + value as u8]);
    }
    let mut digits = [0; DECIMAL_BYTES_MAX];
    sink.put(decimal(value, &mut digits));
}

/// The decimal text of `value`, in the end of `digits`.
#[inline]
pub fn decimal(mut value: u64, digits: &mut [u8; DECIMAL_BYTES_MAX]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// Digits of `u64::MAX`.
pub const DECIMAL_BYTES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_as_core_fmt_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 65_535, 1_000_000, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_decimal(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }

    #[test]
    fn counting_knows_the_length_without_the_bytes() {
        let mut count = Counting::default();
        count.put(b"abc");
        put_decimal(&mut count, 1234);
        assert_eq!(count, Counting(7));
    }

    #[test]
    fn an_inline_text_holds_exactly_its_bound() {
        let mut text = Inline::<5>::new();
        text.put(b"ab");
        text.put(b"cde");
        assert_eq!(text.as_bytes(), b"abcde");
    }
}
