//! The traits that h2 reads and writes through, over a stream of the runtime.
//!
//! What h2 writes in pieces is gathered until it flushes, and leaves as one run. Invariant: at most [`UNSENT_MAX`] bytes
//! and one draft wait for a peer that does not read; then writing waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ringway_runtime::{Draft, Lease, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream as tokio's traits see it.
pub struct StreamIo {
    stream: Stream,
    /// What arrived and was not read yet.
    arrived: Option<Lease>,
    /// What was written and not sent yet.
    draft: Option<Draft>,
}

impl StreamIo {
    /// Over `stream`, of which `arrived` was taken already.
    pub fn new(stream: Stream, arrived: Option<Lease>) -> StreamIo {
        StreamIo { stream, arrived, draft: None }
    }

    fn send_draft(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.stream.send(draft.into_lease());
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_behind(UNSENT_MAX, UNSENT_RUNS_MAX) {
            return self.stream.poll_flushed(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut lease = match self.arrived.take() {
            Some(lease) => lease,
            None => ready!(self.stream.poll_recv(cx))?,
        };
        let taken = lease.len().min(into.remaining());
        into.put_slice(&lease[..taken]);
        lease.advance(taken);
        self.arrived = (!lease.is_end()).then_some(lease);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let this = &mut *self;
        let draft = this.draft.get_or_insert_with(|| this.stream.draft());
        let taken = bytes.len().min(draft.room());
        draft.put(&bytes[..taken]);
        if draft.room() == 0 {
            this.send_draft();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_draft();
        self.poll_room(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_draft();
        ready!(self.stream.poll_flushed(cx))?;
        self.stream.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

/// Bytes, and runs of bytes, that may wait for the kernel before writing waits.
const UNSENT_MAX: usize = 256 << 10;
const UNSENT_RUNS_MAX: usize = 64;
