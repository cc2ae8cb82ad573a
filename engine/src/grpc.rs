//! gRPC, as far as a proxy takes part in it: deadlines, statuses, messages. Pure.
//!
//! Source: the protocol's own description, `PROTOCOL-HTTP2.md`, and `http-grpc-status-mapping.md`, in the gRPC
//! repository's `doc` folder. What is in between, length-prefixed messages, passes as it is.

use std::time::Duration;

use crate::sink::{Sink, put_decimal};

/// Names of the status codes, by number.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// CANCELLED
pub const CANCELLED: u8 = 1;
/// UNKNOWN: also where no status came.
pub const UNKNOWN: u8 = 2;
/// The caller asks too often.
const RESOURCE_EXHAUSTED: u8 = 8;
/// INTERNAL: what came can't be made sense of.
pub const INTERNAL: u8 = 13;
/// DEADLINE_EXCEEDED
pub const DEADLINE_EXCEEDED: u8 = 4;

/// Whether a message of this content type is a call of gRPC: `application/grpc`, alone or with `+` or `;` after it.
pub fn is_call(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let begins = content_type.get(..TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(TYPE));
    begins && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

/// What a caller is told in place of an HTTP status of our own.
pub fn code_of(status: u16, reason: &str) -> u8 {
    match (status, reason) {
        (_, "exchange_timeout") => DEADLINE_EXCEEDED,
        (499, _) => CANCELLED,
        (_, "rate_limited" | "concurrency_limited") => RESOURCE_EXHAUSTED,
        (413 | 431, _) => 8,
        (400, _) => 13,
        (401, _) => 16,
        (403, _) => 7,
        (404 | 405, _) => 12,
        // Another try would find the service as full as this one; of an overloaded proxy there may be another.
        (503, reason) if reason.starts_with("breaker_") || reason == "pool_full" => 8,
        (429 | 502 | 503 | 504, _) => 14,
        _ => UNKNOWN,
    }
}

/// The code in a `grpc-status` field.
pub fn code(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'6'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The time in a `grpc-timeout` field: at most eight digits and a unit.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes what is left of the time: `grpc-timeout: 1500m` and its CRLF, in the finest unit that has room for it.
pub fn put_timeout(out: &mut impl Sink, left: Duration) {
    const UNITS: [(u128, &[u8]); 6] = [
        (1, b"n"),
        (1_000, b"u"),
        (1_000_000, b"m"),
        (1_000_000_000, b"S"),
        (60_000_000_000, b"M"),
        (3_600_000_000_000, b"H"),
    ];
    const NUMBER_MAX: u128 = 99_999_999;
    let nanos = left.as_nanos();
    let fits = UNITS.iter().find(|(unit, _)| nanos / unit <= NUMBER_MAX);
    let (number, unit) = fits.map_or((NUMBER_MAX, &b"H"[..]), |(size, unit)| (nanos / size, *unit));
    out.put(b"grpc-timeout: ");
    put_decimal(out, u64::try_from(number).unwrap_or(u64::MAX));
    out.put(unit);
    out.put(b"\r\n");
}

/// Writes a message as `grpc-message` holds it: bytes beyond visible ASCII, and `%`, as `%XX`.
pub fn put_message(out: &mut impl Sink, message: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in message {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.put(&[*byte]),
            byte => out.put(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// The message in a `grpc-message` field. What is no `%XX` stays as it is.
pub fn message(value: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match (byte, digit(value.get(at + 1)), digit(value.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Writes a whole answer that is only a status, as HTTP/1.1 would have it: trailers alone, in the head.
pub fn put_status(
    out: &mut impl Sink,
    content_type: &[u8],
    code: u8,
    message: &[u8],
    date: &[u8],
    fields: &[u8],
) {
    out.put(b"HTTP/1.1 200 OK\r\ncontent-type: ");
    out.put(content_type);
    out.put(b"\r\ngrpc-status: ");
    put_decimal(out, u64::from(code));
    out.put(b"\r\ngrpc-message: ");
    put_message(out, message);
    out.put(b"\r\n");
    out.put(fields);
    out.put(b"date: ");
    out.put(date);
    out.put(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_are_told_from_what_only_looks_alike() {
        for yes in ["application/grpc", "Application/GRPC+proto", "application/grpc;charset=x"] {
            assert!(is_call(yes.as_bytes()), "{yes}");
        }
        for no in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/json",
            "",
            "application/grpcx",
        ] {
            assert!(!is_call(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn timeouts_are_read_as_written_or_not_at_all() {
        assert_eq!(timeout(b"1H"), Some(Duration::from_secs(3600)));
        assert_eq!(timeout(b"1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "1", "123456789S", "1s", "-1S", "1.5S", " 1S"] {
            assert_eq!(timeout(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn codes_are_one_of_seventeen() {
        assert_eq!(code(b"0"), Some(0));
        assert_eq!(code(b"16"), Some(16));
        for bad in [&b""[..], b"17", b"00", b"-1", b"x"] {
            assert_eq!(code(bad), None);
        }
    }

    proptest! {
        #[test]
        fn a_message_comes_back(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            put_message(&mut out, &text);
            prop_assert!(out.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(message(&out), text);
        }

        #[test]
        fn what_is_left_is_told_and_never_more(nanos in 0u64..u64::MAX / 2) {
            let left = Duration::from_nanos(nanos);
            let mut out = Vec::new();
            put_timeout(&mut out, left);
            let value = out.strip_prefix(b"grpc-timeout: ").unwrap().strip_suffix(b"\r\n").unwrap();
            let read = timeout(value).unwrap();
            prop_assert!(read <= left);
            prop_assert!(left - read <= left / 1_000);
        }
    }
}
