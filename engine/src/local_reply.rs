//! Responses Ringway makes itself: a problem document (RFC 9457) or plain text about why, or what a route says.
//!
//! Rendering writes a complete HTTP/1.1 response, or only its head for HEAD, and allocates nothing. What is quoted in
//! it is ours or was checked; it is escaped all the same. On the line: `respond`, wherever the line was left early.

use crate::date::IMF_FIXDATE_BYTES;
use crate::observe::escape::put_json as put_escaped;
use crate::reason::{Reason, phrase};
use crate::sink::{Counting, Sink, put_decimal};

/// What to answer and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// 200 to 599.
    pub status: u16,
    /// Name for machines: in the reply, the access log and the metrics.
    pub reason: &'static str,
    /// One sentence for a person.
    pub detail: &'static str,
    /// The connection can't be used for another request.
    pub closes: bool,
    /// Seconds for Retry-After.
    pub retry_after_s: Option<u32>,
}

impl From<Reason> for LocalReply {
    fn from(reason: Reason) -> Self {
        Self {
            status: reason.status(),
            reason: reason.name(),
            detail: reason.detail(),
            closes: reason.closes(),
            retry_after_s: reason.retry_after_s(),
        }
    }
}

impl LocalReply {
    /// A reply for what another layer refused, such as the codec: its framing is no longer trusted, so the
    /// connection closes. For a refused response say so: [`LocalReply::keeping`].
    pub const fn from_parts(status: u16, reason: &'static str, detail: &'static str) -> Self {
        Self { status, reason, detail, closes: true, retry_after_s: None }
    }

    /// The same, without closing the downstream connection.
    pub const fn keeping(self) -> Self {
        Self { closes: false, ..self }
    }

    /// The same, with another time to come back.
    pub const fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

/// Form of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// application/problem+json
    Problem,
    /// text/plain
    Text,
}

/// What the `Connection` field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: an HTTP/1.1 connection that goes on.
    Implied,
    /// `keep-alive`: an HTTP/1.0 one that goes on.
    Said,
    /// `close`
    Close,
}

/// The request that is answered, as far as the reply depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// HEAD: no body follows.
    pub head_only: bool,
    /// What the connection does next. A reply that closes overrides it.
    pub persistence: Persistence,
    /// Its id, told in the reply; empty where none is known yet.
    pub request_id: &'a [u8],
    /// From the worker's [`crate::date::DateCache`].
    pub date: &'a [u8; IMF_FIXDATE_BYTES],
    /// Further fields, whole lines with their CRLF: Allow of a 405, what policies tell.
    pub lines: &'a [u8],
}

/// Writes the whole reply.
pub fn render(sink: &mut impl Sink, reply: &LocalReply, format: Format, answering: &Answering<'_>) {
    let mut length = Counting::default();
    put_body(&mut length, reply, format, answering.request_id);
    let persistence = if reply.closes { Persistence::Close } else { answering.persistence };
    put_status_line(sink, reply.status);
    if bodyless(reply.status) {
        put_rest(sink, None, answering, persistence, reply.retry_after_s);
        return;
    }
    put_field(
        sink,
        b"Content-Type",
        match format {
            Format::Problem => b"application/problem+json",
            Format::Text => b"text/plain; charset=utf-8",
        },
    );
    put_rest(sink, Some(length.0), answering, persistence, reply.retry_after_s);
    if !answering.head_only {
        put_body(sink, reply, format, answering.request_id);
    }
}

/// What a route answers by itself: `respond`, or `redirect` with a location.
#[derive(Clone, Copy, Debug)]
pub struct RouteReply<'a> {
    /// 200 to 599.
    pub status: u16,
    /// Of the body; not sent where it is empty.
    pub content_type: &'a [u8],
    /// For redirects: a URI reference, already free of control characters.
    pub location: Option<&'a [u8]>,
    /// Further fields, whole lines with their CRLF.
    pub fields: &'a [u8],
    /// Those that the route adds to every response, likewise.
    pub added: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// Writes a route's own answer.
pub fn render_route(sink: &mut impl Sink, reply: &RouteReply<'_>, answering: &Answering<'_>) {
    put_status_line(sink, reply.status);
    if let Some(location) = reply.location {
        put_field(sink, b"Location", location);
    }
    let length = (!bodyless(reply.status)).then_some(reply.body.len());
    if length.is_some() && !reply.content_type.is_empty() {
        put_field(sink, b"Content-Type", reply.content_type);
    }
    sink.put(reply.fields);
    sink.put(reply.added);
    sink.put(answering.lines);
    put_end(sink, length, answering.date, answering.persistence);
    if length.is_some() && !answering.head_only {
        sink.put(reply.body);
    }
}

/// 204 and 304 end with their head (RFC 9110 §6.4.1).
fn bodyless(status: u16) -> bool {
    matches!(status, 100..200 | 204 | 304)
}

fn put_status_line(sink: &mut impl Sink, status: u16) {
    sink.put(b"HTTP/1.1 ");
    put_decimal(sink, u64::from(status));
    sink.put(b" ");
    sink.put(phrase(status).as_bytes());
    sink.put(b"\r\n");
}

fn put_field(sink: &mut impl Sink, name: &[u8], value: &[u8]) {
    sink.put(name);
    sink.put(b": ");
    sink.put(value);
    sink.put(b"\r\n");
}

fn put_rest(
    sink: &mut impl Sink,
    length: Option<usize>,
    answering: &Answering<'_>,
    persistence: Persistence,
    retry_after_s: Option<u32>,
) {
    sink.put(b"Cache-Control: no-store\r\n");
    sink.put(answering.lines);
    if let Some(seconds) = retry_after_s {
        sink.put(b"Retry-After: ");
        put_decimal(sink, u64::from(seconds));
        sink.put(b"\r\n");
    }
    if !answering.request_id.is_empty() {
        crate::request_id::put_field(sink, answering.request_id);
    }
    put_end(sink, length, answering.date, persistence);
}

fn put_end(sink: &mut impl Sink, length: Option<usize>, date: &[u8], persistence: Persistence) {
    if let Some(length) = length {
        sink.put(b"Content-Length: ");
        put_decimal(sink, length as u64);
        sink.put(b"\r\n");
    }
    sink.put(b"Date: ");
    sink.put(date);
    sink.put(match persistence {
        Persistence::Implied => b"\r\n\r\n".as_slice(),
        Persistence::Said => b"\r\nConnection: keep-alive\r\n\r\n",
        Persistence::Close => b"\r\nConnection: close\r\n\r\n",
    });
}

fn put_body(sink: &mut impl Sink, reply: &LocalReply, format: Format, request_id: &[u8]) {
    match format {
        Format::Problem => put_problem(sink, reply, request_id),
        Format::Text => put_text(sink, reply, request_id),
    }
}

/// `about:blank` says that the title is the status's own phrase (RFC 9457 §4.2.1); `reason` tells cases apart.
fn put_problem(sink: &mut impl Sink, reply: &LocalReply, request_id: &[u8]) {
    sink.put(b"{\"type\":\"about:blank\",\"title\":\"");
    put_escaped(sink, phrase(reply.status).as_bytes());
    sink.put(b"\",\"status\":");
    put_decimal(sink, u64::from(reply.status));
    sink.put(b",\"detail\":\"");
    put_escaped(sink, reply.detail.as_bytes());
    sink.put(b"\",\"reason\":\"");
    put_escaped(sink, reply.reason.as_bytes());
    if !request_id.is_empty() {
        sink.put(b"\",\"request_id\":\"");
        put_escaped(sink, request_id);
    }
    sink.put(b"\"}\n");
}

fn put_text(sink: &mut impl Sink, reply: &LocalReply, request_id: &[u8]) {
    put_decimal(sink, u64::from(reply.status));
    for (before, text) in [
        (" ", phrase(reply.status).as_bytes()),
        ("\n", reply.detail.as_bytes()),
        ("\nreason: ", reply.reason.as_bytes()),
    ] {
        sink.put(before.as_bytes());
        sink.put(text);
    }
    if !request_id.is_empty() {
        sink.put(b"\nrequest id: ");
        sink.put(request_id);
    }
    sink.put(b"\n");
}

#[cfg(test)]
mod tests;
