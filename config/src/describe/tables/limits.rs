//! The tables of `rate_limit`, `rate_limits` and `concurrency_limit`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::{KEY, NAME};

const KEYS: Kind = Kind::Either(&KEY, &Kind::List(&KEY));

const PER: Field = Field {
    name: "per",
    kind: KEYS,
    absent: Means("all requests are counted together"),
    about: "What requests are told apart by. IPv6 clients are by default one for each /64.",
};
const MISSING: Field = Field {
    name: "missing",
    kind: Kind::Choice { now: &["together", "pass", "deny"], later: &[] },
    absent: Default("together"),
    about: "Requests that lack a part of the key: count them together as one key, let them pass without limit, or \
            refuse them.",
};
const MOST_KEYS: Field = Field {
    name: "keys",
    kind: Kind::Integer(1, 10_000_000),
    absent: Default("100000"),
    about: "Keys that are told apart on the node, 64 bytes each. Of more, those that are idle make room; newcomers that \
            find none share one key's limit.",
};
const DRY_RUN: Field = Field {
    name: "dry_run",
    kind: Kind::Boolean,
    absent: Default("false"),
    about: "Count what would be refused, let it through.",
};
const WHEN_UNSURE: Field = Field {
    name: "when_unsure",
    kind: Kind::Choice { now: &["allow", "deny"], later: &[] },
    absent: Means("`deny` where each request is decided by the key's home core (small bursts), else `allow`"),
    about: "What becomes of a request when the core that knows its key does not answer in time. What is let through so is \
            owed.",
};
const WAIT: Field = Field {
    name: "wait",
    kind: Kind::Duration,
    absent: Default("1ms"),
    about: "How long a request waits for that answer.",
};

/// `routes[].rate_limit`
pub static RATE_LIMIT: Object = Object {
    name: "rate_limit",
    about: "How many requests may come in a time. Refused ones are answered 429.",
    later: &[],
    fields: &[
        Field {
            name: "name",
            kind: NAME,
            absent: Means(
                "in `rate_limits` its key there; in a route the route's name, and from the second on its place: \
                           `orders/2`",
            ),
            about: "Unique. Metrics and responses know it by this; what is counted outlives reloads by it.",
        },
        Field {
            name: "rate",
            kind: Kind::Quota,
            absent: Required,
            about: "How many of a key. A limit on the node, on however many cores.",
        },
        Field {
            name: "burst",
            kind: Kind::Integer(1, 1_000_000),
            absent: Means("the rate's count"),
            about: "How many may come at once after a pause.",
        },
        PER,
        Field {
            name: "cost",
            kind: Kind::Either(&Kind::Integer(0, 100_000), &Kind::Map(&Kind::Integer(0, 100_000))),
            absent: Default("1"),
            about: "What a request counts as, or that by method: `{ POST: 5 }`; `other` is any other (1). 0 is not limited.",
        },
        Field {
            name: "cost_header",
            kind: Kind::Text("a header name"),
            absent: Means("none"),
            about: "A response header in which a service tells what the request cost in all. What is more than was counted \
                    is owed by the key.",
        },
        Field {
            name: "cost_header_pass",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Leave that header in the response.",
        },
        Field {
            name: "tell",
            kind: Kind::Choice { now: &["ratelimit", "x-ratelimit", "both", "nothing"], later: &[] },
            absent: Default("ratelimit"),
            about: "Fields of every response: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), or \
                    `X-RateLimit-Limit`, `-Remaining` and `-Reset`.",
        },
        Field {
            name: "fleet",
            kind: NAME,
            absent: Means("the node counts"),
            about: "Which of `fleets` counts it: all gateways of the fleet hold the limit together. While its store does not \
                    answer each holds it by itself.",
        },
        MISSING,
        MOST_KEYS,
        DRY_RUN,
        WHEN_UNSURE,
        WAIT,
    ],
};

/// `routes[].concurrency_limit`
pub static CONCURRENCY_LIMIT: Object = Object {
    name: "concurrency_limit",
    about: "How many requests may be under way at once. Refused ones are answered 429.",
    later: &[],
    fields: &[
        Field {
            name: "name",
            kind: NAME,
            absent: Means("the route's name, and from the second on its place: `orders/2`"),
            about: "Unique. Metrics know it by this.",
        },
        Field {
            name: "requests",
            kind: Kind::Integer(1, 1_000_000),
            absent: Required,
            about: "How many of a key, tunnels included.",
        },
        PER,
        MISSING,
        MOST_KEYS,
        DRY_RUN,
        WHEN_UNSURE,
        WAIT,
    ],
};
