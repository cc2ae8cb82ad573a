//! Addresses: where listeners bind and endpoints answer. Pure.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::model::{Address, EndpointAddress};
use crate::units::{Problem, quoted};

use super::hosts;

/// Bytes that a Unix socket's path may have (sun_path without its NUL).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// `127.0.0.1:8080`, `[::1]:8080`
pub fn ip(text: &str) -> Result<SocketAddr, Problem> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let problem = Problem::new("bad-address", format!("{} is not an address", quoted(text)));
    let help = match text.rsplit_once(':') {
        Some((host, _)) if host.eq_ignore_ascii_case("localhost") => {
            "did you mean `127.0.0.1`? Names are not looked up here"
        }
        Some(("" | "*", _)) => "every interface is `0.0.0.0` or `[::]`",
        Some((host, _))
            if host.parse::<std::net::Ipv6Addr>().is_ok() || text.parse::<std::net::Ipv6Addr>().is_ok() =>
        {
            "an IPv6 address stands in brackets, with a port after it: `[::1]:8080`"
        }
        None if text.parse::<IpAddr>().is_ok() => "it lacks a port: `127.0.0.1:8080`",
        _ => "write an IP address and a port: `127.0.0.1:8080`, `[::1]:8080`",
    };
    Err(problem.help(help))
}

/// `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`
pub fn listen(text: &str) -> Result<Address, Problem> {
    match text.strip_prefix("unix:") {
        Some(path) => unix(path).map(Address::Unix),
        None if text.starts_with('/') => {
            let problem = Problem::new("bad-address", format!("{} is not an address", quoted(text)));
            Err(problem.help(format!("did you mean `unix:{text}`?")))
        }
        None => ip(text).map(Address::Ip),
    }
}

/// As [`listen`], and `dns:name:port`. Port 0 answers nobody.
pub fn endpoint(text: &str) -> Result<EndpointAddress, Problem> {
    if let Some(address) = of_url(text) {
        let problem = Problem::new("bad-address", format!("{} is a URL, not an address", quoted(text)));
        return Err(match endpoint(address) {
            _ if text.starts_with("https:") => {
                problem.help("endpoints speak plain HTTP in this version: no `tls`")
            }
            Ok(_) => problem.help(format!("did you mean {}?", quoted(address))),
            Err(other) => Problem { help: other.help, ..problem },
        });
    }
    if let Some(rest) = text.strip_prefix("dns:") {
        return dns(text, rest);
    }
    match listen(text) {
        Ok(Address::Ip(address)) if address.port() == 0 => {
            Err(Problem::new("bad-address", format!("{} has no port to connect to", quoted(text))))
        }
        Ok(address) => Ok(EndpointAddress::Static(address)),
        Err(problem) => Err(match text.rsplit_once(':') {
            Some((name, port)) if hosts::name(name).is_ok() && port.parse::<u16>().is_ok() => {
                Problem { help: None, ..problem }.help(format!("did you mean `dns:{text}`?"))
            }
            _ => problem,
        }),
    }
}

/// What stands between `http://` and the path; as addresses are written elsewhere.
fn of_url(text: &str) -> Option<&str> {
    let rest = ["http://", "https://", "tcp://"].iter().find_map(|scheme| text.strip_prefix(scheme))?;
    rest.split('/').next()
}

fn dns(text: &str, rest: &str) -> Result<EndpointAddress, Problem> {
    const FORM: &str = "write `dns:name:port`: `dns:billing.internal:8080`";
    let not = || Problem::new("bad-address", format!("{} is not an address", quoted(text))).help(FORM);
    let (name, port) = rest.rsplit_once(':').ok_or_else(not)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(not)?;
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.starts_with('[') || hosts::name(&name).is_err() {
        return Err(not());
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(Problem::new("bad-address", format!("{} holds an address, not a name", quoted(text)))
            .help(format!("did you mean `{name}:{port}`?")));
    }
    Ok(EndpointAddress::Dns { name, port })
}

fn unix(path: &str) -> Result<PathBuf, Problem> {
    let not = |message: String| Problem::new("bad-address", message);
    if !path.starts_with('/') || path.ends_with('/') {
        let help = "write the absolute path of a socket: `unix:/run/app.sock`";
        return Err(not(format!("{} is not an absolute path", quoted(path))).help(help));
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(not(format!("a Unix socket's path has at most {UNIX_PATH_BYTES_MAX} bytes")));
    }
    if path.contains('\0') {
        return Err(not("a Unix socket's path has no NUL in it".into()));
    }
    Ok(PathBuf::from(path))
}

/// As it is written in a configuration.
pub fn text(address: &Address) -> String {
    match address {
        Address::Ip(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// As it is written in a configuration.
pub fn endpoint_text(address: &EndpointAddress) -> String {
    match address {
        EndpointAddress::Static(address) => text(address),
        EndpointAddress::Dns { name, port } => format!("dns:{name}:{port}"),
    }
}

/// `10.0.0.0/8`, or a single address.
pub fn network(text: &str) -> Result<IpNet, Problem> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(Problem::new("bad-network", format!("{} is not a network", quoted(text)))
            .help("write an address and the length of its prefix: `10.0.0.0/8`, `fd00::/8`"));
    };
    if network.trunc() != network {
        return Err(Problem::new("bad-network", format!("{} has bits set behind its prefix", quoted(text)))
            .help(format!("did you mean `{}`?", network.trunc())));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_addresses() {
        for good in ["127.0.0.1:0", "[::1]:80", "unix:/run/a.sock"] {
            assert_eq!(text(&listen(good).unwrap()), good);
        }
        for good in ["127.0.0.1:1", "unix:/a", "dns:a.b:1"] {
            assert_eq!(endpoint_text(&endpoint(good).unwrap()), good);
        }
        for bad in
            ["", "80", ":80", "localhost:80", "1.2.3.4", "::1:80", "unix:a", "unix:/a/", "1.2.3.4:99999"]
        {
            assert!(listen(bad).is_err(), "{bad}");
        }
        for bad in ["1.2.3.4:0", "dns:a", "dns:a:0", "dns::1", "dns:1.2.3.4:5", "dns:a b:1", "a:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_no_bits_behind_their_prefix() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert!(network("10.0.0.1/8").unwrap_err().help.unwrap().contains("10.0.0.0/8"));
        assert!(network("10.0.0.0/33").is_err());
    }
}
