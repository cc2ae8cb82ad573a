//! What is asked of a service's endpoints.

use std::sync::Arc;

use ringway_config::model::ServiceTls;
use ringway_runtime::{Address, Stream as Raw};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::balance;

use super::server::{certified, roots_of};
use super::stream::{Failed, Stream};
use super::{ALPN_HTTP1, ALPN_HTTP2, Offer, provider, versions};

/// How a service's endpoints are spoken to under TLS.
#[derive(Debug)]
pub struct ClientPlan {
    /// By what is offered: nothing, HTTP/1.1, HTTP/2, both.
    configs: [Arc<ClientConfig>; 4],
    /// Whom the certificate must name, and what SNI says; `None`: the endpoint's IP address.
    name: Option<ServerName<'static>>,
    /// Certificates are verified.
    verified: bool,
}

impl ClientPlan {
    /// Whose certificate is taken, in words.
    pub(crate) fn told(&self) -> String {
        match (self.verified, &self.name) {
            (false, _) => "TLS with any certificate: it is not verified".into(),
            (true, Some(name)) => format!("TLS with a certificate verified for {}", name.to_str()),
            (true, None) => "TLS with a certificate verified for the endpoint's address".into(),
        }
    }

    /// What a service's endpoints are asked for.
    ///
    /// # Errors
    /// What rustls objects to, or that the system trusts nobody.
    pub fn new(tls: &ServiceTls) -> Result<ClientPlan, String> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(tls.min_version))
            .map_err(|error| error.to_string())?;
        let builder = match (&tls.ca, tls.insecure_skip_verify) {
            (_, true) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(TakeAny(provider.clone())))
            }
            (Some(ca), false) => builder.with_root_certificates(roots_of(ca)?),
            (None, false) => builder.with_root_certificates(of_system()?),
        };
        let config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = certified(certificate, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        let name = match &tls.name {
            None => None,
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|error| error.to_string())?),
        };
        Ok(ClientPlan::of(config, name, !tls.insecure_skip_verify))
    }

    fn of(config: ClientConfig, name: Option<ServerName<'static>>, verified: bool) -> ClientPlan {
        let offers: [&[&[u8]]; 4] = [&[], &[ALPN_HTTP1], &[ALPN_HTTP2], &[ALPN_HTTP2, ALPN_HTTP1]];
        let configs = offers.map(|offer| {
            let mut config = config.clone();
            config.alpn_protocols = offer.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        });
        ClientPlan { configs, name, verified }
    }

    /// What somebody else shakes hands by with `address`, offering that. `None`: the certificate can't name it.
    pub fn for_others(
        &self,
        address: &balance::Address,
        offer: Offer,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let name = match (&self.name, address) {
            (Some(name), _) => name.clone(),
            (None, balance::Address::Ip(address)) => ServerName::IpAddress(address.ip().into()),
            (None, balance::Address::Unix(_)) => return None,
        };
        Some((self.config(offer).clone(), name))
    }

    /// Shakes hands on a connection to `address`, by its deadline.
    pub(crate) async fn connect(
        &self,
        stream: Raw,
        address: &Address,
        offer: Offer,
    ) -> Result<Stream, Failed> {
        let name = match (&self.name, address) {
            (Some(name), _) => name.clone(),
            (None, Address::Ip(address)) => ServerName::IpAddress(address.ip().into()),
            // The configuration wants a name for it.
            (None, Address::Unix(_)) => return Err(Failed::Io(std::io::ErrorKind::InvalidInput.into())),
        };
        Stream::connect(stream, self.config(offer), name).await
    }

    fn config(&self, offer: Offer) -> &Arc<ClientConfig> {
        match offer {
            Offer::None => &self.configs[0],
            Offer::Http1 => &self.configs[1],
            Offer::Http2 => &self.configs[2],
            Offer::Both => &self.configs[3],
        }
    }
}

fn of_system() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match store.is_empty() {
        false => Ok(store),
        true => Err("this system trusts no certificate authority: name one with `tls: { ca: FILE }`".into()),
    }
}

/// Takes any certificate, but still checks that the endpoint has its key.
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
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
