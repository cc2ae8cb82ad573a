//! What protocols of other crates run over: a byte stream of this worker, plain or with something on it.

use std::io;
use std::task::{Context, Poll};

use crate::buffers::{Draft, Lease};
use crate::clock::Nanos;
use crate::conn::Stream;
use crate::segment::SendList;

/// A connected byte stream. [`Stream`] is one; TLS on a stream is another, made outside of this crate.
pub trait Wire {
    /// The next bytes; an empty lease is the end. See [`Stream::recv`].
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>>;
    /// Starts to send; returns at once. See [`Stream::send`].
    fn send(&mut self, list: SendList);
    /// Ready when no more than `bytes` wait to be taken by the kernel.
    fn poll_flushed_to(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>>;
    /// A buffer to write into.
    fn draft(&self) -> Draft;
    /// Ends our direction.
    fn shutdown_write(&mut self);
    /// Sets the one deadline anew.
    fn set_deadline(&mut self, deadline: Nanos);
}

impl Wire for Stream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        Stream::poll_recv(self, cx)
    }

    fn send(&mut self, list: SendList) {
        Stream::send(self, list);
    }

    fn poll_flushed_to(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        Stream::poll_flushed_to(self, cx, bytes)
    }

    fn draft(&self) -> Draft {
        Stream::draft(self)
    }

    fn shutdown_write(&mut self) {
        Stream::shutdown_write(self);
    }

    fn set_deadline(&mut self, deadline: Nanos) {
        Stream::set_deadline(self, deadline);
    }
}
