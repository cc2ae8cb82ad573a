//! Ringway; what the others are told it does unasked.

use crate::front::Front;
use crate::peers::Place;

use super::IDLE_KEPT;

/// What is said beyond what is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// To go by epoll.
    Epoll,
    /// A timeout, retries, ejection, a breaker and a rate limit.
    Policies,
}

/// Of the service, and of its route. The limits are out of the load's reach: what is measured is the asking.
const POLICIES: (&str, &str) = (
    ", eject: { latency: 3x }, breaker: { connections: 10000, requests: 10000, pending: 100, retries: 100 }",
    ", timeout: 5s, retries: { attempts: 2, when: [ connect, reset, 503 ], per_try_timeout: 2s }, \
     rate_limit: { rate: 1000000/s, burst: 100000, per: client_ip }",
);

/// A whole configuration.
pub fn ringway(place: &Place<'_>, said: Said, port: u16, admin: u16) -> String {
    let backend = if said == Said::Epoll || place.on_epoll { "epoll" } else { "auto" };
    let (of_service, of_route) = if said == Said::Policies { POLICIES } else { ("", "") };
    let listener = match place.front {
        Front::Http1 | Front::Http2 | Front::Grpc => String::new(),
        Front::Tls => format!(
            ", tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }}",
            place.identity.certificate.display(),
            place.identity.key.display()
        ),
        Front::Tcp => ", tcp: { to: origin }".into(),
    };
    let service = if place.front == Front::Grpc { ", protocol: http2" } else { "" };
    let head = format!(
        "runtime: {{ workers: 1, backend: {backend} }}
admin: {{ address: 127.0.0.1:{admin} }}
listeners:
  - {{ name: web, address: 127.0.0.1:{port}, timeouts: {{ idle: 10m }}{listener} }}
services:
  origin: {{ endpoints: [ 127.0.0.1:{} ], pool: {{ idle: {IDLE_KEPT} }}{service}{of_service} }}
",
        place.origin
    );
    match (place.front, place.routes) {
        (Front::Tcp, _) => head,
        (_, None) => head + &format!("routes:\n  - {{ path: /**, to: origin{of_route} }}\n"),
        (_, Some(count)) => head + "routes:\n" + &(0..count).map(route).collect::<String>(),
    }
}

/// A third each of prefixes, templates and exact paths; the load asks each for the same path.
fn route(n: u32) -> String {
    let rest = ["**", "{id}", "42"][n as usize % 3];
    format!("  - {{ name: r{n:05}, path: '/api/v1/r{n:05}/{rest}', to: origin }}\n")
}
