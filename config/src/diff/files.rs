//! What the files that a configuration names hold now and held before: certificates, authorities, descriptors.
//!
//! A file may change under the same path, which no field shows. Certificates are paired by their file, else by their
//! names; what is told of them is what anybody may see of them in a handshake.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::{
    Action, Authorities, Certificate, ClientCertificates, Config, GrpcJson, Listener, ListenerCertificate,
    ListenerTls, Route, Service, Tls,
};

/// A file that holds something else than what was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// `certificate`, `authorities` or `descriptor`
    pub what: &'static str,
    /// `listener web`
    pub of: String,
    /// As the configuration names it now; where it is gone, as it was named.
    pub file: String,
    /// What it held; `None`: it is new.
    pub from: Option<String>,
    /// What it holds; `None`: it is gone.
    pub to: Option<String>,
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileChange { what, of, file, from, to } = self;
        write!(f, "{what} of {of}, {file}: ")?;
        match (from, to) {
            (Some(from), Some(to)) if from == to => write!(f, "renewed ({to})"),
            (Some(from), Some(to)) => write!(f, "{from} -> {to}"),
            (None, Some(to)) => write!(f, "new ({to})"),
            (Some(from), None) => write!(f, "gone ({from})"),
            (None, None) => write!(f, "changed"),
        }
    }
}

/// What differs of things that are in both, by name.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<FileChange> {
    let mut out = Vec::new();
    for now in &new.listeners {
        let was = old.listeners.iter().find(|one| one.name == now.name);
        was.into_iter().for_each(|was| listener(was, now, &mut out));
    }
    for now in &new.services {
        let was = old.services.iter().find(|one| one.name == now.name);
        was.into_iter().for_each(|was| service(was, now, &mut out));
    }
    for now in &new.routes {
        let was = old.routes.iter().find(|one| one.name == now.name);
        was.into_iter().for_each(|was| route(was, now, &mut out));
    }
    out
}

fn listener(was: &Listener, now: &Listener, out: &mut Vec<FileChange>) {
    let (Some(Tls::Terminate(was)), Some(Tls::Terminate(tls))) = (&was.tls, &now.tls) else { return };
    let of = format!("listener {}", now.name);
    certificates(&of, held(was), held(tls), out);
    authorities(&of, clients(&was.clients), clients(&tls.clients), out);
}

fn service(was: &Service, now: &Service, out: &mut Vec<FileChange>) {
    let (Some(was), Some(tls)) = (&was.tls, &now.tls) else { return };
    let of = format!("service {}", now.name);
    certificates(&of, was.certificate.iter().collect(), tls.certificate.iter().collect(), out);
    authorities(&of, was.ca.as_ref(), tls.ca.as_ref(), out);
}

fn route(was: &Route, now: &Route, out: &mut Vec<FileChange>) {
    let (Some(was), Some(json)) = (descriptor(was), descriptor(now)) else { return };
    if was.descriptor_set != json.descriptor_set {
        let of = format!("route {}", now.name);
        out.push(FileChange { what: "descriptor", of, file: text(&json.descriptor), from: None, to: None });
    }
}

fn descriptor(route: &Route) -> Option<&GrpcJson> {
    match &route.action {
        Action::Forward(forward) => forward.grpc_json.as_ref(),
        Action::Respond(_) | Action::Redirect(_) => None,
    }
}

fn clients(clients: &ClientCertificates) -> Option<&Authorities> {
    match clients {
        ClientCertificates::NotAsked => None,
        ClientCertificates::Optional(ca) | ClientCertificates::Required(ca) => Some(ca),
    }
}

/// Those that can be shown: one that an authority has not given yet is no change when it comes to be asked for.
fn held(tls: &ListenerTls) -> Vec<&Certificate> {
    tls.certificates.iter().filter_map(ListenerCertificate::held).collect()
}

fn certificates(of: &str, mut left: Vec<&Certificate>, new: Vec<&Certificate>, out: &mut Vec<FileChange>) {
    let mut change = |file: &Path, from: Option<String>, to: Option<String>| {
        out.push(FileChange { what: "certificate", of: of.to_owned(), file: text(file), from, to });
    };
    for one in new {
        let same = |was: &&Certificate| was.cert == one.cert;
        let alike = |was: &&Certificate| was.names == one.names && !one.names.is_empty();
        let pair = left.iter().position(same).or_else(|| left.iter().position(alike));
        match pair.map(|place| left.remove(place)) {
            Some(was) if holds_the_same(was, one) => {}
            Some(was) => change(&one.cert, Some(told(was)), Some(told(one))),
            None => change(&one.cert, None, Some(told(one))),
        }
    }
    for was in left {
        change(&was.cert, Some(told(was)), None);
    }
}

fn holds_the_same(one: &Certificate, other: &Certificate) -> bool {
    (&one.chain, &one.key_der, &one.ocsp_response) == (&other.chain, &other.key_der, &other.ocsp_response)
}

/// `a.example, *.a.example until 2027-06-01`
fn told(certificate: &Certificate) -> String {
    const NAMES_MAX: usize = 5;
    let mut names: Vec<&str> = certificate.names.iter().map(String::as_str).take(NAMES_MAX).collect();
    match certificate.names.len() {
        0 => names.push("no name"),
        all if all > NAMES_MAX => names.push("..."),
        _ => {}
    }
    let end = certificate.chain.first().and_then(|der| Some(X509Certificate::from_der(der).ok()?.1));
    let end = end.map(|parsed| parsed.validity().not_after.to_datetime());
    let end = end.map_or_else(String::new, |end| format!(" until {}", end.date()));
    format!("{}{end}", names.join(", "))
}

fn authorities(of: &str, was: Option<&Authorities>, now: Option<&Authorities>, out: &mut Vec<FileChange>) {
    let (Some(was), Some(now)) = (was, now) else { return };
    if was.certificates != now.certificates {
        let count = |ca: &Authorities| match ca.certificates.len() {
            1 => Some("1 certificate".to_owned()),
            count => Some(format!("{count} certificates")),
        };
        let (of, file) = (of.to_owned(), text(&now.file));
        out.push(FileChange { what: "authorities", of, file, from: count(was), to: count(now) });
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
