//! What a listener shows its clients and asks of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ringway_config::model::{self, ClientCertificates, ListenerTls};
use rustc_hash::FxHashMap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::{ALPN_HTTP1, ALPN_HTTP2, key_log, provider, versions};

/// How a listener speaks TLS.
#[derive(Debug)]
pub struct ServerPlan {
    /// Certificates, versions, ALPN, whom to ask for a certificate.
    pub(crate) config: Arc<ServerConfig>,
    /// First byte to the end of the handshake.
    pub(crate) handshake_ms: u64,
    /// Handshakes under way at once on one worker; more wait.
    pub(crate) handshakes_max: u32,
    /// The verified certificate is told upstream.
    pub(crate) client_cert_header: bool,
    /// What clients are asked for, in words; empty: nothing.
    pub(crate) asks: &'static str,
    certificates: Arc<ByName>,
}

impl ServerPlan {
    /// What a listener of this name speaks; `http`: it serves requests, and says so by ALPN.
    ///
    /// # Errors
    /// What rustls objects to; certificates and keys were tried before.
    pub fn new(name: &str, tls: &ListenerTls, handshake_ms: u64, http: bool) -> Result<ServerPlan, String> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(tls.min_version))
            .map_err(|error| error.to_string())?;
        let verified = |ca: &model::Authorities| {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots_of(ca)?), provider.clone());
            Ok::<_, String>(verifier)
        };
        let builder = match &tls.clients {
            ClientCertificates::NotAsked => builder.with_no_client_auth(),
            ClientCertificates::Optional(ca) => {
                let verifier = verified(ca)?.allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
            }
            ClientCertificates::Required(ca) => {
                let verifier = verified(ca)?.build();
                builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
            }
        };
        let certificates = Arc::new(ByName::new(&tls.certificates, &provider)?);
        let mut config = builder.with_cert_resolver(certificates.clone());
        if http {
            config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        }
        if tls.tickets {
            config.ticketer = ticketer(name, &tls.clients)?;
        } else {
            config.send_tls13_tickets = 0;
        }
        if let Some(path) = &tls.key_log {
            config.key_log = key_log(path)?;
        }
        Ok(ServerPlan {
            config: Arc::new(config),
            handshake_ms,
            handshakes_max: tls.handshakes,
            client_cert_header: tls.client_cert_header,
            asks: match tls.clients {
                ClientCertificates::NotAsked => "",
                ClientCertificates::Optional(_) => "may show a certificate",
                ClientCertificates::Required(_) => "must show a certificate",
            },
            certificates,
        })
    }

    /// The file of the certificate shown to who asks for this name, and whether it is for that name.
    pub(crate) fn certificate_for(&self, name: Option<&str>) -> (&Path, bool) {
        let found = name.and_then(|name| self.certificates.find(name));
        let shown = found.unwrap_or(&self.certificates.default);
        let file = self.certificates.files.iter().find(|(key, _)| Arc::ptr_eq(key, shown));
        (file.map_or(Path::new(""), |(_, file)| file), found.is_some())
    }
}

/// Certificates by the name that a client asks for.
struct ByName {
    exact: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`; they stand for one label (RFC 9525 §6.3).
    wildcard: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
    /// Where each came from, for explanations.
    files: Vec<(Arc<CertifiedKey>, PathBuf)>,
}

impl ByName {
    fn new(certificates: &[model::Certificate], provider: &CryptoProvider) -> Result<ByName, String> {
        let (mut exact, mut wildcard, mut default) = (FxHashMap::default(), FxHashMap::default(), None);
        let mut files = Vec::new();
        for certificate in certificates {
            let key = Arc::new(certified(certificate, provider)?);
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                names.entry(name.into()).or_insert_with(|| key.clone());
            }
            files.push((key.clone(), certificate.cert.clone()));
            default.get_or_insert(key);
        }
        let default = default.ok_or("a listener with TLS shows a certificate")?;
        Ok(ByName { exact, wildcard, default, files })
    }

    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        name.and_then(|name| self.find(name)).unwrap_or(&self.default)
    }

    /// One that is for this name.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name.as_str()).or_else(parent)
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.exact.keys()).entries(self.wildcard.keys()).finish()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.of(hello.server_name()).clone())
    }
}

/// A certificate with its key, as rustls wants it.
pub(super) fn certified(
    certificate: &model::Certificate,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::try_from(certificate.key_der.bytes().to_vec())?;
    let mut certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())?;
    if certificate.ocsp.is_some() {
        certified.ocsp = Some(certificate.ocsp_response.clone());
    }
    Ok(certified)
}

/// Whoever is trusted to have signed.
pub(super) fn roots_of(ca: &model::Authorities) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for der in &ca.certificates {
        store
            .add(CertificateDer::from(der.clone()))
            .map_err(|error| format!("{}: {error}", ca.file.display()))?;
    }
    Ok(store)
}

type Ticketers = FxHashMap<String, Arc<dyn ProducesTickets>>;

/// What makes and takes a listener's tickets: the same on every worker and through reloads, so that a client may come
/// back wherever it lands. Whoever was verified by other authorities holds no ticket for these.
fn ticketer(name: &str, clients: &ClientCertificates) -> Result<Arc<dyn ProducesTickets>, String> {
    static TICKETERS: OnceLock<Mutex<Ticketers>> = OnceLock::new();
    let asked = match clients {
        ClientCertificates::NotAsked => "none".to_owned(),
        ClientCertificates::Optional(ca) => format!("optional {:?}", ca.certificates),
        ClientCertificates::Required(ca) => format!("required {:?}", ca.certificates),
    };
    let key = format!("{name} {asked}");
    let mut known = TICKETERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ticketer) = known.get(&key) {
        return Ok(ticketer.clone());
    }
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
    // Those of configurations that are gone; there are few.
    if known.len() >= TICKETERS_MAX {
        known.clear();
    }
    known.insert(key, ticketer.clone());
    Ok(ticketer)
}

/// Listeners whose tickets are remembered.
const TICKETERS_MAX: usize = 4096;
