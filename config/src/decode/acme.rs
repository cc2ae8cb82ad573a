//! `acme`, and listeners' certificates that come from it. What is kept of them is read here, like any other file, so
//! that a start needs no authority and a new certificate is a changed file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::describe::tables;
use crate::diagnostic::{Diagnostic, Place};
use crate::model::{
    AcmeAccount, AcmeCertificate, AcmeChallenge, AcmeId, Certificate, ExternalAccount, Listener,
    ListenerCertificate, ListenerProtocol, Secret, Tls,
};
use crate::tree::Value;
use crate::units::{Problem, quoted};

use super::fields::Fields;
use super::near::nearest;
use super::{Placed, Sink, hosts, name, tls};

/// Accounts of one file.
const ACCOUNTS_MAX: usize = 100;
/// Names of one certificate; authorities take no more.
const NAMES_MAX: usize = 100;
/// Bytes of `email` and of `external_account.id`.
const TEXT_BYTES_MAX: usize = 320;

/// The accounts, and what is asked of them.
pub(super) struct Accounts {
    /// Sorted by name.
    accounts: Vec<Placed<AcmeAccount>>,
    /// Every name in `acme`: references hold also where something in it is wrong.
    names: HashSet<String>,
    /// Certificates by where they are kept: their names, and where the first is written.
    asked: HashMap<PathBuf, (Vec<String>, Place)>,
}

impl Accounts {
    /// Every account without an error in it.
    pub fn decode(config: &Fields<'_>, sink: &mut Sink) -> Accounts {
        let mut accounts: Vec<Placed<AcmeAccount>> = Vec::new();
        let mut names = HashSet::new();
        for (key, entry) in config.named("acme", ACCOUNTS_MAX, sink) {
            if let Err(problem) = name(key) {
                sink.problem(&entry.key, problem);
            }
            names.insert(key.to_owned());
            let Some(fields) = Fields::open(&entry.value, &tables::ACME_ACCOUNT, sink) else { continue };
            let Some(value) = account(key, &fields, sink) else { continue };
            if let Some(same) = accounts.iter().find(|one| one.value.store() == value.store()) {
                let message = format!("`{key}` keeps its things where `{}` does", same.value.name);
                let diagnostic = Diagnostic::error("conflict", fields.value_place("folder"), message);
                sink.push(diagnostic.related(same.place, "the other is here").help(
                    "give it a folder of its own, or let both certificates come from the same account",
                ));
            }
            accounts.push(Placed { value, place: entry.key.place, sound: true });
        }
        accounts.sort_by(|one, other| one.value.name.cmp(&other.value.name));
        Accounts { accounts, names, asked: HashMap::new() }
    }

    /// A certificate that names an account.
    pub fn certificate(&mut self, fields: &Fields<'_>, sink: &mut Sink) -> Option<AcmeCertificate> {
        for other in ["cert", "key", "ocsp"].into_iter().filter(|other| fields.has(other)) {
            let message =
                format!("with `acme` the certificate comes from there, and `{other}` means nothing");
            sink.push(Diagnostic::error("conflict", fields.key_place(other), message));
        }
        let names = certificate_names(fields, sink);
        let text = fields.text("acme", sink)?;
        let Some(index) = self.accounts.iter().position(|one| one.value.name == text) else {
            // One that is there and wrong was told already.
            if !self.names.contains(text) {
                let problem =
                    Problem::new("unknown-account", format!("there is no {} in `acme`", quoted(text)));
                let near = nearest(text, self.names.iter().map(String::as_str));
                sink.problem(
                    fields.node("acme")?,
                    match near {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem,
                    },
                );
            }
            return None;
        };
        let first = names.first()?;
        let file = self.accounts[index].value.store().join(format!("{first}.pem"));
        let place = fields.value_place("names");
        match self.asked.get(&file) {
            Some((others, other)) if *others != names => {
                let message = format!("another certificate is called after `{first}` and has other names");
                let diagnostic = Diagnostic::error("conflict", place, message);
                sink.push(diagnostic.related(*other, "it is here").help(
                    "write the same names in both places, or begin with another name: it is kept under the first",
                ));
            }
            Some(_) => {}
            None => drop(self.asked.insert(file.clone(), (names.clone(), place))),
        }
        let held = held(&file, first, place, sink);
        Some(AcmeCertificate { account: AcmeId(index as u32), names, file, held })
    }

    /// What goes together with the listeners. The accounts, by [`AcmeId`].
    pub fn finish(self, listeners: &[Placed<Listener>], sink: &mut Sink) -> Vec<AcmeAccount> {
        let certificates = listeners.iter().filter_map(|one| match &one.value.tls {
            Some(Tls::Terminate(tls)) => Some(&tls.certificates),
            _ => None,
        });
        let used: HashSet<usize> = certificates
            .flatten()
            .filter_map(|certificate| match certificate {
                ListenerCertificate::Acme(acme) => Some(acme.account.0 as usize),
                ListenerCertificate::Files(_) => None,
            })
            .collect();
        let plain_http = listeners.iter().any(|one| speaks_plain_http(&one.value));
        for (index, account) in self.accounts.iter().enumerate() {
            if !used.contains(&index) && !sink.has_errors() {
                let message = format!("no certificate is asked of `{}`", account.value.name);
                sink.push(Diagnostic::warning("unused-account", account.place, message));
            }
            if account.value.challenge == AcmeChallenge::Http01 && used.contains(&index) && !plain_http {
                let message = format!(
                    "`{}` proves names by `http-01`, but no listener serves plain HTTP",
                    account.value.name
                );
                sink.push(Diagnostic::error("conflict", account.place, message).help(
                    "add a listener without `tls` that is reached on port 80, or use `challenge: tls-alpn-01`",
                ));
            }
        }
        self.accounts.into_iter().map(|account| account.value).collect()
    }
}

fn account(name: &str, fields: &Fields<'_>, sink: &mut Sink) -> Option<AcmeAccount> {
    let before = sink.errors();
    let directory = fields.parsed("directory", sink, |_, text| directory(text));
    let folder = fields.text("folder", sink).map(|text| sink.files.path(text));
    if fields.has("terms_agreed") && !fields.boolean("terms_agreed", sink) {
        let message = "without agreeing to its terms an authority issues no certificate";
        let diagnostic = Diagnostic::error("terms", fields.value_place("terms_agreed"), message);
        sink.push(
            diagnostic.help("read them (the directory's `termsOfService`), then write `terms_agreed: true`"),
        );
    }
    let email = fields.parsed("email", sink, |_, text| email(text));
    let challenge = fields.chosen("challenge", &[AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01], sink);
    let ca = tls::authorities(fields, sink);
    let external = external_account(fields, sink);
    let retry = fields.duration("retry", sink);
    let (directory, folder) = (directory?, folder?);
    (sink.errors() == before).then(|| AcmeAccount {
        name: name.to_owned(),
        directory,
        folder,
        email,
        challenge,
        ca,
        external,
        retry,
    })
}

fn directory(text: &str) -> Result<String, Problem> {
    let bad =
        |help| Err(Problem::new("bad-url", format!("{} is no directory's URL", quoted(text))).help(help));
    let Some((host, _)) =
        text.strip_prefix("https://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    else {
        return bad("it begins with `https://`, as in `https://acme-v02.api.letsencrypt.org/directory`");
    };
    // RFC 3986 §2, without a fragment.
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~:/?[]@!$&'()*+,;=%".contains(c);
    if !text.chars().all(legal) {
        return bad("a URL has no spaces, no `#` and nothing beyond ASCII here");
    }
    hosts::authority(host)?;
    Ok(text.to_owned())
}

fn email(text: &str) -> Result<String, Problem> {
    let legal = |c: char| c.is_ascii_graphic() && !"<>,;?&\"".contains(c);
    let whole =
        text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && hosts::name(host).is_ok());
    if !whole || !text.chars().all(legal) || text.len() > TEXT_BYTES_MAX {
        let problem = Problem::new("bad-address", format!("{} is no e-mail address", quoted(text)));
        return Err(problem.help("write one, without a name beside it: `ops@example.com`"));
    }
    Ok(text.to_owned())
}

fn external_account(account: &Fields<'_>, sink: &mut Sink) -> Option<ExternalAccount> {
    let fields = account.object("external_account", sink)?;
    let id = fields.parsed("id", sink, |_, text| match text.len() {
        1..=TEXT_BYTES_MAX if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err(Problem::new("bad-name", format!("{} is no key's id", quoted(text)))),
    });
    let (file, bytes) = tls::read(&fields, "key", sink)?;
    // Some authorities pad it, some don't.
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    match GeneralPurpose::new(&URL_SAFE, config).decode(bytes.trim_ascii()) {
        Ok(key) if !key.is_empty() => Some(ExternalAccount { id: id?, file, key: Secret::new(key) }),
        _ => {
            let message = format!("{}: it is not a key in base64url", file.display());
            sink.problem(fields.node("key")?, Problem::new("bad-key", message));
            None
        }
    }
}

/// `names` of a certificate, lower case. Empty where one is wrong.
fn certificate_names(fields: &Fields<'_>, sink: &mut Sink) -> Vec<String> {
    let before = sink.errors();
    let Some(node) = fields.node("names") else {
        let message = "with `acme` a certificate says which names it is for";
        let diagnostic = Diagnostic::error("missing-field", fields.place, message);
        sink.push(diagnostic.help("add them: `names: [ a.example.com ]`"));
        return Vec::new();
    };
    if node.value == Value::List(Vec::new()) {
        sink.problem(node, Problem::new("empty-list", "a certificate is for a name at least"));
    }
    let mut names: Vec<String> = Vec::new();
    for (text, node) in fields.texts("names", sink) {
        match certificate_name(text) {
            Ok(name) if names.contains(&name) => {
                sink.push(Diagnostic::warning("repeated", node.place, format!("`{name}` is there twice")));
            }
            Ok(name) => names.push(name),
            Err(problem) => sink.problem(node, problem),
        }
    }
    if names.len() > NAMES_MAX {
        let message = format!("a certificate has at most {NAMES_MAX} names");
        sink.problem(node, Problem::new("too-many", message));
    }
    if sink.errors() == before { names } else { Vec::new() }
}

fn certificate_name(text: &str) -> Result<String, Problem> {
    let bad = |help| {
        Err(Problem::new("bad-host", format!("no certificate is issued for {}", quoted(text))).help(help))
    };
    if text.starts_with("*.") {
        return bad("a wildcard can't be proven by `http-01` or `tls-alpn-01`: write the names one by one");
    }
    hosts::name(text)?;
    if text.starts_with('[') || text.parse::<std::net::Ipv4Addr>().is_ok() {
        return bad("write a host's name, not an address");
    }
    if text.contains('_') {
        return bad("names in certificates have no `_`");
    }
    Ok(text.to_ascii_lowercase())
}

/// What is kept in `file`. Nothing, or nothing good, is only worth a warning: it is what a first start finds.
fn held(file: &Path, name: &str, place: Place, sink: &mut Sink) -> Option<Certificate> {
    let found = match sink.files.read(file) {
        Ok(bytes) => {
            tls::parsed((file.to_owned(), &bytes), (file.to_owned(), &bytes)).map_err(|(_, problem)| problem)
        }
        Err(problem) => Err(problem),
    };
    match found {
        Ok(certificate) => {
            if let Some(message) = tls::ended(&certificate) {
                sink.push(Diagnostic::warning("certificate-validity", place, message));
            }
            Some(certificate)
        }
        Err(problem) => {
            let message = format!("there is no certificate for `{name}` yet: {}", problem.message);
            sink.push(Diagnostic::warning("certificate-pending", place, message).help(
                "`ringway run` asks for it; handshakes that ask for the name are refused until it has come",
            ));
            None
        }
    }
}

/// Whether requests come to it without TLS.
fn speaks_plain_http(listener: &Listener) -> bool {
    match listener.protocol {
        ListenerProtocol::Auto => true,
        ListenerProtocol::Http => listener.tls.is_none() && listener.tcp.is_none() && listener.udp.is_none(),
    }
}
