//! The tables of `breaker`, `concurrency` and `overload`.

use crate::describe::Absent::{Default, Means};
use crate::describe::{Field, Kind, Object};

/// `services.X.breaker`
pub static BREAKER: Object = Object {
    name: "breaker",
    about: "How much a service may be asked at once, by all workers together. A request beyond `requests` waits for its \
            turn; what is beyond every limit is answered 503. `connections` hold for TCP too.",
    later: &[],
    fields: &[
        Field {
            name: "connections",
            kind: Kind::Or("none", &Kind::Integer(1, 1_000_000)),
            absent: Default("none"),
            about: "Connections to all endpoints together. A request that needs one more waits for its turn.",
        },
        Field {
            name: "requests",
            kind: Kind::Or("none", &Kind::Integer(1, 1_000_000)),
            absent: Default("none"),
            about: "Requests under way, each try counted; one that became a tunnel, as long as that lives.",
        },
        Field {
            name: "pending",
            kind: Kind::Integer(0, 1_000_000),
            absent: Default("1024"),
            about: "Requests that may wait for their turn. First come, first served; but while the one that waits longest \
                    has waited half of `wait`, the last to come, which can still be served in time.",
        },
        Field {
            name: "wait",
            kind: Kind::Duration,
            absent: Default("1s"),
            about: "How long one may wait, within what the route's `timeout` leaves.",
        },
        Field {
            name: "retries",
            kind: Kind::Or("none", &Kind::Integer(1, 1_000_000)),
            absent: Default("none"),
            about: "Retries under way, beside what the budget for retries allows.",
        },
        Field {
            name: "endpoint",
            kind: Kind::Object(&ENDPOINT_BREAKER),
            absent: Means("its defaults"),
            about: "Limits of each endpoint. Where one has as much as it may, another is asked.",
        },
    ],
};

/// `services.X.breaker.endpoint`
pub static ENDPOINT_BREAKER: Object = Object {
    name: "endpoint_breaker",
    about: "Limits of each endpoint, by all workers together.",
    later: &["pending", "retries"],
    fields: &[
        Field {
            name: "connections",
            kind: Kind::Integer(1, 1_000_000),
            absent: Default("8192"),
            about: "Connections to one endpoint. Where all have as many, requests wait only if another limit lets them; else 503.",
        },
        Field {
            name: "requests",
            kind: Kind::Or("none", &Kind::Integer(1, 1_000_000)),
            absent: Default("none"),
            about: "Requests under way at one endpoint.",
        },
    ],
};

/// `services.X.concurrency`
pub static CONCURRENCY: Object = Object {
    name: "concurrency",
    about: "A limit on requests under way, by all workers together, that is found by looking at how the service does. It \
            is never above `breaker.requests`; who is beyond it waits as there.",
    later: &[],
    fields: &[
        Field {
            name: "mode",
            kind: Kind::Choice { now: &["gradient", "aimd"], later: &[] },
            absent: Default("gradient"),
            about: "`gradient` compares the time to a response's head with that at rest; `aimd` allows one more while that \
                    time and failures are within bounds, and a tenth less when they are not.",
        },
        Field {
            name: "min",
            kind: Kind::Integer(1, 100_000),
            absent: Default("4"),
            about: "Never fewer than this many. `gradient` measures the time at rest with as many.",
        },
        Field {
            name: "max",
            kind: Kind::Integer(1, 1_000_000),
            absent: Default("1000"),
            about: "Never more.",
        },
        Field {
            name: "tolerance",
            kind: Kind::Share,
            absent: Default("25%"),
            about: "`gradient`: how much slower than at rest is still well.",
        },
        Field {
            name: "remeasure",
            kind: Kind::Duration,
            absent: Default("1m"),
            about: "`gradient`: how often the time at rest is measured anew.",
        },
        Field {
            name: "latency",
            kind: Kind::Duration,
            absent: Default("250ms"),
            about: "`aimd`: slower than this on average is too much.",
        },
        Field {
            name: "failures",
            kind: Kind::Share,
            absent: Default("10%"),
            about: "`aimd`: a larger share of failures (502, 503, 504, or no answer) is too much.",
        },
    ],
};

/// `overload`
pub static OVERLOAD: Object = Object {
    name: "overload",
    about: "When there is more than this process can do: requests of the lowest `priority` are shed first (503), then \
            those of the next, and new connections wait at last. The admin API and routes of priority `critical` are \
            served whatever happens.",
    later: &[],
    fields: &[
        Field {
            name: "loop_lag",
            kind: Kind::Or("none", &Kind::Duration),
            absent: Default("250ms"),
            about: "A worker that runs what is due so late sheds `low`; at twice, three and four times as much `normal`, \
                    `high` and new connections.",
        },
        Field {
            name: "memory",
            kind: Kind::Or("none", &Kind::Share),
            absent: Default("90%"),
            about: "Of `runtime.memory`. From there `low` is shed; from a third and two thirds of the rest `normal` and \
                    `high`, and beyond all of it new connections.",
        },
    ],
};
