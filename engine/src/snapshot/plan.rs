//! Plans of listeners, routes and services: what was configured, in the form in which it is used.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{ActionPlan, BalancingPlan, EjectPlan, HeaderPlan, HealthPlan, RouteLimit, Split};
use crate::arrivals::{ClientRate, Pace};
use crate::balance::{Address, Endpoint, Rules};
use crate::breaker::{self, Concurrency};
use crate::faults::FaultPlan;
use crate::http2::Budget;
use crate::overload::Priority;
use crate::proxy_protocol;
use crate::retry::BudgetPlan;
use crate::routing::{RouteId, RouteRule, Router};
use crate::tls::{ClientPlan, ServerPlan};

/// Place of a service in [`super::Snapshot::services`]; changes with every snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// One listener.
#[derive(Debug)]
pub struct ListenerPlan {
    /// Unique; what state that outlives a snapshot is keyed by.
    pub name: Arc<str>,
    /// Where it binds.
    pub address: Address,
    /// The routes it serves, compiled.
    pub router: Router,
    /// The routes it serves, in the order written.
    pub routes: Box<[RouteId]>,
    /// All of them are critical, and there are some.
    pub is_critical: bool,
    /// Peers that must speak the PROXY protocol; if there are any, others must not.
    pub proxy_protocol: Box<[IpNet]>,
    /// Hops whose forwarding headers are believed.
    pub trusted_hops: Box<[IpNet]>,
    /// Bounds on what clients may send.
    pub limits: Limits,
    /// How long clients may take.
    pub timeouts: Timeouts,
    /// Socket options.
    pub socket: SocketPlan,
    /// Protocols that `Upgrade` may ask for, lower case.
    pub upgrades: Box<[Box<[u8]>]>,
    /// Header names with `_` are forwarded.
    pub allow_underscores: bool,
    /// `//` in paths becomes `/`.
    pub merge_slashes: bool,
    /// CONNECT is allowed.
    pub allow_connect: bool,
    /// TRACE is allowed.
    pub allow_trace: bool,
    /// Form of local replies.
    pub errors: ErrorFormat,
    /// Where clients speak HTTP/2.
    pub http2: Http2Plan,
    /// What clients of HTTP/2 may cost.
    pub budget: Budget,
    /// Where clients speak TLS that ends here.
    pub tls: Option<Arc<ServerPlan>>,
    /// What becomes of a connection.
    pub mode: Mode,
}

/// What becomes of a listener's connections.
#[derive(Debug)]
pub enum Mode {
    /// They carry requests.
    Http,
    /// They are carried as bytes.
    Tcp(TcpPlan),
    /// Datagrams, carried by session.
    Udp(UdpPlan),
    /// As bytes, to the service of the route for the name that their TLS asks for.
    Passthrough,
    /// Requests, TLS, or bytes: whichever they begin with.
    Auto {
        /// Where bytes go.
        opaque: TcpPlan,
        /// Who is silent for so long waits for the other side.
        detect_ms: u64,
        /// On these ports nothing is looked at.
        opaque_ports: Box<[u16]>,
    },
}

impl Mode {
    /// Whether requests may come.
    pub fn serves_http(&self) -> bool {
        matches!(self, Mode::Http | Mode::Auto { .. })
    }
}

/// Where datagrams go.
#[derive(Clone, Debug)]
pub struct UdpPlan {
    /// Services by weight.
    pub split: Split,
    /// Silence after which a session ends.
    pub idle_ms: u64,
    /// Sessions at once on one worker.
    pub sessions_max: u32,
    /// Datagrams over all workers; `None`: as they come.
    pub rate: Option<Pace>,
    /// Datagrams from one client's address, over all workers; `None`: as they come.
    pub client_rate: Option<ClientRate>,
}

/// Where bytes go that are not HTTP.
#[derive(Clone, Debug)]
pub struct TcpPlan {
    /// Services by weight.
    pub split: Split,
    /// How endpoints are told who connected.
    pub proxy_protocol: Option<proxy_protocol::Form>,
}

impl ListenerPlan {
    /// Datagrams come here.
    pub fn is_udp(&self) -> bool {
        matches!(self.mode, Mode::Udp(_))
    }

    /// HTTP begins with a connection's first byte.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && self.proxy_protocol.is_empty() && matches!(self.mode, Mode::Http)
    }

    /// Whether this peer's forwarding headers are believed.
    #[inline]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        contains(&self.trusted_hops, peer)
    }

    /// Whether this peer must begin with a PROXY protocol header.
    #[inline]
    pub fn expects_proxy_protocol(&self, peer: IpAddr) -> bool {
        contains(&self.proxy_protocol, peer)
    }

    /// Whether `Upgrade` to this protocol passes.
    pub fn allows_upgrade(&self, protocol: &[u8]) -> bool {
        self.upgrades.iter().any(|name| name.eq_ignore_ascii_case(protocol))
    }
}

/// An IPv4 address within IPv6 counts as what it is.
fn contains(nets: &[IpNet], peer: IpAddr) -> bool {
    !nets.is_empty() && nets.iter().any(|net| net.contains(&peer.to_canonical()))
}

/// Bounds on what clients may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Over all workers.
    pub connections_max: u32,
    /// Over all workers; `None`: any number.
    pub connections_per_second_max: Option<u32>,
    /// From one client's address, over all workers; `None`: as often as it connects.
    pub client_rate: Option<ClientRate>,
    /// 431 beyond it.
    pub head_bytes_max: u32,
    /// 431 beyond it.
    pub headers_max: u16,
    /// 414 beyond it.
    pub target_bytes_max: u32,
    /// 413 beyond it. `u64::MAX`: any size.
    pub body_bytes_max: u64,
    /// On one connection. `u32::MAX`: any number.
    pub requests_max: u32,
}

/// How long clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// First byte of a head to its last.
    pub head_ms: u64,
    /// Keep-alive connection without a request.
    pub idle_ms: u64,
    /// Over any five seconds; 0 is off.
    pub rate_bytes_per_second_min: u32,
    /// First byte of a TLS handshake to its end.
    pub handshake_ms: u64,
    /// Silence on a tunnel.
    pub tunnel_idle_ms: u64,
    /// Reading and throwing away before a close.
    pub linger_ms: u64,
}

/// Socket options of a listener; `None` leaves it to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPlan {
    /// Of listen(2).
    pub backlog: u32,
    /// SO_RCVBUF
    pub receive_buffer_bytes: Option<u32>,
    /// SO_SNDBUF
    pub send_buffer_bytes: Option<u32>,
}

/// Form of local replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// RFC 9457 application/problem+json
    Problem,
    /// text/plain
    Text,
}

/// One route.
#[derive(Debug)]
pub struct RoutePlan {
    /// Unique.
    pub name: Arc<str>,
    /// What it does.
    pub action: ActionPlan,
    /// On what is sent upstream.
    pub request_headers: HeaderPlan,
    /// On what is sent downstream.
    pub response_headers: HeaderPlan,
    /// All must let a request pass, in this order.
    pub limits: Box<[RouteLimit]>,
    /// `%2F` in the path passes, undecoded; else 400.
    pub allow_encoded_slashes: bool,
    /// In place of the listener's.
    pub body_bytes_max: Option<u64>,
    /// Errors made on purpose.
    pub faults: Box<[FaultPlan]>,
    /// What it asks of requests, as written: for explanations.
    pub rule: RouteRule,
    /// How late it is shed.
    pub priority: Priority,
}

impl RoutePlan {
    /// The bound on request bodies; `u64::MAX`: any size.
    #[inline]
    pub fn body_bytes_max(&self, listener: &ListenerPlan) -> u64 {
        self.body_bytes_max.unwrap_or(listener.limits.body_bytes_max)
    }
}

/// One service.
#[derive(Debug)]
pub struct ServicePlan {
    /// Unique; what pools, health and balance are keyed by, with an endpoint's address.
    pub name: Arc<str>,
    /// As configured.
    pub endpoints: Box<[EndpointPlan]>,
    /// How they are picked.
    pub rules: Rules,
    /// What else there is to that.
    pub balancing: BalancingPlan,
    /// Host where the request had none, or where `authority_as_host` says so.
    pub authority: Box<[u8]>,
    /// The upstream sees `authority` in place of the request's host.
    pub authority_as_host: bool,
    /// TCP handshake.
    pub connect_ms: u64,
    /// Request sent to response head read.
    pub response_head_ms: u64,
    /// Silence within a response body.
    pub idle_ms: u64,
    /// Of each worker, for each endpoint.
    pub pool: PoolPlan,
    /// How much it may be asked at once, by all workers.
    pub breaker: breaker::Limits,
    /// The same, as far as it is found out.
    pub concurrency: Option<Concurrency>,
    /// What its endpoints speak.
    pub protocol: Protocol,
    /// Where they speak HTTP/2.
    pub http2: Http2Plan,
    /// How many requests may be retries.
    pub retry_budget: BudgetPlan,
    /// Where they speak TLS.
    pub tls: Option<Arc<ClientPlan>>,
    /// How they are checked, if they are: off the workers.
    pub health: Option<HealthPlan>,
    /// How they are judged, if they are: off the workers, who count.
    pub eject: Option<EjectPlan>,
}

impl ServicePlan {
    /// Requests wait where there are too many, of them or of connections.
    pub fn has_gate(&self) -> bool {
        let breaker = &self.breaker;
        let limits = [breaker.requests, breaker.endpoint_requests, breaker.connections];
        self.concurrency.is_some() || limits.iter().any(|limit| *limit != u32::MAX)
    }

    /// Addresses and weights for [`crate::balance::Balancer::reconcile`]; `resolved` says what a name stands for now,
    /// nothing if it is not known.
    pub fn addresses<A: IntoIterator<Item = IpAddr>>(
        &self,
        mut resolved: impl FnMut(&str) -> A,
    ) -> Vec<(Address, u16)> {
        self.resolved(&mut resolved).into_iter().map(|endpoint| (endpoint.address, endpoint.weight)).collect()
    }

    /// The endpoints for [`crate::balance::Balancer::reconcile`]; `resolved` as above.
    pub fn resolved<A: IntoIterator<Item = IpAddr>>(
        &self,
        mut resolved: impl FnMut(&str) -> A,
    ) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for endpoint in &self.endpoints {
            match &endpoint.target {
                EndpointTarget::Known(address) => endpoints.push(endpoint.at(address.clone())),
                EndpointTarget::Dns { name, port } => {
                    let of_name = resolved(name).into_iter().map(|ip| Address::Ip((ip, *port).into()));
                    endpoints.extend(of_name.map(|address| endpoint.at(address)));
                }
            }
        }
        endpoints
    }

    /// The names among its endpoints.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
            EndpointTarget::Dns { name, .. } => Some(name),
            EndpointTarget::Known(_) => None,
        })
    }
}

/// What a service's endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2: agreed on by ALPN under TLS, else with prior knowledge.
    Http2,
    /// What ALPN agrees on; without TLS what the request came by.
    Auto,
}

/// Bounds of one connection of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Plan {
    /// Streams at once.
    pub streams: u32,
    /// Bytes that may be on their way to us on one stream.
    pub window: u32,
    /// The same on all streams together.
    pub connection_window: u32,
    /// Towards endpoints: from one PING to the next while streams are under way; 0 is none.
    pub keep_alive_ms: u64,
}

/// One endpoint as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// Where.
    pub target: EndpointTarget,
    /// Share among its siblings; each address of a name has it whole.
    pub weight: u16,
    /// Its level; lower ones are asked first.
    pub priority: u8,
    /// Where it is.
    pub zone: Option<Box<str>>,
    /// That is where this node is.
    pub is_near: bool,
    /// The views of its service that it is in.
    pub views: u64,
}

impl EndpointPlan {
    fn at(&self, address: Address) -> Endpoint {
        let EndpointPlan { weight, priority, is_near, views, .. } = *self;
        Endpoint { address, weight, priority, is_near, views }
    }
}

/// An address, or a name that stands for some.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointTarget {
    /// Known now.
    Known(Address),
    /// Looked up on the background thread.
    Dns {
        /// Without final dot.
        name: Arc<str>,
        /// For every address.
        port: u16,
    },
}

/// What is kept of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// Idle ones kept.
    pub idle_max: u32,
    /// How long an idle one is kept.
    pub idle_timeout_ms: u64,
}
