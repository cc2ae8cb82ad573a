//! Bodies of the fuzz targets beyond HTTP/1.1: what must hold for any bytes at all. See `http1/fuzzing.rs`.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::http1::{Limits, Progress, RequestHead};
use crate::http2::text;
use crate::{detect, grpc_json::Template, grpc_web, proxy_protocol};

/// A request of HTTP/2 as text of HTTP/1.1: what is written is one head and nothing after it, or the reader refuses it;
/// and told back it is the same request. The data: method, URI and fields, a line each.
pub fn http2_text(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Ok(method) = Method::from_bytes(lines.next().unwrap_or_default()) else { return };
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for line in lines {
        let at = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            continue;
        };
        request.headers_mut().append(name, value);
    }
    let mut head = Vec::new();
    if text::request_text(&request, 100, "", &mut head).is_err() {
        return;
    }
    let limits =
        Limits { head_bytes_max: 1 << 20, target_bytes_max: 1 << 20, fields_max: 200, underscores: true };
    let mut parsed = RequestHead::default();
    match parsed.parse(&head, &limits) {
        Err(_) => return,
        Ok(progress) => assert_eq!(progress, Progress::Complete(head.len()), "one head and nothing after it"),
    }
    let Ok(back) = text::request_of(&head, request.uri().scheme_str() == Some("https")) else { return };
    assert_eq!(back.method(), request.method());
    let path = |uri: &Uri| uri.path_and_query().map(|path| path.as_str().to_owned());
    assert_eq!(path(back.uri()), path(request.uri()));
    for (name, value) in back.headers() {
        let crumbs = name == http::header::COOKIE;
        let sent =
            request.headers().get_all(name).iter().any(|one| one.as_bytes().trim_ascii() == value.as_bytes());
        assert!(crumbs || sent, "{name} came from nowhere");
    }
}

/// gRPC-Web's framing: what is encoded comes back, whatever came before it.
pub fn grpc_web(data: &[u8]) {
    let _ = (grpc_web::form(data), grpc_web::decode_text(data));
    let (mut response, mut out) = (grpc_web::Response::new(grpc_web::Form::Text), Vec::new());
    data.chunks(7).for_each(|piece| response.push(piece, &mut out));
    response.finish(std::iter::empty(), &mut out);
    assert_eq!(grpc_web::decode_text(&out), Some([data, b"\x80\0\0\0\0"].concat()));
}

/// A path template and a path, a line each: what a template matches has a value for each of its fields.
pub fn path_template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, path) = text.split_once('\n').unwrap_or((text, "/"));
    let Ok(template) = Template::parse(template) else { return };
    if let Some(captures) = template.matches(path) {
        assert_eq!(captures.len(), template.fields().count());
        assert!(captures.iter().all(|(field, _)| template.fields().any(|other| other == field)));
    }
}

/// What is spoken, and a ClientHello: more bytes never make HTTP into bytes, nor a whole hello into none.
pub fn client_hello(data: &[u8]) {
    use detect::{Hello, Spoken};
    let http = |spoken| matches!(spoken, Spoken::Http1 | Spoken::Http2);
    let mut whole = false;
    let mut spoke_http = false;
    for len in 0..=data.len().min(600) {
        let spoken = detect::spoken(&data[..len]);
        assert!(!spoke_http || http(spoken), "what was HTTP is no longer");
        spoke_http |= http(spoken);
        if len % 16 == 0 || len == data.len() {
            let hello = detect::hello(&data[..len]);
            assert!(!whole || matches!(hello, Hello::Whole { .. }));
            whole = matches!(hello, Hello::Whole { .. });
        }
    }
}

/// The PROXY protocol: cut anywhere it is read alike, and what was read is written so that it reads alike.
pub fn proxy_protocol(data: &[u8]) {
    use proxy_protocol::{Form, Progress};
    let whole = proxy_protocol::parse(data);
    let first = (0..=data.len())
        .map(|len| proxy_protocol::parse(&data[..len]))
        .find(|one| !matches!(one, Ok(Progress::Partial)));
    assert_eq!(first.unwrap_or(Ok(Progress::Partial)), whole, "the pieces are read alike");
    if let Ok(Progress::Complete { source: Some(source), destination: Some(destination), .. }) = whole {
        for form in [Form::V1, Form::V2] {
            let header = proxy_protocol::header(form, Some((source, destination)));
            let Ok(Progress::Complete { consumed, source: Some(again), .. }) = proxy_protocol::parse(&header)
            else {
                panic!("what is written can be read")
            };
            assert_eq!((consumed, again.ip().to_canonical()), (header.len(), source.ip().to_canonical()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http1::fuzzing::tests::run;

    #[test]
    fn http2_text_holds_over_the_corpus() {
        run("http2_text", super::http2_text);
    }

    #[test]
    fn grpc_web_holds_over_the_corpus() {
        run("grpc_web", super::grpc_web);
    }

    #[test]
    fn path_template_holds_over_the_corpus() {
        run("path_template", super::path_template);
    }

    #[test]
    fn client_hello_holds_over_the_corpus() {
        run("client_hello", super::client_hello);
    }

    #[test]
    fn proxy_protocol_holds_over_the_corpus() {
        run("proxy_protocol", super::proxy_protocol);
    }
}
