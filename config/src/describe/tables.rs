//! The tables. Change one and the decoder, the schema and the reference change with it.

mod acme;
mod arrivals;
mod balancing;
mod breaking;
mod faults;
mod fleets;
mod health;
mod limits;
mod listeners;
mod protocols;
mod retries;
mod routes;
mod services;
mod tls;

use super::Absent::{Default, Means, Required};
use super::{Field, Kind, Object};

pub use acme::{ACME_ACCOUNT, EXTERNAL_ACCOUNT};
pub use arrivals::{ARRIVAL_RATE, CLIENT_RATE};
pub use balancing::{STICKY, SUBSET_LABELS_MAX};
pub use breaking::{BREAKER, CONCURRENCY, ENDPOINT_BREAKER, OVERLOAD};
pub use faults::FAULT;
pub use fleets::FLEET;
pub use health::{EJECT, HEALTH, HEALTH_HTTP, HEALTH_TCP};
pub use limits::{CONCURRENCY_LIMIT, RATE_LIMIT};
pub use listeners::{LIMITS, LISTENER, LISTENER_TIMEOUTS, SOCKET};
pub use protocols::{DETECT, LISTENER_HTTP2, SERVICE_HTTP2, TCP, UDP};
pub use retries::{HEDGE, MIRROR, RETRIES, RETRY_BUDGET};
pub use routes::{GRPC_JSON, GRPC_WEB, HEADER_OPS, REDIRECT, RESPOND, REWRITE, ROUTE, SPLIT};
pub use services::{ENDPOINT_OBJECT, POOL, SERVICE, SERVICE_TIMEOUTS};
pub use tls::{CERTIFICATE, CLIENT_CERTIFICATES, LISTENER_CERTIFICATE, LISTENER_TLS, SERVICE_TLS};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const KEY: Kind = Kind::Text(
    "what tells requests apart (`client_ip`, `client_ip/24/56`, `header:NAME`, `cookie:NAME`, `query:NAME`, `path`, `path_template`, `method`, `host`, `route`)",
);
const NAME: Kind = Kind::Text("a name (letters, digits and `-_.:/`)");

/// The file.
pub static CONFIG: Object = Object {
    name: "config",
    about: "A whole configuration.",
    later: &["auth", "tracing", "plans", "consumers", "identity", "control", "metrics", "telemetry"],
    fields: &[
        Field {
            name: "role",
            kind: Kind::Choice { now: &["gateway", "sidecar"], later: &[] },
            absent: Default("gateway"),
            about: "Edge or side of a service. It chooses defaults only: a sidecar has one worker that is not pinned.",
        },
        Field {
            name: "runtime",
            kind: Kind::Object(&RUNTIME),
            absent: Means("its defaults"),
            about: "Workers, driver, buffers and memory. Changes of all but `memory` need a restart.",
        },
        Field {
            name: "admin",
            kind: Kind::Object(&ADMIN),
            absent: Means("its defaults"),
            about: "The admin API.",
        },
        Field {
            name: "access_log",
            kind: Kind::Or("none", &Kind::Object(&ACCESS_LOG)),
            absent: Default("none"),
            about: "One line for each exchange.",
        },
        Field {
            name: "drain_timeout",
            kind: Kind::Duration,
            absent: Default("30s"),
            about: "How long a stop waits for what is under way.",
        },
        balancing::ZONE,
        Field {
            name: "overload",
            kind: Kind::Object(&OVERLOAD),
            absent: Means("its defaults"),
            about: "When something is shed so that the rest is served.",
        },
        Field {
            name: "acme",
            kind: Kind::Map(&Kind::Object(&ACME_ACCOUNT)),
            absent: Means("none"),
            about: "Authorities of whom listeners' certificates are asked by ACME (RFC 8555), by name.",
        },
        Field {
            name: "fleets",
            kind: Kind::Map(&Kind::Object(&FLEET)),
            absent: Means("none"),
            about: "What several gateways count limits in together, by name.",
        },
        Field {
            name: "listeners",
            kind: Kind::List(&Kind::Object(&LISTENER)),
            absent: Required,
            about: "Where connections are accepted; at least one.",
        },
        Field {
            name: "services",
            kind: Kind::Map(&Kind::Object(&SERVICE)),
            absent: Means("no services"),
            about: "Where requests can go, by name.",
        },
        Field {
            name: "rate_limits",
            kind: Kind::Map(&Kind::Object(&RATE_LIMIT)),
            absent: Means("none"),
            about: "Limits that several routes share, by name: what passes on one is counted on all.",
        },
        Field {
            name: "routes",
            kind: Kind::List(&Kind::Object(&ROUTE)),
            absent: Means("no routes: every request is answered 404"),
            about: "What happens to requests. The most specific wins: host, then exact path, template, longest prefix, \
                    then method, headers and query.",
        },
    ],
};

/// `runtime`
pub static RUNTIME: Object = Object {
    name: "runtime",
    about: "Workers, driver and buffers.",
    later: &[],
    fields: &[
        Field {
            name: "workers",
            kind: Kind::Or("auto", &Kind::Integer(1, 1024)),
            absent: Default("auto"),
            about: "Worker threads. `auto` is one for each core that may be used. A sidecar's default is 1.",
        },
        Field {
            name: "backend",
            kind: Kind::Choice { now: &["auto", "io_uring", "epoll"], later: &[] },
            absent: Default("auto"),
            about: "The driver. `auto` is io_uring where its self-test passes, else epoll; `io_uring` is that or no start.",
        },
        Field {
            name: "pin",
            kind: Kind::Boolean,
            absent: Default("true"),
            about: "Pin each worker to a core. A sidecar's default is false.",
        },
        Field {
            name: "buffers",
            kind: Kind::Object(&BUFFERS),
            absent: Means("its defaults"),
            about: "Receive buffers of one worker.",
        },
        Field {
            name: "memory",
            kind: Kind::Size(MIB, TIB),
            absent: Means("what the process's cgroup allows, if that is bounded"),
            about: "How much this process may use; `overload.memory` is a share of it. A reload applies it.",
        },
    ],
};

/// `runtime.buffers`
pub static BUFFERS: Object = Object {
    name: "buffers",
    about: "Receive buffers of one worker.",
    later: &[],
    fields: &[
        Field {
            name: "size",
            kind: Kind::Size(4 * KIB, MIB),
            absent: Default("16KiB"),
            about: "Bytes of one buffer, a power of two.",
        },
        Field {
            name: "count",
            kind: Kind::Integer(32, 32_768),
            absent: Default("640"),
            about: "Buffers of one worker. Memory is taken when first used.",
        },
    ],
};

/// `admin`
pub static ADMIN: Object = Object {
    name: "admin",
    about: "The admin API.",
    later: &["token", "tls"],
    fields: &[
        Field {
            name: "address",
            kind: Kind::Text("an address (`127.0.0.1:9901`)"),
            absent: Default("127.0.0.1:9901"),
            about: "Where it listens. It has no authentication: keep it local. Changes need a restart.",
        },
        Field {
            name: "writes",
            kind: Kind::Choice { now: &["local", "any", "none"], later: &[] },
            absent: Default("local"),
            about: "Whether what runs may be changed by it (`ringway ctl`): `local` where the address is one of this host \
                    only, `any` by whoever reaches it, `none` never.",
        },
    ],
};

/// `access_log`
pub static ACCESS_LOG: Object = Object {
    name: "access_log",
    about: "One line for each exchange.",
    later: &["sample", "fields"],
    fields: &[
        Field {
            name: "format",
            kind: Kind::Choice { now: &["json", "common"], later: &[] },
            absent: Default("json"),
            about: "One JSON object a line, or the common log format.",
        },
        Field {
            name: "to",
            kind: Kind::Text("`stdout` or a file's path (with a `/` in it)"),
            absent: Default("stdout"),
            about: "Where to. A file is appended to and reopened on SIGUSR1.",
        },
        Field {
            name: "ring",
            kind: Kind::Size(16 * KIB, 64 * MIB),
            absent: Default("256KiB"),
            about: "Each worker's ring. Lines that don't fit are dropped and counted. Changes need a restart.",
        },
    ],
};

/// All of them, in the order the reference tells of them.
pub static ALL: &[&Object] = &[
    &CONFIG,
    &RUNTIME,
    &BUFFERS,
    &ADMIN,
    &ACCESS_LOG,
    &OVERLOAD,
    &ACME_ACCOUNT,
    &EXTERNAL_ACCOUNT,
    &FLEET,
    &LISTENER,
    &LIMITS,
    &CLIENT_RATE,
    &LISTENER_TIMEOUTS,
    &SOCKET,
    &LISTENER_TLS,
    &LISTENER_CERTIFICATE,
    &CLIENT_CERTIFICATES,
    &LISTENER_HTTP2,
    &TCP,
    &UDP,
    &ARRIVAL_RATE,
    &DETECT,
    &SERVICE,
    &ENDPOINT_OBJECT,
    &SERVICE_TIMEOUTS,
    &POOL,
    &BREAKER,
    &ENDPOINT_BREAKER,
    &CONCURRENCY,
    &SERVICE_TLS,
    &CERTIFICATE,
    &SERVICE_HTTP2,
    &HEALTH,
    &STICKY,
    &HEALTH_HTTP,
    &HEALTH_TCP,
    &EJECT,
    &RETRY_BUDGET,
    &ROUTE,
    &SPLIT,
    &RATE_LIMIT,
    &CONCURRENCY_LIMIT,
    &RETRIES,
    &HEDGE,
    &MIRROR,
    &GRPC_WEB,
    &GRPC_JSON,
    &RESPOND,
    &REDIRECT,
    &REWRITE,
    &HEADER_OPS,
    &FAULT,
];
