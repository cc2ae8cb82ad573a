//! Lines taken apart: where a name, a value, a target ends. Eight bytes at a time, thirty-two where a value is long.
//!
//! Strict by construction: what is returned holds no byte that may not stand there, and its line ends in CRLF. `None`
//! means only that these are not the bytes of a whole, legal line; whether more will make it one or which rule is
//! broken is for `diagnose.rs` to say, off the fast path.
//!
//! On the line this is the inside of `read head` and `read response head`. Nothing here knows what a field means.

use super::connection::is_token;
use super::request::METHOD_BYTES_MAX;
use super::{Span, Version};

/// `method SP target SP version CRLF`
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub method: Span,
    pub target: Span,
    pub version: Version,
    /// First byte after the line.
    pub end: usize,
}

/// Takes the line at `from` apart: the method is a token no longer than [`METHOD_BYTES_MAX`], the target printable ASCII.
#[inline]
pub(super) fn request_line(bytes: &[u8], from: usize) -> Option<RequestLine> {
    let method_len = match bytes.get(from..)?.first_chunk::<5>()? {
        b"GET /" => 3,
        b"POST " => 4,
        _ => method_len(bytes.get(from..)?)?,
    };
    let target_at = from + method_len + 1;
    let target_end = target_end(bytes, target_at)?;
    if target_end == target_at {
        return None;
    }
    let rest = bytes.get(target_end..)?.first_chunk::<11>()?;
    let [b' ', version @ .., b'\r', b'\n'] = rest else { return None };
    let version = version_of(version)?;
    Some(RequestLine {
        method: Span::new(from, method_len),
        target: Span::new(target_at, target_end - target_at),
        version,
        end: target_end + rest.len(),
    })
}

/// `version SP 3DIGIT SP reason CRLF`
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusLine {
    pub version: Version,
    /// 0 to 999.
    pub status: u16,
    pub reason: Span,
    /// First byte after the line.
    pub end: usize,
}

/// Takes the line at the start apart. A reason may be empty, and may hold bytes beyond ASCII.
#[inline]
pub(super) fn status_line(bytes: &[u8]) -> Option<StatusLine> {
    let (head, rest) = bytes.split_first_chunk::<REASON_AT>()?;
    let [version @ .., b' ', hundreds, tens, ones, b' '] = head else { return None };
    let version = version_of(version)?;
    let digits = [hundreds, tens, ones].map(|digit| u16::from(digit.wrapping_sub(b'0')));
    let [hundreds, tens, ones] = digits;
    if hundreds > 9 || tens > 9 || ones > 9 {
        return None;
    }
    let status = hundreds * 100 + tens * 10 + ones;
    let (reason, after) = text(rest)?;
    let reason = Span::new(REASON_AT, reason.len());
    Some(StatusLine { version, status, reason, end: bytes.len() - after.len() })
}

/// Compared as one word, not byte by byte.
#[inline]
fn version_of(text: &[u8; 8]) -> Option<Version> {
    let word = u64::from_le_bytes(*text);
    if word == const { u64::from_le_bytes(*b"HTTP/1.1") } {
        Some(Version::Http11)
    } else if word == const { u64::from_le_bytes(*b"HTTP/1.0") } {
        Some(Version::Http10)
    } else {
        None
    }
}

const REASON_AT: usize = b"HTTP/1.1 200 ".len();

/// How many bytes stand before the first colon. They are not looked at.
#[inline]
pub(super) fn colon(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let differs = u64::from_le_bytes(*chunk) ^ (COLON * ONE);
        let colons = differs.wrapping_sub(ONE) & !differs & HIGH;
        if colons != 0 {
            return Some(bytes.len() - rest.len() + first_of(colons));
        }
        rest = after;
    }
    rest.iter().position(|b| *b == b':').map(|place| bytes.len() - rest.len() + place)
}

/// Splits at the first CRLF into the text before it (a value, a reason) and what follows: no CR, LF, NUL or other control
/// byte stands in the text, a tab aside.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // Most values end within three words.
    if let Some(chunk) = bytes.first_chunk::<USUAL>() {
        let (words, _) = chunk.as_chunks();
        for (place, word) in words.iter().enumerate() {
            let stops = outside_ascii_text(u64::from_le_bytes(*word), b' ');
            if stops != 0 {
                return split_text(bytes, place * 8 + first_of(stops));
            }
        }
    }
    long_text(bytes)
}

/// A text that is longer than usual, or ends close to where the bytes do.
#[inline(never)]
fn long_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes.get(USUAL..).unwrap_or(bytes);
    let mut words = 0;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let stops = outside_ascii_text(u64::from_le_bytes(*chunk), b' ');
        if stops != 0 {
            return split_text(bytes, bytes.len() - rest.len() + first_of(stops));
        }
        rest = after;
        words += 1;
        if words == 2 {
            while let Some((chunk, after)) = rest.split_first_chunk()
                && is_printable(chunk)
            {
                rest = after;
            }
        }
    }
    text_slowly(bytes, bytes.len() - rest.len())
}

/// Splits where ASCII text stops: at CRLF, or at a byte to be looked at more closely.
#[inline]
fn split_text(bytes: &[u8], stop: usize) -> Option<(&[u8], &[u8])> {
    match bytes.split_at_checked(stop) {
        Some((text, [b'\r', b'\n', after @ ..])) => Some((text, after)),
        _ => text_slowly(bytes, stop),
    }
}

/// Byte by byte: the last bytes that have come, and texts that hold tabs or bytes beyond ASCII. `from`: how far it was
/// looked at.
#[inline(never)]
fn text_slowly(bytes: &[u8], from: usize) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(from..)?.iter().position(|b| *b < b' ' && *b != b'\t' || *b == 0x7f)?;
    let (text, rest) = bytes.split_at_checked(from + length)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

/// Where the space after a target is, if only printable ASCII comes before it.
#[inline]
fn target_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let word = word(bytes, at)?;
        let stops = outside_ascii_text(word, b'!');
        if stops != 0 {
            at += first_of(stops);
            return (bytes.get(at) == Some(&b' ')).then_some(at);
        }
        at += 8;
    }
}

/// Length of a method that a space follows.
fn method_len(bytes: &[u8]) -> Option<usize> {
    let within = bytes.get(..=METHOD_BYTES_MAX).unwrap_or(bytes);
    let length = within.iter().position(|b| !is_token(*b)).filter(|length| *length > 0)?;
    (within.get(length) == Some(&b' ')).then_some(length)
}

const ONE: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const COLON: u64 = b':' as u64;
const USUAL: usize = 24;
const WIDE: usize = 32;

#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// High bits for bytes below `lowest` and above `~`. The first one is right; what carries and borrows do beyond it is
/// not.
#[inline]
fn outside_ascii_text(word: u64, lowest: u8) -> u64 {
    (word.wrapping_sub(u64::from(lowest) * ONE) | word.wrapping_add(ONE) | word) & HIGH
}

/// Which byte of the word has the first high bit.
#[inline]
fn first_of(high_bits: u64) -> usize {
    high_bits.trailing_zeros() as usize / 8
}

/// Only bytes from space to `~`: one addition and one signed comparison each, which compilers make wide.
#[inline]
fn is_printable(chunk: &[u8; WIDE]) -> bool {
    !chunk.iter().fold(false, |found, byte| found | ((byte.wrapping_add(1) as i8) <= b' ' as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte, at each place of texts of each length that matters.
    fn placed(mut look: impl FnMut(&[u8], usize, u8)) {
        for length in 1..90 {
            for place in [0, 1, 7, 8, 15, 16, 17, 31, 32, 47, 48, 49, length - 1] {
                for byte in (0..=255).filter(|_| place < length) {
                    let mut text = vec![b'a'; length];
                    text[place] = byte;
                    look(&text, place, byte);
                }
            }
        }
    }

    #[test]
    fn a_text_ends_at_its_crlf_and_holds_no_control_byte() {
        placed(|given, _, byte| {
            let legal = byte == b'\t' || byte >= b' ' && byte != 0x7f;
            for after in ["\r\n", "\r\n\r\n", "\r\nA: b, and some more of it to read words from\r\n"] {
                let line = [given, after.as_bytes()].concat();
                assert_eq!(
                    text(&line),
                    legal.then_some((given, &after.as_bytes()[2..])),
                    "{}",
                    line.escape_ascii()
                );
            }
            for after in ["", "\r", "\n", "\ra", "\0\r\n"].iter().filter(|_| byte != b'\r') {
                let line = [given, after.as_bytes()].concat();
                assert_eq!(text(&line), None, "{}", line.escape_ascii());
            }
        });
    }

    #[test]
    fn a_target_is_printable_ascii_up_to_a_space() {
        placed(|target, place, byte| {
            let line = [b"GET ", target, b" HTTP/1.1\r\n"].concat();
            let found = request_line(&line, 0).map(|line| line.target.len as usize);
            assert_eq!(found, byte.is_ascii_graphic().then_some(target.len()), "{place} {byte}");
        });
    }

    #[test]
    fn the_first_colon_is_found_whatever_stands_before_it() {
        placed(|text, place, byte| {
            for after in [":", "::a", ": and some more of it"] {
                let line = [text, after.as_bytes()].concat();
                assert_eq!(colon(&line), Some(if byte == b':' { place } else { text.len() }));
            }
            assert_eq!(colon(text), (byte == b':').then_some(place));
        });
    }

    #[test]
    fn a_line_that_is_not_whole_is_none() {
        let (request, status) = (b"POST /a HTTP/1.1\r\n", b"HTTP/1.0 200 Fine\r\n");
        assert_eq!(request_line(request, 0).map(|line| line.end), Some(request.len()));
        assert_eq!(status_line(status).map(|line| line.end), Some(status.len()));
        for length in 0..request.len() {
            assert!(request_line(&request[..length], 0).is_none());
        }
        for length in 0..status.len() {
            assert!(status_line(&status[..length]).is_none());
        }
    }
}
