//! Who a client is by the certificate it showed, once verified: subject, names, fingerprint.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a client's verified certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// The subject's distinguished name; bytes that a header can't hold are `?`.
    pub subject: String,
    /// Subject alternative names that are URIs, SPIFFE ids among them.
    pub uris: Vec<String>,
    /// Subject alternative names that are DNS names.
    pub dns_names: Vec<String>,
}

impl ClientIdentity {
    /// Reads the certificate that was shown.
    pub fn of(certificate: &CertificateDer<'_>) -> ClientIdentity {
        let hash = digest::digest(&digest::SHA256, certificate);
        let fingerprint = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut identity = ClientIdentity { fingerprint, ..ClientIdentity::default() };
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return identity };
        identity.subject = visible(&parsed.subject().to_string());
        if let Ok(Some(names)) = parsed.subject_alternative_name() {
            for name in names.value.general_names.iter().take(NAMES_MAX) {
                match name {
                    GeneralName::URI(uri) => identity.uris.push(visible(uri)),
                    GeneralName::DNSName(name) => identity.dns_names.push(visible(name)),
                    _ => {}
                }
            }
        }
        identity
    }

    /// What to call the client: its subject, or its fingerprint where it has none.
    pub fn name(&self) -> &str {
        if self.subject.is_empty() { &self.fingerprint } else { &self.subject }
    }

    /// The field that tells an endpoint: `X-Forwarded-Client-Cert: Hash=..;Subject="..";URI=..;DNS=..` and its CRLF.
    pub fn field(&self) -> String {
        let mut line = format!(
            "X-Forwarded-Client-Cert: Hash={};Subject=\"{}\"",
            self.fingerprint,
            quoted(&self.subject)
        );
        for (key, names) in [("URI", &self.uris), ("DNS", &self.dns_names)] {
            for name in names {
                let plain = !name.contains([',', ';', '=', '"', '\\', ' ']);
                match plain {
                    true => line.push_str(&format!(";{key}={name}")),
                    false => line.push_str(&format!(";{key}=\"{}\"", quoted(name))),
                }
            }
        }
        line.push_str("\r\n");
        line
    }
}

/// Names of one certificate that are kept.
const NAMES_MAX: usize = 32;
/// Bytes of one name that are kept.
const NAME_BYTES_MAX: usize = 1024;

fn visible(text: &str) -> String {
    let kept = text.chars().take(NAME_BYTES_MAX);
    kept.map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_can_not_break_out_of_its_field() {
        let identity = ClientIdentity {
            fingerprint: "ab".into(),
            subject: visible("CN=a\"b\r\nX-Evil: 1, O=\u{e9}"),
            uris: vec![visible("spiffe://mesh/ns/a")],
            dns_names: vec![visible("a;DNS=b")],
        };
        assert_eq!(
            identity.field(),
            "X-Forwarded-Client-Cert: Hash=ab;Subject=\"CN=a\\\"b??X-Evil: 1, O=?\";URI=spiffe://mesh/ns/a;DNS=\"a;DNS=b\"\r\n"
        );
    }

    #[test]
    fn what_is_no_certificate_has_a_fingerprint_at_least() {
        let identity = ClientIdentity::of(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(identity.fingerprint.len(), 64);
        assert_eq!(identity.subject, "");
    }
}
