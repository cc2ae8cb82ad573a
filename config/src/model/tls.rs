//! TLS as configured. What files held was read when the configuration was, so that a value stands for all it needs.

use std::fmt;
use std::path::{Path, PathBuf};

use super::acme::AcmeCertificate;

/// `listeners[].tls`
#[derive(Clone, Debug, PartialEq)]
pub enum Tls {
    /// `passthrough`: by the name the client asks for, without decrypting.
    Passthrough,
    /// TLS ends here.
    Terminate(Box<ListenerTls>),
}

/// `listeners[].tls`, where TLS ends here.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// The first that is there is for clients that ask for no name, or for one that none is for.
    pub certificates: Vec<ListenerCertificate>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// Whether clients show certificates, and whose are taken.
    pub clients: ClientCertificates,
    /// Tell the verified certificate upstream in `x-forwarded-client-cert`.
    pub client_cert_header: bool,
    /// Give tickets for resumption (default true).
    pub tickets: bool,
    /// Handshakes under way at once on one worker.
    pub handshakes: u32,
    /// Where to log session secrets, for tools that decrypt captures.
    pub key_log: Option<PathBuf>,
}

/// The oldest version of TLS spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2 (default)
    #[default]
    Tls12,
    /// 1.3
    Tls13,
}

/// `listeners[].tls.clients`
#[derive(Clone, Debug, PartialEq)]
pub enum ClientCertificates {
    /// Not asked for.
    NotAsked,
    /// Asked for; a client without one is served, one with a wrong one is not.
    Optional(Authorities),
    /// A client without one is not served.
    Required(Authorities),
}

/// A file of certificates and what it held.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorities {
    /// Where.
    pub file: PathBuf,
    /// In DER.
    pub certificates: Vec<Vec<u8>>,
}

/// One of `listeners[].tls.certificates`
#[derive(Clone, Debug, PartialEq)]
pub enum ListenerCertificate {
    /// From files.
    Files(Certificate),
    /// From an authority.
    Acme(AcmeCertificate),
}

impl ListenerCertificate {
    /// What can be shown now.
    pub fn held(&self) -> Option<&Certificate> {
        match self {
            ListenerCertificate::Files(certificate) => Some(certificate),
            ListenerCertificate::Acme(acme) => acme.held.as_ref(),
        }
    }
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The chain's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The OCSP response's file.
    pub ocsp: Option<PathBuf>,
    /// The names it is for, lower case; `*.x` is a wildcard.
    pub names: Vec<String>,
    /// First and last second of its life, since 1970.
    pub life: (i64, i64),
    /// In DER, the certificate itself first.
    pub chain: Vec<Vec<u8>>,
    /// In DER.
    pub key_der: Secret,
    /// As the file holds it; empty without one.
    pub ocsp_response: Vec<u8>,
}

impl Certificate {
    /// A certificate and its key that a file of `pem` would hold.
    ///
    /// # Errors
    /// Either is missing or can't be used, or they don't belong together.
    pub fn in_one_file(file: &Path, pem: &[u8]) -> Result<Certificate, String> {
        let parsed = crate::decode::certificate((file.to_owned(), pem), (file.to_owned(), pem));
        parsed.map_err(|(_, problem)| problem.message)
    }
}

/// `services.X.tls`
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTls {
    /// Who may sign endpoints' certificates; `None` is whom the system trusts.
    pub ca: Option<Authorities>,
    /// Whom certificates must name and what SNI says; `None` is the endpoint's own name or address.
    pub name: Option<String>,
    /// Take any certificate.
    pub insecure_skip_verify: bool,
    /// Shown to endpoints that ask.
    pub certificate: Option<Certificate>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
}

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps them.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
