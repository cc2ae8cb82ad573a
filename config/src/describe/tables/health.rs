//! The tables of `services.X.health` and `services.X.eject`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

/// `services.X.health`
pub static HEALTH: Object = Object {
    name: "health",
    about: "Checks of each endpoint, from one place for all workers: by one of `http`, `grpc` and `tcp`. Where too many \
            are unhealthy, all of them are asked (`panic`).",
    later: &[],
    fields: &[
        Field {
            name: "http",
            kind: Kind::Object(&HEALTH_HTTP),
            absent: Means("another kind"),
            about: "A GET, by HTTP/2 where the service says `protocol: http2`.",
        },
        Field {
            name: "grpc",
            kind: Kind::Text("a service of gRPC, or nothing"),
            absent: Means("another kind"),
            about: "The gRPC health protocol (`grpc.health.v1.Health/Check`): which service is asked about; `\"\"` is the \
                    server as a whole. SERVING is well.",
        },
        Field {
            name: "tcp",
            kind: Kind::Object(&HEALTH_TCP),
            absent: Means("another kind"),
            about: "`{}`: that a connection can be made, and TLS on it where the service speaks it.",
        },
        Field {
            name: "interval",
            kind: Kind::Duration,
            absent: Default("5s"),
            about: "From one check to the next.",
        },
        Field {
            name: "jitter",
            kind: Kind::Share,
            absent: Default("10%"),
            about: "How much longer or shorter than `interval` it is each time, at random: so that checks don't come \
                    together.",
        },
        Field {
            name: "timeout",
            kind: Kind::Duration,
            absent: Default("1s"),
            about: "How long a check may take, connecting and TLS included.",
        },
        Field {
            name: "healthy",
            kind: Kind::Integer(1, 100),
            absent: Default("2"),
            about: "Good checks in a row after which an unhealthy endpoint is asked again.",
        },
        Field {
            name: "unhealthy",
            kind: Kind::Integer(1, 100),
            absent: Default("3"),
            about: "Failed checks in a row after which an endpoint is unhealthy.",
        },
    ],
};

/// `services.X.health.http`
pub static HEALTH_HTTP: Object = Object {
    name: "health_http",
    about: "What is asked by HTTP, and what is well.",
    later: &["method", "headers", "port"],
    fields: &[
        Field {
            name: "path",
            kind: Kind::Text("a path, with a query if there is one"),
            absent: Required,
            about: "What is asked for.",
        },
        Field {
            name: "status",
            kind: Kind::List(&Kind::Text("a status or a range (`200`, `200-299`)")),
            absent: Means("`[ 200-299 ]`"),
            about: "The statuses that are well. Redirects are not followed.",
        },
        Field {
            name: "body",
            kind: Kind::Text("text, 1 to 256 bytes"),
            absent: Means("any body"),
            about: "What must stand within the first 64 KiB of the body.",
        },
        Field {
            name: "host",
            kind: Kind::Text("`host` or `host:port`"),
            absent: Means("the service's authority"),
            about: "Sent as Host.",
        },
    ],
};

/// `services.X.health.tcp`
pub static HEALTH_TCP: Object = Object {
    name: "health_tcp",
    about: "A connection is all that is asked for.",
    later: &["send", "expect"],
    fields: &[],
};

/// `services.X.eject`
pub static EJECT: Object = Object {
    name: "eject",
    about: "Takes endpoints out whose exchanges fail, over all workers. An ejected endpoint gets nothing for `base`, for \
            longer each time; then a request of each worker is let through, and what comes of the first decides.",
    later: &[],
    fields: &[
        Field {
            name: "consecutive",
            kind: Kind::Integer(0, 64),
            absent: Default("5"),
            about: "Failures in a row, whichever workers saw them, with no success on any of them in between; 0: not judged \
                    by that. Failures are: no connection, a response of 500 to 599 (not 501 and 505), none in time or a broken \
                    one, a call of gRPC that ends with UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS.",
        },
        Field {
            name: "success",
            kind: Kind::Share,
            absent: Default("80%"),
            about: "The least share of an endpoint's requests within `interval` that must succeed, where its siblings \
                    together reach it; `0%`: not judged by that.",
        },
        Field {
            name: "latency",
            kind: Kind::Text("a multiple (`3x`, `1.5x`)"),
            absent: Means("not judged by that"),
            about: "How many times the median of its siblings an endpoint's mean latency (request sent to response head) \
                    within `interval` may be. What is less than 1 ms slower is not slow.",
        },
        Field {
            name: "interval",
            kind: Kind::Duration,
            absent: Default("10s"),
            about: "Over which `success` and `latency` are looked at.",
        },
        Field {
            name: "requests",
            kind: Kind::Integer(1, 1_000_000),
            absent: Default("20"),
            about: "An endpoint with fewer within `interval` is not judged by `success` and `latency`.",
        },
        Field {
            name: "base",
            kind: Kind::Duration,
            absent: Default("30s"),
            about: "How long the first ejection lasts; the second in short order twice as long, and so on.",
        },
        Field {
            name: "max",
            kind: Kind::Duration,
            absent: Default("5m"),
            about: "How long any ejection lasts.",
        },
        Field {
            name: "share",
            kind: Kind::Share,
            absent: Default("50%"),
            about: "Of the endpoints, that may be out at once, those that fail their checks among them; one may always be.",
        },
        Field {
            name: "mode",
            kind: Kind::Choice { now: &["enforce", "observe"], later: &[] },
            absent: Default("enforce"),
            about: "`observe` only reports: in the log and in metrics.",
        },
    ],
};
