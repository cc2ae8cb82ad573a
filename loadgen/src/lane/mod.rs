//! Lanes: what carries requests, one file for each protocol.
//!
//! A lane asks its thread's line for a job, sends it, reads the answer, judges it and says what became of it; it
//! connects when it has a job and no connection.

mod answer;
mod chunks;
mod connect;
mod http1;
mod http2;
mod tcp;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::spawn;

use crate::plan::{Plan, Prepared};
use crate::run::line::Line;
use crate::run::record::Kind;
use crate::target::Protocol;

pub use connect::Dialer;

/// Starts this thread's lanes; `started` is told once for each connection that is up, or could not be brought up.
pub fn start(
    plan: &std::sync::Arc<Plan>,
    line: &Rc<Line>,
    dialer: Dialer,
    connections: u32,
    started: &Rc<dyn Fn()>,
) {
    let prepared = Rc::new(Prepared::new(plan));
    for _ in 0..connections {
        let (line, dialer) = (line.clone(), dialer.clone());
        let (prepared, started) = (prepared.clone(), started.clone());
        match plan.target.protocol {
            Protocol::Http1 => spawn(http1::lane(prepared, line, dialer, started)),
            Protocol::Http2 | Protocol::Grpc => spawn(http2::connection(prepared, line, dialer, started)),
            Protocol::Tcp => spawn(tcp::lane(prepared, line, dialer, started)),
        }
    }
}

/// How long a lane waits after a connection was refused, so that it does not spin.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Why a request failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// The status, where a whole answer came.
    pub status: Option<u16>,
}

impl Failure {
    fn of(kind: Kind) -> Failure {
        Failure { kind, status: None }
    }
}

/// The kind of failure that an error of a connection is.
fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::TimedOut => Kind::Timeout,
        io::ErrorKind::InvalidData => Kind::Tls,
        _ => Kind::Reset,
    }
}
