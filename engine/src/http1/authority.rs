//! `host[:port]`: Host, and the authority of a target.
//!
//! Stricter than the grammar in RFC 3986 §3.2 where it would let two readers differ: no user information, no
//! percent-encoding, no comma, no empty host, no name longer than names can be.

/// What an authority consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Authority {
    /// Bytes of the host, brackets of an IPv6 address included, at the authority's start.
    pub host_len: u32,
    /// The port, where one is given; `host:` gives none.
    pub port: Option<u16>,
    /// The host holds no upper-case letter.
    pub lower_case: bool,
}

/// Reads an authority, or `None` if it is malformed.
#[inline]
pub fn authority(text: &[u8]) -> Option<Authority> {
    if text.len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    // Each class is counted in bits of its own, which no text of this length overflows.
    let mut seen = 0u32;
    for byte in text {
        seen += CLASS[usize::from(*byte)];
    }
    let lower_case = seen & (COLON - 1) == 0;
    match seen / COLON {
        0 if text.is_empty() => None,
        0 => Some(Authority { host_len: text.len() as u32, port: None, lower_case }),
        1 => with_port(text, lower_case),
        _ => bracketed(text),
    }
}

/// `host:port`, with no other colon.
#[inline]
fn with_port(text: &[u8], lower_case: bool) -> Option<Authority> {
    let (mut number, mut scale) = (0, 1);
    for (place, byte) in text.iter().enumerate().rev().take(PORT_BYTES_MAX + 1) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number += u32::from(digit) * scale;
            scale *= 10;
        } else if *byte == b':' && place > 0 {
            let port = if scale == 1 { None } else { Some(u16::try_from(number).ok()?) };
            return Some(Authority { host_len: place as u32, port, lower_case });
        } else {
            return None;
        }
    }
    None
}

const PORT_BYTES_MAX: usize = "65535".len();

/// Longest authority: names end at 255 bytes (RFC 1035 §3.1).
const AUTHORITY_BYTES_MAX: usize = 255 + ":65535".len();

impl Authority {
    /// Whether two authorities, given with their text, are the same for a scheme with this default port (RFC 9110 §4.2.3).
    pub fn same(&self, text: &[u8], other: &Authority, other_text: &[u8], default_port: Option<u16>) -> bool {
        let host = text.get(..self.host_len as usize).unwrap_or_default();
        let other_host = other_text.get(..other.host_len as usize).unwrap_or_default();
        host.eq_ignore_ascii_case(other_host) && self.port.or(default_port) == other.port.or(default_port)
    }
}

/// `*DIGIT`: nothing, or a port.
fn port(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    let number = super::framing::decimal(digits).filter(|_| digits.len() <= 5)?;
    u16::try_from(number).ok().map(Some)
}

/// `[` IPv6address `]`, optionally with a port.
#[cold]
fn bracketed(text: &[u8]) -> Option<Authority> {
    let close = text.iter().position(|b| *b == b']')?;
    let inside = std::str::from_utf8(text.get(1..close)?).ok()?;
    if text.first() != Some(&b'[') || inside.parse::<std::net::Ipv6Addr>().is_err() {
        return None;
    }
    let port = match text.get(close + 1..)? {
        [] => None,
        [b':', digits @ ..] => port(digits)?,
        _ => return None,
    };
    let lower_case = !inside.bytes().any(|b| b.is_ascii_uppercase());
    Some(Authority { host_len: close as u32 + 1, port, lower_case })
}

const UPPER: u32 = 1;
const COLON: u32 = 1 << 10;
const BAD: u32 = 1 << 20;
const _: () = assert!(AUTHORITY_BYTES_MAX < 1 << 10);

static CLASS: [u32; 256] = {
    let mut table = [BAD; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => 0,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' => 0,
            b'A'..=b'Z' => UPPER,
            b':' => COLON,
            _ => BAD,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn a_host_may_have_a_port() {
        for (text, host, port) in [
            ("a", "a", None),
            ("api.example.com", "api.example.com", None),
            ("api.example.com:8443", "api.example.com", Some(8443)),
            ("a:", "a", None),
            ("a:0", "a", Some(0)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:DB8::1]", Some(443)),
            ("127.0.0.1:00080", "127.0.0.1", Some(80)),
        ] {
            let found = authority(text.as_bytes()).expect(text);
            assert_eq!((&text[..found.host_len as usize], found.port), (host, port));
            assert_eq!(found.lower_case, host.to_ascii_lowercase() == host);
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in [
            "",
            ":80",
            "a b",
            "a,b",
            "user@a",
            "a/b",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:000080",
            "a:-1",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[a]",
            "[::1]:x",
            "x[::1]",
            "a%41",
            "a\\b",
            "a?b",
            "a#b",
            "caf\u{e9}",
            "a\tb",
            "a:8 0",
        ] {
            assert_eq!(authority(text.as_bytes()), None, "{text}");
        }
    }
}
