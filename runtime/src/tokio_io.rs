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

    /// The wire, to change what does not move bytes: a deadline, for one.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.wire
    }

    /// The wire again. What arrived and was not read, and what was written and not flushed, is lost.
    pub fn into_inner(self) -> W {
        self.wire
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
            // A full draft was sent: how much waits is looked at again before the next one.
            if taken < run.len() || self.draft.is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use std::task::Waker;

    /// A wire whose kernel takes nothing by itself.
    #[derive(Default)]
    struct Stuck {
        sent: Vec<Vec<u8>>,
        taken: usize,
        broken: bool,
        ended: bool,
    }

    impl Stuck {
        fn unsent(&self) -> usize {
            self.sent.iter().map(Vec::len).sum::<usize>() - self.taken
        }
    }

    impl Wire for Stuck {
        fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Lease>> {
            Poll::Pending
        }

        fn send(&mut self, list: SendList) {
            assert!(!self.ended, "sent after the end");
            self.sent.push(list.iter().flatten().copied().collect());
        }

        fn poll_flushed_to(&mut self, _: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
            match (self.broken, self.unsent() <= bytes) {
                (true, _) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                (false, true) => Poll::Ready(Ok(())),
                (false, false) => Poll::Pending,
            }
        }

        fn draft(&self) -> Draft {
            Draft::sized(DRAFT)
        }

        fn shutdown_write(&mut self) {
            self.ended = true;
        }

        fn set_deadline(&mut self, _: Nanos) {}
    }

    const DRAFT: usize = 16 << 10;

    fn stuck() -> (TokioIo<Stuck>, Context<'static>) {
        (TokioIo::new(Stuck::default()), Context::from_waker(Waker::noop()))
    }

    #[test]
    fn pieces_leave_as_one_run_and_only_when_flushed_or_a_draft_is_full() {
        let (mut io, mut cx) = stuck();
        for piece in [&b"head"[..], b"", b"body"] {
            assert!(
                matches!(Pin::new(&mut io).poll_write(&mut cx, piece), Poll::Ready(Ok(n)) if n == piece.len())
            );
        }
        assert!(io.get_ref().sent.is_empty());
        for _ in 0..2 {
            assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Ready(Ok(()))));
        }
        assert_eq!(io.get_ref().sent, [b"headbody"]);
        let taken = Pin::new(&mut io).poll_write(&mut cx, &[7; DRAFT + 1]);
        assert!(matches!(taken, Poll::Ready(Ok(DRAFT))));
        assert_eq!(io.get_ref().sent[1].len(), DRAFT);
    }

    #[test]
    fn however_many_runs_are_written_at_once_no_more_than_the_bound_and_a_draft_wait() {
        let (mut io, mut cx) = stuck();
        let run = [7; 1 << 10];
        let runs = vec![IoSlice::new(&run); 1024];
        let mut total = 0;
        while let Poll::Ready(taken) = Pin::new(&mut io).poll_write_vectored(&mut cx, &runs) {
            total += taken.unwrap();
            assert!(io.get_ref().unsent() <= UNSENT_MAX + DRAFT, "{}", io.get_ref().unsent());
        }
        assert!(total > UNSENT_MAX);
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"more").is_pending());
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_pending());
        io.get_mut().taken = total - UNSENT_MAX;
        assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Ready(Ok(()))));
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"more").is_ready());
    }

    #[test]
    fn the_end_comes_after_everything_was_taken() {
        let (mut io, mut cx) = stuck();
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"last").is_ready());
        assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_pending());
        assert!(!io.get_ref().ended);
        io.get_mut().taken = 4;
        assert!(matches!(Pin::new(&mut io).poll_shutdown(&mut cx), Poll::Ready(Ok(()))));
        let wire = io.into_inner();
        assert!(wire.ended);
        assert_eq!(wire.sent, [b"last"]);
    }

    #[test]
    fn an_error_of_the_wire_shows_in_writing_flushing_and_ending() {
        let (mut io, mut cx) = stuck();
        io.get_mut().broken = true;
        assert!(matches!(Pin::new(&mut io).poll_write(&mut cx, b"x"), Poll::Ready(Err(_))));
        assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Ready(Err(_))));
        assert!(matches!(Pin::new(&mut io).poll_shutdown(&mut cx), Poll::Ready(Err(_))));
        assert!(!io.get_ref().ended);
    }
}
