//! The tables of `routes`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::{CONCURRENCY_LIMIT, FAULT, NAME, RATE_LIMIT, TIB};

use super::retries::{HEDGE_FIELD, MIRROR_FIELD, RETRIES_FIELD};

const HOST_PATTERN: Kind =
    Kind::Text("a host name (`api.example.com`) or `*.` and one (`*.example.org`, any depth)");
const HOST: Kind = Kind::Text("a host name (`api.example.com`)");
const METHOD: Kind = Kind::Text("a method (`GET`)");
const HEADER_NAME: Kind = Kind::Text("a header name");
const HEADER_VALUE: Kind = Kind::Text("a header value");
const CONDITION: Kind = Kind::Text("a value; `\"*\"` is any");
const PATH: Kind =
    Kind::Text("a path: exact (`/healthz`), prefix (`/v1/orders/**`) or template (`/v1/orders/{id}`)");
const NEW_PATH: Kind =
    Kind::Text("a path; `/**` at its end and `{name}` stand for what the route's own matched");

/// One of `routes`
pub static ROUTE: Object = Object {
    name: "route",
    about: "What happens to some requests. It has exactly one of `to`, `respond` and `redirect`.",
    later: &["auth", "cors", "cache", "compress", "concurrency", "policies", "plan"],
    fields: &[
        Field {
            name: "name",
            kind: NAME,
            absent: Means("its place: `route-1` is the first"),
            about: "Unique. Logs, metrics and listeners know the route by it.",
        },
        Field {
            name: "hosts",
            kind: Kind::List(&HOST_PATTERN),
            absent: Means("any host"),
            about: "Hosts it is for, without port.",
        },
        Field {
            name: "path",
            kind: PATH,
            absent: Means("any path"),
            about: "Paths it is for. `/a/**` matches `/a` too; a template's `{name}` is one segment that is not empty.",
        },
        Field {
            name: "methods",
            kind: Kind::List(&METHOD),
            absent: Means("any method"),
            about: "Methods it is for.",
        },
        Field {
            name: "headers",
            kind: Kind::Map(&CONDITION),
            absent: Means("no condition"),
            about: "Headers that must be there with that value.",
        },
        Field {
            name: "query",
            kind: Kind::Map(&CONDITION),
            absent: Means("no condition"),
            about: "Query parameters that must be there with that value, compared after percent-decoding.",
        },
        Field {
            name: "to",
            kind: super::balancing::TO,
            absent: Means("not forwarded"),
            about: "Forward to this service, or split over several, or over subsets of one, by weight.",
        },
        super::balancing::SPLIT_BY,
        Field {
            name: "respond",
            kind: Kind::Object(&RESPOND),
            absent: Means("no fixed answer"),
            about: "Answer at once.",
        },
        Field {
            name: "redirect",
            kind: Kind::Object(&REDIRECT),
            absent: Means("no redirect"),
            about: "Answer with a redirect.",
        },
        Field {
            name: "rewrite",
            kind: Kind::Object(&REWRITE),
            absent: Means("as it came"),
            about: "Path and host to forward with. Only with `to`.",
        },
        Field {
            name: "grpc_web",
            kind: Kind::Object(&GRPC_WEB),
            absent: Means("not spoken"),
            about: "Browsers call the services by gRPC-Web; `{}` is enough for pages of the same origin. With `to`.",
        },
        Field {
            name: "grpc_json",
            kind: Kind::Object(&GRPC_JSON),
            absent: Means("not spoken"),
            about: "Others call the services by JSON. With `to`.",
        },
        Field {
            name: "priority",
            kind: Kind::Choice { now: &["critical", "high", "normal", "low"], later: &[] },
            absent: Means("`normal`; `critical` for `respond`"),
            about: "How late it is shed under `overload`: what is low goes first, what is critical never does.",
        },
        Field {
            name: "timeout",
            kind: Kind::Or("none", &Kind::Duration),
            absent: Default("none"),
            about: "The exchange from request head to the response's last byte: 504. Only with `to`.",
        },
        RETRIES_FIELD,
        HEDGE_FIELD,
        MIRROR_FIELD,
        Field {
            name: "rate_limit",
            kind: Kind::Either(
                &NAME,
                &Kind::Either(
                    &Kind::Object(&RATE_LIMIT),
                    &Kind::List(&Kind::Either(&NAME, &Kind::Object(&RATE_LIMIT))),
                ),
            ),
            absent: Means("none"),
            about: "How many of its requests may come in a time: a limit, a name in `rate_limits`, or a list of such, each of \
                    which must let a request pass. One that is refused by any costs nothing at the others.",
        },
        Field {
            name: "concurrency_limit",
            kind: Kind::Either(
                &Kind::Object(&CONCURRENCY_LIMIT),
                &Kind::List(&Kind::Object(&CONCURRENCY_LIMIT)),
            ),
            absent: Means("none"),
            about: "How many of its requests may be under way at once; a limit, or a list of such.",
        },
        Field {
            name: "request_headers",
            kind: Kind::Object(&HEADER_OPS),
            absent: Means("unchanged"),
            about: "Changes to what is sent upstream. Only with `to`.",
        },
        Field {
            name: "response_headers",
            kind: Kind::Object(&HEADER_OPS),
            absent: Means("unchanged"),
            about: "Changes to what is sent downstream.",
        },
        Field {
            name: "encoded_slashes",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Let `%2F` in paths pass, undecoded; otherwise 400.",
        },
        Field {
            name: "body_limit",
            kind: Kind::Or("none", &Kind::Size(0, TIB)),
            absent: Means("the listener's"),
            about: "In place of the listener's `limits.body`: 413 beyond it.",
        },
        Field {
            name: "faults",
            kind: Kind::List(&Kind::Object(&FAULT)),
            absent: Means("none"),
            about: "Errors made on purpose, to test callers with. Each ends by itself.",
        },
    ],
};

/// One of `routes[].to`, long form
pub static SPLIT: Object = Object {
    name: "split",
    about: "One service's share.",
    later: &[],
    fields: &[
        Field { name: "service", kind: NAME, absent: Required, about: "The service." },
        Field {
            name: "weight",
            kind: Kind::Integer(0, 1_000_000),
            absent: Default("1"),
            about: "Its share of the sum of all weights, which is more than 0.",
        },
        super::balancing::SUBSET,
    ],
};

/// `routes[].grpc_web`
pub static GRPC_WEB: Object = Object {
    name: "grpc_web",
    about: "Calls by gRPC-Web, binary and text, reach the services as gRPC; other requests pass as they are.",
    later: &[],
    fields: &[Field {
        name: "origins",
        kind: Kind::List(&Kind::Text("an origin (`https://app.example`) or `*`")),
        absent: Means("pages of the same origin only"),
        about: "Whose pages may call (CORS). Their preflight requests are answered here.",
    }],
};

/// `routes[].grpc_json`
pub static GRPC_JSON: Object = Object {
    name: "grpc_json",
    about: "Requests in JSON reach the services as gRPC, by `google.api.http` annotations and as \
            `POST /pkg.Service/Method`. Calls of gRPC pass as they are.",
    later: &[],
    fields: &[
        Field {
            name: "descriptor",
            kind: Kind::Text("a file's path, from the configuration's folder"),
            absent: Required,
            about: "A descriptor set (`protoc --include_imports -o`), or a `.proto` file, compiled with what it imports from \
                    its folder.",
        },
        Field {
            name: "services",
            kind: Kind::List(&Kind::Text("a service's full name (`pkg.Service`)")),
            absent: Required,
            about: "Whose methods can be called.",
        },
        Field {
            name: "unknown_fields",
            kind: Kind::Choice { now: &["reject", "ignore"], later: &[] },
            absent: Default("reject"),
            about: "What becomes of fields and parameters that a message does not have: 400, or nothing.",
        },
        Field {
            name: "print_defaults",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Write fields that have their default too.",
        },
        Field {
            name: "proto_names",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Names as in the proto file rather than in lowerCamelCase.",
        },
    ],
};

/// `routes[].respond`
pub static RESPOND: Object = Object {
    name: "respond",
    about: "A fixed answer.",
    later: &["headers", "file"],
    fields: &[
        Field {
            name: "status",
            kind: Kind::Integer(200, 599),
            absent: Default("200"),
            about: "Status code.",
        },
        Field { name: "body", kind: Kind::Text("text, at most 1 MiB"), absent: Default(""), about: "Body." },
        Field {
            name: "content_type",
            kind: HEADER_VALUE,
            absent: Default("text/plain; charset=utf-8"),
            about: "Content-Type of the body.",
        },
    ],
};

/// `routes[].redirect`
pub static REDIRECT: Object = Object {
    name: "redirect",
    about: "A redirect. It changes at least one of path, scheme, host and port; the query is kept.",
    later: &["query"],
    fields: &[
        Field { name: "path", kind: NEW_PATH, absent: Means("the request's"), about: "New path." },
        Field {
            name: "status",
            kind: Kind::Choice { now: &["301", "302", "303", "307", "308"], later: &[] },
            absent: Default("308"),
            about: "Status code.",
        },
        Field {
            name: "scheme",
            kind: Kind::Choice { now: &["http", "https"], later: &[] },
            absent: Means("the request's"),
            about: "New scheme.",
        },
        Field { name: "host", kind: HOST, absent: Means("the request's"), about: "New host, without port." },
        Field {
            name: "port",
            kind: Kind::Integer(1, 65_535),
            absent: Means("the scheme's own where scheme or host are given, else the request's"),
            about: "New port.",
        },
    ],
};

/// `routes[].rewrite`
pub static REWRITE: Object = Object {
    name: "rewrite",
    about: "What to forward with. At least one of both. The result is made canonical and not routed again.",
    later: &["query", "regex"],
    fields: &[
        Field {
            name: "path",
            kind: NEW_PATH,
            absent: Means("the request's"),
            about: "New path; the query is kept.",
        },
        Field {
            name: "host",
            kind: Kind::Text("`host` or `host:port`"),
            absent: Means("the request's"),
            about: "New Host.",
        },
    ],
};

/// `routes[].request_headers`, `routes[].response_headers`
pub static HEADER_OPS: Object = Object {
    name: "header_ops",
    about: "Remove, then set, then add. What frames a message or names the next hop can't be changed here.",
    later: &[],
    fields: &[
        Field {
            name: "remove",
            kind: Kind::List(&HEADER_NAME),
            absent: Means("none"),
            about: "Names to remove.",
        },
        Field {
            name: "set",
            kind: Kind::Map(&HEADER_VALUE),
            absent: Means("none"),
            about: "Name and value; replaces every value there is.",
        },
        Field {
            name: "add",
            kind: Kind::Map(&HEADER_VALUE),
            absent: Means("none"),
            about: "Name and value; adds one more.",
        },
    ],
};
