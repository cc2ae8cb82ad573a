//! Connection: what the peer wants of this connection, and which fields end here (RFC 9110 §7.6.1).
//!
//! Nominated fields are marked, not removed. Fields without which a message means something else survive nomination:
//! Host, and the two framing fields, which are made anew anyway.

use super::fields::{Field, Fields};
use super::{Known, KnownSet, Refusal, Version};

/// Options in all Connection fields of a head together; more are refused, since each costs a look at every field.
const OPTIONS_MAX: u32 = 32;

/// What Connection says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    /// An Upgrade field may be meant.
    pub upgrade: bool,
}

impl Options {
    /// Whether the connection may carry another message (RFC 9112 §9.3).
    #[inline]
    pub fn persists(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::Http11)
    }
}

/// Reads Connection and marks the fields it nominates.
#[inline]
pub(super) fn read(bytes: &[u8], fields: &mut Fields) -> Result<Options, Refusal> {
    let Some(field) = fields.known(Known::Connection) else { return Ok(Options::default()) };
    let value = field.value().of(bytes);
    if !fields.repeated().has(Known::Connection) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            return Ok(Options { keep_alive: true, ..Options::default() });
        }
        if value.eq_ignore_ascii_case(b"close") {
            return Ok(Options { close: true, ..Options::default() });
        }
    }
    read_all(bytes, fields)
}

fn read_all(bytes: &[u8], fields: &mut Fields) -> Result<Options, Refusal> {
    let mut options = Options::default();
    let mut seen = 0;
    for place in 0..fields.as_slice().len() {
        let Some(field) = fields.as_slice().get(place).filter(|field| field.known == Known::Connection)
        else {
            continue;
        };
        for option in field.value().of(bytes).split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            seen += 1;
            if seen > OPTIONS_MAX {
                return Err(Refusal::BadConnection);
            }
            match option {
                [] => {}
                _ if option.eq_ignore_ascii_case(b"close") => options.close = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                _ if option.iter().all(|b| is_token(*b)) => nominate(bytes, fields.as_mut_slice(), option),
                _ => return Err(Refusal::BadConnection),
            }
        }
    }
    Ok(options)
}

const SURVIVES: KnownSet =
    KnownSet::EMPTY.with(Known::Host).with(Known::ContentLength).with(Known::TransferEncoding);

fn nominate(bytes: &[u8], fields: &mut [Field], option: &[u8]) {
    for field in fields {
        if field.name().of(bytes).eq_ignore_ascii_case(option) && !SURVIVES.has(field.known) {
            field.drop_here();
        }
    }
}

/// `tchar` (RFC 9110 §5.6.2)
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let b = byte as u8;
            table[byte] = b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            byte += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}
