//! The tables of what is sent more than once.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::{MIB, NAME};

/// `retries` of a route.
pub(super) const RETRIES_FIELD: Field = Field {
    name: "retries",
    kind: Kind::Object(&RETRIES),
    absent: Means(
        "once, on another endpoint where one refuses, or where a pooled connection had been closed",
    ),
    about: "What is sent again after a try came to nothing. Only with `to`.",
};

/// `hedge` of a route.
pub(super) const HEDGE_FIELD: Field = Field {
    name: "hedge",
    kind: Kind::Object(&HEDGE),
    absent: Means("one endpoint at a time"),
    about: "Ask another endpoint too where an answer takes longer than most. Only with `to`.",
};

/// `mirror` of a route.
pub(super) const MIRROR_FIELD: Field = Field {
    name: "mirror",
    kind: Kind::Object(&MIRROR),
    absent: Means("no copies"),
    about: "Send copies of requests to another service. Only with `to`.",
};

/// `retry_budget` of a service.
pub(super) const RETRY_BUDGET_FIELD: Field = Field {
    name: "retry_budget",
    kind: Kind::Object(&RETRY_BUDGET),
    absent: Means("its defaults"),
    about: "How many of the requests to it may be retries and hedges, of all routes together.",
};

/// `routes[].retries`
pub static RETRIES: Object = Object {
    name: "retries",
    about: "What is sent again. What an endpoint may have worked on is sent again only if the method is idempotent, the \
            request has an Idempotency-Key, or `unsafe` says so; codes of gRPC that are listed count as safe. Another \
            endpoint is preferred. `Retry-After` and `grpc-retry-pushback-ms` are heeded, up to 5s.",
    later: &[],
    fields: &[
        Field {
            name: "attempts",
            kind: Kind::Integer(1, 10),
            absent: Default("1"),
            about: "Tries beyond the first.",
        },
        Field {
            name: "when",
            kind: Kind::List(&Kind::Text(
                "`connect`, `reset`, `timeout`, `gateway` (502, 503, 504), `5xx`, a status (`503`) or a code of gRPC \
                 (`grpc:unavailable`)",
            )),
            absent: Means("`connect` and `reset`"),
            about: "After what: no connection could be made; it ended before the response's head; the endpoint took too \
                    long for one try; it answered so. Calls of gRPC only where nothing but their end came.",
        },
        Field {
            name: "per_try_timeout",
            kind: Kind::Or("none", &Kind::Duration),
            absent: Default("none"),
            about: "Of each try, connecting included, to the head of its response: 504. Where a body is sent it begins \
                    anew when that has been sent.",
        },
        Field {
            name: "backoff",
            kind: Kind::Duration,
            absent: Default("25ms"),
            about: "The first wait is evenly drawn from nothing to this; the bound doubles with each try.",
        },
        Field {
            name: "backoff_max",
            kind: Kind::Duration,
            absent: Default("250ms"),
            about: "No bound of a wait is more.",
        },
        Field {
            name: "buffer",
            kind: Kind::Size(0, MIB),
            absent: Default("64KiB"),
            about: "Of a request's body that is kept to be sent again. A larger one goes through, and is not sent again.",
        },
        Field {
            name: "unsafe",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Send again what may have been worked on, whatever the method: the services can stand it twice.",
        },
    ],
};

/// `routes[].hedge`
pub static HEDGE: Object = Object {
    name: "hedge",
    about: "The first answer wins, the other try is ended. Only idempotent requests (as for `retries`) whose body is at hand, \
            within the service's `retry_budget`.",
    later: &[],
    fields: &[
        Field {
            name: "after",
            kind: Kind::Either(&Kind::Share, &Kind::Duration),
            absent: Default("95%"),
            about: "When another endpoint is asked: after the time in which that share of the service's answers came of \
                    late, as each worker saw it, or after a time.",
        },
        Field { name: "at_least", kind: Kind::Duration, absent: Default("5ms"), about: "Never earlier." },
    ],
};

/// `routes[].mirror`
pub static MIRROR: Object = Object {
    name: "mirror",
    about: "Copies are sent beside the requests, which never wait for them or fail by them. Their host ends in `-shadow`; \
            their answers are thrown away.",
    later: &[],
    fields: &[
        Field { name: "service", kind: NAME, absent: Required, about: "Who gets them." },
        Field { name: "share", kind: Kind::Share, absent: Default("100%"), about: "Of the requests." },
        Field {
            name: "concurrency",
            kind: Kind::Integer(1, 100_000),
            absent: Default("64"),
            about: "Copies under way at once, on the node; each worker has its part. Beyond it there is none.",
        },
        Field {
            name: "body",
            kind: Kind::Size(0, MIB),
            absent: Default("64KiB"),
            about: "Of a request's body. Larger ones, and those that are not whole when the answer begins, are not \
                    copied.",
        },
    ],
};

/// `services.X.retry_budget`
pub static RETRY_BUDGET: Object = Object {
    name: "retry_budget",
    about: "Where it is spent, the answer is what the last try came to. What follows a refused connection, or a request that \
            the endpoint did not look at, is not counted.",
    later: &[],
    fields: &[
        Field {
            name: "share",
            kind: Kind::Share,
            absent: Default("20%"),
            about: "Of the requests under way.",
        },
        Field {
            name: "floor",
            kind: Kind::Or("none", &Kind::Rate),
            absent: Default("10/s"),
            about: "So many may be in any case, on the node.",
        },
    ],
};
