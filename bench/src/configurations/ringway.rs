//! Ringway; what the others are told it does unasked.

use crate::front::Front;
use crate::peers::Place;

use super::IDLE_KEPT;

/// A whole configuration.
pub fn ringway(place: &Place<'_>, backend: &str, port: u16, admin: u16) -> String {
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
  origin: {{ endpoints: [ 127.0.0.1:{} ], pool: {{ idle: {IDLE_KEPT} }}{service} }}
",
        place.origin
    );
    match (place.front, place.routes) {
        (Front::Tcp, _) => head,
        (_, None) => head + "routes:\n  - { path: /**, to: origin }\n",
        (_, Some(count)) => head + "routes:\n" + &(0..count).map(route).collect::<String>(),
    }
}

/// A third each of prefixes, templates and exact paths; the load asks each for the same path.
fn route(n: u32) -> String {
    let rest = ["**", "{id}", "42"][n as usize % 3];
    format!("  - {{ name: r{n:05}, path: '/api/v1/r{n:05}/{rest}', to: origin }}\n")
}
