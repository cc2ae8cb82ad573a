//! The tables of `services`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::{EJECT, HEALTH, SERVICE_HTTP2, SERVICE_TLS};

const ENDPOINT: Kind =
    Kind::Text("an address (`127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `dns:name:port`)");

/// One of `services`
pub static SERVICE: Object = Object {
    name: "service",
    about: "A named set of endpoints.",
    later: &["circuit_breaker", "retries", "retry_budget", "zone"],
    fields: &[
        Field {
            name: "endpoints",
            kind: Kind::List(&Kind::Either(&ENDPOINT, &Kind::Object(&ENDPOINT_OBJECT))),
            absent: Required,
            about: "At least one.",
        },
        Field {
            name: "balance",
            kind: Kind::Choice {
                now: &["round_robin", "least_request", "peak_ewma", "random"],
                later: &["ring_hash", "maglev"],
            },
            absent: Default("least_request"),
            about: "How endpoints are picked: in turn; the less busy of two; the faster and less busy of two; by chance. \
                    Weights count in each.",
        },
        Field {
            name: "protocol",
            kind: Kind::Choice { now: &["http1", "http2", "auto"], later: &[] },
            absent: Default("http1"),
            about: "What its endpoints speak: `http2` for gRPC. `auto` is what TLS agrees on; without TLS what the \
                    request came by.",
        },
        Field {
            name: "authority",
            kind: Kind::Text("`host` or `host:port`"),
            absent: Means("the first endpoint's address"),
            about: "Sent as Host where an HTTP/1.0 request had none, and always with `host: service`.",
        },
        Field {
            name: "host",
            kind: Kind::Choice { now: &["preserve", "service"], later: &[] },
            absent: Default("preserve"),
            about: "The Host that endpoints see: as the client sent it (or the route rewrote it), or the service's \
                    authority.",
        },
        Field {
            name: "timeouts",
            kind: Kind::Object(&SERVICE_TIMEOUTS),
            absent: Means("its defaults"),
            about: "How long endpoints may take.",
        },
        Field {
            name: "tls",
            kind: Kind::Object(&SERVICE_TLS),
            absent: Means("plain"),
            about: "TLS towards endpoints; `{}` is enough where the system trusts them.",
        },
        Field {
            name: "http2",
            kind: Kind::Object(&SERVICE_HTTP2),
            absent: Means("its defaults"),
            about: "Bounds of HTTP/2.",
        },
        Field {
            name: "health",
            kind: Kind::Object(&HEALTH),
            absent: Means("no checks"),
            about: "Asks each endpoint whether it is well, and sends nothing to those that are not.",
        },
        Field {
            name: "eject",
            kind: Kind::Object(&EJECT),
            absent: Means("nobody is ejected"),
            about: "Takes out endpoints whose exchanges fail; `{}` is enough.",
        },
        Field {
            name: "pool",
            kind: Kind::Object(&POOL),
            absent: Means("its defaults"),
            about: "Bounds of each worker's keep-alive pool, for each endpoint.",
        },
    ],
};

/// One of `services.X.endpoints`, long form
pub static ENDPOINT_OBJECT: Object = Object {
    name: "endpoint",
    about: "Where a service answers.",
    later: &["zone", "tls", "protocol", "health"],
    fields: &[
        Field {
            name: "address",
            kind: ENDPOINT,
            absent: Required,
            about: "Each A and AAAA record of a `dns:` name is an endpoint of its own.",
        },
        Field {
            name: "weight",
            kind: Kind::Integer(1, 1000),
            absent: Default("1"),
            about: "Share among its siblings.",
        },
    ],
};

/// `services.X.timeouts`
pub static SERVICE_TIMEOUTS: Object = Object {
    name: "service_timeouts",
    about: "How long endpoints may take.",
    later: &[],
    fields: &[
        Field { name: "connect", kind: Kind::Duration, absent: Default("3s"), about: "TCP handshake: 504." },
        Field {
            name: "response_head",
            kind: Kind::Duration,
            absent: Default("60s"),
            about: "Request sent to response head read: 504.",
        },
        Field {
            name: "idle",
            kind: Kind::Duration,
            absent: Default("60s"),
            about: "Silence within a response body.",
        },
    ],
};

/// `services.X.pool`
pub static POOL: Object = Object {
    name: "pool",
    about: "Bounds of each worker's keep-alive pool, for each endpoint.",
    later: &["pending", "requests"],
    fields: &[
        Field {
            name: "connections",
            kind: Kind::Integer(1, 65_535),
            absent: Default("1024"),
            about: "Connections of one worker to one endpoint: 503 beyond it.",
        },
        Field {
            name: "idle",
            kind: Kind::Integer(0, 65_535),
            absent: Default("128"),
            about: "Idle ones kept of those. At most `connections`.",
        },
        Field {
            name: "idle_timeout",
            kind: Kind::Duration,
            absent: Default("30s"),
            about: "An idle one is closed after.",
        },
    ],
};
