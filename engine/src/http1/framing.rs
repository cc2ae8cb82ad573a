//! Content-Length and Transfer-Encoding: where a body ends (RFC 9112 §6).
//!
//! Everything request smuggling is made of comes through here, so there is one way to be right and every other is
//! refused: one number, or exactly `chunked`, never both, under no other spelling of the name.

use super::fields::Fields;
use super::{BodyFraming, Known, Refusal, Version};

/// What a request's fields say about its body.
#[inline]
pub(super) fn of_request(bytes: &[u8], fields: &Fields, version: Version) -> Result<BodyFraming, Refusal> {
    match (fields.known(Known::TransferEncoding), fields.known(Known::ContentLength)) {
        (None, None) => Ok(BodyFraming::None),
        (None, Some(field)) => {
            if fields.repeated().has(Known::ContentLength) {
                return Err(Refusal::RepeatedContentLength);
            }
            content_length(field.value().of(bytes)).map(BodyFraming::Length)
        }
        (Some(_), Some(_)) => Err(Refusal::BothLengthAndChunked),
        (Some(field), None) => {
            if fields.repeated().has(Known::TransferEncoding) {
                return Err(Refusal::RepeatedTransferEncoding);
            }
            if version == Version::Http10 {
                return Err(Refusal::TransferEncodingOnHttp10);
            }
            transfer_encoding(field.value().of(bytes))?;
            Ok(BodyFraming::Chunked)
        }
    }
}

/// One decimal number that fits 64 bits: no sign, no list, no white space inside.
#[inline]
pub(super) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    decimal(value).ok_or(Refusal::BadContentLength)
}

/// `1*DIGIT` as a number, if it fits.
#[inline]
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// `Ok` only for `chunked` alone. A proper list that ends in `chunked` is understood but not spoken here (501, RFC 9112
/// §6.1); one that does not, or says `chunked` twice, leaves the body's end unknown (400, §6.3).
#[inline]
pub(super) fn transfer_encoding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(why_not_chunked(value)) }
}

#[cold]
fn why_not_chunked(value: &[u8]) -> Refusal {
    let mut codings = value.rsplit(|b| *b == b',').map(<[u8]>::trim_ascii);
    let ends_in_chunked = codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let others_are_codings = codings.all(|coding| {
        let name = coding.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let token = !name.is_empty() && name.iter().all(|b| super::connection::is_token(*b));
        token && !name.eq_ignore_ascii_case(b"chunked")
    });
    match ends_in_chunked && others_are_codings {
        true => Refusal::TransferCodingNotSupported,
        false => Refusal::BadTransferEncoding,
    }
}

/// Whether a name that is neither of the two would be read as one of them by a parser that is lax about `_`, spaces or
/// other bytes between letters.
#[inline]
pub(super) fn lookalike(name: &[u8]) -> bool {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return false };
    // Ordinary names leave here: all but those that begin with c or t and end in g or h, odd bytes at the ends aside.
    if name.len() < SHORTEST
        || (first.is_ascii_alphanumeric() && !matches!(first | 0x20, b'c' | b't'))
        || (last.is_ascii_alphanumeric() && !matches!(last | 0x20, b'h' | b'g'))
    {
        return false;
    }
    letters_are(name, b"contentlength") || letters_are(name, b"transferencoding")
}

const SHORTEST: usize = b"contentlength".len();

#[cold]
fn letters_are(name: &[u8], letters: &[u8]) -> bool {
    name.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).eq(letters.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_one_decimal_number() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b"007"), Ok(7));
        assert_eq!(content_length(b"18446744073709551615"), Ok(u64::MAX));
        for bad in [
            "",
            "+1",
            "-1",
            "1,1",
            "1, 1",
            "1 1",
            "0x10",
            "1.0",
            "1e3",
            "18446744073709551616",
            "1_000",
            "\u{661}",
        ] {
            assert_eq!(content_length(bad.as_bytes()), Err(Refusal::BadContentLength), "{bad}");
        }
    }

    #[test]
    fn transfer_encoding_is_exactly_chunked() {
        assert_eq!(transfer_encoding(b"chunked"), Ok(()));
        assert_eq!(transfer_encoding(b"Chunked"), Ok(()));
        for unknown in
            ["gzip, chunked", "deflate,chunked", "compress, chunked", "x-new, chunked", "a;q=1, chunked"]
        {
            let refusal = Err(Refusal::TransferCodingNotSupported);
            assert_eq!(transfer_encoding(unknown.as_bytes()), refusal, "{unknown}");
        }
        for bad in [
            "",
            "gzip",
            "identity",
            "chunked, gzip",
            "chunked, chunked",
            "chunked,",
            ",chunked",
            "xchunked",
            "chunked;q=1",
            "\"chunked\"",
            "chunked\u{b}",
            "chunked, identity",
            "gzip, chunked, chunked",
            "chu nked",
            "gz ip, chunked",
        ] {
            assert_eq!(transfer_encoding(bad.as_bytes()), Err(Refusal::BadTransferEncoding), "{bad}");
        }
    }

    #[test]
    fn names_that_only_look_like_the_two_are_found_and_ordinary_ones_are_not() {
        for name in [
            "Transfer_Encoding",
            "content_length",
            "Content.Length",
            "Content--Length",
            "ContentLength",
            "Content-Length!",
            "'Transfer-Encoding",
            "T-r-a-n-s-f-e-r-Encoding",
            "content length",
            "Content\0-Length",
        ] {
            assert!(lookalike(name.as_bytes()), "{name}");
        }
        for name in
            ["Content-Lengths", "X-Content-Length", "Accept-Encoding", "Content-Language", "Content-Type", ""]
        {
            assert!(!lookalike(name.as_bytes()), "{name}");
        }
    }
}
