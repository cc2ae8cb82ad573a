//! A client's connection of HTTP/2: streams are accepted, and each is an exchange of its own.
//!
//! The connection's task moves its frames and accepts; exchanges are tasks beside it. When the listener closes or the
//! worker drains, GOAWAY says so and what is under way ends as it would (RFC 9113 §6.8). Invariant: no more streams are
//! under way than the listener allows, and an exchange is begun only for a head that was read whole.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use ringway_runtime::{Draft, Lease, Nanos, SendList, Sleep, TokioIo, Wire, now, sleep_until, spawn};

use super::budget::{Budget, Exceeded, Frames};
use super::piece::{Meter, Piece};
use super::stream::Stream;
use super::text::{self, Malformed};
use crate::downstream::{Downstream, Hop};
use crate::exchange::{self, Next};
use crate::http1::Refusal;
use crate::link::Link;
use crate::worker::{DRAIN_IDLE, Worker};
use crate::{tunnel, websocket};

/// What the connection's task and its streams share.
#[derive(Default)]
struct Shared {
    /// Streams under way.
    active: Cell<u32>,
    /// Of the connection's task.
    waker: RefCell<Option<Waker>>,
    over: Cell<Option<Exceeded>>,
    unsent: Rc<Cell<usize>>,
}

/// Serves one connection to its end. `first` has arrived already.
pub(crate) async fn serve(worker: &Rc<Worker>, connection: &Rc<Downstream>, hop: Hop, first: Option<Lease>) {
    let settings = Settings::of(worker, connection);
    let shared = Rc::new(Shared::default());
    let wire = Guarded {
        connection: connection.clone(),
        frames: Frames::new(),
        budget: settings.budget,
        shared: shared.clone(),
        first,
    };
    connection.link().set_deadline(now().after(settings.head));
    let mut handshake = pin!(settings.builder().handshake::<_, Piece>(TokioIo::new(wire)));
    let handshake = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        // A flood may come with the preface, before there is anybody to say GOAWAY.
        match shared.over.get() {
            Some(exceeded) => Poll::Ready(Err(exceeded)),
            None => polled.map(Ok),
        }
    })
    .await;
    connection.link().set_deadline(Nanos::NEVER);
    let connected = match handshake {
        Ok(Ok(connected)) => connected,
        Ok(Err(_)) => return,
        Err(exceeded) => {
            worker.stats.cut.count(exceeded.name(), 0);
            connection.link().set_deadline(now().after(settings.linger));
            connection.link().send(CALM_DOWN);
            let _ = connection.link().flushed().await;
            return;
        }
    };
    worker.stats.http2_connections.up();
    let serving = Serving {
        worker: worker.clone(),
        connection: connection.clone(),
        hop: Rc::new(hop),
        shared,
        settings,
        said: false,
        idle: None,
    };
    serving.run(connected).await;
    worker.stats.http2_connections.down();
}

/// SETTINGS, then GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §3.4, §6.8).
const CALM_DOWN: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

type Connected = h2::server::Connection<TokioIo<Guarded>, Piece>;

struct Serving {
    worker: Rc<Worker>,
    connection: Rc<Downstream>,
    hop: Rc<Hop>,
    shared: Rc<Shared>,
    settings: Settings,
    /// GOAWAY was sent.
    said: bool,
    /// When a connection without streams ends, or says that it does.
    idle: Option<Sleep>,
}

enum Event {
    Stream(Box<(http::Request<RecvStream>, SendResponse<Piece>)>),
    Over(Exceeded),
    Idle,
    Ended,
}

impl Serving {
    async fn run(mut self, mut connected: Connected) {
        let mut pings = connected.ping_pong();
        let mut alive = KeepAlive::new(self.settings.budget.keep_alive_ms);
        loop {
            let event = poll_fn(|cx| {
                if let Some(pings) = &mut pings
                    && alive.poll(cx, pings).is_ready()
                {
                    return Poll::Ready(Event::Ended);
                }
                self.poll(cx, &mut connected)
            })
            .await;
            match event {
                Event::Stream(stream) => {
                    let (request, respond) = *stream;
                    self.begin(request, respond);
                }
                Event::Over(exceeded) => {
                    self.worker.stats.cut.count(exceeded.name(), 0);
                    connected.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    return self.flush(&mut connected).await;
                }
                Event::Idle if self.said => return,
                Event::Idle => {
                    self.said = true;
                    connected.graceful_shutdown();
                }
                Event::Ended => return,
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, connected: &mut Connected) -> Poll<Event> {
        self.shared.waker.replace(Some(cx.waker().clone()));
        self.connection.notify_on_close(cx.waker());
        if !self.said && self.is_to_end() {
            self.said = true;
            connected.graceful_shutdown();
        }
        let accepted = connected.poll_accept(cx);
        if let Some(exceeded) = self.shared.over.get() {
            return Poll::Ready(Event::Over(exceeded));
        }
        match accepted {
            Poll::Ready(Some(Ok(stream))) => Poll::Ready(Event::Stream(Box::new(stream))),
            Poll::Ready(Some(Err(error))) => {
                if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && !error.is_remote() {
                    self.worker.stats.cut.count(Exceeded::Protocol.name(), 0);
                }
                Poll::Ready(Event::Ended)
            }
            Poll::Ready(None) => Poll::Ready(Event::Ended),
            Poll::Pending => self.poll_idle(cx),
        }
    }

    /// No further streams are wanted: the listener closes, the worker drains, or enough requests were served.
    fn is_to_end(&self) -> bool {
        self.connection.is_closing(self.worker.draining.get())
            || self.connection.requests.get() >= self.settings.requests_max
    }

    /// A connection without streams ends after the idle time, and after GOAWAY soon.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.shared.active.get() > 0 {
            self.idle = None;
            return Poll::Pending;
        }
        let patience = if self.said { DRAIN_IDLE } else { self.settings.idle };
        let sleep = self.idle.get_or_insert_with(|| sleep_until(now().after(patience)));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.idle = None;
        Poll::Ready(Event::Idle)
    }

    /// Begins an exchange.
    fn begin(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Piece>) {
        self.idle = None;
        let (parts, body) = request.into_parts();
        let request = http::Request::from_parts(parts, ());
        let key = websocket_key(&request, &self.worker);
        let mut head = Vec::with_capacity(text::BYTES_USUAL);
        let first = text::request_text(&request, self.settings.fields_max, &key, &mut head)
            .map(|()| Lease::copy_of(&head))
            .map_err(refusal);
        let meter = Meter::of(self.shared.unsent.clone(), self.settings.budget.unsent as usize);
        let opens = request.extensions().get::<h2::ext::Protocol>().is_some();
        let link = Link::Http2(Box::new(Stream::of_request(body, respond, opens, meter)));
        let (worker, connection, hop) = (self.worker.clone(), self.connection.clone(), self.hop.clone());
        let active = Active::new(self.shared.clone());
        spawn(async move {
            let exchange = worker.slots.run(|| exchange::run(&worker, &connection, &link, &hop, first)).await;
            if let Next::Tunnel(tunnel) = exchange {
                worker.slots.run(|| tunnel::run(&worker, &link, *tunnel)).await;
            }
            drop(link);
            drop(active);
        });
    }

    /// Sends what is left to be sent, for a moment.
    async fn flush(&mut self, connected: &mut Connected) {
        let mut patience = sleep_until(now().after(self.settings.linger));
        poll_fn(|cx| {
            if Pin::new(&mut patience).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            connected.poll_closed(cx).map(drop)
        })
        .await;
    }
}

/// The key to ask an HTTP/1.1 endpoint with, where the request opens a WebSocket.
fn websocket_key(request: &http::Request<()>, worker: &Worker) -> String {
    match request.extensions().get::<h2::ext::Protocol>() {
        None => String::new(),
        Some(_) => websocket::key_of(worker.random.borrow_mut().u128(..)),
    }
}

fn refusal(malformed: Malformed) -> Refusal {
    match malformed {
        Malformed::TooManyFields => Refusal::TooManyFields,
        Malformed::AuthorityDiffers => Refusal::AuthorityDiffers,
        Malformed::Pseudo => Refusal::BadTarget,
        Malformed::ConnectionField | Malformed::Byte => Refusal::Malformed,
    }
}

/// Counts a stream while it is under way.
struct Active(Rc<Shared>);

impl Active {
    fn new(shared: Rc<Shared>) -> Active {
        shared.active.set(shared.active.get() + 1);
        Active(shared)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let left = self.0.active.get() - 1;
        self.0.active.set(left);
        if left == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

/// What the connection goes by; read once, at its beginning.
struct Settings {
    streams_max: u32,
    window: u32,
    connection_window: u32,
    head_bytes_max: u32,
    fields_max: u16,
    requests_max: u32,
    connect_protocol: bool,
    budget: Budget,
    head: Duration,
    idle: Duration,
    linger: Duration,
}

impl Settings {
    fn of(worker: &Worker, connection: &Downstream) -> Settings {
        let current = worker.current_of(&connection.open);
        let plan = &current.snapshot.listeners[connection.open.place.get()];
        Settings {
            streams_max: plan.http2.streams,
            window: plan.http2.window,
            connection_window: plan.http2.connection_window,
            head_bytes_max: plan.limits.head_bytes_max,
            fields_max: plan.limits.headers_max,
            requests_max: plan.limits.requests_max,
            connect_protocol: plan.allows_upgrade(b"websocket"),
            budget: plan.budget,
            head: Duration::from_millis(plan.timeouts.head_ms),
            idle: Duration::from_millis(plan.timeouts.idle_ms),
            linger: Duration::from_millis(plan.timeouts.linger_ms),
        }
    }

    fn builder(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(self.streams_max)
            .initial_window_size(self.window)
            .initial_connection_window_size(self.connection_window)
            .max_header_list_size(self.head_bytes_max)
            .max_concurrent_reset_streams(RESETS_REMEMBERED)
            .max_pending_accept_reset_streams(self.budget.resets as usize)
            .max_local_error_reset_streams(Some(self.budget.stream_errors as usize));
        if self.connect_protocol {
            builder.enable_connect_protocol();
        }
        builder
    }
}

/// Streams we reset whose late frames are still taken for what they are.
const RESETS_REMEMBERED: usize = 64;

/// Asks a silent client whether it is there (RFC 9113 §6.7).
struct KeepAlive {
    every: Option<Duration>,
    due: Option<Sleep>,
    asked: bool,
}

impl KeepAlive {
    fn new(every_ms: u64) -> KeepAlive {
        KeepAlive { every: (every_ms > 0).then(|| Duration::from_millis(every_ms)), due: None, asked: false }
    }

    /// Ready when a PING went unanswered until the next was due.
    fn poll(&mut self, cx: &mut Context<'_>, pings: &mut h2::PingPong) -> Poll<()> {
        let Some(every) = self.every else { return Poll::Pending };
        if self.asked && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
            self.asked = false;
        }
        let due = self.due.get_or_insert_with(|| sleep_until(now().after(every)));
        if Pin::new(due).poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.asked {
            return Poll::Ready(());
        }
        self.asked = pings.send_ping(h2::Ping::opaque()).is_ok();
        let mut next = sleep_until(now().after(every));
        let _ = Pin::new(&mut next).poll(cx);
        self.due = Some(next);
        let _ = pings.poll_pong(cx);
        Poll::Pending
    }
}

/// A client's connection as `h2` reads and writes it, with its frames counted.
struct Guarded {
    connection: Rc<Downstream>,
    frames: Frames,
    budget: Budget,
    shared: Rc<Shared>,
    first: Option<Lease>,
}

impl Wire for Guarded {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        if self.shared.over.get().is_some() {
            return Poll::Pending;
        }
        let lease = match self.first.take() {
            Some(first) => first,
            None => std::task::ready!(self.connection.link().poll_recv(cx))?,
        };
        match self.frames.pass(&lease, now().0, &self.budget) {
            Ok(()) => Poll::Ready(Ok(lease)),
            Err(exceeded) => {
                // The connection's task looks at it once this poll is over.
                self.shared.over.set(Some(exceeded));
                Poll::Pending
            }
        }
    }

    fn send(&mut self, list: SendList) {
        self.connection.link().send(list);
    }

    fn poll_flushed_to(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        self.connection.link().poll_flushed_to(cx, bytes)
    }

    fn draft(&self) -> Draft {
        self.connection.link().draft()
    }

    fn shutdown_write(&mut self) {
        self.connection.link().shutdown_write();
    }

    fn set_deadline(&mut self, deadline: Nanos) {
        self.connection.link().set_deadline(deadline);
    }
}
