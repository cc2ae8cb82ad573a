//! The same work, written in each proxy's configuration: one worker, no access log, keep-alive upstream, and of HTTP
//! X-Forwarded-For, -Proto, -Host, Forwarded, X-Request-Id and Via added to what goes there. Under TLS each speaks what
//! it speaks by default, session tickets included: the load says which version, group and cipher it takes.

mod envoy;
mod haproxy;
mod nginx;
mod ringway;

pub use envoy::envoy;
pub use haproxy::haproxy;
pub use nginx::{head as nginx_head, nginx};
pub use ringway::{Said, ringway};

/// Idle connections to the origin that each may keep: more than there are streams at once.
const IDLE_KEPT: u32 = 512;
