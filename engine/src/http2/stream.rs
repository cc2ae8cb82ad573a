//! One stream of HTTP/2, with the ways of a connection: what arrives is handed out as leases, what is sent is sent and
//! forgotten, one deadline.
//!
//! On the client's side the head has been read before the stream is made; on an endpoint's side the head of the response
//! is the first thing that arrives, as text. Room in the peer's windows is given back as the exchange takes what
//! arrived, so that whoever is slow at the far end slows the sender down. Dropping a stream that has not ended resets it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use ringway_runtime::{Lease, Nanos, Segment, SendList, Sleep, sleep_until};

use super::client::Place;
use super::piece::{Meter, Piece};
use super::text;
use crate::http1::{Limits, Trailers};

/// Pieces up to this size are copied: they would pin the buffer they arrived in.
const COPY_MAX: usize = 1024;

/// One stream.
pub(crate) struct Stream {
    state: RefCell<State>,
    meter: Rc<Meter>,
    /// Taken when somebody first waits.
    sleep: RefCell<Option<Sleep>>,
    deadline: Cell<Nanos>,
    /// Of a shared connection to an endpoint.
    place: Option<Place>,
}

struct State {
    arriving: Arriving,
    leaving: Leaving,
    trailers: Option<Box<Trailers>>,
    /// The peer's direction ended with its head.
    bodyless: bool,
    /// The connection takes no more streams.
    connection_ends: bool,
    /// It is to become a tunnel (RFC 8441), to which 2xx agrees.
    opens: bool,
    /// What an endpoint that agrees to a WebSocket would have said in HTTP/1.1.
    websocket_accept: Option<String>,
}

enum Arriving {
    /// Nothing: the request was not sent.
    Nothing,
    Head(ResponseFuture),
    Body(RecvStream),
    Ended,
    Failed(ErrorKind),
}

enum Leaving {
    Request(SendRequest<Piece>, Scheme),
    Response(SendResponse<Piece>),
    Body(SendStream<Piece>),
    Ended(SendStream<Piece>),
    Failed,
}

/// Which scheme a request is said to have been made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Stream {
    /// A client's stream whose request's head has been read.
    pub(super) fn of_request(
        body: RecvStream,
        respond: SendResponse<Piece>,
        opens: bool,
        meter: Rc<Meter>,
    ) -> Stream {
        let bodyless = body.is_end_stream();
        let stream = Stream::new(Arriving::Body(body), Leaving::Response(respond), bodyless, meter, None);
        stream.state.borrow_mut().opens = opens;
        stream
    }

    /// It is to become a tunnel: any 2xx would agree to that.
    pub fn opens_tunnel(&self) -> bool {
        self.state.borrow().opens
    }

    /// A stream towards an endpoint; it begins with [`Stream::send_head`].
    pub(super) fn to_endpoint(
        send: SendRequest<Piece>,
        scheme: Scheme,
        meter: Rc<Meter>,
        place: Place,
    ) -> Stream {
        Stream::new(Arriving::Nothing, Leaving::Request(send, scheme), false, meter, Some(place))
    }

    fn new(
        arriving: Arriving,
        leaving: Leaving,
        bodyless: bool,
        meter: Rc<Meter>,
        place: Option<Place>,
    ) -> Stream {
        Stream {
            state: RefCell::new(State {
                arriving,
                leaving,
                trailers: None,
                bodyless,
                connection_ends: false,
                opens: false,
                websocket_accept: None,
            }),
            meter,
            sleep: RefCell::new(None),
            deadline: Cell::new(Nanos::NEVER),
            place,
        }
    }

    /// No body follows the head that arrived.
    pub fn is_bodyless(&self) -> bool {
        self.state.borrow().bodyless
    }

    /// What came after the body, once it has ended.
    pub fn take_trailers(&self) -> Option<Box<Trailers>> {
        self.state.borrow_mut().trailers.take()
    }

    /// Sends a head, told in the text of HTTP/1.1. With `ended` nothing follows it.
    pub fn send_head(&self, head: &[u8], ended: bool) {
        let state = &mut *self.state.borrow_mut();
        let sent = match &mut state.leaving {
            Leaving::Request(send, scheme) => text::request_of(head, *scheme == Scheme::Https)
                .map_err(|_| ErrorKind::InvalidData)
                .and_then(|request| {
                    let opens = request.extensions().get::<h2::ext::Protocol>().is_some();
                    if opens && !send.is_extended_connect_protocol_enabled() {
                        return Err(ErrorKind::Unsupported);
                    }
                    state.websocket_accept = request
                        .extensions()
                        .get::<h2::ext::Protocol>()
                        .map(|_| crate::websocket::accept_of(crate::websocket::key_in(head)));
                    let (response, body) = send.send_request(request, ended).map_err(|_| UNPROCESSED)?;
                    state.arriving = Arriving::Head(response);
                    Ok(body)
                }),
            Leaving::Response(respond) => match text::response_of(head) {
                Err(_) => Err(ErrorKind::InvalidData),
                Ok(response) if response.status().is_informational() => {
                    // A peer that can't be told in between is told at the end.
                    let _ = respond.send_informational(response);
                    return;
                }
                Ok(response) => respond.send_response(response, ended).map_err(|error| kind_of(&error)),
            },
            Leaving::Body(_) | Leaving::Ended(_) | Leaving::Failed => return,
        };
        state.leaving = match sent {
            Ok(body) if ended => Leaving::Ended(body),
            Ok(body) => Leaving::Body(body),
            Err(kind) => {
                // What can't be told in HTTP/2 is the request's fault, not the connection's.
                state.connection_ends = kind == UNPROCESSED;
                state.arriving = Arriving::Failed(kind);
                Leaving::Failed
            }
        };
    }

    /// Sends data.
    pub fn send(&self, list: SendList) {
        let Leaving::Body(body) = &mut self.state.borrow_mut().leaving else { return };
        for segment in list.into_segments() {
            // An error shows in what is received, or as a reset.
            let _ = body.send_data(Piece::new(segment, &self.meter), false);
        }
    }

    /// Ends our direction.
    pub fn end(&self, trailers: Option<&Trailers>) {
        let state = &mut *self.state.borrow_mut();
        let mut body = match std::mem::replace(&mut state.leaving, Leaving::Failed) {
            Leaving::Body(body) => body,
            other => {
                state.leaving = other;
                return;
            }
        };
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        let _ = match trailers {
            Some(trailers) => body.send_trailers(text::trailers_of(trailers.iter())),
            None => body.send_data(Piece::new(Segment::Static(b""), &self.meter), true),
        };
        state.leaving = Leaving::Ended(body);
    }

    /// Resets the stream: the peer must not take what it got for whole.
    pub fn reset(&self) {
        match &mut self.state.borrow_mut().leaving {
            Leaving::Response(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            Leaving::Body(body) => body.send_reset(Reason::INTERNAL_ERROR),
            Leaving::Ended(_) | Leaving::Request(..) | Leaving::Failed => {}
        }
    }

    /// It was in vain for too long: whether its connection still lives is found out.
    pub fn doubt(&self) {
        if let Some(place) = &self.place {
            place.doubt();
        }
    }

    /// See [`Link::poll_recv`](crate::link::Link::poll_recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        let arrived = self.state.borrow_mut().poll_arriving(cx);
        match arrived {
            Poll::Ready(Err(kind)) => {
                if self.state.borrow().connection_ends
                    && let Some(place) = &self.place
                {
                    place.retire();
                }
                Poll::Ready(Err(kind.into()))
            }
            Poll::Ready(Ok(lease)) => Poll::Ready(Ok(lease)),
            Poll::Pending => {
                ready!(self.poll_deadline(cx));
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Ready when the peer has reset the stream or its connection is gone.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.state.borrow_mut();
        if let Arriving::Failed(_) = state.arriving {
            return Poll::Ready(());
        }
        match &mut state.leaving {
            Leaving::Response(respond) => respond.poll_reset(cx).map(drop),
            Leaving::Body(body) | Leaving::Ended(body) => body.poll_reset(cx).map(drop),
            Leaving::Request(..) => Poll::Pending,
            Leaving::Failed => Poll::Ready(()),
        }
    }

    /// See [`Link::poll_flushed_to`](crate::link::Link::poll_flushed_to).
    pub fn poll_flushed_to(&self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        if self.poll_broken(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if self.meter.unsent() <= bytes {
            return Poll::Ready(Ok(()));
        }
        self.meter.wake_at(bytes, cx.waker());
        ready!(self.poll_deadline(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// Bytes the connection has taken, ever.
    pub fn sent(&self) -> u64 {
        self.meter.sent()
    }

    /// Bytes it has not taken yet.
    pub fn unsent(&self) -> usize {
        self.meter.unsent()
    }

    /// Whether more than `bytes` bytes or `runs` runs are not yet taken, or the connection as a whole is behind.
    pub fn is_behind(&self, bytes: usize, runs: usize) -> bool {
        let unsent = self.meter.unsent();
        unsent > bytes || self.meter.runs() > runs || (unsent > 0 && self.meter.connection_is_behind())
    }

    /// Sets the one deadline anew.
    pub fn set_deadline(&self, at: Nanos) {
        self.deadline.set(at);
        if let Some(sleep) = &mut *self.sleep.borrow_mut() {
            sleep.move_to(at);
        }
    }

    /// Polled by whoever waits, also while no deadline is set: one may be set while they wait.
    fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.sleep.borrow_mut();
        let sleep = sleep.get_or_insert_with(|| sleep_until(self.deadline.get()));
        Pin::new(sleep).poll(cx)
    }
}

impl State {
    fn poll_arriving(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lease, ErrorKind>> {
        loop {
            match &mut self.arriving {
                Arriving::Nothing => return Poll::Pending,
                Arriving::Failed(kind) => return Poll::Ready(Err(*kind)),
                Arriving::Ended => return Poll::Ready(Ok(Lease::copy_of(b""))),
                Arriving::Head(response) => {
                    if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                        return Poll::Ready(text_of(&interim, None));
                    }
                    let (head, body) = match ready!(Pin::new(response).poll(cx)) {
                        Ok(response) => {
                            let (parts, body) = response.into_parts();
                            (http::Response::from_parts(parts, ()), body)
                        }
                        Err(error) => return Poll::Ready(Err(self.fail(&error))),
                    };
                    self.bodyless = body.is_end_stream();
                    self.arriving = Arriving::Body(body);
                    return Poll::Ready(text_of(&head, self.websocket_accept.as_deref()));
                }
                Arriving::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        let _ = body.flow_control().release_capacity(data.len());
                        return Poll::Ready(Ok(lease_of(data)));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(self.fail(&error))),
                    None => match ready!(body.poll_trailers(cx)) {
                        Ok(trailers) => {
                            self.trailers = trailers.and_then(|trailers| read_trailers(&trailers));
                            self.arriving = Arriving::Ended;
                        }
                        Err(error) => return Poll::Ready(Err(self.fail(&error))),
                    },
                },
            }
        }
    }

    fn fail(&mut self, error: &h2::Error) -> ErrorKind {
        let kind = kind_of(error);
        self.connection_ends = error.is_go_away() || error.is_io();
        self.arriving = Arriving::Failed(kind);
        kind
    }
}

fn lease_of(data: Bytes) -> Lease {
    if data.len() <= COPY_MAX { Lease::copy_of(&data) } else { Lease::of_bytes(data) }
}

/// A response's head as text; one that agrees to a WebSocket becomes what HTTP/1.1 says in its place.
fn text_of(head: &http::Response<()>, websocket_accept: Option<&str>) -> Result<Lease, ErrorKind> {
    let mut out = Vec::with_capacity(text::BYTES_USUAL);
    match websocket_accept {
        Some(accept) if head.status() == http::StatusCode::OK => {
            text::switched_text(head, accept, &mut out).map_err(|_| ErrorKind::InvalidData)?;
        }
        _ => text::response_text(head, &mut out).map_err(|_| ErrorKind::InvalidData)?,
    }
    Ok(Lease::copy_of(&out))
}

/// Trailers that break a rule are left out: nothing depends on them any more.
fn read_trailers(trailers: &http::HeaderMap) -> Option<Box<Trailers>> {
    let mut bytes = Vec::new();
    text::trailers_text(trailers, &mut bytes).ok()?;
    Trailers::parse(bytes, &Limits::default()).ok().map(Box::new)
}

/// The kind of error that says: the peer has not looked at it, and it may be sent again whatever it was (RFC 9113 §8.7).
pub(crate) const UNPROCESSED: ErrorKind = ErrorKind::ConnectionAborted;

fn kind_of(error: &h2::Error) -> ErrorKind {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    match error.get_io() {
        Some(io) => io.kind(),
        None if error.is_remote() && (refused || error.is_go_away()) => UNPROCESSED,
        None => ErrorKind::ConnectionReset,
    }
}
