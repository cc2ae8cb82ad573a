//! HAProxy, one thread.

use crate::front::Front;
use crate::peers::Place;

use super::IDLE_KEPT;

/// A whole configuration.
pub fn haproxy(place: &Place<'_>, port: u16) -> String {
    let origin = place.origin;
    let (listens, speaks) = match place.front {
        Front::Http1 | Front::Tcp => (String::new(), ""),
        Front::Tls => (format!(" ssl crt {} alpn http/1.1", place.identity.both.display()), ""),
        Front::Http2 => (" proto h2".into(), ""),
        Front::Grpc => (" proto h2".into(), " proto h2"),
    };
    let scheme = if place.front == Front::Tls { "https" } else { "http" };
    let (http, headers) = match place.front {
        Front::Tcp => ("mode tcp".to_owned(), String::new()),
        _ => (
            "mode http
    http-reuse always
    option forwardfor
    timeout http-keep-alive 600s"
                .to_owned(),
            format!(
                "
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header Forwarded 'for=%[src];proto={scheme};host=\"%[req.hdr(host)]\"'
    http-request set-header X-Request-Id %[uuid()]
    http-request set-header Via \"1.1 haproxy\""
            ),
        ),
    };
    format!(
        "global
    nbthread 1
    maxconn 10500
    no strict-limits

defaults
    {http}
    timeout connect 5s
    timeout client 600s
    timeout server 600s

frontend web
    bind 127.0.0.1:{port} backlog 4096{listens}{headers}
    default_backend origin

backend origin
    server origin 127.0.0.1:{origin} pool-max-conn {IDLE_KEPT}{speaks}
"
    )
}
