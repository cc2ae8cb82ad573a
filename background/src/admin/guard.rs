//! Who may change things by the admin API: whoever reaches it, but never a page in somebody's browser. Pure.
//!
//! The API has no authentication, so a browser on the same host is the way in from outside: a page can send requests to
//! this address, or have its own name stand for it. What gives such a request away is refused: its `Origin`, its
//! `Sec-Fetch-Site`, a content type that forms can send, a `Host` that is a name.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::{Method, StatusCode};

/// What the configuration says of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Where the admin address is one of this host only.
    Local,
    /// By whoever reaches it.
    Any,
    /// By nobody.
    None,
}

impl Writes {
    /// As the configuration is shown.
    pub fn read(shown: &serde_json::Value) -> Writes {
        match shown["admin"]["writes"].as_str() {
            Some("any") => Writes::Any,
            Some("none") => Writes::None,
            _ => Writes::Local,
        }
    }
}

/// Whether a request that would change something may. `local` is where it was received.
pub fn check(
    writes: Writes,
    local: SocketAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    match writes {
        Writes::None => {
            return Err((StatusCode::FORBIDDEN, "The configuration says `admin: { writes: none }`."));
        }
        Writes::Local if !local.ip().to_canonical().is_loopback() => {
            let detail = "The admin address is not one of this host only, so nothing is changed by it: give it a loopback \
                          address, or say `admin: { writes: any }` where everybody who reaches it may.";
            return Err((StatusCode::FORBIDDEN, detail));
        }
        Writes::Local | Writes::Any => {}
    }
    if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err((
            StatusCode::FORBIDDEN,
            "Nothing is changed for a page in a browser; use `ringway ctl`.",
        ));
    }
    if ["via", "forwarded", "x-forwarded-for"].iter().any(|name| headers.contains_key(*name)) {
        return Err((
            StatusCode::FORBIDDEN,
            "Nothing is changed through a proxy; use `ringway ctl` on this host.",
        ));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    if hosts.next().is_some() || !host.is_some_and(is_address) {
        let detail = "Host must be an address or `localhost`: a name could be anybody's.";
        return Err((StatusCode::MISDIRECTED_REQUEST, detail));
    }
    if method == Method::POST && !is_json(headers) {
        let detail = "The body is JSON: send it with `content-type: application/json`.";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

/// `127.0.0.1:9901`, `[::1]:9901`, `localhost`
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind);
    kind.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn status(writes: Writes, local: &str, method: Method, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        check(writes, local.parse().unwrap(), &method, &map)
            .map_or_else(|(status, _)| status.as_u16(), |()| 0)
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn ctl_and_curl_may() {
        for host in ["127.0.0.1:9901", "[::1]:9901", "localhost", "LocalHost:9901", "10.1.2.3"] {
            assert_eq!(status(Writes::Local, "127.0.0.1:9901", Method::POST, &[("host", host), JSON]), 0);
        }
        let charset = ("content-type", "Application/JSON; charset=utf-8");
        assert_eq!(status(Writes::Local, "[::1]:1", Method::POST, &[("host", "[::1]:1"), charset]), 0);
        assert_eq!(status(Writes::Local, "[::ffff:127.0.0.1]:1", Method::DELETE, &[("host", "[::1]:1")]), 0);
        assert_eq!(status(Writes::Any, "10.0.0.1:1", Method::POST, &[("host", "10.0.0.1:1"), JSON]), 0);
    }

    #[test]
    fn pages_in_browsers_may_not() {
        let host = ("host", "127.0.0.1:9901");
        for headers in [
            &[host, JSON, ("origin", "https://evil.example")][..],
            &[host, JSON, ("origin", "null")],
            &[host, JSON, ("origin", "http://127.0.0.1:9901")],
            &[host, JSON, ("sec-fetch-site", "cross-site")],
            &[host, JSON, ("sec-fetch-site", "same-origin")],
        ] {
            for writes in [Writes::Local, Writes::Any] {
                assert_eq!(status(writes, "127.0.0.1:9901", Method::POST, headers), 403, "{headers:?}");
                assert_eq!(status(writes, "127.0.0.1:9901", Method::DELETE, headers), 403, "{headers:?}");
            }
        }
        for host in
            ["evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "x]"]
        {
            let headers = [("host", host), JSON];
            assert_eq!(status(Writes::Local, "127.0.0.1:1", Method::POST, &headers), 421, "{host}");
        }
        assert_eq!(status(Writes::Local, "127.0.0.1:1", Method::POST, &[JSON]), 421, "no host");
        assert_eq!(status(Writes::Local, "127.0.0.1:1", Method::POST, &[host, host, JSON]), 421, "two");
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"]
        {
            let headers = [host, ("content-type", kind)];
            assert_eq!(status(Writes::Local, "127.0.0.1:1", Method::POST, &headers), 415, "{kind}");
        }
        assert_eq!(status(Writes::Local, "127.0.0.1:1", Method::POST, &[host]), 415, "no type");
    }

    #[test]
    fn an_address_that_others_reach_needs_a_word() {
        let headers = [("host", "10.0.0.1:1"), JSON];
        assert_eq!(status(Writes::Local, "10.0.0.1:1", Method::POST, &headers), 403);
        assert_eq!(status(Writes::None, "127.0.0.1:1", Method::POST, &headers), 403);
    }
}
