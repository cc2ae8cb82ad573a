//! ACME as configured: whom certificates are asked of, and where what came of it is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::tls::{Authorities, Certificate, Secret};

/// Index into [`Config::acme`](super::Config::acme).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AcmeId(pub u32);

/// One of `acme`: an account at an authority. That its terms are agreed to was said, or there would be none.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeAccount {
    /// Unique.
    pub name: String,
    /// URL of the directory, `https://` always.
    pub directory: String,
    /// Where keys and certificates are kept, by directory.
    pub folder: PathBuf,
    /// Told of trouble with certificates.
    pub email: Option<String>,
    /// How names are proven.
    pub challenge: AcmeChallenge,
    /// Who may have signed the authority's own certificate; `None` is whom the system trusts.
    pub ca: Option<Authorities>,
    /// An account elsewhere that this one belongs to.
    pub external: Option<ExternalAccount>,
    /// From a first failure to the next try.
    pub retry: Duration,
}

impl AcmeAccount {
    /// The folder of this directory's things: two directories share none, so that certificates from a staging server
    /// are never taken for real ones.
    pub fn store(&self) -> PathBuf {
        let url = self.directory.strip_prefix("https://").unwrap_or(&self.directory);
        let legal = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        self.folder.join(url.chars().map(legal).collect::<String>())
    }
}

/// `acme.X.challenge`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AcmeChallenge {
    /// A certificate shown on port 443 (default): RFC 8737.
    #[default]
    TlsAlpn01,
    /// A file served on port 80: RFC 8555 §8.3.
    Http01,
}

/// `acme.X.external_account`
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalAccount {
    /// The key's name at the authority.
    pub id: String,
    /// Where the key is.
    pub file: PathBuf,
    /// The key.
    pub key: Secret,
}

/// A certificate that comes from an authority.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeCertificate {
    /// Of whom it is asked.
    pub account: AcmeId,
    /// The names it is for, lower case, never empty. It is called after the first.
    pub names: Vec<String>,
    /// Where it is kept with its key.
    pub file: PathBuf,
    /// What is kept there; `None`: nothing that can be used.
    pub held: Option<Certificate>,
}
