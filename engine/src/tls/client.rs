//! What is asked of a service's endpoints.

use std::sync::Arc;

use ringway_runtime::{Address, Stream as Raw};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::stream::{Failed, Stream};
use super::{ALPN_HTTP1, ALPN_HTTP2, Offer};

/// How a service's endpoints are spoken to under TLS.
#[derive(Debug)]
pub struct ClientPlan {
    /// By what is offered: nothing, HTTP/1.1, HTTP/2, both.
    configs: [Arc<ClientConfig>; 4],
    /// Whom the certificate must name, and what SNI says; `None`: the endpoint's IP address.
    name: Option<ServerName<'static>>,
}

impl ClientPlan {
    /// A plan by this configuration, which says nothing of ALPN yet.
    pub fn new(config: ClientConfig, name: Option<ServerName<'static>>) -> ClientPlan {
        let offers: [&[&[u8]]; 4] = [&[], &[ALPN_HTTP1], &[ALPN_HTTP2], &[ALPN_HTTP2, ALPN_HTTP1]];
        let configs = offers.map(|offer| {
            let mut config = config.clone();
            config.alpn_protocols = offer.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        });
        ClientPlan { configs, name }
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
        let config = match offer {
            Offer::None => &self.configs[0],
            Offer::Http1 => &self.configs[1],
            Offer::Http2 => &self.configs[2],
            Offer::Both => &self.configs[3],
        };
        Stream::connect(stream, config, name).await
    }
}
