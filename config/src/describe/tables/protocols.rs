//! The tables of what is spoken beside HTTP/1.1: HTTP/2 and bytes that are not HTTP.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::{KIB, MIB};

const STREAMS: Field = Field {
    name: "streams",
    kind: Kind::Integer(1, 10_000),
    absent: Default("100"),
    about: "Streams at once on one connection.",
};
const WINDOW: Field = Field {
    name: "window",
    kind: Kind::Size(64 * KIB - 1, 16 * MIB),
    absent: Default("64KiB"),
    about: "What may be on its way to us on one stream.",
};
const CONNECTION_WINDOW: Field = Field {
    name: "connection_window",
    kind: Kind::Size(64 * KIB - 1, 64 * MIB),
    absent: Default("1MiB"),
    about: "What may be on its way to us on all streams of a connection: what they hold of our memory at most.",
};

/// `listeners[].http2`
pub static LISTENER_HTTP2: Object = Object {
    name: "http2",
    about: "HTTP/2 with clients. Whoever goes beyond what is allowed a second is told to calm down (GOAWAY) and counted.",
    later: &[],
    fields: &[
        STREAMS,
        WINDOW,
        CONNECTION_WINDOW,
        Field {
            name: "unsent",
            kind: Kind::Size(64 * KIB, 64 * MIB),
            absent: Default("1MiB"),
            about: "What may wait for a slow client on all streams of a connection.",
        },
        Field {
            name: "resets",
            kind: Kind::Rate,
            absent: Default("100/s"),
            about: "Streams a client may reset (rapid reset).",
        },
        Field {
            name: "control_frames",
            kind: Kind::Rate,
            absent: Default("100/s"),
            about: "SETTINGS, PING, PRIORITY and frames of unknown types.",
        },
        Field {
            name: "empty_frames",
            kind: Kind::Rate,
            absent: Default("100/s"),
            about: "Frames that carry nothing and end nothing.",
        },
        Field {
            name: "continuations",
            kind: Kind::Integer(0, 1000),
            absent: Default("8"),
            about: "CONTINUATION frames of one head.",
        },
        Field {
            name: "stream_errors",
            kind: Kind::Integer(1, 1_000_000),
            absent: Default("100"),
            about: "Streams that we had to reset for a client's errors, in a connection's life.",
        },
        Field {
            name: "keep_alive",
            kind: Kind::Or("none", &Kind::Duration),
            absent: Default("none"),
            about: "How often a PING asks whether the client is there; one that does not answer before the next is gone.",
        },
    ],
};

/// `services.X.http2`
pub static SERVICE_HTTP2: Object = Object {
    name: "service_http2",
    about: "HTTP/2 with endpoints.",
    later: &[],
    fields: &[
        STREAMS,
        WINDOW,
        CONNECTION_WINDOW,
        Field {
            name: "keep_alive",
            kind: Kind::Or("none", &Kind::Duration),
            absent: Default("none"),
            about: "How often a PING asks whether an endpoint is there while it has requests to answer; a connection whose \
                    PING is not answered within 2s ends. One is sent in any case when an answer did not come in time.",
        },
    ],
};

/// `listeners[].tcp`
pub static TCP: Object = Object {
    name: "tcp",
    about: "Bytes that are not HTTP, or not ours to read.",
    later: &[],
    fields: &[
        Field {
            name: "to",
            kind: super::balancing::TO,
            absent: Required,
            about: "The service connections go to, or services with weights.",
        },
        Field {
            name: "proxy_protocol",
            kind: Kind::Choice { now: &["none", "v1", "v2"], later: &[] },
            absent: Default("none"),
            about: "Tell endpoints who connected, by a PROXY protocol header.",
        },
    ],
};

/// `listeners[].udp`
pub static UDP: Object = Object {
    name: "udp",
    about: "Datagrams. Those of one client's address and port are a session, which keeps its endpoint.",
    later: &["rate_limit"],
    fields: &[
        Field {
            name: "to",
            kind: super::balancing::TO,
            absent: Required,
            about: "The service datagrams go to, or services with weights. Endpoints are picked by hash of the client.",
        },
        Field {
            name: "idle",
            kind: Kind::Duration,
            absent: Default("30s"),
            about: "Silence after which a session ends. A drain waits for it, within `drain_timeout`.",
        },
        Field {
            name: "sessions",
            kind: Kind::Integer(1, 1_000_000),
            absent: Default("4096"),
            about: "Sessions at once on one worker; each takes a file descriptor. Beyond it datagrams of new clients are \
                    dropped and counted.",
        },
        Field {
            name: "rate",
            kind: Kind::Object(&super::ARRIVAL_RATE),
            absent: Means("as they come"),
            about: "Datagrams from all clients together, over all workers. Beyond it they are dropped and counted.",
        },
        Field {
            name: "client_rate",
            kind: Kind::Object(&super::CLIENT_RATE),
            absent: Means("as they come"),
            about: "Datagrams from one client's address, over all workers. Beyond it they are dropped and counted.",
        },
    ],
};

/// `listeners[].detect`
pub static DETECT: Object = Object {
    name: "detect",
    about: "How `protocol: auto` tells what a client speaks.",
    later: &[],
    fields: &[
        Field {
            name: "timeout",
            kind: Kind::Duration,
            absent: Default("50ms"),
            about: "A client that has said nothing by then waits for the server to speak first (MySQL, SMTP).",
        },
        Field {
            name: "opaque_ports",
            kind: Kind::List(&Kind::Integer(1, 65_535)),
            absent: Means("none"),
            about: "Ports on which nothing is looked at.",
        },
    ],
};
