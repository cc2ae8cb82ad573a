//! What is to be explained, as it is typed: `GET http://api.example.com/v1/orders/7`, or a connection: `tcp://pg`.

use std::fmt;

/// A request line in words, or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET if none was given; empty for a connection.
    pub method: String,
    /// How it comes.
    pub scheme: Scheme,
    /// With port if there was one; may be empty.
    pub authority: String,
    /// As it would be sent, not canonical. Empty for a connection.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
}

/// How something comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A request, of which is not said how.
    Unsaid,
    /// A request without TLS.
    Http,
    /// A request under TLS.
    Https,
    /// A connection.
    Tcp,
    /// A connection that begins with TLS.
    Tls,
    /// Datagrams.
    Udp,
}

impl Scheme {
    fn of(text: &str) -> Option<Scheme> {
        Some(match text {
            "http" | "ws" => Scheme::Http,
            "https" | "wss" => Scheme::Https,
            "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            "udp" => Scheme::Udp,
            _ => return None,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Scheme::Unsaid | Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Udp => "udp",
        }
    }

    /// It is a request.
    pub fn is_request(self) -> bool {
        matches!(self, Scheme::Unsaid | Scheme::Http | Scheme::Https)
    }

    /// TLS comes first.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Tls)
    }
}

/// Why a text is no request. `Display` says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

impl Request {
    /// `[METHOD] URL`, where URL is `http://host/path?query` (or https, ws, wss) or `/path?query`; or a connection:
    /// `tcp://host:port`, `tcp://listener`, `udp://..` the same, `tls://name:port`. A `host` among `headers` gives the
    /// authority where the URL has none.
    pub fn parse(text: &str, mut headers: Vec<(String, String)>) -> Result<Request, ParseError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (method, url) = match words[..] {
            [url] => ("GET", url),
            [method, url] => (method, url),
            _ => return Err(ParseError(format!("expected `METHOD URL`, found `{text}`"))),
        };
        let (scheme, rest) = match url.split_once("://") {
            Some((text, rest)) if let Some(scheme) = Scheme::of(text) => (scheme, Some(rest)),
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                let known = "http, https, ws, wss, tcp, tls or udp";
                return Err(ParseError(format!("expected {known}, found `{scheme}`")));
            }
            _ => (Scheme::Unsaid, None),
        };
        if url.starts_with("ws") && rest.is_some() {
            headers.push(("upgrade".into(), "websocket".into()));
        }
        let (authority, target) = match rest {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None if url.starts_with('/') || url == "*" => ("", url),
            None => return Err(ParseError(format!("expected a URL or a path, found `{url}`"))),
        };
        if rest.is_some() && authority.is_empty() {
            return Err(ParseError(format!("`{url}` has no host")));
        }
        if !scheme.is_request() {
            if words.len() > 1 || !matches!(target, "" | "/") {
                return Err(ParseError(format!("a connection has no method and no path: `{text}`")));
            }
            let (method, path, query) = Default::default();
            return Ok(Request { method, scheme, authority: authority.to_owned(), path, query, headers });
        }
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let given =
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value);
        let authority = if authority.is_empty() { given.map_or("", String::as_str) } else { authority };
        Ok(Request {
            method: method.to_owned(),
            scheme,
            authority: authority.to_owned(),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            query: query.to_owned(),
            headers,
        })
    }

    /// The port in the URL.
    pub(super) fn port(&self) -> Option<u16> {
        let (_, port) = self.authority.rsplit_once(':')?;
        port.parse().ok()
    }

    /// The host in the URL, as a name that TLS may ask for.
    pub(super) fn host(&self) -> Option<&str> {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        (!host.is_empty() && host.parse::<std::net::Ipv4Addr>().is_err() && !host.starts_with('['))
            .then_some(host)
    }

    /// The first value of a header; names in any case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.method.is_empty() {
            write!(f, "{} ", self.method)?;
        }
        if !self.authority.is_empty() {
            write!(f, "{}://{}", self.scheme.text(), self.authority)?;
        }
        f.write_str(&self.path)?;
        if self.query.is_empty() { Ok(()) } else { write!(f, "?{}", self.query) }
    }
}
