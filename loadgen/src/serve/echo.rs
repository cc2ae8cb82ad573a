//! A TCP echo: every piece that arrives goes back as it came, after the behaviour's delay, one after the other.
//!
//! There is no status to fail with; a piece that would fail with one ends the connection without an answer.

use std::io;
use std::rc::Rc;

use ringway_runtime::{Lease, Stream};

use super::behaviour::{Failure, Wish};
use super::origin::Origin;

/// Echoes until the client has enough. `piece` is what has arrived already.
pub async fn serve(stream: Stream, origin: Rc<Origin>, piece: Lease) {
    // A lost connection is the client's business.
    let _ = echo(&stream, &origin, piece).await;
}

async fn echo(stream: &Stream, origin: &Rc<Origin>, mut piece: Lease) -> io::Result<()> {
    while !piece.is_end() {
        origin.tally.requests.add(1);
        if !origin.is_plain {
            let (plan, due) = origin.plan(&Wish::default());
            if let Some(due) = due {
                origin.clock.until(due).await;
            }
            if let Some(failure) = plan.failure {
                origin.tally.failed.add(1);
                stream.flushed().await?;
                return fail(stream, failure, piece).await;
            }
        }
        stream.send(piece);
        if stream.is_behind(UNSENT_MAX, UNSENT_RUNS_MAX) {
            stream.flushed_to(UNSENT_MAX / 2).await?;
        }
        piece = stream.recv().await?;
    }
    stream.flushed().await
}

async fn fail(stream: &Stream, failure: Failure, mut piece: Lease) -> io::Result<()> {
    match failure {
        Failure::Status(_) => Ok(()),
        Failure::Truncate => {
            piece.truncate(piece.len() / 2);
            stream.send(piece);
            stream.flushed().await
        }
        Failure::Reset => {
            stream.reset_on_close();
            Ok(())
        }
        Failure::Hang => {
            drop(piece);
            while !stream.recv().await?.is_end() {}
            Ok(())
        }
    }
}

/// Bytes, and pieces, that may wait for a client to read.
const UNSENT_MAX: usize = 256 << 10;
const UNSENT_RUNS_MAX: usize = 64;
