//! Looking for the proof of a name, as an authority does: by a request (RFC 8555 §8.3) or by a handshake (RFC 8737 §3).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::client::{Client, To};
use crate::wait::PATIENCE;

/// Where `http-01` is looked for.
pub fn path(token: &str) -> String {
    format!("/.well-known/acme-challenge/{token}")
}

/// Looks once; why it was not there is told.
pub fn http(at: Option<SocketAddr>, name: &str, token: &str, expected: &str) -> Result<(), String> {
    let at = at.ok_or("nowhere to look")?;
    let mut client = Client::try_connect(at).map_err(|error| format!("connecting to {name}: {error}"))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n", path(token));
    let sent = client.try_send(request).and_then(|()| client.try_response(To::Get));
    let answer = sent.map_err(|error| format!("asking {name}: {error}"))?;
    match answer.status == 200 && answer.text().trim_end() == expected {
        true => Ok(()),
        false => Err(format!("{name} answered {} {:?}", answer.status, answer.text())),
    }
}

/// The same by a handshake.
pub fn tls(at: Option<SocketAddr>, name: &str, expected: &str) -> Result<(), String> {
    let at = at.ok_or("nowhere to look")?;
    let certificate = shows_proof(at, name).map_err(|error| format!("{name}: {error}"))?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| "not X.509")?;
    let proof = parsed.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    let proof = proof.filter(|one| one.critical).ok_or("the certificate proves nothing")?;
    let expected = digest::digest(&digest::SHA256, expected.as_bytes());
    if proof.value != [&[4, 32], expected.as_ref()].concat() {
        return Err("the certificate proves something else".into());
    }
    let names = parsed.subject_alternative_name().ok().flatten().ok_or("the certificate has no names")?;
    match names.value.general_names.as_slice() {
        [GeneralName::DNSName(only)] if *only == name => Ok(()),
        names => Err(format!("the certificate is for {names:?}")),
    }
}

/// Shakes hands as an authority does, and waits for the other side to end it. The certificate that was shown.
pub fn shows_proof(at: SocketAddr, name: &str) -> std::io::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeAny(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let mut socket = TcpStream::connect(at)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    // A hello may come in pieces.
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    let (first, rest) = hello.split_at(hello.len() / 2);
    socket.write_all(first)?;
    socket.write_all(rest)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    let mut stream = StreamOwned::new(session, socket);
    if stream.conn.alpn_protocol() != Some(b"acme-tls/1") {
        return Err(std::io::Error::other("acme-tls/1 was not agreed on"));
    }
    let certificate = stream.conn.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| std::io::Error::other("no certificate"))?.to_vec();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    match rest.is_empty() {
        true => Ok(certificate),
        false => Err(std::io::Error::other("something was said after the handshake")),
    }
}

/// Proofs are signed by nobody.
#[derive(Debug)]
struct TakeAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    /// By the key itself: what a proof holds is more than webpki takes in a certificate.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let parsed = X509Certificate::from_der(certificate);
        let (_, parsed) = parsed.map_err(|_| rustls::Error::General("not X.509".into()))?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
