//! What runs: the validated configuration.
//!
//! A value of these types is legal by construction: names resolve, units are parsed, defaults are filled in,
//! bounds hold. `decode` makes it from the tree the user wrote; `engine::snapshot` is its only reader on the way
//! to the request path. Durations are `std::time::Duration`, sizes are bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use balancing::{Balancing, Labels, Part, Position, Sticky, labels_text};
pub use breaking::{Breaker, Concurrency, ConcurrencyMode, EndpointBreaker, Overload, Priority};
pub use faults::{Abort, FAULT_DELAY_MAX, FAULT_UNTIL_MAX, FAULTS_MAX, Fault, GRPC_CODES};

pub use acme::{AcmeAccount, AcmeCertificate, AcmeChallenge, AcmeId, ExternalAccount};
pub use fleets::{Fleet, FleetStore, Redis, RedisAt, Rls};
pub use health::{CheckBy, Eject, EjectMode, Health, HttpCheck};
pub use keys::KeySource;
pub use limits::{ConcurrencyLimit, Cost, LimitBy, Missing, Rate, RateLimit, RateLimitId, Tell, Unsure};
pub use protocols::{
    ArrivalRate, ClientRate, Detect, Http2, ListenerHttp2, ListenerProtocol, ProxyProtocol, Tcp, Udp,
};
pub use retries::{Hedge, HedgeAfter, Mirror, Retries, RetryBudget, RetryWhen};
pub use tls::{
    Authorities, Certificate, ClientCertificates, ListenerCertificate, ListenerTls, Secret, ServiceTls, Tls,
    TlsVersion,
};

mod acme;
mod balancing;
mod breaking;
mod faults;
mod fleets;
mod health;
mod keys;
mod limits;
mod protocols;
mod retries;
mod tls;

/// Index into [`Config::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Index into [`Config::routes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// A whole validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Edge or side of a service; chooses defaults only.
    pub role: Role,
    /// Workers, driver and buffers.
    pub runtime: Runtime,
    /// The admin API.
    pub admin: Admin,
    /// Where access log lines go; `None` is off.
    pub access_log: Option<AccessLog>,
    /// How long a stop waits for what is under way.
    pub drain_timeout: Duration,
    /// When something is shed.
    pub overload: Overload,
    /// Where this node is.
    pub zone: Option<String>,
    /// Sorted by name.
    pub acme: Vec<AcmeAccount>,
    /// Sorted by name.
    pub fleets: Vec<Fleet>,
    /// Those of `rate_limits` first, then what routes say themselves.
    pub rate_limits: Vec<RateLimit>,
    /// In the order written. Never empty.
    pub listeners: Vec<Listener>,
    /// Sorted by name.
    pub services: Vec<Service>,
    /// In the order written. Each has a name; unnamed ones are called after their place: `route-3`.
    pub routes: Vec<Route>,
    /// Every other file that was read.
    pub files: Vec<ReadFile>,
}

/// A file the configuration names, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadFile {
    /// Where.
    pub path: PathBuf,
    /// Of what it held.
    pub digest: u64,
}

/// `role`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// The edge (default).
    #[default]
    Gateway,
    /// Beside a service: one unpinned worker unless said otherwise.
    Sidecar,
}

/// `runtime`
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// Worker threads; `None` is one per core that may be used (`auto`).
    pub workers: Option<u16>,
    /// Which driver.
    pub backend: Backend,
    /// Pin each worker to a core.
    pub pin: bool,
    /// Receive buffers of one worker.
    pub buffers: Buffers,
    /// Bytes that the process may use; `None`: what its cgroup allows, if that is bounded.
    pub memory: Option<u64>,
}

/// `runtime.backend`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Backend {
    /// io_uring where its self-test passes, else epoll (default).
    #[default]
    Auto,
    /// io_uring or refuse to start.
    IoUring,
    /// epoll.
    Epoll,
}

/// `runtime.buffers`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes of one buffer (4 KiB to 1 MiB, a power of two; default 16 KiB).
    pub size: u32,
    /// Buffers of one worker (32 to 32768; default 640). Memory is taken when first used.
    pub count: u32,
}

/// `admin`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Default 127.0.0.1:9901.
    pub address: SocketAddr,
    /// Whether what runs may be changed by it.
    pub writes: AdminWrites,
}

/// `admin.writes`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AdminWrites {
    /// Where its address is one of this host only (default).
    #[default]
    Local,
    /// By whoever reaches it.
    Any,
    /// By nobody.
    None,
}

/// `access_log`
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Line format.
    pub format: LogFormat,
    /// Where to.
    pub to: LogTo,
    /// Bytes of each worker's ring (default 256 KiB); lines that do not fit are dropped and counted.
    pub ring: u32,
}

/// `access_log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object a line (default).
    #[default]
    Json,
    /// Common log format.
    Common,
}

/// `access_log.to`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// `stdout`
    Stdout,
    /// A file, opened for appending, reopened on SIGUSR1.
    File(PathBuf),
}

/// Where a listener binds or an endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `127.0.0.1:8080`, `[::1]:8080`
    Ip(SocketAddr),
    /// `unix:/run/app.sock`
    Unix(PathBuf),
}

/// One of `listeners`
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// Unique; two listeners never overlap.
    pub address: Address,
    /// The routes it serves, by place in [`Config::routes`].
    pub routes: Vec<RouteId>,
    /// Where TLS is spoken.
    pub tls: Option<Tls>,
    /// What clients speak.
    pub protocol: ListenerProtocol,
    /// Where bytes that are not HTTP go.
    pub tcp: Option<Tcp>,
    /// Where datagrams go.
    pub udp: Option<Udp>,
    /// How `protocol: auto` tells what is spoken.
    pub detect: Detect,
    /// Bounds of HTTP/2.
    pub http2: ListenerHttp2,
    /// PROXY protocol is required from these peers, refused from others. Empty: not spoken here.
    pub proxy_protocol: Vec<IpNet>,
    /// Hops whose X-Forwarded-*, Forwarded and X-Request-Id are believed.
    pub trusted_hops: Vec<IpNet>,
    /// Bounds on what clients may send.
    pub limits: ListenerLimits,
    /// How long clients may take.
    pub timeouts: ListenerTimeouts,
    /// Socket options.
    pub socket: SocketOptions,
    /// Protocols that `Upgrade` may ask for, lower case (default `websocket`).
    pub upgrades: Vec<String>,
    /// Forward header names with `_` (default false: they are dropped).
    pub underscores: bool,
    /// Merge `//` in paths into `/` (default true).
    pub merge_slashes: bool,
    /// Allow CONNECT (default false).
    pub connect: bool,
    /// Allow TRACE (default false).
    pub trace: bool,
    /// Form of local replies.
    pub errors: ErrorFormat,
}

/// `listeners[].limits`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open connections over all workers (default 100 000). Beyond it new ones wait in the backlog.
    pub connections: u32,
    /// New connections a second over all workers; `None` is no limit. Beyond it new ones wait in the backlog.
    pub connection_rate: Option<u32>,
    /// How often a client's address may connect (default: as often as it does). Beyond it connections are closed.
    pub client_rate: Option<ClientRate>,
    /// Bytes of a request head (default 32 KiB): 431.
    pub head: u32,
    /// Header fields in a head (default 100): 431.
    pub headers: u16,
    /// Bytes of the request target (default 8 KiB): 414.
    pub target: u32,
    /// Bytes of a request body; `None` is no limit (default): 413.
    pub body: Option<u64>,
    /// Requests on one connection before it is closed; `None` is no limit (default).
    pub requests: Option<u32>,
}

/// `listeners[].timeouts`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// First byte of a head to its last (default 10 s): 408.
    pub head: Duration,
    /// Keep-alive connection without a request (default 75 s): closed silently.
    pub idle: Duration,
    /// Least bytes a second, over any 5 s, of a request body read or a response taken (default 100; 0 is off).
    pub min_rate: u32,
    /// First byte of a TLS handshake to its end (default 10 s).
    pub handshake: Duration,
    /// Silence on a tunnel (default 1 h).
    pub tunnel_idle: Duration,
    /// What is read and thrown away after a refused request before the connection is closed (default 1 s).
    pub linger: Duration,
}

/// `listeners[].socket`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// listen(2) backlog (default 4096; the kernel caps it at net.core.somaxconn).
    pub backlog: u32,
    /// SO_RCVBUF; `None` leaves it to the kernel.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF; `None` leaves it to the kernel.
    pub send_buffer: Option<u32>,
}

/// `listeners[].errors`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ErrorFormat {
    /// RFC 9457 application/problem+json (default).
    #[default]
    Problem,
    /// text/plain
    Text,
}

/// One of `services`
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique.
    pub name: String,
    /// Never empty.
    pub endpoints: Vec<Endpoint>,
    /// How endpoints are picked.
    pub balance: Balance,
    /// What goes with that.
    pub balancing: Balancing,
    /// `host[:port]` sent when an HTTP/1.0 request had no Host, default the first endpoint's address as written
    /// (without `dns:`; `localhost` for a Unix socket); and in place of the request's own when `host: service`.
    pub authority: String,
    /// What Host the upstream sees.
    pub host: HostPolicy,
    /// How long upstreams may take.
    pub timeouts: ServiceTimeouts,
    /// What each worker keeps of connections, for each endpoint.
    pub pool: Pool,
    /// How much it may be asked at once.
    pub breaker: Breaker,
    /// The same, as far as it is found out.
    pub concurrency: Option<Concurrency>,
    /// What its endpoints speak.
    pub protocol: ServiceProtocol,
    /// Where they speak TLS.
    pub tls: Option<ServiceTls>,
    /// Bounds of HTTP/2.
    pub http2: Http2,
    /// Between two PINGs while streams are under way (`http2.keep_alive`); `None` is none.
    pub http2_keep_alive: Option<Duration>,
    /// How many requests may be retries.
    pub retry_budget: RetryBudget,
    /// How endpoints are checked, if they are.
    pub health: Option<Health>,
    /// How endpoints are judged by what their exchanges come to, if they are.
    pub eject: Option<Eject>,
}

/// `services.X.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ServiceProtocol {
    /// HTTP/1.1 (default).
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// What TLS agrees on; without TLS what the request came by.
    Auto,
}

/// One of `services.X.endpoints`
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Where.
    pub address: EndpointAddress,
    /// Share among its siblings, 1 to 1000 (default 1).
    pub weight: u16,
    /// Level, zone and labels.
    pub position: Position,
}

/// Where an endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// Known now.
    Static(Address),
    /// `dns:name:port`: each A and AAAA record is an endpoint.
    Dns {
        /// Without trailing dot.
        name: String,
        /// Port for every record.
        port: u16,
    },
}

/// `services.X.balance`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// Power of two choices by active exchanges (default).
    #[default]
    LeastRequest,
    /// Power of two choices by latency with decay and active exchanges.
    PeakEwma,
    /// By weight.
    Random,
    /// By key, along a ring.
    RingHash,
    /// By key, by a table.
    Maglev,
}

/// `services.X.host`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HostPolicy {
    /// As the client sent it, or the route's rewrite (default).
    #[default]
    Preserve,
    /// The service's authority.
    Service,
}

/// `services.X.timeouts`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// TCP handshake (default 3 s).
    pub connect: Duration,
    /// Request sent to response head read (default 60 s).
    pub response_head: Duration,
    /// Silence within a response body (default 60 s).
    pub idle: Duration,
}

/// `services.X.pool`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections kept by one worker to one endpoint (default 128).
    pub idle: u32,
    /// An idle one is closed after (default 30 s).
    pub idle_timeout: Duration,
}

/// One of `routes`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// Lower case; empty: any host.
    pub hosts: Vec<HostPattern>,
    /// What paths.
    pub path: PathPattern,
    /// Empty: any method.
    pub methods: Vec<String>,
    /// All must hold. Names lower case.
    pub headers: Vec<ValueMatch>,
    /// All must hold. Names and values as they read after percent-decoding.
    pub query: Vec<ValueMatch>,
    /// What it does.
    pub action: Action,
    /// How many of its requests may come in a time; all must let one pass.
    pub rate_limits: Vec<RateLimitId>,
    /// How many may be under way at once.
    pub concurrency_limits: Vec<ConcurrencyLimit>,
    /// Applied to what is sent upstream, after hop-by-hop headers are gone.
    pub request_headers: HeaderOps,
    /// Applied to what is sent downstream.
    pub response_headers: HeaderOps,
    /// `%2F` in paths passes, undecoded (default false: 400).
    pub encoded_slashes: bool,
    /// In place of the listener's body limit when set; `u64::MAX` (written `none`) is no limit.
    pub body_limit: Option<u64>,
    /// How late it is shed under overload.
    pub priority: Priority,
    /// Errors made on purpose, for a while.
    pub faults: Vec<Fault>,
}

/// `routes[].hosts[]`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `api.example.com`
    Exact(String),
    /// `*.example.org`, any depth; holds `example.org` (without the dot).
    Suffix(String),
}

/// `routes[].path`, in the canonical form request paths have when they are matched: `%41` is `A`, `%2f` is `%2F`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// No `path` given, or `/**`.
    Any,
    /// `/healthz`
    Exact(String),
    /// `/v1/orders/**` holds `/v1/orders`; matches it and everything below.
    Prefix(String),
    /// `/v1/orders/{id}`, one segment a parameter.
    Template(Vec<Segment>),
}

/// A piece between slashes of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// As it stands; may be empty (`/a/` ends in one).
    Literal(String),
    /// `{name}`: any one segment that is not empty.
    Parameter(String),
    /// `**`, only last: whatever is left, none included.
    Rest,
}

/// A named value to match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueMatch {
    /// Header or query parameter.
    pub name: String,
    /// Its value; `None`: present, whatever it is (written `"*"`).
    pub value: Option<String>,
}

/// What a route does: exactly one of `to`, `respond`, `redirect`.
#[expect(clippy::large_enum_variant, reason = "one for each route, and most forward")]
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `to`
    Forward(Forward),
    /// `respond`
    Respond(Respond),
    /// `redirect`
    Redirect(Redirect),
}

/// `routes[].to` and what goes with it
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Never empty; weights add up to more than zero.
    pub split: Vec<Part>,
    /// What tells who goes where; empty: chance.
    pub split_by: Vec<KeySource>,
    /// New path, in the form of the route's own: `/**` at its end stands for what the route's `**` matched,
    /// `{name}` for what the template matched.
    pub rewrite_path: Option<PathTemplate>,
    /// New Host.
    pub rewrite_host: Option<String>,
    /// Browsers call the services by gRPC-Web.
    pub grpc_web: Option<GrpcWeb>,
    /// Others call them by JSON.
    pub grpc_json: Option<GrpcJson>,
    /// The exchange from request head to the response's last byte (`timeout`; default none): 504.
    pub timeout: Option<Duration>,
    /// What is sent again.
    pub retries: Option<Retries>,
    /// When another endpoint is asked too.
    pub hedge: Option<Hedge>,
    /// Who gets copies.
    pub mirror: Option<Mirror>,
}

/// `routes[].grpc_web`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcWeb {
    /// Whose pages may call, as in `https://app.example`; `*` is anybody's.
    pub origins: Vec<String>,
}

/// `routes[].grpc_json`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcJson {
    /// Where the descriptor came from.
    pub descriptor: PathBuf,
    /// A `FileDescriptorSet`.
    pub descriptor_set: Vec<u8>,
    /// Never empty: `pkg.Service`.
    pub services: Vec<String>,
    /// Unknown fields are passed over (default false: 400).
    pub ignore_unknown: bool,
    /// Fields with their default are written too (default false).
    pub print_defaults: bool,
    /// Names as in the proto file (default false: lowerCamelCase).
    pub proto_names: bool,
}

/// A path to be filled in from a match. `/` is one empty literal; a slash at the end makes an empty last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(pub Vec<Segment>);

/// `routes[].respond`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Empty by default.
    pub body: String,
    /// Default text/plain; charset=utf-8.
    pub content_type: String,
}

/// `routes[].redirect`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308 (default 308).
    pub status: u16,
    /// `http` or `https`; `None` is the request's.
    pub scheme: Option<String>,
    /// `None` is the request's.
    pub host: Option<String>,
    /// `None` is the default of the scheme where scheme or host were given, else the request's.
    pub port: Option<u16>,
    /// `None` is the request's path. The query is kept.
    pub path: Option<PathTemplate>,
}

/// `request_headers`, `response_headers`: remove, then set, then add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    /// Names, lower case.
    pub remove: Vec<String>,
    /// Replaces every value.
    pub set: Vec<(String, String)>,
    /// Adds one more.
    pub add: Vec<(String, String)>,
}
