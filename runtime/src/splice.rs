//! Bytes that go from one socket to another without coming here: splice(2), through a pipe of the worker's.
//!
//! A [`Splice`] is one way of a tunnel. `reading -> (bytes in a pipe) -> writing -> reading`, ended by the peer's FIN. Where
//! one side makes it wait it is told by the driver, which watches for readiness only; the calls themselves never block.
//! While it reads it holds no pipe, so a silent tunnel costs none.
//!
//! Invariants: nobody else receives from `from` ([`Stream::stop_receiving`]) nor has anything unsent on `to`, so the bytes
//! keep their order. A pipe goes back to the pool only when it is empty; with bytes in it it is closed, and they are lost
//! with the connection they belonged to.

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use crate::conn::{Address, Stream};
use crate::driver;
use crate::pipes::Pipe;
use crate::sys;

/// Bytes that are moved at a time, and so at most are on their way in the pipe.
pub(crate) const PIECE_MAX: usize = 256 << 10;

/// One way of a tunnel, from socket to socket.
pub struct Splice<'a> {
    from: &'a Stream,
    to: &'a Stream,
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
}

/// What a [`Splice`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// So many bytes were sent.
    Sent(usize),
    /// The peer has ended, and all that it sent before is sent.
    End,
    /// There is no pipe for it now, the kernel doesn't splice here, or there is urgent data. Nothing is under way.
    Refused,
}

impl<'a> Splice<'a> {
    /// Whether a way between these two may be spliced: both are TCP.
    pub fn suits(from: &Stream, to: &Stream) -> bool {
        let is_tcp = |stream: &Stream| matches!(stream.local(), Ok(Address::Ip(_)));
        is_tcp(from) && is_tcp(to)
    }

    /// Begins, once `from` [`has_stopped`](Stream::has_stopped) receiving and `to` is flushed.
    pub fn new(from: &'a Stream, to: &'a Stream) -> io::Result<Splice<'a>> {
        debug_assert!(from.has_stopped() && to.unsent() == 0);
        // io_uring's sockets are blocking; its own receives and sends do not mind which they are.
        sys::set_nonblocking(from.conn.fd)?;
        sys::set_nonblocking(to.conn.fd)?;
        Ok(Splice { from, to, pipe: None, held: 0 })
    }

    /// Nothing of it is in a pipe: leases may take over.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves what there is to move, a piece at most. `TimedOut` once a deadline of either side has passed and nothing can
    /// be moved.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Spliced>> {
        if self.held == 0 {
            match self.fill(cx) {
                Poll::Ready(Ok(Spliced::Sent(_))) => {}
                other => return other,
            }
        }
        self.empty(cx)
    }

    /// From the socket into the pipe.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Spliced>> {
        let (core, conn) = (&self.from.core, &self.from.conn);
        if !conn.readable.get() || conn.read_in.get() == core.turn() {
            return self.wait_readable(cx);
        }
        let Some(pipe) = core.pipes.borrow_mut().take(&core.gauges) else {
            return Poll::Ready(Ok(Spliced::Refused));
        };
        conn.read_in.set(core.turn());
        let splice = || sys::splice(conn.fd, pipe.write.as_raw_fd(), PIECE_MAX);
        let waits = |result: &io::Result<usize>| matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let mut result = splice();
        // The kernel splices up to a byte of urgent data and never past it, where a receive goes on. Bytes that are there
        // are so told from bytes that have just come.
        let mut is_stuck = false;
        if waits(&result) && sys::has_bytes(conn.fd) {
            result = splice();
            is_stuck = waits(&result);
        }
        match result {
            Ok(n @ 1..) => {
                // A ring tells by itself when there is more; edges are to be used up.
                conn.readable.set(core.polls_itself());
                self.held = n;
                self.pipe = Some(pipe);
                return Poll::Ready(Ok(Spliced::Sent(0)));
            }
            _ => core.pipes.borrow_mut().put_back(pipe, &core.gauges),
        }
        match result {
            _ if is_stuck => Poll::Ready(Ok(Spliced::Refused)),
            Ok(_) if sys::has_bytes(conn.fd) => Poll::Ready(Ok(Spliced::Refused)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.readable.set(false);
                self.wait_readable(cx)
            }
            Err(error) if is_refusal(&error) => Poll::Ready(Ok(Spliced::Refused)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(_) => Poll::Ready(Ok(Spliced::End)),
        }
    }

    /// From the pipe into the socket.
    fn empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Spliced>> {
        let mut moved = 0;
        while let Some(pipe) = &self.pipe {
            match sys::splice(pipe.read.as_raw_fd(), self.to.conn.fd, self.held) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    moved += n;
                    self.held -= n;
                    if self.held == 0
                        && let Some(pipe) = self.pipe.take()
                    {
                        self.to.core.pipes.borrow_mut().put_back(pipe, &self.to.core.gauges);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if moved == 0 {
            return self.wait_writable(cx);
        }
        self.to.conn.tx.borrow_mut().sent += moved as u64;
        Poll::Ready(Ok(Spliced::Sent(moved)))
    }

    fn wait_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Spliced>> {
        if self.has_timed_out() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        driver::await_readable(&self.from.core, &self.from.conn);
        self.from.conn.rx.borrow_mut().wait(cx);
        Poll::Pending
    }

    fn wait_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Spliced>> {
        if self.has_timed_out() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        driver::await_writable(&self.to.core, &self.to.conn);
        self.to.conn.tx.borrow_mut().waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn has_timed_out(&self) -> bool {
        self.from.conn.has_timed_out() || self.to.conn.has_timed_out()
    }
}

impl Drop for Splice<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.to.core.pipes.borrow_mut().close(pipe, &self.to.core.gauges);
        }
    }
}

/// The call itself is not to be had: filtered, missing, or not for this kind of socket.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP))
}
