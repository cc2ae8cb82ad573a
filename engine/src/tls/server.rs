//! What a listener shows its clients and asks of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ringway_config::model::{self, ClientCertificates, ListenerCertificate, ListenerTls};
use rustc_hash::{FxHashMap, FxHashSet};
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

    /// The file of the certificate shown to who asks for this name, and whether it is for that name. `None`: it has not
    /// come yet.
    pub(crate) fn certificate_for(&self, name: Option<&str>) -> Option<(&Path, bool)> {
        let shown = self.certificates.of(name)?;
        let is_for = name.is_some_and(|name| self.certificates.find(name).is_some());
        let file = self.certificates.files.iter().find(|(key, _)| Arc::ptr_eq(key, shown));
        Some((file.map_or(Path::new(""), |(_, file)| file), is_for))
    }
}

/// Certificates by the name that a client asks for. Nothing is shown for a name whose own has not come yet: a client would
/// only complain of another, and less clearly.
struct ByName {
    exact: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`; they stand for one label (RFC 9525 §6.3).
    wildcard: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    /// Names whose certificates are asked of an authority.
    pending: FxHashSet<Box<str>>,
    /// `None`: no certificate has come yet.
    default: Option<Arc<CertifiedKey>>,
    /// Where each came from, for explanations.
    files: Vec<(Arc<CertifiedKey>, PathBuf)>,
}

impl ByName {
    fn new(certificates: &[ListenerCertificate], provider: &CryptoProvider) -> Result<ByName, String> {
        let (mut exact, mut wildcard, mut default) = (FxHashMap::default(), FxHashMap::default(), None);
        let mut files = Vec::new();
        let mut pending: FxHashSet<Box<str>> = FxHashSet::default();
        for certificate in certificates {
            if let ListenerCertificate::Acme(acme) = certificate {
                pending.extend(acme.names.iter().map(|name| Box::from(name.as_str())));
            }
            let Some(certificate) = certificate.held() else { continue };
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
        Ok(ByName { exact, wildcard, pending, default, files })
    }

    /// What is shown to who asks for this name. `None`: it has not come yet.
    fn of(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else { return self.default.as_ref() };
        let pending = || self.pending.contains(name.to_ascii_lowercase().as_str());
        self.find(name).or_else(|| self.default.as_ref().filter(|_| !pending()))
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
        self.of(hello.server_name()).cloned()
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ringway_config::model::{AcmeCertificate, AcmeId, Certificate};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, ServerConnection};

    use super::super::Failed;
    use super::*;

    fn pending() -> ListenerCertificate {
        let names = vec!["a.example".to_owned()];
        ListenerCertificate::Acme(AcmeCertificate {
            account: AcmeId(0),
            names,
            file: "a.pem".into(),
            held: None,
        })
    }

    #[test]
    fn a_certificate_that_has_not_come_is_told_from_other_failures() {
        let names = ByName::new(&[pending()], &provider()).unwrap();
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_cert_resolver(Arc::new(names));
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let mut left = &hello[..];
        while !left.is_empty() {
            server.read_tls(&mut left).unwrap();
        }
        let error = server.process_new_packets().unwrap_err();
        assert_eq!(Failed::Tls(error).name(), "tls_certificate_pending");
    }

    #[test]
    fn nothing_else_is_shown_for_a_name_whose_certificate_has_not_come() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/tls");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let site = Certificate::in_one_file(&folder, &[read("site.key"), read("site.crt")].concat()).unwrap();
        let site_name = site.names[0].clone();
        let names = ByName::new(&[pending(), ListenerCertificate::Files(site)], &provider()).unwrap();
        assert!(names.of(Some("A.example")).is_none());
        for other in [None, Some("b.example"), Some(site_name.as_str())] {
            assert!(names.of(other).is_some(), "{other:?}");
        }
    }
}
