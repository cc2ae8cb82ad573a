//! The request to be explained, as it is typed: `GET http://api.example.com/v1/orders/7`.

use std::fmt;

/// A request line in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET if none was given.
    pub method: String,
    /// The URL says https.
    pub https: bool,
    /// With port if there was one; may be empty.
    pub authority: String,
    /// As it would be sent, not canonical.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
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
    /// `[METHOD] URL`, where URL is `http://host/path?query` or `/path?query`. A `host` among `headers` gives the
    /// authority where the URL has none.
    pub fn parse(text: &str, headers: Vec<(String, String)>) -> Result<Request, ParseError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (method, url) = match words[..] {
            [url] => ("GET", url),
            [method, url] => (method, url),
            _ => return Err(ParseError(format!("expected `METHOD URL`, found `{text}`"))),
        };
        let (https, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, Some(rest)),
            Some(("https", rest)) => (true, Some(rest)),
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                return Err(ParseError(format!("expected http or https, found `{scheme}`")));
            }
            _ => (false, None),
        };
        let (authority, target) = match rest {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None if url.starts_with('/') || url == "*" => ("", url),
            None => return Err(ParseError(format!("expected a URL or a path, found `{url}`"))),
        };
        if rest.is_some() && authority.is_empty() {
            return Err(ParseError(format!("`{url}` has no host")));
        }
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let given =
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value);
        let authority = if authority.is_empty() { given.map_or("", String::as_str) } else { authority };
        Ok(Request {
            method: method.to_owned(),
            https,
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
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.method)?;
        if !self.authority.is_empty() {
            write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority)?;
        }
        f.write_str(&self.path)?;
        if self.query.is_empty() { Ok(()) } else { write!(f, "?{}", self.query) }
    }
}
