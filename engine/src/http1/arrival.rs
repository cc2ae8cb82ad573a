//! Heads that arrive in pieces, without reading them again and again.
//!
//! The first piece is tokenised at once: usually it is the whole head. After that a head is tokenised again only when
//! its end has arrived, when twice as much of it has, or when a limit is due; in between only new bytes are looked at,
//! for the end. A head that dribbles in a byte at a time is so read about three times over, not once for each byte.

use super::{Limits, Progress, Refusal};

/// What was done already with a head that is not complete.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    /// Bytes searched for the end of the head.
    searched: usize,
    /// Tokenise again once this much is there.
    parse_at: usize,
}

impl Arrival {
    /// Whether to tokenise `bytes` now.
    #[inline]
    pub fn is_due(&mut self, bytes: &[u8]) -> bool {
        self.searched == 0 || bytes.len() >= self.parse_at || self.has_end(bytes)
    }

    /// `window` was tokenised and the head goes on beyond it; if that is more than is allowed, it is refused. Whatever
    /// happens, tokenise again when `sooner` bytes are there.
    pub fn went_on(&mut self, window: &[u8], sooner: usize, limits: &Limits) -> Result<Progress, Refusal> {
        let head_max = limits.head_bytes_max as usize;
        if window.len() >= head_max {
            return Err(Refusal::HeadTooLarge);
        }
        self.searched = window.len();
        self.parse_at = (window.len() * 2).min(sooner).min(head_max).max(window.len() + 1);
        Ok(Progress::Partial)
    }

    /// Whether an empty line ended in what came since: LF LF or LF CR LF.
    fn has_end(&mut self, bytes: &[u8]) -> bool {
        let from = self.searched.saturating_sub(2);
        self.searched = bytes.len();
        let news = bytes.get(from..).unwrap_or_default();
        memchr::memchr_iter(b'\n', news)
            .any(|at| matches!(news.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival, Limits};
    use crate::http1::Progress;

    const LIMITS: Limits =
        Limits { head_bytes_max: 1 << 20, fields_max: 1, target_bytes_max: 1, underscores: false };

    #[test]
    fn the_end_is_seen_wherever_pieces_part() {
        for head in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"GET / HTTP/1.1\nHost: a\n\n"] {
            for first in 1..head.len() {
                let mut arrival = Arrival::default();
                assert!(arrival.is_due(&head[..first]));
                assert_eq!(arrival.went_on(&head[..first], usize::MAX, &LIMITS), Ok(Progress::Partial));
                arrival.parse_at = usize::MAX;
                for so_far in first + 1..=head.len() {
                    assert_eq!(arrival.is_due(&head[..so_far]), so_far == head.len(), "{first} {so_far}");
                }
            }
        }
    }

    #[test]
    fn a_dribbling_head_is_tokenised_a_few_times_only() {
        let head = vec![b'a'; 32 << 10];
        let mut arrival = Arrival::default();
        let mut read = 0;
        for so_far in 1..=head.len() {
            if arrival.is_due(&head[..so_far]) {
                read += so_far;
                assert_eq!(arrival.went_on(&head[..so_far], usize::MAX, &LIMITS), Ok(Progress::Partial));
            }
        }
        assert!(read <= 2 * head.len(), "{read}");
    }
}
