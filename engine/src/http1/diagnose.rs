//! Why the tokeniser gave up: the first broken rule, by place.
//!
//! `tokens.rs` does not say what it met, and rightly so on the hot path. This walks the head a second time, slowly, only
//! when it was not taken. `Ok` means that nothing is certainly wrong so far: more bytes are needed.

use super::connection::is_token;
use super::request::METHOD_BYTES_MAX;
use super::{FIELDS_MAX, Limits, Refusal, framing, known};

/// Finds what is wrong with a request's head.
#[cold]
pub(super) fn request(window: &[u8], skipped: usize, limits: &Limits) -> Result<(), Refusal> {
    let mut rest = window.get(skipped..).unwrap_or_default();
    let method = take_while(&mut rest, is_token);
    if method.len() > METHOD_BYTES_MAX {
        return Err(Refusal::MethodTooLong);
    }
    match rest {
        [] => return Ok(()),
        [b' ', after @ ..] if !method.is_empty() => rest = after,
        [b'\r' | b'\n' | b' ', ..] => return Err(Refusal::BadRequestLine),
        _ => return Err(Refusal::BadMethod),
    }
    let target = take_while(&mut rest, |b| b > b' ' && b != 0x7f);
    if target.len() > limits.target_bytes_max as usize {
        return Err(Refusal::TargetTooLong);
    }
    match rest {
        [] => return Ok(()),
        [b' ' | b'\r' | b'\n' | b'\t', ..] if !target.is_ascii() => return Err(Refusal::EightBitTarget),
        [b' ', after @ ..] if !target.is_empty() => rest = after,
        [b' ' | b'\r' | b'\n' | b'\t', ..] => return Err(Refusal::BadRequestLine),
        _ => return Err(Refusal::ControlInTarget),
    }
    if !version(&mut rest)? || !line_end(&mut rest, Refusal::BadVersion)? {
        return Ok(());
    }
    fields(rest, limits)
}

/// Finds what is wrong with a response's head.
#[cold]
pub(super) fn response(window: &[u8], limits: &Limits) -> Result<(), Refusal> {
    let mut rest = window;
    if !version(&mut rest)? {
        return Ok(());
    }
    for place in 0..5 {
        let Some((byte, after)) = rest.split_first() else { return Ok(()) };
        let good = if matches!(place, 0 | 4) { *byte == b' ' } else { byte.is_ascii_digit() };
        if !good {
            return Err(Refusal::BadStatusLine);
        }
        rest = after;
    }
    take_while(&mut rest, |b| b >= b' ' && b != 0x7f || b == b'\t');
    if !line_end(&mut rest, Refusal::BadStatusLine)? {
        return Ok(());
    }
    fields(rest, limits)
}

/// Finds what is wrong with header lines up to an empty one.
#[cold]
pub(super) fn fields(mut rest: &[u8], limits: &Limits) -> Result<(), Refusal> {
    let mut count = 0;
    loop {
        match rest {
            [] | [b'\r'] => return Ok(()),
            [b'\r', b'\n', ..] => return Err(Refusal::Malformed),
            [b'\r', ..] => return Err(Refusal::BareCr),
            [b'\n', ..] => return Err(Refusal::BareLf),
            [b' ' | b'\t', ..] => return Err(Refusal::ObsFold),
            _ => {}
        }
        if !field(&mut rest)? {
            return Ok(());
        }
        count += 1;
        if count > limits.fields_max.min(FIELDS_MAX) {
            return Err(Refusal::TooManyFields);
        }
    }
}

/// One line. `false`: it goes on beyond what is there.
fn field(rest: &mut &[u8]) -> Result<bool, Refusal> {
    let name = take_while(rest, |b| !matches!(b, b':' | b'\r' | b'\n'));
    match rest {
        [] => return Ok(false),
        [b':', after @ ..] => *rest = after,
        _ => {
            // No colon: the line's end decides, whatever else is wrong with it.
            return if line_end(rest, Refusal::BadFieldName)? {
                Err(Refusal::BadFieldName)
            } else {
                Ok(false)
            };
        }
    }
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        let trimmed = name.trim_ascii_end();
        let proper = !trimmed.is_empty() && trimmed.iter().all(|b| is_token(*b));
        return Err(match () {
            () if proper => Refusal::SpaceBeforeColon,
            () if framing::lookalike(name) => Refusal::FramingLookalike,
            () if name.iter().any(u8::is_ascii_control) => Refusal::ControlInName,
            () => Refusal::BadFieldName,
        });
    }
    if name.len() >= known::NAME_BYTES_BEYOND {
        return Err(Refusal::HeadTooLarge);
    }
    take_while(rest, |b| b >= b' ' && b != 0x7f || b == b'\t');
    line_end(rest, Refusal::ControlInValue)
}

/// CRLF. `false`: not there yet as a whole.
fn line_end(rest: &mut &[u8], otherwise: Refusal) -> Result<bool, Refusal> {
    match rest {
        [] | [b'\r'] => Ok(false),
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(true)
        }
        [b'\r', ..] => Err(Refusal::BareCr),
        [b'\n', ..] => Err(Refusal::BareLf),
        _ => Err(otherwise),
    }
}

/// `HTTP/1.0` or `HTTP/1.1`; other well-formed versions are told apart from garbage. `false`: more is needed.
fn version(rest: &mut &[u8]) -> Result<bool, Refusal> {
    for (place, expected) in b"HTTP/0.0".iter().enumerate() {
        let good = match rest.get(place) {
            None => return Ok(false),
            Some(byte) if *expected == b'0' => byte.is_ascii_digit(),
            Some(byte) => byte == expected,
        };
        if !good {
            return Err(Refusal::BadVersion);
        }
    }
    let (version, after) = rest.split_at_checked(8).ok_or(Refusal::BadVersion)?;
    if !matches!(version, b"HTTP/1.0" | b"HTTP/1.1") {
        return Err(Refusal::VersionNotSupported);
    }
    *rest = after;
    Ok(true)
}

/// Cuts off the longest start of bytes that `pass`.
fn take_while<'a>(rest: &mut &'a [u8], pass: impl Fn(u8) -> bool) -> &'a [u8] {
    let length = rest.iter().position(|b| !pass(*b)).unwrap_or(rest.len());
    let (start, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    *rest = after;
    start
}
