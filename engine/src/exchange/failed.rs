//! What a try came to, where no answer came of it.

use super::Stop;
use crate::local_reply::LocalReply;
use crate::reason::Reason;
use crate::retry::Cause;
use crate::upstream::Unreached;

/// No answer came.
pub(super) enum Failed {
    /// There is no connection.
    Unreached(Unreached),
    /// The connection had been closed while it was pooled.
    Stale,
    /// The endpoint says that it has not looked at the request.
    Unprocessed,
    /// The endpoint ended the connection, or took too long.
    Upstream(Reason),
    /// The answer takes long enough for another endpoint to be asked too.
    Slow,
    /// Nothing that another try would change.
    Stopped(Stop),
}

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Failed {
        Failed::Stopped(stop)
    }
}

impl Failed {
    /// As what it counts; `None`: another try would not change it.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Failed::Unreached(unreached) => unreached.cause,
            Failed::Stale => Some(Cause::Stale),
            Failed::Unprocessed => Some(Cause::Unprocessed),
            Failed::Upstream(Reason::UpstreamClosed | Reason::UpstreamReset) => Some(Cause::Reset),
            Failed::Upstream(_) => Some(Cause::Timeout),
            Failed::Slow | Failed::Stopped(_) => None,
        }
    }

    /// What a client did says nothing about the endpoint.
    pub fn is_of_client(&self) -> bool {
        match self {
            Failed::Stopped(Stop::Cut(_)) => true,
            Failed::Stopped(Stop::Reply(reply)) => reply.status < 500,
            _ => false,
        }
    }

    /// How the line is left where that is the end of it.
    pub fn stop(self) -> Stop {
        match self {
            Failed::Unreached(unreached) => Stop::of_checkout(unreached.reply),
            Failed::Stale | Failed::Unprocessed | Failed::Slow => {
                Stop::Reply(LocalReply::from(Reason::UpstreamReset))
            }
            Failed::Upstream(reason) => reason.into(),
            Failed::Stopped(stop) => stop,
        }
    }
}
