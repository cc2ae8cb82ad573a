//! The tables of `services`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::retries::RETRY_BUDGET_FIELD;
use super::{BREAKER, CONCURRENCY, EJECT, HEALTH, SERVICE_HTTP2, SERVICE_TLS, balancing};

const ENDPOINT: Kind =
    Kind::Text("an address (`127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `dns:name:port`)");

/// One of `services`
pub static SERVICE: Object = Object {
    name: "service",
    about: "A named set of endpoints.",
    later: &["retries", "zone"],
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
                now: &["round_robin", "least_request", "peak_ewma", "random", "ring_hash", "maglev"],
                later: &[],
            },
            absent: Default("least_request"),
            about: "How endpoints are picked: in turn; the less busy of two; the faster and less busy of two; by chance; by \
                    `hash_by`, along a ring or by a table. Weights count in each.",
        },
        balancing::HASH_BY,
        balancing::HASH_LOAD,
        balancing::SLOW_START,
        balancing::PANIC,
        balancing::STICKY_FIELD,
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
        RETRY_BUDGET_FIELD,
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
            about: "What each worker keeps of connections to each endpoint.",
        },
        Field {
            name: "breaker",
            kind: Kind::Object(&BREAKER),
            absent: Means("its defaults"),
            about: "How much the service and each endpoint may be asked at once.",
        },
        Field {
            name: "concurrency",
            kind: Kind::Object(&CONCURRENCY),
            absent: Means("no such limit"),
            about: "A limit on requests under way that is found rather than written; `{}` is enough.",
        },
    ],
};

/// One of `services.X.endpoints`, long form
pub static ENDPOINT_OBJECT: Object = Object {
    name: "endpoint",
    about: "Where a service answers.",
    later: &["tls", "protocol", "health"],
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
        balancing::PRIORITY,
        balancing::ENDPOINT_ZONE,
        balancing::LABELS,
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
    about: "What each worker keeps of connections to each endpoint.",
    later: &[],
    fields: &[
        Field {
            name: "idle",
            kind: Kind::Integer(0, 65_535),
            absent: Default("128"),
            about: "Idle connections kept by one worker to one endpoint. At most `breaker.endpoint.connections`.",
        },
        Field {
            name: "idle_timeout",
            kind: Kind::Duration,
            absent: Default("30s"),
            about: "An idle one is closed after.",
        },
    ],
};
