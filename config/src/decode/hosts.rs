//! Host names and patterns. Pure.

use crate::model::HostPattern;
use crate::units::{Problem, quoted};

/// Bytes of a host name (RFC 1035 §2.3.4, as text).
const HOST_BYTES_MAX: usize = 253;
/// Bytes between two dots.
const LABEL_BYTES_MAX: usize = 63;

/// A host name, an IPv4 address or an IPv6 address in brackets, in lower case as given.
pub fn name(text: &str) -> Result<(), Problem> {
    let bad =
        |help: &str| Err(Problem::new("bad-host", format!("{} is not a host name", quoted(text))).help(help));
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok());
        return if address.is_some() {
            Ok(())
        } else {
            bad("an IPv6 address stands alone in its brackets: `[::1]`")
        };
    }
    if text.is_empty() {
        return bad("write a name: `api.example.com`");
    }
    if text.contains("://") || text.contains('/') {
        return bad("write the host alone, without scheme or path");
    }
    if text.contains(':') {
        return bad("write the host alone, without a port");
    }
    if text.ends_with('.') {
        return bad("leave the dot at its end out");
    }
    if !text.is_ascii() {
        return bad("write its ASCII form (`xn--...`)");
    }
    if text.contains('*') {
        return bad("`*` stands only at the front, before a dot: `*.example.org`");
    }
    let label = |label: &str| {
        let legal = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && legal
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > HOST_BYTES_MAX || !text.split('.').all(label) {
        return bad("names are letters, digits, `-` and `_` between dots, at most 63 of them");
    }
    Ok(())
}

/// `api.example.com` or `*.example.org`, made lower case; the second tells whether it was not.
pub fn pattern(text: &str) -> Result<(HostPattern, bool), Problem> {
    let lower = text.to_ascii_lowercase();
    let changed = lower != text;
    if lower == "*" || lower == "*." {
        let problem = Problem::new("bad-host", format!("{} is not a host pattern", quoted(text)));
        return Err(problem.help("leave `hosts` out to match any host"));
    }
    if let Some(suffix) = lower.strip_prefix("*.") {
        name(suffix)?;
        if suffix.starts_with('[') {
            return Err(Problem::new("bad-host", format!("{} is not a host pattern", quoted(text))));
        }
        return Ok((HostPattern::Suffix(suffix.to_owned()), changed));
    }
    name(&lower)?;
    Ok((HostPattern::Exact(lower), changed))
}

/// `host` or `host:port`
pub fn authority(text: &str) -> Result<String, Problem> {
    if text.contains('/') {
        name(text)?;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if let Some(port) = port
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(Problem::new("bad-host", format!("{} has no good port", quoted(text))));
    }
    name(host)?;
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_hosts() {
        assert_eq!(pattern("API.example.com"), Ok((HostPattern::Exact("api.example.com".into()), true)));
        assert_eq!(pattern("*.example.org"), Ok((HostPattern::Suffix("example.org".into()), false)));
        assert_eq!(pattern("[::1]").unwrap().0, HostPattern::Exact("[::1]".into()));
        for bad in [
            "", "*", "a.*", "*a.b", "a:80", "http://a", "a.", "a..b", "-a", "ä.de", "[::1]:80", "*.[::1]",
            "a b",
        ] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
        for good in ["a", "a:80", "[::1]", "[::1]:80", "127.0.0.1:80"] {
            assert!(authority(good).is_ok(), "{good}");
        }
        for bad in ["a:", "a:0", "a:x", ":80", "::1"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
