//! PROXY protocol, versions 1 and 2: what a balancer in front says about the connection it passes on.
//!
//! Pure and incremental: [`parse`] sees all bytes received so far and says more are needed, or what they say and how
//! many belong to it. Strict: what is not exactly the protocol is refused, a wrong start at its first wrong byte, and
//! both versions are bounded, so a refusal or an answer comes within [`HEADER_BYTES_MAX`]. Whether the peer may speak it
//! at all is decided before. On the line: between `accept` and `detect`.
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use write::{Form, header};

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All well so far; more bytes are needed.
    Partial,
    /// The header is whole.
    Complete {
        /// Bytes of the header; the connection's own bytes follow.
        consumed: usize,
        /// Who connected to the balancer; `None` where it speaks for itself (LOCAL, UNKNOWN) or of no IP address.
        source: Option<SocketAddr>,
        /// Where to. `Some` exactly where `source` is.
        destination: Option<SocketAddr>,
    },
}

/// Why a connection that must begin with the protocol is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyRefusal {
    /// It begins with something else.
    NotProxyProtocol,
    /// A version 1 line that breaks the rules.
    BadLine,
    /// A version 1 line without its end within [`V1_BYTES_MAX`].
    LineTooLong,
    /// A version 2 header of another version or an unknown command.
    BadVersionOrCommand,
    /// A version 2 address family or transport that a stream can't have.
    BadFamily,
    /// A version 2 header longer than [`V2_LENGTH_MAX`].
    TooLong,
    /// A version 2 header too short for its addresses, or with additions (TLVs) that don't fit.
    BadLength,
    /// The CRC32C addition of version 2 does not match.
    BadChecksum,
}

impl ProxyRefusal {
    /// Machine-readable name.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotProxyProtocol => "proxy_protocol_missing",
            Self::BadLine => "proxy_protocol_bad_line",
            Self::LineTooLong => "proxy_protocol_line_too_long",
            Self::BadVersionOrCommand => "proxy_protocol_bad_version",
            Self::BadFamily => "proxy_protocol_bad_family",
            Self::TooLong => "proxy_protocol_too_long",
            Self::BadLength => "proxy_protocol_bad_length",
            Self::BadChecksum => "proxy_protocol_bad_checksum",
        }
    }
}

/// Reads the header at the start of `bytes`, which are all that was received so far.
pub fn parse(bytes: &[u8]) -> Result<Progress, ProxyRefusal> {
    if agrees(bytes, V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if agrees(bytes, V1_PREFIX) {
        return parse_v1(bytes);
    }
    Err(ProxyRefusal::NotProxyProtocol)
}

/// Most bytes of a version 1 line, its CRLF included; the protocol's own bound.
pub const V1_BYTES_MAX: usize = 107;

/// Most bytes that may follow the fixed part of a version 2 header: addresses (216 at most) and additions.
pub const V2_LENGTH_MAX: usize = 2048;

/// After this many bytes the answer is never [`Progress::Partial`].
pub const HEADER_BYTES_MAX: usize = V2_FIXED + V2_LENGTH_MAX;

/// How version 1 begins.
pub const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const TLV_CRC32C: u8 = 0x03;

const _: () = assert!(V1_BYTES_MAX <= HEADER_BYTES_MAX);

/// Whether the one begins with the other, as far as both go.
fn agrees(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, ProxyRefusal> {
    let seen = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', seen) else {
        return if seen.len() < V1_BYTES_MAX {
            Ok(Progress::Partial)
        } else {
            Err(ProxyRefusal::LineTooLong)
        };
    };
    match (seen[end], seen.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if seen.len() < V1_BYTES_MAX => return Ok(Progress::Partial),
        (b'\r', None) => return Err(ProxyRefusal::LineTooLong),
        _ => return Err(ProxyRefusal::BadLine),
    }
    let line = seen.get(V1_PREFIX.len()..end).unwrap_or_default();
    let (source, destination) = v1_addresses(line).ok_or(ProxyRefusal::BadLine)?;
    Ok(Progress::Complete { consumed: end + 2, source, destination })
}

type Addresses = (Option<SocketAddr>, Option<SocketAddr>);

/// `TCP4 source destination port port`, or `UNKNOWN` and anything.
fn v1_addresses(line: &[u8]) -> Option<Addresses> {
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some((None, None));
    }
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let address = match words.next()? {
        "TCP4" => |word: &str| word.parse().ok().map(IpAddr::V4),
        "TCP6" => |word: &str| word.parse().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (address(words.next()?)?, address(words.next()?)?);
    let (source_port, destination_port) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some((Some(SocketAddr::new(source, source_port)), Some(SocketAddr::new(destination, destination_port))))
}

/// Decimal, no sign, no leading zero.
fn v1_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, ProxyRefusal> {
    let command = match bytes.get(12) {
        None => return Ok(Progress::Partial),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err(ProxyRefusal::BadVersionOrCommand),
    };
    let family = match bytes.get(13) {
        None => return Ok(Progress::Partial),
        Some(0x00) => Family::Unspecified,
        Some(0x11) => Family::Tcp4,
        Some(0x21) => Family::Tcp6,
        Some(0x31) => Family::UnixStream,
        // What a LOCAL header says of addresses is to be ignored.
        Some(_) if command == Command::Local => Family::Unspecified,
        Some(_) => return Err(ProxyRefusal::BadFamily),
    };
    let (Some(&high), Some(&low)) = (bytes.get(14), bytes.get(15)) else {
        return Ok(Progress::Partial);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LENGTH_MAX {
        return Err(ProxyRefusal::TooLong);
    }
    if command == Command::Proxy && length < family.bytes() {
        return Err(ProxyRefusal::BadLength);
    }
    let consumed = V2_FIXED + length;
    let Some(header) = bytes.get(..consumed) else {
        return Ok(Progress::Partial);
    };
    let (mut source, mut destination) = (None, None);
    if command == Command::Proxy {
        let (addresses, additions) = header[V2_FIXED..].split_at(family.bytes());
        if family != Family::Unspecified {
            check_additions(header, additions)?;
        }
        (source, destination) = family.addresses(addresses);
    }
    Ok(Progress::Complete { consumed, source, destination })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Tcp4,
    Tcp6,
    UnixStream,
}

impl Family {
    fn bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Tcp4 => 12,
            Self::Tcp6 => 36,
            Self::UnixStream => 216,
        }
    }

    fn addresses(self, bytes: &[u8]) -> Addresses {
        match self {
            Self::Tcp4 => {
                let ip = |at: usize| bytes[at..].first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into());
                (socket_address(ip(0), &bytes[8..]), socket_address(ip(4), &bytes[10..]))
            }
            Self::Tcp6 => {
                let ip = |at: usize| bytes[at..].first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into());
                (socket_address(ip(0), &bytes[32..]), socket_address(ip(16), &bytes[34..]))
            }
            Self::Unspecified | Self::UnixStream => (None, None),
        }
    }
}

fn socket_address(ip: Option<IpAddr>, port: &[u8]) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip?, u16::from_be_bytes(*port.first_chunk::<2>()?)))
}

/// Walks the TLVs: they must fill the header exactly, and the checksum, if there, must hold.
fn check_additions(header: &[u8], mut additions: &[u8]) -> Result<(), ProxyRefusal> {
    while let Some((&[kind, high, low], rest)) = additions.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            return Err(ProxyRefusal::BadLength);
        };
        if kind == TLV_CRC32C {
            let stated = *value.as_array::<4>().ok_or(ProxyRefusal::BadLength)?;
            let place = header.len() - rest.len() - 4;
            if u32::from_be_bytes(stated) != crc32c_without(header, place) {
                return Err(ProxyRefusal::BadChecksum);
            }
        }
        additions = rest;
    }
    if additions.is_empty() { Ok(()) } else { Err(ProxyRefusal::BadLength) }
}

/// CRC32C of `bytes` with the four at `place` taken as zero.
fn crc32c_without(bytes: &[u8], place: usize) -> u32 {
    let sum = bytes.iter().enumerate().fold(!0u32, |sum, (at, &byte)| {
        let byte = if (place..place + 4).contains(&at) { 0 } else { byte };
        (sum >> 8) ^ CRC32C[usize::from(sum as u8 ^ byte)]
    });
    !sum
}

/// The Castagnoli polynomial, bits reversed, one byte at a time.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests;
