//! What a client of HTTP/2 may cost: frames that make work and carry nothing are counted as they arrive. Pure.
//!
//! The nine bytes before each frame are read on their way to `h2`, which is not asked. Resets (CVE-2023-44487), control
//! frames (SETTINGS, PING, PRIORITY) and empty frames each have an allowance that comes back with time; CONTINUATION
//! has a number for each head. Over budget the connection ends with GOAWAY (ENHANCE_YOUR_CALM). What `h2` bounds itself:
//! the size of a head as decoded, errors of streams that make us reset them (CVE-2025-8671), tiny DATA frames.

/// What one connection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// RST_STREAM a second.
    pub resets: u32,
    /// SETTINGS, PING, PRIORITY and frames of unknown types a second.
    pub control_frames: u32,
    /// Frames a second that carry nothing and end nothing.
    pub empty_frames: u32,
    /// CONTINUATION frames of one head.
    pub continuations: u32,
    /// Resets of ours that the client brought about by its errors, ever.
    pub stream_errors: u32,
    /// Bytes that may wait for the client on all its streams.
    pub unsent: u32,
    /// Silence after which a PING asks whether the client is there; 0 is never.
    pub keep_alive_ms: u64,
}

/// Which allowance was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exceeded {
    /// RST_STREAM
    Resets,
    /// SETTINGS, PING, PRIORITY, unknown types.
    ControlFrames,
    /// Frames that carry nothing.
    EmptyFrames,
    /// CONTINUATION
    Continuations,
    /// What `h2` found: errors of streams, heads far too large, tiny DATA frames.
    Protocol,
}

impl Exceeded {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Exceeded::Resets => "http2_resets",
            Exceeded::ControlFrames => "http2_control_frames",
            Exceeded::EmptyFrames => "http2_empty_frames",
            Exceeded::Continuations => "http2_continuations",
            Exceeded::Protocol => "http2_protocol",
        }
    }
}

/// What a client begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The frames of one connection as they go by.
#[derive(Debug)]
pub struct Frames {
    preface_left: usize,
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Of the payload that goes by.
    left: usize,
    continuations: u32,
    resets: Allowance,
    control: Allowance,
    empty: Allowance,
}

impl Frames {
    /// Before the client's preface.
    pub fn new() -> Frames {
        Frames {
            preface_left: PREFACE.len(),
            head: [0; HEAD_BYTES],
            have: 0,
            left: 0,
            continuations: 0,
            resets: Allowance::default(),
            control: Allowance::default(),
            empty: Allowance::default(),
        }
    }

    /// Looks at what has arrived by `now_ns`.
    ///
    /// # Errors
    /// The first allowance that does not cover it.
    pub fn pass(&mut self, mut bytes: &[u8], now_ns: u64, budget: &Budget) -> Result<(), Exceeded> {
        skip(&mut bytes, &mut self.preface_left);
        while !bytes.is_empty() {
            skip(&mut bytes, &mut self.left);
            let taken = bytes.len().min(HEAD_BYTES - self.have);
            let (head, rest) = bytes.split_at(taken);
            for (place, byte) in self.head.iter_mut().skip(self.have).zip(head) {
                *place = *byte;
            }
            self.have += taken;
            bytes = rest;
            if self.have == HEAD_BYTES {
                self.have = 0;
                self.count(now_ns, budget)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, now_ns: u64, budget: &Budget) -> Result<(), Exceeded> {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let empty = self.left == 0;
        match kind {
            DATA if empty && flags & END_STREAM == 0 => {
                self.empty.take(now_ns, budget.empty_frames).ok_or(Exceeded::EmptyFrames)
            }
            DATA | WINDOW_UPDATE | GOAWAY | PUSH_PROMISE => Ok(()),
            HEADERS | CONTINUATION => {
                self.continuations = if kind == HEADERS { 0 } else { self.continuations + 1 };
                if self.continuations > budget.continuations {
                    return Err(Exceeded::Continuations);
                }
                match empty && flags & END_HEADERS == 0 {
                    true => self.empty.take(now_ns, budget.empty_frames).ok_or(Exceeded::EmptyFrames),
                    false => Ok(()),
                }
            }
            RST_STREAM => self.resets.take(now_ns, budget.resets).ok_or(Exceeded::Resets),
            _ => self.control.take(now_ns, budget.control_frames).ok_or(Exceeded::ControlFrames),
        }
    }
}

impl Default for Frames {
    fn default() -> Frames {
        Frames::new()
    }
}

fn skip(bytes: &mut &[u8], left: &mut usize) {
    let skipped = bytes.len().min(*left);
    *left -= skipped;
    *bytes = bytes.get(skipped..).unwrap_or_default();
}

/// So many a second, and as many at once (GCRA).
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    due_ns: u64,
}

impl Allowance {
    fn take(&mut self, now_ns: u64, per_second: u32) -> Option<()> {
        let due = self.due_ns.max(now_ns) + SECOND_NS / u64::from(per_second.max(1));
        self.due_ns = due;
        (due <= now_ns + SECOND_NS).then_some(())
    }
}

const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Budget = Budget {
        resets: 10,
        control_frames: 10,
        empty_frames: 10,
        continuations: 3,
        stream_errors: 10,
        unsent: 1 << 20,
        keep_alive_ms: 0,
    };

    fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0, (len >> 8) as u8, len as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEAD_BYTES + len, 0xaa);
        bytes
    }

    fn frames(kinds: &[(u8, u8, usize)]) -> Vec<u8> {
        let after = kinds.iter().flat_map(|(kind, flags, len)| frame(*kind, *flags, *len));
        PREFACE.iter().copied().chain(after).collect()
    }

    #[test]
    fn each_kind_has_an_allowance_that_comes_back() {
        for (kind, len, exceeded) in [
            (RST_STREAM, 4, Exceeded::Resets),
            (4, 0, Exceeded::ControlFrames),
            (6, 8, Exceeded::ControlFrames),
            (2, 5, Exceeded::ControlFrames),
            (77, 5, Exceeded::ControlFrames),
            (DATA, 0, Exceeded::EmptyFrames),
        ] {
            let mut one = Frames::new();
            assert_eq!(one.pass(&frames(&[(kind, 0, len); 10]), 0, &BUDGET), Ok(()), "{kind}");
            assert_eq!(one.pass(&frame(kind, 0, len), 0, &BUDGET), Err(exceeded));
            let mut other = Frames::new();
            assert_eq!(other.pass(&frames(&[(kind, 0, len); 10]), 0, &BUDGET), Ok(()));
            assert_eq!(other.pass(&frame(kind, 0, len), SECOND_NS / 5, &BUDGET), Ok(()));
        }
    }

    #[test]
    fn a_head_has_so_many_continuations() {
        let mut frames_of = Frames::new();
        let head =
            [(HEADERS, 0, 5), (CONTINUATION, 0, 5), (CONTINUATION, 0, 5), (CONTINUATION, END_HEADERS, 5)];
        for _ in 0..100 {
            assert_eq!(frames_of.pass(&frames(&head)[..], 0, &BUDGET), Ok(()));
            frames_of.preface_left = PREFACE.len();
        }
        let more = frames(&[head[0], head[1], head[1], head[1], head[1]]);
        assert_eq!(frames_of.pass(&more, 0, &BUDGET), Err(Exceeded::Continuations));
    }

    #[test]
    fn what_carries_something_is_free() {
        let mut frames_of = Frames::new();
        let useful = [(HEADERS, END_HEADERS, 5), (DATA, 0, 1), (DATA, END_STREAM, 0), (WINDOW_UPDATE, 0, 4)];
        let many: Vec<_> = std::iter::repeat_n(useful, 1000).flatten().collect();
        assert_eq!(frames_of.pass(&frames(&many), 0, &BUDGET), Ok(()));
    }

    proptest! {
        #[test]
        fn where_frames_are_cut_makes_no_difference(
            kinds in proptest::collection::vec((0u8..11, 0u8..8, 0usize..40), 0..60),
            cuts in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let bytes = frames(&kinds);
            let whole = Frames::new().pass(&bytes, 0, &BUDGET);
            let (mut frames_of, mut rest, mut pieces) = (Frames::new(), &bytes[..], Ok(()));
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces = frames_of.pass(piece, 0, &BUDGET);
                rest = after;
                if pieces.is_err() || rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
