//! What a listener shows its clients and asks of them.

use std::sync::Arc;

use rustls::ServerConfig;

/// How a listener speaks TLS.
#[derive(Debug)]
pub struct ServerPlan {
    /// Certificates, versions, ALPN, whom to ask for a certificate.
    pub(crate) config: Arc<ServerConfig>,
    /// First byte to the end of the handshake.
    pub(crate) handshake_ms: u64,
    /// Handshakes under way at once on one worker; more wait.
    pub(crate) handshakes_max: u32,
}
