//! What listeners speak beside HTTP/1.1, as configured: HTTP/2, bytes, datagrams, and how they are told apart.

use std::time::Duration;

use super::{Part, Rate};

/// `listeners[].protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2 (default).
    #[default]
    Http,
    /// That, TLS, or bytes.
    Auto,
}

/// `listeners[].tcp`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Never empty; weights add up to more than zero.
    pub split: Vec<Part>,
    /// The header endpoints are sent first.
    pub proxy_protocol: ProxyProtocol,
}

/// `listeners[].udp`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Never empty; weights add up to more than zero.
    pub split: Vec<Part>,
    /// Silence after which a session ends (default 30 s).
    pub idle: Duration,
    /// Sessions at once on one worker (default 4096).
    pub sessions: u32,
    /// How often datagrams may come (default: as they do).
    pub rate: Option<ArrivalRate>,
    /// How often from one address (default: as they do).
    pub client_rate: Option<ClientRate>,
}

/// How often connections or datagrams may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalRate {
    /// So many in a time.
    pub rate: Rate,
    /// So many at once (default the rate's count).
    pub burst: u32,
}

/// How often they may come from one client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// How often.
    pub rate: ArrivalRate,
    /// Leading bits of an IPv4 address that count (default 32).
    pub v4_bits: u8,
    /// The same of an IPv6 address (default 64).
    pub v6_bits: u8,
}

/// `listeners[].tcp.proxy_protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// None (default).
    #[default]
    None,
    /// The line of text.
    V1,
    /// The binary form.
    V2,
}

/// `listeners[].detect`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detect {
    /// How long a silent client is waited for (default 50 ms).
    pub timeout: Duration,
    /// Ports on which nothing is looked at.
    pub opaque_ports: Vec<u16>,
}

/// `listeners[].http2`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerHttp2 {
    /// Streams and windows.
    pub bounds: Http2,
    /// What may wait for a slow client on all streams.
    pub unsent: u32,
    /// RST_STREAM a second.
    pub resets: u32,
    /// SETTINGS, PING, PRIORITY and unknown frames a second.
    pub control_frames: u32,
    /// Frames a second that carry and end nothing.
    pub empty_frames: u32,
    /// CONTINUATION frames of one head.
    pub continuations: u32,
    /// Streams reset for a client's errors.
    pub stream_errors: u32,
    /// Between two PINGs; `None` is none.
    pub keep_alive: Option<Duration>,
}

/// `services.X.http2`, and the same of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams at once on one connection.
    pub streams: u32,
    /// Bytes on their way to us on one stream.
    pub window: u32,
    /// The same on all streams.
    pub connection_window: u32,
}
