//! One request at a time, to see what a proxy answers before it is measured, and to keep its connection afterwards.

mod http1;
mod http2;
mod secure;

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::front::Front;
use crate::identity;

pub use secure::Agreed;

const PATIENCE: Duration = Duration::from_secs(10);

/// Who asks, in the words of a front.
pub struct Asker {
    front: Front,
    tls: Arc<ClientConfig>,
}

/// A connection, and what is needed to ask on it.
pub enum Connection {
    /// HTTP/1.1
    Plain(TcpStream),
    /// HTTP/1.1 under TLS
    Secure(Box<secure::Stream>),
    /// HTTP/2
    Streams(http2::Connection),
}

impl Asker {
    /// Who trusts what `authority` signed. Asking is in HTTP/1.1 unless the front says otherwise; what passes bytes
    /// on is asked so too.
    pub fn new(front: Front, authority: &Path) -> std::result::Result<Asker, String> {
        Ok(Asker { front, tls: identity::client(authority)? })
    }

    /// Connects.
    pub fn connect(&self, port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(match self.front {
            Front::Http1 | Front::Tcp => Connection::Plain(stream),
            Front::Tls => Connection::Secure(Box::new(secure::connect(stream, &self.tls)?)),
            Front::Http2 | Front::Grpc => Connection::Streams(http2::Connection::begin(stream)?),
        })
    }
}

impl Connection {
    /// The body of what `path` answers, which is a 200.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        match self {
            Connection::Plain(stream) => http1::get(stream, path),
            Connection::Secure(stream) => http1::get(stream.as_mut(), path),
            Connection::Streams(streams) => streams.get(path),
        }
    }

    /// What was agreed on under TLS.
    pub fn agreed(&self) -> Option<Agreed> {
        match self {
            Connection::Secure(stream) => Some(Agreed::of(stream)),
            _ => None,
        }
    }
}

/// Both ways of a connection.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// What a proxy may not say.
fn wrong(what: impl Into<String>) -> Error {
    Error::other(what.into())
}
