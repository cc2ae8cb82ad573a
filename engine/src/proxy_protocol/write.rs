//! The header as we write it, for endpoints that want to know who connected. Pure.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::V2_SIGNATURE;

/// Which version is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// The header that says who connected and where to. Without addresses it says that it knows none.
pub fn header(form: Form, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let addresses = addresses.map(|(source, destination)| alike(source, destination));
    match form {
        Form::V1 => v1(addresses),
        Form::V2 => v2(addresses),
    }
}

/// Both of one family: an IPv4 address within IPv6 counts as what it is where the other is IPv4 too.
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (canonical(source), canonical(destination));
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    match source.is_ipv4() == destination.is_ipv4() {
        true => (source, destination),
        false => (mapped(source), mapped(destination)),
    }
}

fn v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut line = String::from("PROXY UNKNOWN\r\n");
    if let Some((source, destination)) = addresses {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        line.clear();
        let _ = write!(
            line,
            "PROXY {family} {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        );
    }
    line.into_bytes()
}

fn v2(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    match addresses {
        Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
            header.extend([VERSION_PROXY, 0x11, 0, 12]);
            header.extend(source.ip().octets());
            header.extend(destination.ip().octets());
            header.extend(source.port().to_be_bytes());
            header.extend(destination.port().to_be_bytes());
        }
        Some((SocketAddr::V6(source), SocketAddr::V6(destination))) => {
            header.extend([VERSION_PROXY, 0x21, 0, 36]);
            header.extend(source.ip().octets());
            header.extend(destination.ip().octets());
            header.extend(source.port().to_be_bytes());
            header.extend(destination.port().to_be_bytes());
        }
        _ => header.extend([VERSION_LOCAL, 0, 0, 0]),
    }
    header
}

const VERSION_LOCAL: u8 = 0x20;
const VERSION_PROXY: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_protocol::{Progress, parse};

    #[test]
    fn what_is_written_reads_back() {
        for (source, destination) in [
            ("192.0.2.1:4711", "198.51.100.2:443"),
            ("[2001:db8::1]:4711", "[2001:db8::2]:443"),
            ("[::ffff:192.0.2.1]:4711", "198.51.100.2:443"),
        ] {
            let (source, destination): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            for form in [Form::V1, Form::V2] {
                let bytes = header(form, Some((source, destination)));
                let canonical = SocketAddr::new(source.ip().to_canonical(), source.port());
                let read = Progress::Complete {
                    consumed: bytes.len(),
                    source: Some(canonical),
                    destination: Some(destination),
                };
                assert_eq!(parse(&bytes), Ok(read), "{form:?}");
            }
        }
        for form in [Form::V1, Form::V2] {
            let bytes = header(form, None);
            let read = Progress::Complete { consumed: bytes.len(), source: None, destination: None };
            assert_eq!(parse(&bytes), Ok(read));
        }
    }

    #[test]
    fn mixed_families_are_told_as_the_wider_one() {
        let mixed =
            header(Form::V1, Some(("192.0.2.1:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap())));
        assert_eq!(mixed, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    }
}
