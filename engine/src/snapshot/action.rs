//! What routes do: forward, respond, redirect.

use crate::grpc_json::Transcoder;

use super::{HedgePlan, MirrorPlan, Split, Weighted};
use crate::key::KeyPlan;
use crate::retry::RetryPlan;
use crate::routing::{Matched, PathFill};

/// What a route does.
#[derive(Debug)]
pub enum ActionPlan {
    /// Sends the request to a service.
    Forward(ForwardPlan),
    /// Answers itself.
    Respond(RespondPlan),
    /// Sends the client elsewhere.
    Redirect(RedirectPlan),
}

/// `to` and what goes with it.
#[derive(Debug)]
pub struct ForwardPlan {
    /// Which service.
    pub split: Split,
    /// `to` as written, weights of 0 included.
    pub entries: Box<[Weighted]>,
    /// By what, where not by chance.
    pub split_by: KeyPlan,
    /// Must be made canonical again afterwards.
    pub rewrite_path: Option<PathFill>,
    /// Host the upstream sees.
    pub rewrite_host: Option<Box<[u8]>>,
    /// Whose pages may call by gRPC-Web, where that is spoken.
    pub grpc_web: Option<Box<[Box<str>]>>,
    /// Calls by JSON, where they are taken.
    pub grpc_json: Option<Box<Transcoder>>,
    /// Request head to the response's last byte.
    pub timeout_ms: Option<u64>,
    /// What is sent again.
    pub retries: Option<Box<RetryPlan>>,
    /// When another endpoint is asked too.
    pub hedge: Option<HedgePlan>,
    /// Where copies go.
    pub mirror: Option<MirrorPlan>,
}

/// A response as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RespondPlan {
    /// 200 to 599.
    pub status: u16,
    /// Empty where there is no body.
    pub content_type: Box<[u8]>,
    /// Not sent in answer to HEAD. Empty where the status has none.
    pub body: Box<[u8]>,
}

impl RespondPlan {
    /// 204 and 304 have neither body nor length, 205 a length of zero (RFC 9110 §8.6, §15.3.6).
    pub fn new(status: u16, content_type: &str, body: &str) -> RespondPlan {
        let body = if matches!(status, 204 | 205 | 304) { "" } else { body };
        let content_type = if body.is_empty() { "" } else { content_type };
        RespondPlan { status, content_type: content_type.as_bytes().into(), body: body.as_bytes().into() }
    }
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectPlan {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `Some(false)` is http, `None` the request's scheme.
    pub https: Option<bool>,
    /// `None`: the request's.
    pub host: Option<Box<[u8]>>,
    /// `None`: the scheme's default where scheme or host are given, else the request's.
    pub port: Option<u16>,
    /// `None`: the request's.
    pub path: Option<PathFill>,
}

/// Where a request came to.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// It came by TLS, here or before the trusted hop that says so.
    pub https: bool,
    /// As in Host; empty if there was none.
    pub authority: &'a [u8],
}

impl RedirectPlan {
    /// Appends the value of Location. Absolute wherever a host is known, so that a path that begins with two slashes
    /// is never taken for a host. The query is kept.
    pub fn location(&self, from: Origin<'_>, matched: Matched, path: &[u8], query: &[u8], out: &mut Vec<u8>) {
        let (host, port) = split_port(from.authority);
        let host = self.host.as_deref().unwrap_or(host);
        if host.is_empty() {
            let doubled = match &self.path {
                Some(fill) => fill.pieces(matched, path).flatten().take(2).eq(b"//"),
                None => path.starts_with(b"//"),
            };
            // RFC 3986 §4.2: a relative reference that begins with `//` would name a host.
            out.extend_from_slice(if doubled { b"/." } else { b"" });
        } else {
            let https = self.https.unwrap_or(from.https);
            out.extend_from_slice(if https { b"https://" } else { b"http://" });
            out.extend_from_slice(host);
            match self.port {
                Some(port) if port == if https { 443 } else { 80 } => {}
                Some(port) => out.extend_from_slice(format!(":{port}").as_bytes()),
                None if self.https.is_some() || self.host.is_some() => {}
                None => out.extend_from_slice(port),
            }
        }
        match &self.path {
            Some(fill) => fill.fill(matched, path, out),
            None => out.extend_from_slice(path),
        }
        if !query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }
}

/// Host, and the port with its colon.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let colon = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map(|at| at + 1),
        _ => memchr::memchr(b':', authority),
    };
    authority.split_at(colon.unwrap_or(authority.len()))
}
