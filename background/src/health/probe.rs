//! What all checks begin with: a connection to the endpoint, and TLS on it where the service speaks it. Bounded in time
//! by whoever checks.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::rt::Executor;
use ringway_engine::balance::Address;
use ringway_engine::tls::Offer;
use ringway_engine::{Check, snapshot::Protocol};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// A connection, whatever it is made of.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection to an endpoint.
pub struct Connected {
    /// Ready for the first byte.
    pub wire: Box<dyn Wire>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// HTTP/2 was agreed on.
    pub http2: bool,
}

/// Connects, offering by ALPN what is to be spoken.
///
/// # Errors
/// For a person.
pub async fn connect(check: &Check, offer: Offer) -> Result<Connected, String> {
    match &check.address {
        Address::Ip(address) => {
            let stream = TcpStream::connect(address).await.map_err(text)?;
            let _ = stream.set_nodelay(true);
            shake_hands(check, offer, stream).await
        }
        Address::Unix(path) => {
            shake_hands(check, offer, UnixStream::connect(path).await.map_err(text)?).await
        }
    }
}

async fn shake_hands(check: &Check, offer: Offer, stream: impl Wire + 'static) -> Result<Connected, String> {
    let Some(tls) = &check.tls else {
        return Ok(Connected { wire: Box::new(stream), scheme: "http", http2: offer == Offer::Http2 });
    };
    let (config, name) = tls.for_others(&check.address, offer).ok_or("its certificate could name nobody")?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("TLS: {error}"))?;
    let agreed = stream.get_ref().1.alpn_protocol();
    let http2 = agreed == Some(b"h2") || offer == Offer::Http2;
    Ok(Connected { wire: Box::new(stream), scheme: "https", http2 })
}

/// What is offered to an endpoint of whom something is asked by HTTP.
pub fn offer_of(check: &Check) -> Offer {
    match check.protocol {
        Protocol::Http1 => Offer::Http1,
        Protocol::Http2 => Offer::Http2,
        Protocol::Auto if check.tls.is_some() => Offer::Both,
        Protocol::Auto => Offer::Http1,
    }
}

/// Whatever is begun for a check, which ends with it, however it ends.
#[derive(Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Runs what it is given as long as these tasks are there.
    pub fn executor(&self) -> Within {
        Within(Arc::downgrade(&self.0))
    }
}

/// See [`Tasks::executor`].
#[derive(Clone)]
pub struct Within(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Within {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        }
    }
}

/// An error as a person reads it, with what lies under it.
pub fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = error.source();
    }
    text
}
