//! Chunked bodies, taken apart as they arrive (RFC 9112 §7.1).
//!
//! ```text
//! Size --;--> Extension --CR--+                      Trailers --+
//!   |                         v                          ^      v
//!   +----------CR--------> SizeLf --0--> TrailerStart ---+--> Ended
//!   ^                         |                |              ^
//!   |                         v                +--CR--> EndLf-+
//! DataLf <--CR-- DataCr <-- Data
//! ```
//!
//! Data is handed on as ranges of the input: nothing is copied, and a chunk may come in any number of pieces. Framing is
//! never forwarded; whoever sends the body on writes its own ([`chunk_head`]). Extensions are checked and forgotten.

use std::ops::Range;

use super::{Limits, Refusal, Trailers};

/// Bytes of chunk extensions in one body, all chunks together.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 4096;

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The end of a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The end of a body with trailers: they follow it, then [`CHUNK_END`].
pub const LAST_CHUNK_HEAD: &[u8] = b"0\r\n";

/// Bounds on one chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of data; `u64::MAX` is no limit.
    pub body_bytes_max: u64,
    /// Bytes of all trailers.
    pub trailer_bytes_max: u32,
    /// How many trailers; 64 at most whatever is said here.
    pub trailers_max: u16,
    /// Names with `_` are ordinary; otherwise such trailers are dropped.
    pub underscores: bool,
}

impl Default for ChunkLimits {
    fn default() -> ChunkLimits {
        ChunkLimits {
            body_bytes_max: u64::MAX,
            trailer_bytes_max: 8 << 10,
            trailers_max: 32,
            underscores: false,
        }
    }
}

/// What a piece of input held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes of the input are data, never empty. Go on with the input from their end.
    Data(Range<usize>),
    /// The input is used up; the body goes on.
    NeedMore,
    /// The body has ended after these many bytes of the input; the rest is the next message.
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    SpaceAfterSize,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    EndLf,
    Trailers,
    Ended,
    Refused(Refusal),
}

/// One body's decoder.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Of the chunk: its size while that is read, then what is left of it.
    left: u64,
    /// Data in all chunks so far, the current one's included.
    total: u64,
    extension_bytes: u32,
    limits: ChunkLimits,
    trailers: Option<Box<Trailers>>,
}

impl Decoder {
    /// At the start of a body. Allocates nothing, and later only for trailers.
    #[inline]
    pub fn new(limits: ChunkLimits) -> Decoder {
        Decoder {
            state: State::Size { digits: 0 },
            left: 0,
            total: 0,
            extension_bytes: 0,
            limits,
            trailers: None,
        }
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// The body is malformed or beyond a limit. It stays so: each later call says the same.
    #[inline]
    pub fn next(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let step = self.advance(input);
        if let Err(refusal) = step {
            self.state = State::Refused(refusal);
        }
        step
    }

    /// Whether the body has ended.
    #[inline]
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Bytes of data announced so far.
    #[inline]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The trailers, once the body has ended; `None` if there were none.
    pub fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_deref().filter(|trailers| self.ended() && !trailers.is_empty())
    }

    fn advance(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            match self.state {
                State::Data => {
                    let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                    self.left -= here as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Step::Data(at..at + here));
                }
                State::Trailers => return self.take_trailers(input, at),
                State::Ended => return Ok(Step::End(at)),
                State::Refused(refusal) => return Err(refusal),
                _ => {}
            }
            self.state = self.byte(*byte)?;
            // The byte that begins the trailers is theirs.
            at += usize::from(self.state != State::Trailers);
            if self.state == State::Ended {
                return Ok(Step::End(at));
            }
        }
        match self.state {
            State::Refused(refusal) => Err(refusal),
            State::Ended => Ok(Step::End(0)),
            _ => Ok(Step::NeedMore),
        }
    }

    /// The state after one byte of framing.
    #[inline]
    fn byte(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size { digits: 16 }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                Err(Refusal::BadChunkSize)
            }
            (State::Size { digits }, b'0'..=b'9') => Ok(self.digit(digits, byte - b'0')),
            (State::Size { digits }, b'a'..=b'f' | b'A'..=b'F') => {
                Ok(self.digit(digits, (byte | 0x20) - b'a' + 10))
            }
            (State::Size { digits: 1.. }, b'\r') => Ok(State::SizeLf),
            (State::Size { digits: 1.. }, b';') => self.extension(),
            // White space is allowed before a semicolon only (RFC 9112 §7.1.1).
            (State::Size { digits: 1.. } | State::SpaceAfterSize, b' ' | b'\t') => {
                self.extension().map(|_| State::SpaceAfterSize)
            }
            (State::SpaceAfterSize, b';') => self.extension(),
            (State::Size { digits: 1.. } | State::Extension, b'\n') => Err(Refusal::BareLf),
            (State::Size { .. } | State::SpaceAfterSize, _) => Err(Refusal::BadChunkSize),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(),
            (State::Extension, _) => Err(Refusal::BadChunkExtension),
            (State::SizeLf, b'\n') => self.size_read(),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0 }),
            (State::DataCr, _) => Err(Refusal::BadChunkEnd),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, b'\n') => Err(Refusal::BareLf),
            (State::TrailerStart, _) => Ok(State::Trailers),
            (State::EndLf, b'\n') => Ok(State::Ended),
            (State::SizeLf | State::DataLf | State::EndLf, _) => Err(Refusal::BareCr),
            (state @ (State::Data | State::Trailers | State::Ended | State::Refused(_)), _) => Ok(state),
        }
    }

    /// At most sixteen, so nothing is lost.
    #[inline]
    fn digit(&mut self, digits: u8, value: u8) -> State {
        self.left = self.left << 4 | u64::from(value);
        State::Size { digits: digits + 1 }
    }

    fn extension(&mut self) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(Refusal::ChunkExtensionFlood);
        }
        Ok(State::Extension)
    }

    #[inline]
    fn size_read(&mut self) -> Result<State, Refusal> {
        if self.left == 0 {
            return Ok(State::TrailerStart);
        }
        self.total = self.total.checked_add(self.left).ok_or(Refusal::BodyTooLarge)?;
        if self.total > self.limits.body_bytes_max {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(State::Data)
    }

    #[cold]
    fn take_trailers(&mut self, input: &[u8], at: usize) -> Result<Step, Refusal> {
        let limits = Limits {
            head_bytes_max: self.limits.trailer_bytes_max,
            fields_max: self.limits.trailers_max,
            target_bytes_max: 0,
            underscores: self.limits.underscores,
        };
        let trailers = self.trailers.get_or_insert_default();
        match trailers.take(input.get(at..).unwrap_or_default(), &limits)? {
            None => Ok(Step::NeedMore),
            Some(taken) => {
                self.state = State::Ended;
                Ok(Step::End(at + taken))
            }
        }
    }
}

/// The line before a chunk of `len` bytes of data, which is not 0; [`CHUNK_END`] comes after the data.
#[inline]
pub fn chunk_head(len: u64, room: &mut [u8; 18]) -> &[u8] {
    debug_assert!(len > 0, "a chunk of nothing would end the body");
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (67 - (len | 1).leading_zeros() as usize) / 4;
    for (place, digit) in room.iter_mut().take(digits).enumerate() {
        *digit = HEX[(len >> (4 * (digits - 1 - place)) & 15) as usize];
    }
    if let Some(end) = room.get_mut(digits..digits + 2) {
        end.copy_from_slice(b"\r\n");
    }
    room.get(..digits + 2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, end of the body, trailers that may be forwarded.
    fn decode(pieces: &[&[u8]], limits: ChunkLimits) -> Result<(Vec<u8>, usize, String), Refusal> {
        let mut decoder = Decoder::new(limits);
        let (mut data, mut before) = (Vec::new(), 0);
        for piece in pieces {
            let mut at = 0;
            loop {
                match decoder.next(&piece[at..])? {
                    Step::Data(range) => {
                        assert!(!range.is_empty());
                        data.extend_from_slice(&piece[at..][range.clone()]);
                        at += range.end;
                    }
                    Step::NeedMore => break,
                    Step::End(consumed) => {
                        let mut text = String::new();
                        for (name, value) in decoder.trailers().into_iter().flat_map(Trailers::iter) {
                            text += &format!(
                                "{}={};",
                                String::from_utf8_lossy(name),
                                String::from_utf8_lossy(value)
                            );
                        }
                        return Ok((data, before + at + consumed, text));
                    }
                }
            }
            before += piece.len();
        }
        panic!("the body goes on");
    }

    fn whole(body: &str) -> Result<(Vec<u8>, usize, String), Refusal> {
        let found = decode(&[body.as_bytes()], ChunkLimits::default());
        let singly: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(decode(&singly, ChunkLimits::default()), found, "byte by byte: {body:?}");
        found
    }

    #[test]
    fn bodies_end_where_they_say() {
        for (body, data, rest, trailers) in [
            ("0\r\n\r\n", "", 0, ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", 0, ""),
            ("5\r\nhello\r\n0\r\n\r\nGET ", "hello", 4, ""),
            ("00005\r\nhello\r\n000\r\n\r\n", "hello", 0, ""),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0, ""),
            ("1;a=b\r\nx\r\n1 ;c=\"d e\"\r\ny\r\n0;last\r\n\r\n", "xy", 0, ""),
            ("1\r\nx\r\n0\r\nEtag: 1\r\n\r\n..", "x", 2, "Etag=1;"),
            (
                "0\r\nA: 1\r\nHost: x\r\nContent-Length: 5\r\nB: 2\r\nAuthorization: z\r\n\r\n",
                "",
                0,
                "A=1;B=2;",
            ),
            (
                "0\r\nContent-Type: a\r\nIf-Match: b\r\nSet-Cookie: c\r\nTransfer-Encoding: d\r\nExpires: 0\r\n\r\n",
                "",
                0,
                "",
            ),
            ("0\r\nContent-Digest: a\r\nx_y: 1\r\nX-Forwarded-Foo: 1\r\n\r\n", "", 0, "Content-Digest=a;"),
        ] {
            let (found, end, found_trailers) = whole(body).expect(body);
            assert_eq!((found.as_slice(), body.len() - end), (data.as_bytes(), rest), "{body:?}");
            assert_eq!(found_trailers, trailers, "{body:?}");
        }
    }

    #[test]
    fn each_malformed_body_is_refused_with_its_reason() {
        for (body, reason) in [
            ("\r\n", "bad_chunk_size"),
            ("\n", "bad_chunk_size"),
            (" 5\r\nhello\r\n", "bad_chunk_size"),
            ("+5\r\nhello\r\n", "bad_chunk_size"),
            ("-5\r\nhello\r\n", "bad_chunk_size"),
            ("0x5\r\nhello\r\n", "bad_chunk_size"),
            ("5 \r\nhello\r\n", "bad_chunk_size"),
            ("5 5\r\nhello\r\n", "bad_chunk_size"),
            (";a\r\n", "bad_chunk_size"),
            ("g\r\n", "bad_chunk_size"),
            ("5_0\r\n", "bad_chunk_size"),
            ("00000000000000005\r\nhello\r\n", "bad_chunk_size"),
            ("10000000000000000\r\n", "bad_chunk_size"),
            ("1\r\nx\r\nffffffffffffffff\r\n", "body_too_large"),
            ("5\nhello\r\n", "bare_lf"),
            ("5\r\rhello\r\n", "bare_cr"),
            ("5;a\nhello\r\n", "bare_lf"),
            ("5;a\rb\r\n", "bare_cr"),
            ("5;a\0\r\nhello\r\n", "bad_chunk_extension"),
            ("5\r\nhello0\r\n\r\n", "bad_chunk_end"),
            ("5\r\nhello\n0\r\n\r\n", "bad_chunk_end"),
            ("5\r\nhello\r0\r\n\r\n", "bare_cr"),
            ("0\r\n\n", "bare_lf"),
            ("0\r\n\rX", "bare_cr"),
            ("0\r\nA: 1\n\r\n", "bare_lf"),
            ("0\r\nA: 1\r\n\n", "bare_lf"),
            ("0\r\nA : 1\r\n\r\n", "space_before_colon"),
            ("0\r\nA: 1\r\n b\r\n\r\n", "obs_fold"),
            ("0\r\n A: 1\r\n\r\n", "obs_fold"),
            ("0\r\nA: \0\r\n\r\n", "control_in_value"),
            ("0\r\nGET / HTTP/1.1\r\n\r\n", "bad_field_name"),
            ("0\r\nContent_Length: 1\r\n\r\n", "framing_lookalike"),
        ] {
            assert_eq!(whole(body).map_err(Refusal::reason), Err(reason), "{body:?}");
        }
    }

    #[test]
    fn a_refused_body_stays_refused() {
        let mut decoder = Decoder::new(ChunkLimits::default());
        assert_eq!(decoder.next(b"x"), Err(Refusal::BadChunkSize));
        assert_eq!(decoder.next(b"5\r\nhello"), Err(Refusal::BadChunkSize));
        assert_eq!(decoder.next(b""), Err(Refusal::BadChunkSize));
    }

    #[test]
    fn extensions_and_trailers_and_data_are_bounded() {
        let one = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(CHUNK_EXTENSION_BYTES_MAX as usize - 1));
        assert!(whole(&one).is_ok());
        let one = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(CHUNK_EXTENSION_BYTES_MAX as usize));
        assert_eq!(whole(&one), Err(Refusal::ChunkExtensionFlood));
        let many = "1;e\r\nx\r\n".repeat(CHUNK_EXTENSION_BYTES_MAX as usize / 2 + 1);
        assert_eq!(whole(&many), Err(Refusal::ChunkExtensionFlood));
        let blank = format!("1{}\r\n", " ".repeat(CHUNK_EXTENSION_BYTES_MAX as usize + 1));
        assert_eq!(whole(&blank), Err(Refusal::ChunkExtensionFlood));

        let large = format!("0\r\nA: {}\r\n\r\n", "x".repeat(8 << 10));
        assert_eq!(whole(&large), Err(Refusal::TrailersTooLarge));
        let many = format!("0\r\n{}\r\n", "A: 1\r\n".repeat(33));
        assert_eq!(whole(&many), Err(Refusal::TrailersTooLarge));

        let ten = ChunkLimits { body_bytes_max: 10, ..ChunkLimits::default() };
        assert!(decode(&[b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"], ten).is_ok());
        assert_eq!(decode(&[b"5\r\nhello\r\n6\r\n"], ten), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn chunk_heads_are_the_length_in_hexadecimal() {
        let mut room = [0; 18];
        for len in [1, 9, 10, 15, 16, 255, 256, 4096, 65_535, 1 << 32, u64::MAX >> 4, u64::MAX] {
            assert_eq!(chunk_head(len, &mut room), format!("{len:x}\r\n").as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_chunked_body_round_trips(
            chunks in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 1..300), 0..12),
            cuts in proptest::collection::vec(0usize..4000, 0..12),
            trailers in proptest::bool::ANY,
        ) {
            let (mut wire, mut data) = (Vec::new(), Vec::new());
            for chunk in &chunks {
                wire.extend_from_slice(chunk_head(chunk.len() as u64, &mut [0; 18]));
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(CHUNK_END);
                data.extend_from_slice(chunk);
            }
            wire.extend_from_slice(if trailers { b"0\r\nA: 1\r\n\r\n" } else { LAST_CHUNK });
            let length = wire.len();
            wire.extend_from_slice(b"next");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]).collect();
            let found = decode(&pieces, ChunkLimits::default());
            proptest::prop_assert_eq!(found, Ok((data, length, if trailers { "A=1;".into() } else { String::new() })));
        }
    }
}
