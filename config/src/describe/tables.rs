//! The tables. Change one and the decoder, the schema and the reference change with it.

use super::Absent::{Default, Means, Required};
use super::{Field, Kind, Object};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const NAME: Kind = Kind::Text("a name (letters, digits and `-_.:/`)");
const LISTEN: Kind = Kind::Text("an address (`127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`)");
const ENDPOINT: Kind =
    Kind::Text("an address (`127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `dns:name:port`)");
const CIDR: Kind = Kind::Text("a network (`10.0.0.0/8`, `fd00::/8`) or an IP address");
const HOST_PATTERN: Kind =
    Kind::Text("a host name (`api.example.com`) or `*.` and one (`*.example.org`, any depth)");
const HOST: Kind = Kind::Text("a host name (`api.example.com`)");
const METHOD: Kind = Kind::Text("a method (`GET`)");
const TOKEN: Kind = Kind::Text("a protocol name (`websocket`)");
const HEADER_NAME: Kind = Kind::Text("a header name");
const HEADER_VALUE: Kind = Kind::Text("a header value");
const CONDITION: Kind = Kind::Text("a value; `\"*\"` is any");
const PATH: Kind =
    Kind::Text("a path: exact (`/healthz`), prefix (`/v1/orders/**`) or template (`/v1/orders/{id}`)");
const NEW_PATH: Kind =
    Kind::Text("a path; `/**` at its end and `{name}` stand for what the route's own matched");

/// The file.
pub static CONFIG: Object = Object {
    name: "config",
    about: "A whole configuration.",
    later: &[
        "auth",
        "tracing",
        "rate_limits",
        "plans",
        "consumers",
        "identity",
        "control",
        "metrics",
        "telemetry",
    ],
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
            about: "Workers, driver and buffers. Changes need a restart.",
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
            absent: Default("1024"),
            about: "Buffers of one worker. Memory is taken when first used.",
        },
    ],
};

/// `admin`
pub static ADMIN: Object = Object {
    name: "admin",
    about: "The admin API.",
    later: &["token", "tls"],
    fields: &[Field {
        name: "address",
        kind: Kind::Text("an address (`127.0.0.1:9901`)"),
        absent: Default("127.0.0.1:9901"),
        about: "Where it listens. It has no authentication: keep it local. Changes need a restart.",
    }],
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

/// One of `listeners`
pub static LISTENER: Object = Object {
    name: "listener",
    about: "Where connections are accepted.",
    later: &["tls", "tcp", "udp", "http2", "http3", "protocol", "transparent", "rate_limit", "auth"],
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
            name: "proxy_protocol",
            kind: Kind::List(&CIDR),
            absent: Means("not spoken"),
            about: "PROXY protocol (v1 and v2) is required from these peers; others that send it are closed.",
        },
        Field {
            name: "trusted_hops",
            kind: Kind::List(&CIDR),
            absent: Means("nobody"),
            about: "Hops whose X-Forwarded-*, Forwarded and X-Request-Id are believed.",
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
    later: &["handshake"],
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
            name: "tunnel_idle",
            kind: Kind::Duration,
            absent: Default("1h"),
            about: "Silence on a tunnel (after CONNECT or an upgrade).",
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

/// One of `services`
pub static SERVICE: Object = Object {
    name: "service",
    about: "A named set of endpoints.",
    later: &[
        "tls",
        "health",
        "health_check",
        "ejection",
        "outlier",
        "circuit_breaker",
        "retries",
        "retry_budget",
        "zone",
    ],
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
                now: &["round_robin", "least_request", "peak_ewma", "random"],
                later: &["ring_hash", "maglev"],
            },
            absent: Default("least_request"),
            about: "How endpoints are picked: in turn; the less busy of two; the faster and less busy of two; by chance. \
                    Weights count in each.",
        },
        Field {
            name: "protocol",
            kind: Kind::Choice { now: &["http1"], later: &["http2", "auto"] },
            absent: Default("http1"),
            about: "What its endpoints speak.",
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
            name: "pool",
            kind: Kind::Object(&POOL),
            absent: Means("its defaults"),
            about: "Bounds of each worker's keep-alive pool, for each endpoint.",
        },
    ],
};

/// One of `services.X.endpoints`, long form
pub static ENDPOINT_OBJECT: Object = Object {
    name: "endpoint",
    about: "Where a service answers.",
    later: &["zone", "tls", "protocol", "health"],
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
    about: "Bounds of each worker's keep-alive pool, for each endpoint.",
    later: &["pending", "requests"],
    fields: &[
        Field {
            name: "connections",
            kind: Kind::Integer(1, 65_535),
            absent: Default("1024"),
            about: "Connections of one worker to one endpoint: 503 beyond it.",
        },
        Field {
            name: "idle",
            kind: Kind::Integer(0, 65_535),
            absent: Default("128"),
            about: "Idle ones kept of those. At most `connections`.",
        },
        Field {
            name: "idle_timeout",
            kind: Kind::Duration,
            absent: Default("30s"),
            about: "An idle one is closed after.",
        },
    ],
};

/// One of `routes`
pub static ROUTE: Object = Object {
    name: "route",
    about: "What happens to some requests. It has exactly one of `to`, `respond` and `redirect`.",
    later: &[
        "retries",
        "rate_limit",
        "auth",
        "cors",
        "cache",
        "compress",
        "mirror",
        "fault",
        "hedge",
        "concurrency",
        "priority",
        "policies",
        "plan",
    ],
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
            kind: Kind::Either(&NAME, &Kind::List(&Kind::Object(&SPLIT))),
            absent: Means("not forwarded"),
            about: "Forward to this service, or split over several by weight.",
        },
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
            name: "timeout",
            kind: Kind::Or("none", &Kind::Duration),
            absent: Default("none"),
            about: "The exchange from request head to the response's last byte: 504. Only with `to`.",
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

/// All of them, in the order the reference tells of them.
pub static ALL: &[&Object] = &[
    &CONFIG,
    &RUNTIME,
    &BUFFERS,
    &ADMIN,
    &ACCESS_LOG,
    &LISTENER,
    &LIMITS,
    &LISTENER_TIMEOUTS,
    &SOCKET,
    &SERVICE,
    &ENDPOINT_OBJECT,
    &SERVICE_TIMEOUTS,
    &POOL,
    &ROUTE,
    &SPLIT,
    &RESPOND,
    &REDIRECT,
    &REWRITE,
    &HEADER_OPS,
];
