//! TLS towards the target: what is asked of rustls, read once before any load.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{
    CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedCipherSuite,
};

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
    /// Groups for the key exchange to offer, in this order; none: what the provider offers.
    pub groups: Vec<String>,
    /// Cipher suites to offer, in this order; none: what the provider offers.
    pub ciphers: Vec<String>,
}

/// A client configuration. Each thread makes its own, so that no lock on the session cache is shared.
pub fn client(asked: &Asked) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider(asked)?);
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

/// The library's own, cut down to what is asked for: what a handshake costs the target is decided by what we offer.
fn provider(asked: &Asked) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    if !asked.groups.is_empty() {
        let name = |group: &&dyn SupportedKxGroup| format!("{:?}", group.name());
        provider.kx_groups = chosen("--tls-groups", &asked.groups, aws_lc_rs::ALL_KX_GROUPS, name)?;
    }
    if !asked.ciphers.is_empty() {
        let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
        provider.cipher_suites = chosen("--tls-ciphers", &asked.ciphers, aws_lc_rs::ALL_CIPHER_SUITES, name)?;
    }
    Ok(provider)
}

/// Those of `known` that are asked for by name, whatever its case.
fn chosen<T: Copy>(
    option: &str,
    asked: &[String],
    known: &[T],
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, String> {
    let find = |wanted: &String| {
        let found = known.iter().find(|one| name(one).eq_ignore_ascii_case(wanted));
        found.copied().ok_or_else(|| {
            let names: Vec<String> = known.iter().map(&name).collect();
            format!("{option} {wanted}: not known here; there are {}", names.join(", "))
        })
    };
    asked.iter().map(find).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_offered_and_in_that_order() {
        let names = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let asked = Asked {
            insecure: true,
            groups: names(&["secp256r1", "X25519"]),
            ciphers: names(&["tls13_aes_128_gcm_sha256"]),
            ..Asked::default()
        };
        let config = client(&asked).unwrap();
        let groups: Vec<String> =
            config.crypto_provider().kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
        assert_eq!(groups, ["secp256r1", "X25519"]);
        assert_eq!(config.crypto_provider().cipher_suites.len(), 1);

        let wrong = Asked { groups: names(&["x448"]), ..asked };
        let why = client(&wrong).unwrap_err();
        assert!(why.contains("--tls-groups x448") && why.contains("X25519MLKEM768"), "{why}");
    }
}
