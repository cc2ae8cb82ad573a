//! One side of an exchange: a connection, a connection under TLS, or a stream of HTTP/2, all with the same ways.
//!
//! What arrives is handed out as leases, what is sent is sent and forgotten, and there is one deadline. A message's head
//! is text in the form of HTTP/1.1 on each of them; a stream of HTTP/2 makes its own out of it. What differs is told in
//! few places: [`Link::begin`], [`Link::end`], and who asks [`Link::is_stream`].

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use ringway_runtime::{Draft, Lease, Nanos, SendList, Stream as Plain};

use crate::http1::Trailers;
use crate::{http2, tls};

/// One side of an exchange.
pub(crate) enum Link {
    /// As it is: TCP or a Unix-domain socket.
    Plain(Plain),
    /// Under TLS.
    Tls(Box<tls::Stream>),
    /// A stream of HTTP/2.
    Http2(Box<http2::Stream>),
}

impl Link {
    /// A stream of HTTP/2, which carries one exchange and frames it itself.
    #[inline]
    pub fn is_stream(&self) -> bool {
        matches!(self, Link::Http2(_))
    }

    /// Encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Link::Tls(_))
    }

    /// The stream of HTTP/2, if it is one.
    #[inline]
    pub fn stream(&self) -> Option<&http2::Stream> {
        match self {
            Link::Http2(stream) => Some(stream),
            _ => None,
        }
    }

    /// The connection beneath; a stream shares its own with others and has none.
    #[inline]
    pub fn raw(&self) -> Option<&Plain> {
        match self {
            Link::Plain(stream) => Some(stream),
            Link::Tls(tls) => Some(tls.raw()),
            Link::Http2(_) => None,
        }
    }

    /// The next bytes that arrived. An empty lease ([`Lease::is_end`]) is the end, as often as it is asked. `TimedOut`
    /// once the deadline has passed and nothing is left to take.
    pub async fn recv(&self) -> io::Result<Lease> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`Link::recv`].
    #[inline]
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        match self {
            Link::Plain(stream) => stream.poll_recv(cx),
            Link::Tls(tls) => tls.poll_recv(cx),
            Link::Http2(stream) => stream.poll_recv(cx),
        }
    }

    /// Ready when the peer has reset it, whatever bytes wait before that. An end is no reason.
    #[inline]
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Link::Plain(stream) => stream.poll_broken(cx),
            Link::Tls(tls) => tls.raw().poll_broken(cx),
            Link::Http2(stream) => stream.poll_broken(cx),
        }
    }

    /// Begins a message with its head. What is to be sent with it: the head itself, or nothing more. With `ended` no body
    /// follows.
    #[inline]
    pub fn begin(&self, head: Lease, ended: bool) -> SendList {
        match self {
            Link::Http2(stream) => {
                stream.send_head(&head, ended);
                SendList::new()
            }
            _ => SendList::from(head),
        }
    }

    /// Sends a head by itself. With `ended` no body follows.
    #[inline]
    pub fn send_head(&self, head: Lease, ended: bool) {
        let list = self.begin(head, ended);
        self.send(list);
    }

    /// Starts to send; returns at once. Lists sent one after another arrive in order.
    #[inline]
    pub fn send(&self, list: impl Into<SendList>) {
        match self {
            Link::Plain(stream) => stream.send(list),
            Link::Tls(tls) => tls.send(list.into()),
            Link::Http2(stream) => stream.send(list.into()),
        }
    }

    /// The message has ended. A connection's own framing has said so already; a stream ends here.
    #[inline]
    pub fn end(&self, trailers: Option<&Trailers>) {
        if let Link::Http2(stream) = self {
            stream.end(trailers);
        }
    }

    /// Waits until everything sent so far has been taken.
    pub async fn flushed(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flushed_to(cx, 0)).await
    }

    /// Waits until no more than `bytes` are left to be taken.
    pub async fn flushed_to(&self, bytes: usize) -> io::Result<()> {
        poll_fn(|cx| self.poll_flushed_to(cx, bytes)).await
    }

    /// See [`Link::flushed`].
    #[inline]
    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed_to(cx, 0)
    }

    /// See [`Link::flushed_to`].
    #[inline]
    pub fn poll_flushed_to(&self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        match self {
            Link::Plain(stream) => stream.poll_flushed_to(cx, bytes),
            Link::Tls(tls) => tls.raw().poll_flushed_to(cx, bytes),
            Link::Http2(stream) => stream.poll_flushed_to(cx, bytes),
        }
    }

    /// Bytes taken, ever: tells a slow peer from a stalled one.
    #[inline]
    pub fn sent(&self) -> u64 {
        match self {
            Link::Plain(stream) => stream.sent(),
            Link::Tls(tls) => tls.raw().sent(),
            Link::Http2(stream) => stream.sent(),
        }
    }

    /// Bytes not yet taken.
    #[inline]
    pub fn unsent(&self) -> usize {
        match self {
            Link::Plain(stream) => stream.unsent(),
            Link::Tls(tls) => tls.raw().unsent(),
            Link::Http2(stream) => stream.unsent(),
        }
    }

    /// Whether more than `bytes` bytes or `runs` runs are not yet taken.
    #[inline]
    pub fn is_behind(&self, bytes: usize, runs: usize) -> bool {
        match self {
            Link::Plain(stream) => stream.is_behind(bytes, runs),
            Link::Tls(tls) => tls.raw().is_behind(bytes, runs),
            Link::Http2(stream) => stream.is_behind(bytes, runs),
        }
    }

    /// Sets the one deadline anew; [`Nanos::NEVER`] unsets it.
    #[inline]
    pub fn set_deadline(&self, deadline: Nanos) {
        match self {
            Link::Plain(stream) => stream.set_deadline(deadline),
            Link::Tls(tls) => tls.raw().set_deadline(deadline),
            Link::Http2(stream) => stream.set_deadline(deadline),
        }
    }

    /// Ends our direction, once what was sent is [`flushed`](Link::flushed). TLS says so in words and leaves the
    /// connection to its close.
    pub fn shutdown_write(&self) {
        match self {
            Link::Plain(stream) => stream.shutdown_write(),
            Link::Tls(tls) => tls.close(),
            Link::Http2(stream) => stream.end(None),
        }
    }

    /// Makes the close a reset: the peer must not take what it got for whole.
    pub fn reset_on_close(&self) {
        match self {
            Link::Plain(stream) => stream.reset_on_close(),
            Link::Tls(tls) => tls.raw().reset_on_close(),
            Link::Http2(stream) => stream.reset(),
        }
    }

    /// A buffer to write a head into.
    #[inline]
    pub fn draft(&self) -> Draft {
        match self {
            Link::Plain(stream) => stream.draft(),
            Link::Tls(tls) => tls.raw().draft(),
            Link::Http2(_) => ringway_runtime::draft(),
        }
    }

    /// Nothing has arrived, and neither has an end: an idle connection that may be used again.
    pub fn is_quiet(&self) -> bool {
        match self {
            Link::Plain(stream) => stream.is_quiet(),
            Link::Tls(tls) => tls.is_quiet(),
            Link::Http2(_) => false,
        }
    }

    /// Begins to receive before anyone asks, so that an end or stray bytes on an idle connection are noticed.
    pub fn watch(&self) {
        if let Some(raw) = self.raw() {
            raw.watch();
        }
    }
}
