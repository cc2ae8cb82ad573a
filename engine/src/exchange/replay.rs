//! A request's body as it passes through, kept to be sent again, up to a bound.
//!
//! What came with the head is at hand anyway, for the head's buffer is held as long as the exchange; what comes after it
//! is copied, so that waiting for an answer holds no receive buffers. Invariant: what is kept is the beginning of the
//! body without a gap, or nothing.

/// Room that is kept for the next exchange.
const SPARE_BYTES_MAX: usize = 16 << 10;

/// What has gone by of a body.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    copied: Vec<u8>,
    /// Bytes at the body's beginning that are at hand elsewhere.
    at_hand: u64,
    bytes_max: usize,
    lost: bool,
}

impl Kept {
    /// Begins anew: the first `at_hand` bytes need no copy, the body is kept up to `bytes_max`.
    pub fn begin(&mut self, at_hand: u64, bytes_max: u32) {
        self.copied.clear();
        (self.at_hand, self.bytes_max, self.lost) = (at_hand, bytes_max as usize, false);
    }

    /// The next data has gone by, `received` bytes so far with it.
    pub fn push(&mut self, data: &[u8], received: u64) {
        let start = received - data.len() as u64;
        let elsewhere = self.at_hand.saturating_sub(start).min(data.len() as u64) as usize;
        let data = &data[elsewhere..];
        if self.lost || data.is_empty() {
            return;
        }
        let room = self.bytes_max.saturating_sub(self.at_hand as usize);
        if self.copied.len() + data.len() > room {
            self.lost = true;
            self.copied.clear();
            return;
        }
        self.copied.extend_from_slice(data);
    }

    /// All that came after what is at hand; `None`: it was too much.
    pub fn copied(&self) -> Option<&[u8]> {
        (!self.lost).then_some(&self.copied)
    }

    /// Lets go of room that others hardly need.
    pub fn trim(&mut self) {
        self.copied.clear();
        self.copied.shrink_to(SPARE_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_kept_up_to_the_bound_or_not_at_all() {
        let mut kept = Kept::default();
        kept.begin(3, 8);
        kept.push(b"abc", 3);
        assert_eq!(kept.copied(), Some(&b""[..]));
        kept.push(b"defgh", 8);
        assert_eq!(kept.copied(), Some(&b"defgh"[..]));
        kept.push(b"i", 9);
        assert_eq!(kept.copied(), None);
        kept.push(b"j", 10);
        assert_eq!(kept.copied(), None, "a gap would be worse than nothing");
        kept.begin(0, 8);
        kept.push(b"k", 1);
        assert_eq!(kept.copied(), Some(&b"k"[..]));
    }

    #[test]
    fn what_is_at_hand_may_end_within_a_piece() {
        let mut kept = Kept::default();
        kept.begin(2, 100);
        kept.push(b"abcd", 4);
        assert_eq!(kept.copied(), Some(&b"cd"[..]));
    }

    #[test]
    fn more_at_hand_than_the_bound_is_no_loss() {
        let mut kept = Kept::default();
        kept.begin(10, 4);
        kept.push(b"0123456789", 10);
        assert_eq!(kept.copied(), Some(&b""[..]));
        kept.push(b"a", 11);
        assert_eq!(kept.copied(), None);
    }
}
