//! One certificate from an authority: account, order, proofs of its names, key and signing request, the chain.
//!
//! One order at a time for each account, within bounds of time. Invariant: neither the account's key nor what is made of it
//! leaves by way of a message: what an authority says is cleaned before it is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeHandle, ChallengeType, Error,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use ringway_config::model::{AcmeAccount, AcmeChallenge, Certificate};
use ringway_engine::Challenge;
use tokio::sync::Mutex;

use super::https::Https;
use super::pending::{Pending, Told};
use super::store;
use super::wanted::{Held, Wanted};

/// An order from its first request to the chain.
const ORDER_MAX: Duration = Duration::from_secs(300);
/// An authority may take this long over its look at the proofs, and over the certificate.
const VERDICT_MAX: Duration = Duration::from_secs(120);
/// Characters of what an authority says that are told.
const TOLD_MAX: usize = 600;
/// The account's name and key, in its folder.
const ACCOUNT_FILE: &str = "account.json";

/// An authority and our account there.
pub(crate) struct Authority {
    settings: AcmeAccount,
    /// Held for as long as an order takes.
    account: Mutex<Option<Account>>,
}

impl Authority {
    /// Nothing is asked yet.
    pub fn new(settings: AcmeAccount) -> Authority {
        Authority { settings, account: Mutex::new(None) }
    }

    /// Asks for a certificate and stores it. Why there is none is told in words.
    pub async fn issue(&self, wanted: &Wanted, pending: &Arc<Pending>) -> Result<Held, String> {
        let mut account = self.account.lock().await;
        let folder = self.settings.store();
        blocking(move || store::try_out(&folder)).await?;
        let entered = match &*account {
            Some(account) => account.clone(),
            None => account.insert(self.enter().await?).clone(),
        };
        let told = |error: &str| clean(error, entered.key_thumbprint());
        let ordered = tokio::time::timeout(ORDER_MAX, self.order(&entered, wanted, pending)).await;
        let pem = match ordered {
            Ok(Ok(pem)) => pem,
            Ok(Err(Failed::Acme(error))) => {
                if is_unknown_account(&error) {
                    *account = None;
                    let file = self.settings.store().join(ACCOUNT_FILE);
                    blocking(move || store::set_aside(&file)).await?;
                }
                return Err(told(&error.to_string()));
            }
            Ok(Err(Failed::Other(why))) => return Err(told(&why)),
            Err(_) => return Err(format!("it took longer than {} s", ORDER_MAX.as_secs())),
        };
        // What can't be served, or would be due again at once, must not take the place of what is there.
        let held = Held::of(&Certificate::in_one_file(&wanted.file, pem.as_bytes())?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if held.renewed_at(&wanted.names, 0.0) <= now {
            return Err(
                "what was issued lacks a name, or two thirds of its life are over by our clock".into()
            );
        }
        let file = wanted.file.clone();
        blocking(move || store::replace(&file, pem.as_bytes())).await?;
        Ok(held)
    }

    /// The account as it is kept, or a new one.
    async fn enter(&self) -> Result<Account, String> {
        let file = self.settings.store().join(ACCOUNT_FILE);
        let shown = file.display().to_string();
        let https = Box::new(Https::new(self.settings.ca.as_ref())?);
        match std::fs::read(&file) {
            Ok(bytes) => {
                let credentials: AccountCredentials = serde_json::from_slice(&bytes).map_err(|_| {
                    format!("{shown} holds no account; with the file gone a new account is made")
                })?;
                let account = Account::builder_with_http(https).from_credentials(credentials).await;
                account.map_err(|error| clean(&error.to_string(), ""))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (account, credentials) =
                    self.register(https).await.map_err(|error| clean(&error.to_string(), ""))?;
                let bytes = serde_json::to_vec(&credentials).map_err(|_| "the account can't be kept")?;
                blocking(move || store::replace(&file, &bytes)).await?;
                Ok(account)
            }
            Err(error) => Err(format!("{shown} can't be read: {error}")),
        }
    }

    async fn register(&self, https: Box<Https>) -> Result<(Account, AccountCredentials), Error> {
        let contact = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        // That is what `terms_agreed` says; there is no account without it.
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.settings.external.as_ref();
        let external = external.map(|one| ExternalAccountKey::new(one.id.clone(), one.key.bytes()));
        let builder = Account::builder_with_http(https);
        builder.create(&new, self.settings.directory.clone(), external.as_ref()).await
    }

    /// Key and chain, in PEM.
    async fn order(
        &self,
        account: &Account,
        wanted: &Wanted,
        pending: &Arc<Pending>,
    ) -> Result<String, Failed> {
        let names: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let proofs = self.prove(&mut order, wanted, pending).await?;
        let patience = RetryPolicy::new().timeout(VERDICT_MAX).backoff(1.5);
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(refused(&mut order, None).await),
            Err(Error::Api(problem)) => return Err(refused(&mut order, Some(problem.to_string())).await),
            Err(error) => return Err(error.into()),
        }
        drop(proofs);
        let key = KeyPair::generate().map_err(from_rcgen)?;
        let mut request = CertificateParams::new(wanted.names.clone()).map_err(from_rcgen)?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key).map_err(from_rcgen)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&patience).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// Tells the workers what the authority will look for, and the authority that it may look. The workers forget when what
    /// is returned is dropped.
    async fn prove(
        &self,
        order: &mut Order,
        wanted: &Wanted,
        pending: &Arc<Pending>,
    ) -> Result<Vec<Told>, Failed> {
        let mut told = Vec::new();
        let mut left: BTreeSet<&str> = wanted.names.iter().map(String::as_str).collect();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if !left.remove(authorization.identifier().to_string().as_str()) {
                let why = format!("{} is to be proven, which was not asked for", authorization.identifier());
                return Err(Failed::Other(why));
            }
            match authorization.status {
                // Proven not long ago.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(Failed::Other(format!("{} may not be proven", authorization.identifier()))),
            }
            let host = authorization.identifier().to_string();
            let (kind, name) = match self.settings.challenge {
                AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
                AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                return Err(Failed::Other(format!("{host} can't be proven by {name} there")));
            };
            if !is_token(&challenge.token) {
                return Err(Failed::Other(format!("the challenge for {host} has no proper token")));
            }
            let proof = match self.settings.challenge {
                AcmeChallenge::Http01 => Challenge::Http {
                    host,
                    token: challenge.token.clone(),
                    answer: challenge.key_authorization().as_str().to_owned(),
                },
                AcmeChallenge::TlsAlpn01 => by_handshake(host, &challenge)?,
            };
            told.push(pending.add(proof).await.map_err(Failed::Other)?);
            challenge.set_ready().await?;
        }
        Ok(told)
    }
}

/// base64url (RFC 8555 §8.3), of a sensible length.
fn is_token(token: &str) -> bool {
    const TOKEN_BYTES_MAX: usize = 256;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(legal)
}

/// A certificate that proves a name (RFC 8737 §3).
fn by_handshake(host: String, challenge: &ChallengeHandle<'_>) -> Result<Challenge, Failed> {
    let mut params = CertificateParams::new(vec![host.clone()]).map_err(from_rcgen)?;
    let digest = challenge.key_authorization().digest();
    params.custom_extensions.push(CustomExtension::new_acme_identifier(digest.as_ref()));
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate().map_err(from_rcgen)?;
    let certificate = params.self_signed(&key).map_err(from_rcgen)?;
    Ok(Challenge::Tls { host, certificate: certificate.der().to_vec(), key: key.serialize_der() })
}

/// What the authority found wrong with the proofs; `whole` is what it said of all.
async fn refused(order: &mut Order, whole: Option<String>) -> Failed {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(errors.map(|error| format!("{}: {error}", state.identifier())));
    }
    match reasons.is_empty() {
        true => Failed::Other(whole.unwrap_or_else(|| "the proofs were refused".to_owned())),
        false => Failed::Other(reasons.join("; ")),
    }
}

/// Why there is no certificate.
enum Failed {
    Acme(Error),
    Other(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Acme(error)
    }
}

fn from_rcgen(error: rcgen::Error) -> Failed {
    Failed::Other(error.to_string())
}

fn is_unknown_account(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

/// What an authority said, as it may be told: on one line, not too long, without what our key was made into.
fn clean(text: &str, thumbprint: &str) -> String {
    let text = if thumbprint.is_empty() { text.to_owned() } else { text.replace(thumbprint, "[redacted]") };
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(TOLD_MAX).collect()
}

/// Work with files, beside the background thread.
async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.map_err(|_| "the gateway ends".to_owned())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authority_says_can_not_tell_our_secret_nor_write_lines() {
        let said = "expected \"tok.THUMB\",\r\n1970 ringway: info: all is well THUMB";
        assert_eq!(
            clean(said, "THUMB"),
            "expected \"tok.[redacted]\",  1970 ringway: info: all is well [redacted]"
        );
        assert_eq!(clean(&"x".repeat(10_000), "").len(), TOLD_MAX);
    }
}
