//! Where the load goes: a URL, taken apart and resolved before any load.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use ringway_runtime::Address;
use url::Url;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// Bytes.
    Tcp,
}

/// Where to, and in which words.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it was written.
    pub url: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether over TLS.
    pub tls: bool,
    /// The URL's host, without brackets: TLS server name.
    pub host: String,
    /// Host and, unless it is the scheme's own, port: the Host field, `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Where to connect to.
    pub address: Address,
}

/// How long the first connection may take before the target counts as unreachable.
const PROBE_MAX: Duration = Duration::from_secs(5);

impl Target {
    /// Takes `url` apart and looks its host up. `http2` asks for HTTP/2 under `http:` and `https:`; `elsewhere`
    /// (`--connect-to` or `--unix`) is connected to in place of the URL's host.
    pub fn new(url: &str, http2: bool, elsewhere: Option<&Elsewhere>) -> Result<Target, String> {
        let parsed = Url::parse(url).map_err(|error| {
            format!("`{url}` is not a URL ({error}): write it whole, such as http://127.0.0.1:8080/path")
        })?;
        let (protocol, tls, standard_port) = match parsed.scheme() {
            "http" if http2 => (Protocol::Http2, false, 80),
            "https" if http2 => (Protocol::Http2, true, 443),
            "http" => (Protocol::Http1, false, 80),
            "https" => (Protocol::Http1, true, 443),
            "grpc" => (Protocol::Grpc, false, 80),
            "grpcs" => (Protocol::Grpc, true, 443),
            "tcp" => (Protocol::Tcp, false, 0),
            "tls" => (Protocol::Tcp, true, 0),
            other => {
                return Err(format!("`{other}:` is not spoken here: http, https, grpc, grpcs, tcp or tls"));
            }
        };
        if http2 && protocol != Protocol::Http2 {
            return Err(format!("--h2 goes with http: and https:, not with {}:", parsed.scheme()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("a name and password in the URL are not sent: use -H 'authorization: ...'".into());
        }
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let Some(host) = host else { return Err(format!("`{url}` names no host")) };
        let port = parsed.port().unwrap_or(standard_port);
        if port == 0 {
            return Err(format!("`{url}` names no port: write {}://{host}:PORT", parsed.scheme()));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = match elsewhere {
            Some(Elsewhere::Unix(path)) => Address::Unix(path.clone()),
            Some(Elsewhere::HostPort(text)) => Address::Ip(resolve(text)?),
            None => Address::Ip(resolve(&format!("{host}:{port}"))?),
        };
        let path = match parsed.query() {
            Some(query) => format!("{}?{query}", parsed.path()),
            None => parsed.path().to_owned(),
        };
        Ok(Target {
            url: url.to_owned(),
            protocol,
            tls,
            host: bare,
            authority: if port == standard_port { host.to_owned() } else { format!("{host}:{port}") },
            path: if path.is_empty() { "/".into() } else { path },
            address,
        })
    }

    /// Connects once and hangs up: an unreachable target is said before any load.
    pub fn probe(&self) -> Result<(), String> {
        let reached = match &self.address {
            Address::Ip(ip) => std::net::TcpStream::connect_timeout(ip, PROBE_MAX).map(drop),
            Address::Unix(path) => std::os::unix::net::UnixStream::connect(path).map(drop),
        };
        reached.map_err(|error| format!("can't connect to {}: {error}", shown(&self.address)))
    }

    /// `http/1.1`, `h2`, `grpc`, `tcp`, with `+tls` where it is.
    pub fn protocol_name(&self) -> String {
        let name = match self.protocol {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
            Protocol::Grpc => "grpc",
            Protocol::Tcp => "tcp",
        };
        format!("{name}{}", if self.tls { "+tls" } else { "" })
    }
}

/// Where to connect to in place of the URL's host.
#[derive(Clone, Debug)]
pub enum Elsewhere {
    /// `host:port`.
    HostPort(String),
    /// A Unix-domain socket.
    Unix(PathBuf),
}

fn resolve(host_port: &str) -> Result<SocketAddr, String> {
    let mut found = host_port
        .to_socket_addrs()
        .map_err(|error| format!("can't look up `{host_port}` (host:port): {error}"))?;
    found.next().ok_or_else(|| format!("`{host_port}` has no address"))
}

fn shown(address: &Address) -> String {
    match address {
        Address::Ip(ip) => ip.to_string(),
        Address::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Target::new(url, false, None).expect_err(url)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::new("https://127.0.0.1/a/b?c=d#e", true, None).unwrap();
        assert_eq!((target.protocol, target.tls), (Protocol::Http2, true));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("127.0.0.1", "/a/b?c=d"));
        assert_eq!(target.address, Address::Ip("127.0.0.1:443".parse().unwrap()));
        let six = Target::new("http://[::1]:8080", false, None).unwrap();
        assert_eq!(
            (six.host.as_str(), six.authority.as_str(), six.path.as_str()),
            ("::1", "[::1]:8080", "/")
        );
        let grpc = Target::new("grpc://127.0.0.1:50051/pkg.Service/Method", false, None).unwrap();
        assert_eq!((grpc.protocol, grpc.path.as_str()), (Protocol::Grpc, "/pkg.Service/Method"));
    }

    #[test]
    fn what_is_no_target_is_said_in_words() {
        assert!(refused("127.0.0.1:8080").contains("write it whole"));
        assert!(refused("ftp://a/").contains("not spoken here"));
        assert!(refused("tcp://127.0.0.1").contains("names no port"));
        assert!(refused("http://u:p@127.0.0.1/").contains("authorization"));
        assert!(refused("http://no-such-host.invalid/").contains("can't look up"));
        assert!(Target::new("grpc://127.0.0.1:1/a/b", true, None).unwrap_err().contains("--h2"));
        assert!(
            Target::new("http://127.0.0.1:1/", false, None)
                .unwrap()
                .probe()
                .unwrap_err()
                .contains("127.0.0.1:1")
        );
    }
}
