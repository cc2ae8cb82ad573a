//! The certificate that every proxy shows, made for the run, and a client that trusts it and takes nothing but what the
//! load takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Whom the certificate names.
pub const NAME: &str = "bench.test";
/// What it is.
pub const KIND: &str = "P-256 (ECDSA), alone, its authority known to the client";
/// The key exchange that the load offers, as `ringway-load` calls it.
pub const GROUP: &str = "X25519";
/// The cipher suite that it offers.
pub const CIPHER: &str = "TLS13_AES_128_GCM_SHA256";

/// Files in PEM.
pub struct Identity {
    /// Who signed it.
    pub authority: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one, as HAProxy wants it.
    pub both: PathBuf,
}

impl Identity {
    /// Makes a new one in a folder of its own below `folder`, where no proxy has reason to watch for changes.
    pub fn new(folder: &Path) -> Result<Identity, String> {
        let folder = folder.join("tls");
        let of = |name| folder.join(name);
        let identity = Identity {
            authority: of("ca.crt"),
            certificate: of("site.crt"),
            key: of("site.key"),
            both: of("site.pem"),
        };
        let (authority, certificate, key) = issue().map_err(|error| format!("a certificate: {error}"))?;
        let write = |file: &Path, text: &str| {
            std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
        };
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        write(&identity.authority, &authority)?;
        write(&identity.certificate, &certificate)?;
        write(&identity.key, &key)?;
        write(&identity.both, &(certificate + &key))?;
        Ok(identity)
    }
}

/// Authority, certificate and key.
fn issue() -> Result<(String, String, String), rcgen::Error> {
    let new_key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, new_key()?)?;
    let key = new_key()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?;
    Ok((issuer.pem(), certificate.pem(), key.serialize_pem()))
}

/// A client that trusts `authority` alone, offers what the load offers, and never comes back with a ticket.
pub fn client(authority: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).map_err(|error| error.to_string())?;
    roots.add(certificate).map_err(|error| error.to_string())?;
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
