//! TLS on connections, on rustls: what listeners show and ask for, what endpoints are asked for. Nothing outside of this
//! folder and `snapshot` names a type of rustls, so that its version can change.
//!
//! ```text
//! stream.rs   a session on a connection     server.rs   what a listener shows      client.rs   what is asked of endpoints
//! ```

mod client;
mod server;
pub(crate) mod stream;
mod turns;

pub use client::ClientPlan;
pub use server::ServerPlan;
pub(crate) use stream::{Failed, Stream};
pub(crate) use turns::Turns;

/// HTTP/2 in ALPN (RFC 9113 §3.1).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// What is offered to an endpoint by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Nothing: what follows is not HTTP.
    None,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// Either.
    Both,
}
