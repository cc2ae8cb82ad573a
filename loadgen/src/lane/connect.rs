//! Connecting to the target: socket, PROXY protocol, TLS, each with its time and its own kind of failure.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Address, Lease, Nanos, Stream, Wire};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{Failure, kind_of};
use crate::plan::{Plan, ProxyHeader};
use crate::run::line::Line;
use crate::run::record::Kind;
use crate::run::thread::connect_deadline;
use crate::transport::{Tls, Transport};

/// Brings connections up. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    plan: Arc<Plan>,
    tls: Option<Rc<(Arc<ClientConfig>, ServerName<'static>)>>,
}

impl Dialer {
    /// With this thread's own TLS configuration, where there is one.
    pub fn new(plan: Arc<Plan>) -> Result<Dialer, String> {
        let tls = match &plan.tls {
            None => None,
            Some(asked) => {
                let host = plan.server_name.as_deref().unwrap_or(&plan.target.host);
                Some(Rc::new((crate::tls::client(asked)?, crate::tls::server_name(host)?)))
            }
        };
        Ok(Dialer { plan, tls })
    }

    /// A connection ahead of the begin, unless each request has its own; without it the first job brings one up.
    pub async fn ahead(&self, line: &Line) -> Option<Transport> {
        if self.plan.new_connections {
            return None;
        }
        self.dial(line, connect_deadline(&self.plan)).await.ok()
    }

    /// Connects, at the latest by `deadline`.
    pub async fn dial(&self, line: &Line, deadline: Nanos) -> Result<Transport, Failure> {
        let begun = Nanos::precise();
        let connected = Stream::connect(&self.plan.target.address, deadline).await;
        let stream = connected.map_err(|error| {
            Failure::of(if error.kind() == io::ErrorKind::TimedOut { Kind::Timeout } else { Kind::Connect })
        })?;
        let up = Nanos::precise();
        line.recorder.borrow_mut().connected(up.0 - begun.0);
        if let Some(header) = &self.plan.proxy_header {
            let bytes = proxy_header(header, &stream).map_err(|_| Failure::of(Kind::Connect))?;
            stream.send(Lease::copy_of(&bytes));
        }
        let Some(tls) = &self.tls else {
            stream.set_deadline(Nanos::NEVER);
            return Ok(Transport::Plain(stream));
        };
        let session = Tls::connect(stream, &tls.0, &tls.1).await.map_err(|error| match kind_of(&error) {
            Kind::Timeout => Failure::of(Kind::Timeout),
            _ => Failure::of(Kind::Tls),
        })?;
        line.recorder.borrow_mut().shook_hands(Nanos::precise().0 - up.0, session.resumed());
        let mut transport = Transport::Tls(Box::new(session));
        // The time limit was for coming up; each request has its own.
        transport.set_deadline(Nanos::NEVER);
        Ok(transport)
    }
}

/// The PROXY header that says who this connection is from: version 1 in text, version 2 in binary.
fn proxy_header(header: &ProxyHeader, stream: &Stream) -> io::Result<Vec<u8>> {
    let (Address::Ip(local), Address::Ip(peer)) = (stream.local()?, stream.peer()?) else {
        // Of a Unix socket there is nothing to say.
        return Ok(match header.version {
            1 => b"PROXY UNKNOWN\r\n".to_vec(),
            _ => [SIGNATURE, &[0x20, 0, 0, 0]].concat(),
        });
    };
    let source = header.source.unwrap_or(local);
    Ok(match header.version {
        1 => version_1(source, peer),
        _ => version_2(source, peer),
    })
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn version_1(source: std::net::SocketAddr, to: std::net::SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let to_ip = same_family(source, to);
    format!("PROXY {family} {} {to_ip} {} {}\r\n", source.ip(), source.port(), to.port()).into_bytes()
}

fn version_2(source: std::net::SocketAddr, to: std::net::SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::new();
    for ip in [source.ip(), same_family(source, to)] {
        match ip {
            std::net::IpAddr::V4(ip) => addresses.extend_from_slice(&ip.octets()),
            std::net::IpAddr::V6(ip) => addresses.extend_from_slice(&ip.octets()),
        }
    }
    addresses.extend_from_slice(&source.port().to_be_bytes());
    addresses.extend_from_slice(&to.port().to_be_bytes());
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    let length = (addresses.len() as u16).to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, &addresses].concat()
}

/// The address `to` in the family of `source`: a source that was given may be of the other one.
fn same_family(source: std::net::SocketAddr, to: std::net::SocketAddr) -> std::net::IpAddr {
    use std::net::{IpAddr, Ipv4Addr};
    match (source.ip(), to.ip()) {
        (IpAddr::V6(_), IpAddr::V4(ip)) => IpAddr::V6(ip.to_ipv6_mapped()),
        (IpAddr::V4(_), IpAddr::V6(ip)) => IpAddr::V4(ip.to_ipv4_mapped().unwrap_or(Ipv4Addr::LOCALHOST)),
        (_, ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_source_and_destination() {
        let (source, to) = ("203.0.113.7:5555".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        assert_eq!(version_1(source, to), b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 80\r\n");
        let binary = version_2(source, to);
        assert_eq!(&binary[..12], SIGNATURE);
        assert_eq!(&binary[12..], [0x21, 0x11, 0, 12, 203, 0, 113, 7, 127, 0, 0, 1, 0x15, 0xb3, 0, 80]);
    }

    #[test]
    fn a_source_of_the_other_family_takes_the_destination_with_it() {
        let line = version_1("[2001:db8::1]:7".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        assert_eq!(line, b"PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 7 80\r\n");
    }
}
