//! Signed requests (RFC 7515, RFC 8555 §6.2): ES256, and HS256 for accounts that are kept elsewhere. Signatures are verified.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A public key on P-256.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    x: String,
    y: String,
}

impl Key {
    fn of(jwk: &Value) -> Option<Key> {
        let text = |name: &str| jwk[name].as_str().map(str::to_owned);
        (jwk["kty"] == "EC" && jwk["crv"] == "P-256").then_some(())?;
        Some(Key { x: text("x")?, y: text("y")? })
    }

    /// RFC 7638.
    pub fn thumbprint(&self) -> String {
        let text = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{}\",\"y\":\"{}\"}}", self.x, self.y);
        encoded(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, Refused> {
        let point = [vec![4], decoded(&self.x)?, decoded(&self.y)?].concat();
        Ok(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok())
    }
}

/// A request whose signature holds.
pub struct Signed {
    pub key: Key,
    pub nonce: String,
    pub payload: Value,
}

/// Why a request is not granted.
pub struct Refused {
    pub status: u16,
    pub kind: &'static str,
    pub detail: String,
}

pub fn refused(status: u16, kind: &'static str, detail: &str) -> Refused {
    Refused { status, kind, detail: detail.to_owned() }
}

fn malformed(detail: &str) -> Refused {
    refused(400, "malformed", detail)
}

pub fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decoded(text: &str) -> Result<Vec<u8>, Refused> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed("not base64url"))
}

fn json_of(text: &str) -> Result<Value, Refused> {
    let bytes = decoded(text)?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|_| malformed("not JSON"))
}

/// Takes a request to `url` apart. New accounts bring their key, others name it by `kid`.
pub fn verified(body: &[u8], url: &str, find: impl Fn(&str) -> Option<Key>) -> Result<Signed, Refused> {
    let whole: Value = serde_json::from_slice(body).map_err(|_| malformed("not JSON"))?;
    let part = |name: &str| whole[name].as_str().ok_or_else(|| malformed("not a JWS"));
    let (protected, payload, signature) = (part("protected")?, part("payload")?, part("signature")?);
    let header = json_of(protected)?;
    if header["alg"] != "ES256" || header["url"] != url {
        return Err(malformed("another algorithm or URL"));
    }
    let key = match (&header["jwk"], &header["kid"]) {
        (jwk, Value::Null) if url.ends_with("/account") => Key::of(jwk).ok_or_else(|| malformed("no key"))?,
        (Value::Null, Value::String(kid)) => {
            find(kid).ok_or_else(|| refused(400, "accountDoesNotExist", "nobody we know"))?
        }
        _ => return Err(malformed("a key where an account belongs, or the other way round")),
    };
    if !key.verifies(format!("{protected}.{payload}").as_bytes(), &decoded(signature)?)? {
        return Err(malformed("the signature does not hold"));
    }
    let nonce = header["nonce"].as_str().unwrap_or_default().to_owned();
    Ok(Signed { key, nonce, payload: json_of(payload)? })
}

/// Whether an account is bound to the one that `id` and `secret` stand for (RFC 8555 §7.3.4).
pub fn verify_binding(
    binding: &Value,
    id: &str,
    secret: &[u8],
    account: &Key,
    url: &str,
) -> Result<(), Refused> {
    let part = |name: &str| binding[name].as_str().unwrap_or_default();
    let (protected, payload) = (part("protected"), part("payload"));
    let header = json_of(protected)?;
    let expected = json!({ "alg": "HS256", "kid": id, "url": url });
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let message = format!("{protected}.{payload}");
    let holds = hmac::verify(&key, message.as_bytes(), &decoded(part("signature"))?).is_ok();
    match holds && header == expected && Key::of(&json_of(payload)?).as_ref() == Some(account) {
        true => Ok(()),
        false => Err(refused(403, "externalAccountRequired", "the account is bound to none of ours")),
    }
}
