//! `listeners[].tls` and `services.X.tls`: files are read here, and what they hold is tried, so that a certificate that
//! can't be used is an error in the configuration and not in a handshake.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{
    Authorities, Certificate, ClientCertificates, ListenerCertificate, ListenerTls, Secret, ServiceTls, Tls,
    TlsVersion,
};
use crate::tree::{Node, Value};
use crate::units::{Problem, quoted};

use super::Sink;
use super::acme::Accounts;
use super::fields::Fields;

/// Certificates of one listener.
const CERTIFICATES_MAX: usize = 10_000;
/// A certificate that ends sooner is warned of.
const ENDS_SOON_S: i64 = 7 * 24 * 3600;

/// `tls` of a listener.
pub(super) fn listener(listener: &Fields<'_>, accounts: &mut Accounts, sink: &mut Sink) -> Option<Tls> {
    if let Value::Text(text) = &listener.node("tls")?.value
        && text == "passthrough"
    {
        return Some(Tls::Passthrough);
    }
    let fields = listener.object("tls", sink)?;
    let nodes = fields.list("certificates", CERTIFICATES_MAX, sink);
    if let Some(node) = fields.node("certificates")
        && node.value == Value::List(Vec::new())
    {
        let problem = Problem::new("empty-list", "a listener with TLS shows a certificate");
        sink.problem(node, problem.help("add one: `- { cert: tls/site.crt, key: tls/site.key }`"));
    }
    let certificates = nodes.iter().filter_map(|node| listener_certificate(node, accounts, sink)).collect();
    let (clients, client_cert_header) = clients(&fields, sink);
    let key_log = fields.text("key_log", sink).map(|text| sink.files.path(text));
    if key_log.is_some() {
        let message = "whoever reads the key log reads the traffic of this listener";
        sink.push(Diagnostic::warning("key-log", fields.key_place("key_log"), message));
    }
    Some(Tls::Terminate(Box::new(ListenerTls {
        certificates,
        min_version: version(&fields, sink),
        clients,
        client_cert_header,
        tickets: fields.boolean("tickets", sink),
        handshakes: fields.integer("handshakes", sink),
        key_log,
    })))
}

/// `tls` of a service.
pub(super) fn service(service: &Fields<'_>, authority: &str, sink: &mut Sink) -> Option<ServiceTls> {
    let fields = service.object("tls", sink)?;
    let ca = authorities(&fields, sink);
    let insecure_skip_verify = fields.boolean("insecure_skip_verify", sink);
    if insecure_skip_verify {
        let message = "certificates of this service's endpoints are not verified";
        sink.push(Diagnostic::warning("insecure", fields.key_place("insecure_skip_verify"), message));
    }
    if let (Some(_), true) = (&ca, insecure_skip_verify) {
        let message = "with `insecure_skip_verify` nothing is verified, so `ca` has no use";
        sink.push(Diagnostic::error("conflict", fields.key_place("ca"), message));
    }
    let name = fields.parsed("name", sink, |_, text| match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Problem::new("bad-name", format!("{} is no host's name", quoted(text)))),
    });
    let name = name.or_else(|| host_of(authority).map(str::to_owned));
    let certificate = fields
        .node("certificate")
        .and_then(|node| Fields::open(node, &tables::CERTIFICATE, sink))
        .and_then(|fields| certificate(&fields, sink));
    Some(ServiceTls { ca, name, insecure_skip_verify, certificate, min_version: version(&fields, sink) })
}

/// The host of `host[:port]`, where it is one that a certificate can name.
fn host_of(authority: &str) -> Option<&str> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    ServerName::try_from(host).is_ok().then_some(host)
}

fn version(fields: &Fields<'_>, sink: &mut Sink) -> TlsVersion {
    fields.chosen("min_version", &[TlsVersion::Tls12, TlsVersion::Tls13], sink)
}

fn clients(listener: &Fields<'_>, sink: &mut Sink) -> (ClientCertificates, bool) {
    let Some(fields) = listener.object("clients", sink) else { return (ClientCertificates::NotAsked, false) };
    let optional = fields.chosen("verify", &[false, true], sink);
    let header = fields.boolean("header", sink);
    let clients = match authorities(&fields, sink) {
        None => ClientCertificates::NotAsked,
        Some(ca) if optional => ClientCertificates::Optional(ca),
        Some(ca) => ClientCertificates::Required(ca),
    };
    (clients, header)
}

/// `ca`: certificates that are taken as roots.
pub(super) fn authorities(fields: &Fields<'_>, sink: &mut Sink) -> Option<Authorities> {
    let node = fields.node("ca")?;
    let (file, bytes) = read(fields, "ca", sink)?;
    let certificates = match chain_of(&bytes, &file) {
        Ok(certificates) => certificates,
        Err(problem) => {
            sink.problem(node, problem);
            return None;
        }
    };
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        if let Err(error) = store.add(certificate.clone()) {
            let message = format!("{}: a certificate in it can't be a root: {error}", file.display());
            sink.problem(node, Problem::new("bad-certificate", message));
            return None;
        }
    }
    Some(Authorities { file, certificates: certificates.iter().map(|one| one.to_vec()).collect() })
}

fn listener_certificate(
    node: &Node,
    accounts: &mut Accounts,
    sink: &mut Sink,
) -> Option<ListenerCertificate> {
    let fields = Fields::open(node, &tables::LISTENER_CERTIFICATE, sink)?;
    if fields.has("acme") {
        return accounts.certificate(&fields, sink).map(ListenerCertificate::Acme);
    }
    if fields.has("names") {
        let message = "the names are those in the file; `names` goes with `acme`";
        sink.push(Diagnostic::error("conflict", fields.key_place("names"), message));
    }
    let missing: Vec<&str> = ["cert", "key"].into_iter().filter(|name| !fields.has(name)).collect();
    for name in &missing {
        let diagnostic =
            Diagnostic::error("missing-field", fields.place, format!("a certificate lacks `{name}`"));
        sink.push(diagnostic.help(match missing.len() {
            1 => format!("`{name}` is a file's path, from the configuration's folder"),
            _ => "write `cert` and `key`, or `acme` and `names`".to_owned(),
        }));
    }
    certificate(&fields, sink).map(ListenerCertificate::Files)
}

fn certificate(fields: &Fields<'_>, sink: &mut Sink) -> Option<Certificate> {
    let cert = read(fields, "cert", sink);
    let key = read(fields, "key", sink);
    let ocsp = fields.has("ocsp").then(|| read(fields, "ocsp", sink));
    let ((cert, cert_bytes), (key, key_bytes)) = (cert?, key?);
    let (ocsp, ocsp_response) = match ocsp {
        None => (None, Vec::new()),
        Some(read) => read.map(|(path, bytes)| (Some(path), bytes))?,
    };
    let certificate = match parsed((cert, &cert_bytes), (key, &key_bytes)) {
        Ok(certificate) => certificate,
        Err((name, problem)) => {
            sink.problem(fields.node(name)?, problem);
            return None;
        }
    };
    if let Some(message) = ended(&certificate).or_else(|| ends_soon(&certificate)) {
        sink.push(Diagnostic::warning("certificate-validity", fields.value_place("cert"), message));
    }
    Some(Certificate { ocsp, ocsp_response, ..certificate })
}

/// A certificate and its key, of what files hold. A problem says whether it is that of `cert` or `key`.
pub(crate) fn parsed(
    (cert, cert_bytes): (PathBuf, &[u8]),
    (key, key_bytes): (PathBuf, &[u8]),
) -> Result<Certificate, (&'static str, Problem)> {
    let chain = chain_of(cert_bytes, &cert).map_err(|problem| ("cert", problem))?;
    let (names, life) = names_and_life(&chain).map_err(|problem| ("cert", problem))?;
    let key_der = PrivateKeyDer::from_pem_slice(key_bytes).map_err(|_| {
        let message = format!("{}: no private key in PEM is in it", key.display());
        let problem = Problem::new("bad-key", message);
        ("key", problem.help("it begins with `-----BEGIN PRIVATE KEY-----`"))
    })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificate = Certificate {
        chain: chain.iter().map(|one| one.to_vec()).collect(),
        key_der: Secret::new(key_der.secret_der().to_vec()),
        cert,
        key,
        ocsp: None,
        names,
        life,
        ocsp_response: Vec::new(),
    };
    if let Err(error) = CertifiedKey::from_der(chain, key_der, &provider) {
        let message = match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key in {} is not that of the certificate in {}",
                certificate.key.display(),
                certificate.cert.display()
            ),
            error => format!("{}: the key can't be used: {error}", certificate.key.display()),
        };
        return Err(("key", Problem::new("bad-key", message)));
    }
    Ok(certificate)
}

pub(super) fn read(fields: &Fields<'_>, name: &str, sink: &mut Sink) -> Option<(PathBuf, Vec<u8>)> {
    let text = fields.text(name, sink)?;
    let path = sink.files.path(text);
    match sink.files.read(&path) {
        Ok(bytes) => Some((path, bytes)),
        Err(problem) => {
            sink.problem(fields.node(name)?, problem);
            None
        }
    }
}

fn chain_of(bytes: &[u8], file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => {
            let message = format!("{}: no certificate in PEM is in it", file.display());
            let problem = Problem::new("bad-certificate", message);
            Err(problem.help("it begins with `-----BEGIN CERTIFICATE-----`"))
        }
    }
}

/// What a certificate says: the names it is for, and from when to when.
fn names_and_life(chain: &[CertificateDer<'_>]) -> Result<(Vec<String>, (i64, i64)), Problem> {
    let unreadable = || Problem::new("bad-certificate", "the first certificate is not X.509");
    let (_, parsed) =
        X509Certificate::from_der(chain.first().ok_or_else(unreadable)?).map_err(|_| unreadable())?;
    let validity = parsed.validity();
    let life = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => &extension.value.general_names,
        _ => return Ok((Vec::new(), life)),
    };
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    });
    Ok((dns.collect(), life))
}

/// What is to be said of a certificate that is not valid now.
pub(super) fn ended(certificate: &Certificate) -> Option<String> {
    let (now, (from, until)) = (now(), certificate.life);
    match () {
        () if until < now => Some(format!("the certificate ended on {}", date(until))),
        () if from > now => Some(format!("the certificate begins on {}", date(from))),
        () => None,
    }
}

/// What is to be said of one that is not valid for long.
fn ends_soon(certificate: &Certificate) -> Option<String> {
    let (_, until) = certificate.life;
    (until - now() < ENDS_SOON_S).then(|| format!("the certificate ends on {}", date(until)))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}
