//! The tables of `listeners`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::{DETECT, GIB, KIB, LISTENER_HTTP2, LISTENER_TLS, MIB, NAME, TCP, TIB, UDP};

const LISTEN: Kind = Kind::Text("an address (`127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`)");
const CIDR: Kind = Kind::Text("a network (`10.0.0.0/8`, `fd00::/8`) or an IP address");
const TOKEN: Kind = Kind::Text("a protocol name (`websocket`)");

/// One of `listeners`
pub static LISTENER: Object = Object {
    name: "listener",
    about: "Where connections are accepted.",
    later: &["http3", "transparent", "rate_limit", "auth"],
    fields: &[
        Field {
            name: "name",
            kind: NAME,
            absent: Required,
            about: "Unique. A reload knows the listener by it.",
        },
        Field {
            name: "address",
            kind: LISTEN,
            absent: Required,
            about: "Where it binds. Two listeners never overlap; port 0 is any free one.",
        },
        Field {
            name: "routes",
            kind: Kind::Or("all", &Kind::List(&NAME)),
            absent: Means("all routes if it is the only listener, else an error"),
            about: "Names of the routes it serves.",
        },
        Field {
            name: "protocol",
            kind: Kind::Choice { now: &["http", "auto"], later: &[] },
            absent: Default("http"),
            about: "What clients speak. `http` is HTTP/1.1 and HTTP/2, told apart by ALPN under TLS and else by how they \
                    begin; `auto` is that or TLS, and what is neither goes where `tcp` says.",
        },
        Field {
            name: "tls",
            kind: Kind::Or("passthrough", &Kind::Object(&LISTENER_TLS)),
            absent: Means("plain"),
            about: "TLS ends here; or `passthrough`: routes choose a service by the name the client asks for, and \
                    nothing is decrypted.",
        },
        Field {
            name: "tcp",
            kind: Kind::Object(&TCP),
            absent: Means("HTTP"),
            about: "Connections are carried as bytes; with `protocol: auto` those that are not HTTP.",
        },
        Field {
            name: "udp",
            kind: Kind::Object(&UDP),
            absent: Means("TCP"),
            about: "Datagrams are carried, not connections.",
        },
        Field {
            name: "detect",
            kind: Kind::Object(&DETECT),
            absent: Means("its defaults"),
            about: "How `protocol: auto` tells what a client speaks.",
        },
        Field {
            name: "http2",
            kind: Kind::Object(&LISTENER_HTTP2),
            absent: Means("its defaults"),
            about: "Bounds of HTTP/2.",
        },
        Field {
            name: "proxy_protocol",
            kind: Kind::List(&CIDR),
            absent: Means("not spoken"),
            about: "PROXY protocol (v1 and v2) is required from these peers; others that send it are closed.",
        },
        Field {
            name: "trusted_hops",
            kind: Kind::List(&CIDR),
            absent: Means("nobody"),
            about: "Hops whose X-Forwarded-*, Forwarded, X-Request-Id and X-Ringway-Attempt are believed.",
        },
        Field {
            name: "limits",
            kind: Kind::Object(&LIMITS),
            absent: Means("its defaults"),
            about: "Bounds on what clients may send.",
        },
        Field {
            name: "timeouts",
            kind: Kind::Object(&LISTENER_TIMEOUTS),
            absent: Means("its defaults"),
            about: "How long clients may take.",
        },
        Field {
            name: "socket",
            kind: Kind::Object(&SOCKET),
            absent: Means("its defaults"),
            about: "Socket options.",
        },
        Field {
            name: "upgrades",
            kind: Kind::List(&TOKEN),
            absent: Means("`[websocket]`"),
            about: "Protocols that `Upgrade` may ask for.",
        },
        Field {
            name: "underscores",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Forward header names with `_`; otherwise they are dropped.",
        },
        Field {
            name: "merge_slashes",
            kind: Kind::Boolean,
            absent: Default("true"),
            about: "Merge `//` in paths into `/`.",
        },
        Field { name: "connect", kind: Kind::Boolean, absent: Default("false"), about: "Allow CONNECT." },
        Field { name: "trace", kind: Kind::Boolean, absent: Default("false"), about: "Allow TRACE." },
        Field {
            name: "errors",
            kind: Kind::Choice { now: &["problem", "text"], later: &[] },
            absent: Default("problem"),
            about: "Local replies as application/problem+json (RFC 9457) or text/plain.",
        },
    ],
};

/// `listeners[].limits`
pub static LIMITS: Object = Object {
    name: "limits",
    about: "Bounds on what clients may send.",
    later: &["streams"],
    fields: &[
        Field {
            name: "connections",
            kind: Kind::Integer(1, 10_000_000),
            absent: Default("100000"),
            about: "Open connections over all workers. Beyond it new ones wait in the backlog.",
        },
        Field {
            name: "connection_rate",
            kind: Kind::Or("none", &Kind::Rate),
            absent: Default("none"),
            about: "New connections over all workers. Beyond it new ones wait in the backlog.",
        },
        Field {
            name: "client_rate",
            kind: Kind::Object(&super::CLIENT_RATE),
            absent: Means("as often as they do"),
            about: "New connections from one client's address, as the PROXY protocol tells it where it is spoken. Beyond it \
                    they are reset at once and counted.",
        },
        Field {
            name: "head",
            kind: Kind::Size(KIB, MIB),
            absent: Default("32KiB"),
            about: "A request head: 431 beyond it.",
        },
        Field {
            name: "headers",
            kind: Kind::Integer(1, 1000),
            absent: Default("100"),
            about: "Header fields in a head: 431 beyond it.",
        },
        Field {
            name: "target",
            kind: Kind::Size(64, MIB),
            absent: Default("8KiB"),
            about: "The request target: 414 beyond it. At most `head`.",
        },
        Field {
            name: "body",
            kind: Kind::Or("none", &Kind::Size(0, TIB)),
            absent: Default("none"),
            about: "A request body: 413 beyond it.",
        },
        Field {
            name: "requests",
            kind: Kind::Or("none", &Kind::Integer(1, 4_000_000_000)),
            absent: Default("none"),
            about: "Requests on one connection before it is closed.",
        },
    ],
};

/// `listeners[].timeouts`
pub static LISTENER_TIMEOUTS: Object = Object {
    name: "listener_timeouts",
    about: "How long clients may take.",
    later: &[],
    fields: &[
        Field {
            name: "head",
            kind: Kind::Duration,
            absent: Default("10s"),
            about: "First byte of a head to its last: 408.",
        },
        Field {
            name: "idle",
            kind: Kind::Duration,
            absent: Default("75s"),
            about: "A keep-alive connection without a request: closed silently.",
        },
        Field {
            name: "min_rate",
            kind: Kind::Or("none", &Kind::ByteRate),
            absent: Default("100B/s"),
            about: "Least rate, over any 5 s, at which a request body is sent or a response taken.",
        },
        Field {
            name: "handshake",
            kind: Kind::Duration,
            absent: Default("10s"),
            about: "First byte of a TLS handshake to its end: closed.",
        },
        Field {
            name: "tunnel_idle",
            kind: Kind::Duration,
            absent: Default("1h"),
            about: "Silence on a tunnel: after CONNECT or an upgrade, and of `tcp`.",
        },
        Field {
            name: "linger",
            kind: Kind::Duration,
            absent: Default("1s"),
            about: "How long what follows a refused request is read and thrown away before the connection is closed.",
        },
    ],
};

/// `listeners[].socket`
pub static SOCKET: Object = Object {
    name: "socket",
    about: "Socket options.",
    later: &["fast_open", "mark"],
    fields: &[
        Field {
            name: "backlog",
            kind: Kind::Integer(1, 65_535),
            absent: Default("4096"),
            about: "listen(2) backlog; the kernel caps it at net.core.somaxconn.",
        },
        Field {
            name: "receive_buffer",
            kind: Kind::Size(2 * KIB, GIB),
            absent: Means("the kernel's choice"),
            about: "SO_RCVBUF",
        },
        Field {
            name: "send_buffer",
            kind: Kind::Size(2 * KIB, GIB),
            absent: Means("the kernel's choice"),
            about: "SO_SNDBUF",
        },
    ],
};
