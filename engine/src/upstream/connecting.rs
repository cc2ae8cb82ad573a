//! Making a connection to an endpoint: TCP, then TLS where the service says so.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Address, Lease, Nanos, Stream, now};

use super::pool::{Counted, State};
use crate::link::Link;
use crate::local_reply::LocalReply;
use crate::observe::ServiceCounters;
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
    pub counters: Arc<ServiceCounters>,
}

/// What an endpoint turned out to speak.
pub(super) struct Connected {
    pub link: Link,
    pub http2: bool,
    pub counted: Counted,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Error {
    /// Nobody listens there: another endpoint may be asked without the client noticing.
    Refused,
    TimedOut,
    /// As many as may be are open, or every stream stayed taken.
    Full,
    /// No descriptor was left: not the endpoint's doing.
    Files,
    /// The handshake failed: the certificate, the versions, or what rustls objects to.
    Tls,
    Other,
}

impl Course {
    pub fn new(
        plan: &ServicePlan,
        address: Address,
        offer: tls::Offer,
        counters: &Arc<ServiceCounters>,
    ) -> Course {
        Course {
            address,
            within: Duration::from_millis(plan.connect_ms),
            tls: plan.tls.clone(),
            http2: plan.http2,
            offer,
            counters: counters.clone(),
        }
    }

    /// Connects, by `deadline` and within the service's own time. `preface` is sent before anything else.
    pub async fn connect(
        &self,
        mut counted: Counted,
        deadline: Nanos,
        preface: Option<Lease>,
    ) -> Result<Connected, Error> {
        self.counters.connects.increment();
        match self.reach(deadline, preface).await {
            Ok((link, http2)) => {
                counted.becomes(State::Active);
                Ok(Connected { link, http2, counted })
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Counts a connection that came to nothing.
    pub fn failed(&self, error: Error) -> Error {
        self.counters.connect_failures.increment();
        error
    }

    /// The connection, and whether HTTP/2 is spoken on it.
    async fn reach(&self, deadline: Nanos, preface: Option<Lease>) -> Result<(Link, bool), Error> {
        let deadline = now().after(self.within).min(deadline);
        let stream = Stream::connect(&self.address, deadline).await?;
        if let Some(preface) = preface {
            stream.send(preface);
        }
        let Some(tls) = &self.tls else {
            return Ok((Link::Plain(stream), self.offer == tls::Offer::Http2));
        };
        stream.set_deadline(deadline);
        let session = tls.connect(stream, &self.address, self.offer).await?;
        let http2 = session.session().alpn_protocol() == Some(tls::ALPN_HTTP2);
        if self.offer == tls::Offer::Http2 && !http2 {
            return Err(Error::Tls);
        }
        Ok((Link::Tls(Box::new(session)), http2))
    }
}

impl Error {
    /// What the client is told.
    pub fn reply(self, deadline: Nanos) -> LocalReply {
        match self {
            Error::Refused => Reason::UpstreamConnectRefused,
            Error::TimedOut | Error::Full if now() >= deadline => Reason::ExchangeTimeout,
            Error::TimedOut => Reason::UpstreamConnectTimeout,
            Error::Full => Reason::PoolFull,
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

    /// Says nothing about the endpoint.
    pub fn is_ours(self) -> bool {
        matches!(self, Error::Full | Error::Files)
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
