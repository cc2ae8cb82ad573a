//! TLS towards the target: what is asked of rustls, read once before any load.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Take any certificate.
    pub insecure: bool,
    /// Trust these authorities (PEM) instead of the system's.
    pub authorities: Option<PathBuf>,
    /// Show this certificate chain (PEM) and prove it with this key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Resume sessions where the server gives tickets.
    pub resume: bool,
    /// Protocols to offer by ALPN.
    pub alpn: Vec<Vec<u8>>,
}

/// A client configuration. Each thread makes its own, so that no lock on the session cache is shared.
pub fn client(asked: &Asked) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if asked.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TakeAny::new(&provider)))
    } else {
        builder.with_root_certificates(roots(asked.authorities.as_deref())?)
    };
    let mut config = match &asked.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("{}: not a private key in PEM: {error}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(chain)?, key)
                .map_err(|error| format!("{}: certificate and key: {error}", chain.display()))?
        }
    };
    config.alpn_protocols.clone_from(&asked.alpn);
    config.resumption = if asked.resume {
        Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX)))
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// Sessions kept for resumption, by server name.
const SESSIONS_MAX: usize = 256;

/// The name that the server's certificate must be for.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` can't be the name of a TLS server"))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                store.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err("this system trusts no certificate authority: name one with --cacert, or say \
                            --insecure"
                    .into());
            }
        }
    }
    Ok(store)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: no certificate in PEM is in it", file.display())),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Takes any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct TakeAny(WebPkiSupportedAlgorithms);

impl TakeAny {
    fn new(provider: &CryptoProvider) -> TakeAny {
        TakeAny(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
