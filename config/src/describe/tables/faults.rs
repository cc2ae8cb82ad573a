//! The table of `routes[].faults`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

/// One of `routes[].faults`
pub static FAULT: Object = Object {
    name: "fault",
    about: "An error made on purpose, to test one's callers: it delays, aborts, or both. Each fault of a route is drawn \
            by itself; of those that come up the first delay and the first abort count. It ends by itself.",
    later: &["identity", "consumer"],
    fields: &[
        Field {
            name: "delay",
            kind: Kind::Duration,
            absent: Means("no delay"),
            about: "Wait so long before anything else is done, at most 5m. The route's `timeout` counts it in.",
        },
        Field {
            name: "abort",
            kind: Kind::Text("a status (`503`) or a code of gRPC (`grpc:unavailable`)"),
            absent: Means("no abort"),
            about: "Answer this in place of what the route does, with the reason `fault_injected`. With `delay`, after it.",
        },
        Field {
            name: "share",
            kind: Kind::Share,
            absent: Default("100%"),
            about: "Of the exchanges that have the headers.",
        },
        Field {
            name: "headers",
            kind: Kind::Map(&Kind::Text("a value; `\"*\"` is any")),
            absent: Means("no condition"),
            about: "Headers that must be there with that value.",
        },
        Field {
            name: "until",
            kind: Kind::Text("a time (`2026-12-01T00:00:00Z`)"),
            absent: Required,
            about: "When it ends, at most 30 days ahead. Afterwards it has no effect, and `check` warns of it.",
        },
    ],
};
