//! Which certificates a configuration wants of whom, and when the next one is due. Pure.

use std::path::PathBuf;
use std::time::Duration;

use ringway_config::model::{AcmeAccount, Certificate, Config, ListenerCertificate, Tls};

/// A certificate that is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub account: AcmeAccount,
    /// Never empty; it is called after the first.
    pub names: Vec<String>,
    pub file: PathBuf,
    /// What the running configuration read there.
    pub held: Option<Held>,
}

/// A certificate that is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    /// First second of its life, since 1970.
    pub from: i64,
    /// Its last.
    pub until: i64,
    names: Vec<String>,
}

/// How much of its life a certificate may be renewed later than two thirds of it, so that many don't come at once.
const JITTER: f64 = 1.0 / 60.0;

/// Every certificate of a configuration once, also where several listeners show it.
pub(crate) fn of(config: &Config) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let terminating = config.listeners.iter().filter_map(|listener| match &listener.tls {
        Some(Tls::Terminate(tls)) => Some(&tls.certificates),
        _ => None,
    });
    for certificate in terminating.flatten() {
        let ListenerCertificate::Acme(acme) = certificate else { continue };
        let Some(account) = config.acme.get(acme.account.0 as usize) else { continue };
        if all.iter().all(|one| one.file != acme.file) {
            all.push(Wanted {
                account: account.clone(),
                names: acme.names.clone(),
                file: acme.file.clone(),
                held: acme.held.as_ref().map(Held::of),
            });
        }
    }
    all
}

impl Wanted {
    /// What it is called.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

impl Held {
    pub fn of(certificate: &Certificate) -> Held {
        let (from, until) = certificate.life;
        Held { from, until, names: certificate.names.clone() }
    }

    /// When one for these names is to be asked for, since 1970. `jitter` from 0 to 1.
    pub fn renewed_at(&self, names: &[String], jitter: f64) -> Duration {
        if names.iter().any(|name| !self.names.contains(name)) {
            return Duration::ZERO;
        }
        let life = (self.until - self.from).max(0) as f64;
        let at = self.from as f64 + life * (2.0 / 3.0) + life * JITTER * jitter;
        Duration::try_from_secs_f64(at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds_of_a_life_and_a_little_more() {
        let day = 24 * 3600;
        let held = Held { from: 1_000 * day, until: 1_090 * day, names: vec!["a".into(), "b".into()] };
        let days = |names: &[&str], jitter| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            held.renewed_at(&names, jitter).as_secs_f64() / day as f64
        };
        assert_eq!(days(&["a", "b"], 0.0), 1_060.0);
        assert_eq!(days(&["b"], 1.0), 1_061.5);
        // One that lacks a name is due at once.
        assert_eq!(days(&["a", "c"], 1.0), 0.0);
    }
}
