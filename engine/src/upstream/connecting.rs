//! Making a connection to an endpoint: TCP, then TLS where the service says so.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Address, Lease, Nanos, Stream, now};

use crate::link::Link;
use crate::local_reply::LocalReply;
use crate::reason::Reason;
use crate::snapshot::{Http2Plan, ServicePlan};
use crate::tls;

/// What a connection is made by. It lives on without the snapshot it came from.
#[derive(Clone)]
pub(super) struct Course {
    pub address: Address,
    pub within: Duration,
    tls: Option<Arc<tls::ClientPlan>>,
    pub http2: Http2Plan,
    /// Which versions are offered, where there is a choice.
    offer: tls::Offer,
}

/// What an endpoint turned out to speak.
pub(super) struct Connected {
    pub link: Link,
    pub http2: bool,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Error {
    /// Nobody listens there: another endpoint may be asked without the client noticing.
    Refused,
    TimedOut,
    /// No descriptor was left: not the endpoint's doing.
    Files,
    /// The handshake failed: the certificate, the versions, or what rustls objects to.
    Tls,
    Other,
}

impl Course {
    pub fn new(plan: &ServicePlan, address: Address, offer: tls::Offer) -> Course {
        Course {
            address,
            within: Duration::from_millis(plan.connect_ms),
            tls: plan.tls.clone(),
            http2: plan.http2,
            offer,
        }
    }

    /// Connects, by `deadline` and within the service's own time. `preface` is sent before anything else.
    pub async fn connect(&self, deadline: Nanos, preface: Option<Lease>) -> Result<Connected, Error> {
        let deadline = now().after(self.within).min(deadline);
        let stream = Stream::connect(&self.address, deadline).await.map_err(Error::from)?;
        if let Some(preface) = preface {
            stream.send(preface);
        }
        let Some(tls) = &self.tls else {
            return Ok(Connected { link: Link::Plain(stream), http2: self.offer == tls::Offer::Http2 });
        };
        stream.set_deadline(deadline);
        let session = tls.connect(stream, &self.address, self.offer).await.map_err(Error::from)?;
        let http2 = session.session().alpn_protocol() == Some(tls::ALPN_HTTP2);
        if self.offer == tls::Offer::Http2 && !http2 {
            return Err(Error::Tls);
        }
        Ok(Connected { link: Link::Tls(Box::new(session)), http2 })
    }
}

impl Error {
    /// What the client is told.
    pub fn reply(self, deadline: Nanos) -> LocalReply {
        match self {
            Error::Refused => Reason::UpstreamConnectRefused,
            Error::TimedOut if now() >= deadline => Reason::ExchangeTimeout,
            Error::TimedOut => Reason::UpstreamConnectTimeout,
            Error::Files => Reason::FdLimit,
            Error::Tls => Reason::UpstreamTlsFailed,
            Error::Other => Reason::UpstreamConnectFailed,
        }
        .into()
    }

    /// Told at once, so that another endpoint can be asked.
    pub fn is_refusal(self) -> bool {
        matches!(self, Error::Refused)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Error::Refused
            }
            ErrorKind::TimedOut => Error::TimedOut,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Error::Files,
            _ => Error::Other,
        }
    }
}

impl From<tls::Failed> for Error {
    fn from(failed: tls::Failed) -> Error {
        match failed {
            tls::Failed::Io(error) if error.kind() == ErrorKind::TimedOut => Error::TimedOut,
            tls::Failed::Tls(_) | tls::Failed::Io(_) => Error::Tls,
        }
    }
}

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
