//! Proofs of names that an ACME authority is about to look for: told to every worker while they are pending, and not
//! longer.
//!
//! A request for a token's path is answered before it is routed (`exchange/decide.rs`, RFC 8555 §8.3); a handshake that
//! offers `acme-tls/1` and nothing else gets the certificate made for it (`downstream/establish.rs`, RFC 8737). Without a
//! pending proof either is what it would be anyway. Invariant: nothing here is ever shown but to who asks for it.

use std::sync::Arc;

use crate::tls::ProofPlan;

/// Where tokens are asked for.
const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// A proof that an authority will look for.
#[derive(Clone)]
pub enum Challenge {
    /// `http-01`
    Http {
        /// The name to prove, lower case.
        host: String,
        /// The end of the path that is asked for.
        token: String,
        /// What is answered.
        answer: String,
    },
    /// `tls-alpn-01`
    Tls {
        /// The name to prove, lower case.
        host: String,
        /// Shown to who asks for it, in DER.
        certificate: Vec<u8>,
        /// Its key, PKCS#8 in DER.
        key: Vec<u8>,
    },
}

/// All that are pending. Few: they are looked through one by one.
#[derive(Default)]
pub(crate) struct Challenges {
    http: Box<[Http]>,
    tls: Box<[(Box<str>, ProofPlan)]>,
}

struct Http {
    host: Box<str>,
    token: Box<str>,
    answer: Arc<str>,
}

impl Challenges {
    /// # Errors
    /// What rustls objects to in a certificate or key.
    pub fn new(challenges: &[Challenge]) -> Result<Challenges, String> {
        let (mut http, mut tls) = (Vec::new(), Vec::new());
        for challenge in challenges {
            match challenge {
                Challenge::Http { host, token, answer } => http.push(Http {
                    host: host.as_str().into(),
                    token: token.as_str().into(),
                    answer: answer.as_str().into(),
                }),
                Challenge::Tls { host, certificate, key } => {
                    tls.push((host.as_str().into(), ProofPlan::new(certificate, key)?));
                }
            }
        }
        Ok(Challenges { http: http.into(), tls: tls.into() })
    }

    /// What to answer who asks `host` for `path`.
    pub fn answer(&self, host: &[u8], path: &[u8]) -> Option<Arc<str>> {
        let token = path.strip_prefix(PATH)?;
        let asked =
            |one: &&Http| one.token.as_bytes() == token && host.eq_ignore_ascii_case(one.host.as_bytes());
        self.http.iter().find(asked).map(|one| one.answer.clone())
    }

    /// Handshakes are to be looked at.
    pub fn are_in_handshakes(&self) -> bool {
        !self.tls.is_empty()
    }

    /// What to show who asks for this name and offers nothing but a proof.
    pub fn proof(&self, name: &str) -> Option<&ProofPlan> {
        self.tls.iter().find(|(host, _)| **host == *name).map(|(_, proof)| proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_its_host_and_path_only() {
        let one = |host: &str, token: &str| Challenge::Http {
            host: host.into(),
            token: token.into(),
            answer: format!("{token}.print"),
        };
        let challenges =
            Challenges::new(&[one("a.example", "t1"), one("b.example", "t2")]).expect("challenges");
        let answer = |host: &str, path: &str| challenges.answer(host.as_bytes(), path.as_bytes());
        assert_eq!(answer("A.Example", "/.well-known/acme-challenge/t1").as_deref(), Some("t1.print"));
        for (host, path) in [
            ("b.example", "/.well-known/acme-challenge/t1"),
            ("a.example", "/.well-known/acme-challenge/t2"),
            ("a.example", "/.well-known/acme-challenge/"),
            ("a.example", "/.well-known/acme-challenge/t1/"),
            ("a.example", "/.well-known/acme-challenge/t"),
            ("a.example", "/t1"),
            ("", "/.well-known/acme-challenge/t1"),
        ] {
            assert_eq!(answer(host, path), None, "{host} {path}");
        }
        assert!(!challenges.are_in_handshakes());
    }
}
