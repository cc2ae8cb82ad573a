//! Heads as they are sent: the upstream request's and the downstream response's.
//!
//! Client and upstream framing is never forwarded; it is made anew here. What stops at this hop is left out first, then
//! ours is added. Pure: written into room that the exchange took.

use std::time::Duration;

use crate::forwarded::{self, Claim, Claims, HopLines, Received, claim};
use crate::grpc;
use crate::http1::{BodyFraming, Field, HeadWriter, Known, Request, Response, Version};
use crate::request_id;
use crate::sink::Sink;
use crate::snapshot::HeaderPlan;

impl Sink for HeadWriter<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        HeadWriter::put(self, bytes);
    }
}

/// An upstream request's head.
pub(crate) struct RequestOut<'a, 'c> {
    pub request: Request<'a>,
    /// Canonical, rewritten where the route says so.
    pub path: &'a [u8],
    /// What the upstream is told as Host.
    pub host: &'a [u8],
    pub hop: &'a HopLines,
    /// Given where the peer is a trusted hop.
    pub claims: Option<&'a Claims<'c>>,
    pub request_id: &'a [u8],
    /// What is told of the client's certificate: a field with its CRLF, or nothing.
    pub client_cert: &'a str,
    /// It is a call of gRPC.
    pub is_call: bool,
    /// Which try of it this is, over all hops that retry; 1 is not told.
    pub attempt: u32,
    /// What is left of the time that a call of gRPC was given.
    pub grpc_timeout: Option<Duration>,
    /// What it is for an endpoint that speaks gRPC, where it came as something else.
    pub call: Option<CallHead<'a>>,
    /// The protocol to switch to, if one is allowed.
    pub upgrade: Option<&'a [u8]>,
    pub plan: &'a HeaderPlan,
}

/// A request as a call of gRPC.
#[derive(Clone, Copy)]
pub(crate) struct CallHead<'a> {
    /// `None`: that of the request.
    pub path: Option<&'a [u8]>,
    pub content_type: &'a [u8],
}

impl RequestOut<'_, '_> {
    /// Writes the head, the empty line included.
    pub fn write(&self, out: &mut HeadWriter<'_>) {
        let request = &self.request;
        match self.call {
            None => {
                out.put(request.method());
                out.put(b" ");
                out.put(self.path);
                if let Some(query) = request.query() {
                    out.put(b"?");
                    out.put(query);
                }
            }
            Some(call) => {
                out.put(b"POST ");
                out.put(call.path.unwrap_or(self.path));
            }
        }
        out.put(b" HTTP/1.1\r\nHost: ");
        out.put(self.host);
        out.put(b"\r\n");
        // A client never speaks of its own certificate, and a trusted hop only where we don't.
        let certified = self.claims.is_some() && self.client_cert.is_empty();
        let keeps = Keeps {
            trusted: self.claims.is_some(),
            certified,
            counted: request.head.max_forwards.is_some(),
            timed: self.grpc_timeout.is_some(),
            called: self.call.is_some(),
        };
        let (bytes, plan) = (request.bytes, self.plan);
        let fields = request.head.fields.as_slice();
        if plan.is_empty() {
            out.fields(bytes, fields, |field| passes_upstream(field, bytes, keeps));
        } else {
            out.fields(bytes, fields, |field| {
                passes_upstream(field, bytes, keeps) && !plan.drops(field.name().of(bytes))
            });
        }
        if let Some(hops) = request.head.max_forwards {
            out.field_u64(b"Max-Forwards", hops.saturating_sub(1));
        }
        let received = match request.head.version {
            Version::Http11 => Received::Http11,
            Version::Http10 => Received::Http10,
            Version::Http2 => Received::Http2,
        };
        if plan.drops_ours() {
            self.put_what_is_left_of_ours(out, received);
        } else {
            forwarded::put_fields(out, self.hop, request.authority(), received, self.claims);
            request_id::put_field(out, self.request_id);
        }
        out.put(self.client_cert.as_bytes());
        if let Some(left) = self.grpc_timeout {
            grpc::put_timeout(out, left);
        }
        if self.attempt > 1 {
            out.field_u64(forwarded::ATTEMPT, u64::from(self.attempt));
            if self.is_call {
                out.field_u64(forwarded::PREVIOUS_ATTEMPTS, u64::from(self.attempt - 1));
            }
        }
        if let Some(call) = self.call {
            out.field(b"content-type", call.content_type);
        }
        let framing = if self.call.is_some() { BodyFraming::UntilEnd } else { request.head.framing };
        match framing {
            BodyFraming::None => {}
            BodyFraming::Length(bytes) => out.field_u64(b"Content-Length", bytes),
            // A stream takes it out again.
            BodyFraming::Chunked | BodyFraming::UntilEnd => out.put(b"Transfer-Encoding: chunked\r\n"),
        }
        if let Some(protocol) = self.upgrade {
            out.put(b"Connection: upgrade\r\nUpgrade: ");
            out.put(protocol);
            out.put(b"\r\n");
        }
        if request.head.accepts_trailers || self.call.is_some() {
            out.put(match self.upgrade {
                Some(_) => b"TE: trailers\r\n",
                None => b"Connection: te\r\nTE: trailers\r\n",
            });
        }
        out.put(plan.lines());
        out.end();
    }

    /// The route removes or sets some of the fields that are made here.
    #[cold]
    fn put_what_is_left_of_ours(&self, out: &mut HeadWriter<'_>, received: Received) {
        let mut ours = Vec::new();
        forwarded::put_fields(&mut ours, self.hop, self.request.authority(), received, self.claims);
        request_id::put_field(&mut ours, self.request_id);
        for line in ours.split_inclusive(|byte| *byte == b'\n') {
            let name_len = line.iter().position(|byte| *byte == b':').unwrap_or_default();
            if !self.plan.drops(&line[..name_len]) {
                out.put(line);
            }
        }
    }
}

/// What of a request's own fields passes.
#[derive(Clone, Copy)]
struct Keeps {
    /// What a trusted hop says about those before it.
    trusted: bool,
    /// What it says about a client's certificate.
    certified: bool,
    /// Max-Forwards is counted down, so it is written anew.
    counted: bool,
    /// So is grpc-timeout.
    timed: bool,
    /// It becomes a call of gRPC: what spoke of the body before speaks of nothing.
    called: bool,
}

#[inline]
fn passes_upstream(field: &Field, bytes: &[u8], keeps: Keeps) -> bool {
    if field.dropped() {
        return false;
    }
    match field.known {
        Known::Host
        | Known::ContentLength
        | Known::TransferEncoding
        | Known::XForwardedFor
        | Known::XForwardedProto
        | Known::XForwardedHost
        | Known::Forwarded
        | Known::XRequestId => false,
        // Of methods that don't count hops it is a field like any other (RFC 9110 §7.6.2).
        Known::MaxForwards => !keeps.counted,
        Known::ContentType | Known::ContentEncoding | Known::Expect => !keeps.called,
        // The names told apart by `claim` and not by the codec have these lengths.
        Known::Other => match field.name().len {
            12 => !keeps.timed || !field.name().of(bytes).eq_ignore_ascii_case(b"grpc-timeout"),
            23 => keeps.certified || !field.name().of(bytes).eq_ignore_ascii_case(b"x-forwarded-client-cert"),
            17 | 26 => {
                !matches!(claim(field.name().of(bytes)), Some(Claim::Attempt | Claim::PreviousAttempts))
            }
            9 | 15 | 16 | 18 => keeps.trusted || claim(field.name().of(bytes)) != Some(Claim::Other),
            _ => true,
        },
        _ => true,
    }
}

/// What the client is told about the length of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// Nothing: there is no body, or the connection's end is its end.
    Nothing,
    /// Content-Length, also of what a HEAD would have got.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What the client is told about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nothing: it goes on (HTTP/1.1).
    Implied,
    /// `keep-alive` (HTTP/1.0).
    KeepAlive,
    /// `close`
    Close,
    /// `upgrade`, with the protocol.
    Upgrade,
}

/// A downstream response's head.
pub(crate) struct ResponseOut<'a> {
    pub response: Response<'a>,
    pub announced: Announced,
    pub connection: Connection,
    pub plan: &'a HeaderPlan,
    pub date: &'a [u8],
    /// What it is for a client that did not call by gRPC.
    pub told: Option<Told<'a>>,
    /// What policies tell: whole lines with their CRLF.
    pub lines: &'a [u8],
}

/// An answer of gRPC as something else.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub content_type: &'a [u8],
    /// Further fields, whole lines with their CRLF.
    pub fields: &'a [u8],
    /// Fields of gRPC say nothing to the client.
    pub hides_grpc: bool,
}

impl ResponseOut<'_> {
    /// Writes the head, the empty line included.
    pub fn write(&self, out: &mut HeadWriter<'_>) {
        let response = &self.response;
        let (bytes, plan) = (response.bytes, self.plan);
        out.put(b"HTTP/1.1 ");
        out.put_u64(u64::from(response.head.status));
        out.put(b" ");
        out.put(response.reason());
        out.put(b"\r\n");
        let fields = response.head.fields.as_slice();
        if let Some(told) = self.told {
            out.fields(bytes, fields, |field| {
                let name = field.name().of(bytes);
                passes_downstream(field)
                    && field.known != Known::ContentType
                    && !(told.hides_grpc
                        && name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"grpc-")))
                    && !plan.drops(name)
            });
            out.field(b"content-type", told.content_type);
            out.put(told.fields);
        } else if plan.is_empty() {
            out.fields(bytes, fields, passes_downstream);
        } else {
            out.fields(bytes, fields, |field| {
                passes_downstream(field) && !plan.drops(field.name().of(bytes))
            });
        }
        if response.head.status >= 200 && response.known(Known::Date).is_none() && !plan.drops(b"date") {
            out.field(b"Date", self.date);
        }
        match self.announced {
            Announced::Nothing => {}
            Announced::Length(bytes) => out.field_u64(b"Content-Length", bytes),
            Announced::Chunked => out.put(b"Transfer-Encoding: chunked\r\n"),
        }
        match self.connection {
            Connection::Implied => {}
            Connection::KeepAlive => out.put(b"Connection: keep-alive\r\n"),
            Connection::Close => out.put(b"Connection: close\r\n"),
            Connection::Upgrade => {
                out.put(b"Connection: upgrade\r\n");
                if let Some(protocol) = response.head.upgrade {
                    out.field(b"Upgrade", protocol.of(bytes));
                }
            }
        }
        // What a route adds belongs to the response, not to what is said before it.
        if response.head.status >= 200 || self.connection == Connection::Upgrade {
            out.put(plan.lines());
            out.put(self.lines);
        }
        out.end();
    }
}

#[inline]
fn passes_downstream(field: &Field) -> bool {
    !field.dropped() && !matches!(field.known, Known::ContentLength | Known::TransferEncoding)
}
