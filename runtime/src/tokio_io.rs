//! The traits that h2 reads and writes through, over a [`Wire`]: no reactor and no thread of tokio's comes with them.
//!
//! Bytes are copied once each way: from the lease they arrived in, and into the draft they leave in. What h2 writes in
//! pieces is gathered until it flushes, and sent as one run. Invariant: at most [`UNSENT_MAX`] bytes and one draft wait
//! for a peer that does not read; then writing waits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers::{Draft, Lease};
use crate::segment::SendList;
use crate::wire::Wire;

/// Bytes that may wait for the kernel before writing waits.
const UNSENT_MAX: usize = 256 << 10;

/// A wire as tokio's traits see it.
pub struct TokioIo<W> {
    wire: W,
    /// What arrived and was not read yet.
    arrived: Option<Lease>,
    ended: bool,
    /// What was written and not sent yet.
    draft: Option<Draft>,
}

impl<W> TokioIo<W> {
    /// Over `wire`.
    pub fn new(wire: W) -> TokioIo<W> {
        TokioIo { wire, arrived: None, ended: false, draft: None }
    }

    /// Over `wire`, of which `arrived` was received already.
    pub fn after(arrived: Lease, wire: W) -> TokioIo<W> {
        TokioIo { wire, arrived: Some(arrived), ended: false, draft: None }
    }

    /// The wire.
    pub fn get_ref(&self) -> &W {
        &self.wire
    }
}

impl<W: Wire> TokioIo<W> {
    fn send_draft(&mut self) {
        if let Some(draft) = self.draft.take()
            && !draft.is_empty()
        {
            self.wire.send(SendList::from(draft.into_lease()));
        }
    }

    /// Gathers as much of `bytes` as the draft has room for.
    fn gather(&mut self, bytes: &[u8]) -> usize {
        let draft = self.draft.get_or_insert_with(|| self.wire.draft());
        let taken = bytes.len().min(draft.room());
        draft.put(&bytes[..taken]);
        if draft.room() == 0 {
            self.send_draft();
        }
        taken
    }
}

impl<W: Wire + Unpin> AsyncRead for TokioIo<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.arrived.is_none() && !this.ended {
            let lease = ready!(this.wire.poll_recv(cx))?;
            this.ended = lease.is_end();
            this.arrived = Some(lease);
        }
        let Some(lease) = &mut this.arrived else { return Poll::Ready(Ok(())) };
        let taken = lease.len().min(into.remaining());
        into.put_slice(&lease[..taken]);
        lease.advance(taken);
        if lease.is_end() {
            this.arrived = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: Wire + Unpin> AsyncWrite for TokioIo<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.wire.poll_flushed_to(cx, UNSENT_MAX))?;
        Poll::Ready(Ok(self.gather(bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.wire.poll_flushed_to(cx, UNSENT_MAX))?;
        let mut total = 0;
        for run in runs {
            let taken = self.gather(run);
            total += taken;
            if taken < run.len() {
                break;
            }
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_draft();
        self.wire.poll_flushed_to(cx, UNSENT_MAX)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_draft();
        ready!(self.wire.poll_flushed_to(cx, 0))?;
        self.wire.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
