//! Trailers: the fields after a chunked body (RFC 9112 §7.1.2).
//!
//! They are rare, small, and may be cut anywhere, so they are gathered in memory of their own, taken only when there are
//! any. Fields that must not come late (RFC 9110 §6.5.1) are marked and never forwarded: late framing, routing,
//! authentication or content metadata could overrule what was already acted on.

use super::fields::Fields;
use super::{Known, Limits, Refusal, diagnose};

/// The trailers of one body.
#[derive(Clone, Debug, Default)]
pub struct Trailers {
    bytes: Vec<u8>,
    fields: Fields,
}

impl Trailers {
    /// Name and value of those that may be forwarded.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.fields.as_slice().iter();
        all.filter(|field| !field.dropped())
            .map(|field| (field.name().of(&self.bytes), field.value().of(&self.bytes)))
    }

    /// Whether none may be forwarded.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Reads trailers that are all there, the empty line included.
    ///
    /// # Errors
    /// The rule broken.
    pub fn parse(bytes: Vec<u8>, limits: &Limits) -> Result<Trailers, Refusal> {
        if bytes.len() > limits.head_bytes_max as usize {
            return Err(Refusal::TrailersTooLarge);
        }
        let mut trailers = Trailers { bytes, fields: Fields::default() };
        trailers.read(limits)?;
        Ok(trailers)
    }

    /// Takes bytes up to the end of the trailers. `Some`: how many of `input` belonged to them; `None`: all, and more
    /// are needed.
    pub(super) fn take(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        for (place, byte) in input.iter().enumerate() {
            if self.bytes.len() >= limits.head_bytes_max as usize {
                return Err(Refusal::TrailersTooLarge);
            }
            self.bytes.push(*byte);
            if *byte == b'\n' && (self.bytes.ends_with(b"\n\r\n") || self.bytes.ends_with(b"\n\n")) {
                self.read(limits)?;
                return Ok(Some(place + 1));
            }
        }
        Ok(None)
    }

    fn read(&mut self, limits: &Limits) -> Result<(), Refusal> {
        let limits = Limits { fields_max: limits.fields_max.min(TRAILERS_MAX), ..*limits };
        if self.fields.read(&self.bytes, 0, &limits)?.is_none() {
            return match diagnose::fields(&self.bytes, &limits) {
                Err(Refusal::TooManyFields) => Err(Refusal::TrailersTooLarge),
                Err(refusal) => Err(refusal),
                Ok(()) => Err(Refusal::Malformed),
            };
        }
        for field in self.fields.as_mut_slice() {
            if forbidden(field.name().of(&self.bytes), field.known) {
                field.drop_here();
            }
        }
        Ok(())
    }
}

/// Fields after one body, whatever the limits say.
const TRAILERS_MAX: u16 = 64;

/// Whether a field means something only before the body. Every known field does.
fn forbidden(name: &[u8], known: Known) -> bool {
    const NAMES: [&[u8]; 12] = [
        b"pragma",
        b"expires",
        b"vary",
        b"warning",
        b"allow",
        b"accept",
        b"origin",
        b"x-real-ip",
        b"tracestate",
        b"baggage",
        b"true-client-ip",
        b"priority",
    ];
    const FAMILIES: [&[u8]; 8] = [
        b"content-",
        b"if-",
        b"proxy-",
        b"x-forwarded-",
        b"access-control-",
        b"accept-",
        b"sec-",
        b"x-http-method",
    ];
    let begins =
        |family: &[u8]| name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family));
    // A digest can only be known after the body, and is meant to come there (RFC 9530 §2).
    let digest = name.eq_ignore_ascii_case(b"content-digest");
    known != Known::Other
        || NAMES.iter().any(|other| name.eq_ignore_ascii_case(other))
        || (FAMILIES.iter().any(|family| begins(family)) && !digest)
}
