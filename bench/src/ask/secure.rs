//! TLS, and what was agreed on.

use std::io::{Error, Result};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::identity::NAME;

/// A session on its socket.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What a proxy and the client agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Protocol version.
    pub version: String,
    /// Cipher suite.
    pub cipher: String,
    /// Group of the key exchange.
    pub group: String,
    /// By ALPN.
    pub protocol: String,
    /// Session tickets that the proxy gave.
    pub tickets: u32,
}

/// Shakes hands.
pub fn connect(mut stream: TcpStream, config: &Arc<ClientConfig>) -> Result<Stream> {
    let name = ServerName::try_from(NAME).map_err(Error::other)?;
    let mut session = ClientConnection::new(config.clone(), name).map_err(Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

impl Agreed {
    /// Of a session on which a request was answered: tickets come after the handshake.
    pub fn of(stream: &Stream) -> Agreed {
        let session = &stream.conn;
        let shown = |value: Option<String>| value.unwrap_or_else(|| "none".into());
        Agreed {
            version: shown(session.protocol_version().map(|version| format!("{version:?}"))),
            cipher: shown(session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            group: shown(session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()))),
            protocol: shown(session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())),
            tickets: session.tls13_tickets_received(),
        }
    }
}
