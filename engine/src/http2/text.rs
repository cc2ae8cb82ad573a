//! Heads between HTTP/2 and the text of HTTP/1.1, both ways (RFC 9113 §8). Pure.
//!
//! Towards HTTP/1.1 a head is written out and then read by [`crate::http1`] like any other, so its rules are the last
//! word. What is left to this file is what that reader can't see: pseudo-header fields against Host, fields that belong
//! to a connection, cookies in crumbs, and how a WebSocket is asked for. Invariant: no value written here holds CR, LF or
//! NUL, and no name anything but lower-case tokens; `h2` refuses them and [`Malformed`] is the second lock.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, header};

/// Bytes that most heads take as text.
pub(super) const BYTES_USUAL: usize = 512;

/// Why a head can't be told in the other version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A field that means something on one connection of HTTP/1.1 only (RFC 9113 §8.2.2).
    ConnectionField,
    /// `:authority` and Host differ (RFC 9113 §8.3.1).
    AuthorityDiffers,
    /// A pseudo-header field is missing, or one is there that does not belong there.
    Pseudo,
    /// A name or a value with a byte out of place.
    Byte,
    /// More fields than allowed, each crumb of a cookie counted.
    TooManyFields,
}

/// Writes a request's head as HTTP/1.1 would have it. `websocket_key` is what to ask with where the request opens a
/// WebSocket (RFC 8441 §5).
///
/// # Errors
/// The rule broken; what was written until then is to be thrown away.
pub fn request_text(
    request: &Request<()>,
    fields_max: u16,
    websocket_key: &str,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let uri = request.uri();
    let protocol = request.extensions().get::<Protocol>();
    let tunnel = request.method() == Method::CONNECT && protocol.is_none();
    let authority = authority(request)?;
    let method = if protocol.is_some() { &Method::GET } else { request.method() };
    put(out, &[method.as_str().as_bytes(), b" "])?;
    match (tunnel, uri.path_and_query()) {
        (true, None) => put(out, &[authority])?,
        (false, Some(path)) => put(out, &[path.as_str().as_bytes()])?,
        _ => return Err(Malformed::Pseudo),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !authority.is_empty() {
        put(out, &[b"host: ", authority])?;
        out.extend_from_slice(b"\r\n");
    }
    if request.headers().len() > usize::from(fields_max) {
        return Err(Malformed::TooManyFields);
    }
    put_fields(out, request.headers(), |name| *name == header::HOST || *name == header::COOKIE)?;
    put_cookies(out, request.headers())?;
    if let Some(protocol) = protocol {
        let token = protocol.as_str();
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
        if token.is_empty()
            || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./_".contains(&byte))
        {
            return Err(Malformed::Pseudo);
        }
        put(out, &[token.as_bytes()])?;
        out.extend_from_slice(b"\r\n");
        if token.eq_ignore_ascii_case("websocket") {
            put(out, &[b"sec-websocket-key: ", websocket_key.as_bytes()])?;
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Host is made from `:authority` where there is one (RFC 9113 §8.3.1); where both are, they say the same.
fn authority(request: &Request<()>) -> Result<&[u8], Malformed> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Malformed::AuthorityDiffers);
    }
    match (request.uri().authority(), host) {
        (Some(authority), None) => Ok(authority.as_str().as_bytes()),
        (Some(authority), Some(host)) if host.eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            Ok(authority.as_str().as_bytes())
        }
        (Some(_), Some(_)) => Err(Malformed::AuthorityDiffers),
        (None, host) => Ok(host.unwrap_or_default()),
    }
}

/// Writes a response's head as HTTP/1.1 would have it.
///
/// # Errors
/// As [`request_text`].
pub fn response_text(response: &Response<()>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    put(out, &[b"HTTP/1.1 ", response.status().as_str().as_bytes(), b" "])?;
    if let Some(phrase) = response.status().canonical_reason() {
        put(out, &[phrase.as_bytes()])?;
    }
    out.extend_from_slice(b"\r\n");
    put_fields(out, response.headers(), |_| false)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the head by which HTTP/1.1 agrees to a WebSocket, in place of the 2xx of an extended CONNECT (RFC 8441 §5).
///
/// # Errors
/// As [`request_text`].
pub fn switched_text(response: &Response<()>, accept: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
    );
    put(out, &[b"sec-websocket-accept: ", accept.as_bytes()])?;
    out.extend_from_slice(b"\r\n");
    put_fields(out, response.headers(), |name| *name == header::CONTENT_LENGTH)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes trailers as they follow a chunked body, the empty line included.
///
/// # Errors
/// As [`request_text`].
pub fn trailers_text(trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    put_fields(out, trailers, |_| false)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn put_fields(
    out: &mut Vec<u8>,
    fields: &HeaderMap,
    skips: impl Fn(&HeaderName) -> bool,
) -> Result<(), Malformed> {
    for (name, value) in fields {
        if is_of_connection(name.as_str().as_bytes()) {
            return Err(Malformed::ConnectionField);
        }
        if !skips(name) {
            put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes()])?;
            out.extend_from_slice(b"\r\n");
        }
    }
    Ok(())
}

/// Crumbs are joined before anybody but HTTP/2 sees them (RFC 9113 §8.2.3).
fn put_cookies(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<(), Malformed> {
    let mut before: &[u8] = b"cookie: ";
    for crumb in fields.get_all(header::COOKIE) {
        put(out, &[before, crumb.as_bytes()])?;
        before = b"; ";
    }
    if before == b"; " {
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) -> Result<(), Malformed> {
    for part in parts {
        if part.iter().fold(false, |stray, byte| stray | matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(Malformed::Byte);
        }
        out.extend_from_slice(part);
    }
    Ok(())
}

/// Fields that never cross from one version to the other.
fn is_of_connection(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection")
}

/// How a request is put to an endpoint that speaks HTTP/2, from the text that an HTTP/1.1 one would get.
///
/// # Errors
/// `Pseudo`: the target has no form in HTTP/2.
pub fn request_of(text: &[u8], https: bool) -> Result<Request<()>, Malformed> {
    let text = Bytes::copy_from_slice(text);
    let (line, mut rest) = line_of(&text).ok_or(Malformed::Byte)?;
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(Malformed::Byte) };
    let method = Method::from_bytes(method).map_err(|_| Malformed::Byte)?;
    let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
    let mut host: &[u8] = b"";
    let mut upgrade = None;
    while let Some((line, after)) = line_of(rest) {
        rest = after;
        let Some((name, value)) = field_of(line) else { break };
        if name.eq_ignore_ascii_case(b"host") {
            host = value;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = std::str::from_utf8(value).ok();
        } else if !(is_http1_only(name)
            || upgrade.is_some() && name.eq_ignore_ascii_case(b"sec-websocket-key"))
        {
            append(&mut fields, &text, name, value)?;
        }
    }
    let mut uri = http::uri::Parts::default();
    uri.authority = match host {
        b"" => None,
        host => Some(Authority::try_from(host).map_err(|_| Malformed::Pseudo)?),
    };
    if method != Method::CONNECT {
        uri.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
        uri.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| Malformed::Pseudo)?);
    }
    if uri.authority.is_none() {
        // h2 takes a URI either with both or with neither.
        uri.scheme = None;
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed::Pseudo)?;
    *request.version_mut() = http::Version::HTTP_2;
    if let Some(protocol) = upgrade {
        fields.remove("sec-websocket-key");
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol));
    }
    *request.headers_mut() = fields;
    Ok(request)
}

/// How a response is put to a client that speaks HTTP/2, from the text that an HTTP/1.1 one would get. 101 becomes 200:
/// that is how an extended CONNECT is agreed to (RFC 8441 §5).
///
/// # Errors
/// `Byte`: it is no such text.
pub fn response_of(text: &[u8]) -> Result<Response<()>, Malformed> {
    let text = Bytes::copy_from_slice(text);
    let (line, mut rest) = line_of(&text).ok_or(Malformed::Byte)?;
    let status = line.get(9..12).ok_or(Malformed::Byte)?;
    let switched = status == b"101";
    let status = if switched {
        StatusCode::OK
    } else {
        StatusCode::from_bytes(status).map_err(|_| Malformed::Byte)?
    };
    let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
    while let Some((line, after)) = line_of(rest) {
        rest = after;
        let Some((name, value)) = field_of(line) else { break };
        let of_switch =
            name.eq_ignore_ascii_case(b"upgrade") || name.eq_ignore_ascii_case(b"sec-websocket-accept");
        if !(is_http1_only(name) || switched && of_switch) {
            append(&mut fields, &text, name, value)?;
        }
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = fields;
    Ok(response)
}

/// Trailers for HTTP/2.
pub fn trailers_of<'a>(trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in trailers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    fields
}

/// Room that most heads need.
const FIELDS_USUAL: usize = 24;

fn append(fields: &mut HeaderMap, text: &Bytes, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let name = HeaderName::from_bytes(name).map_err(|_| Malformed::Byte)?;
    let value = HeaderValue::from_maybe_shared(text.slice_ref(value)).map_err(|_| Malformed::Byte)?;
    fields.append(name, value);
    Ok(())
}

/// What an HTTP/1.1 head says about its connection. `TE: trailers` is the one that HTTP/2 keeps.
fn is_http1_only(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"connection",
        b"transfer-encoding",
        b"keep-alive",
        b"proxy-connection",
        b"upgrade",
        b"http2-settings",
    ];
    matches!(name.len(), 7 | 10 | 14 | 16 | 17) && NAMES.iter().any(|one| name.eq_ignore_ascii_case(one))
}

/// A line and what follows its CRLF.
fn line_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?.strip_suffix(b"\r")?;
    Some((line, bytes.get(end + 1..)?))
}

/// `None` at the empty line that ends a head.
fn field_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
}
