//! What is shown to an authority that looks for a proof by handshake (ACME, RFC 8737).

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::provider;

/// In ALPN, alone (RFC 8737 §6.2).
pub(crate) const ALPN_PROOF: &[u8] = b"acme-tls/1";

/// A certificate that proves control of a name and serves nothing.
#[derive(Clone)]
pub(crate) struct ProofPlan {
    pub(crate) config: Arc<ServerConfig>,
}

impl ProofPlan {
    /// # Errors
    /// What rustls objects to.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<ProofPlan, String> {
        let provider = provider();
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        let key = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.to_vec())?);
        // Not tried against each other: the proof is a critical extension, which is more than rustls takes in a certificate.
        let shown = CertifiedKey::new(chain, key.map_err(|error| error.to_string())?);
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        config.alpn_protocols = vec![ALPN_PROOF.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(ProofPlan { config: Arc::new(config) })
    }
}

impl fmt::Debug for ProofPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofPlan")
    }
}
