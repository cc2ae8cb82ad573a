//! One exchange, from the request's first byte to the response's last. Start reading here.
//!
//! ```text
//! read head -> route -> shed, faults, limits -> split, balance, admit -> checkout upstream -> send
//!           -> read response head (retry, hedge, copy) -> policies on response -> respond -> observe
//! ```
//!
//! [`line`] is that line. Whatever leaves it early is a [`Stop`]: a local reply while nothing was sent yet, a cut
//! afterwards. Invariant: each exchange is observed exactly once, when its [`Exchange`] is dropped, however it ended;
//! and no byte of a request whose end is uncertain is ever read as another request.

mod again;
mod balancing;
mod decide;
mod failed;
mod faults;
mod forward;
mod guise;
mod hedge;
mod limits;
mod mirror;
pub(crate) mod pace;
mod relay;
pub(crate) mod replay;
mod seen;
mod shed;
mod switch;
mod upload;
mod waiting;

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Draft, Lease, Nanos, now};
use smallvec::SmallVec;

use crate::body::Incoming;
use crate::downstream::{Downstream, Hop};
use crate::forwarded::Scheme;
use crate::grpc;
use crate::http1::{
    self, BodyFraming, ChunkLimits, HeadWriter, Known, Method, Progress, Request, RequestHead, Version,
};
use crate::http2;
use crate::link::Link;
use crate::local_reply::{self, Answering, Format, LocalReply, Persistence, RouteReply};
use crate::reason::Reason;
use crate::snapshot::{ActionPlan, ErrorFormat, ListenerPlan, Origin};
use crate::tunnel::Tunnel;
use crate::worker::{Current, Scratch, Worker};
use decide::Decision;
pub(crate) use limits::{Held, Permit};
use seen::{Seen, Web};

/// What the connection does after an exchange.
pub(crate) enum Next {
    /// Waits for the next request; some of it may have arrived.
    Idle(Option<Lease>),
    /// Ends.
    Close,
    /// Waits for the next request once the rest of this one's body, which nobody wants, has been thrown away.
    Drain(Box<Incoming>),
    /// Ends, after what still comes of this request has been thrown away for a while.
    Linger,
    /// Carries another protocol.
    Tunnel(Box<Tunnel>),
}

/// What is read at most of a body that nobody wants, so that its connection can be kept.
const DRAIN_BYTES_MAX: u64 = 64 << 10;

/// What follows the head of a request that is answered here.
enum Unread {
    /// No body, or one that has arrived whole; and what came after it.
    Ended(Option<Lease>),
    /// A body small enough to be read and thrown away.
    Body(Box<Incoming>),
    /// What cannot be awaited.
    Lost,
}

impl Unread {
    fn next(self, keep: bool) -> Next {
        match self {
            Unread::Ended(rest) if keep => Next::Idle(rest),
            Unread::Body(body) if keep => Next::Drain(body),
            _ => Next::Linger,
        }
    }
}

/// Why the line was left early.
pub(crate) enum Stop {
    /// Nothing of a response was sent: this is it.
    Reply(LocalReply),
    /// A response had begun, or nobody is there to read one.
    Cut(Reason),
}

impl Stop {
    /// There was no way to an endpoint, or nobody is left to look for one.
    fn of_checkout(reply: LocalReply) -> Stop {
        match reply.reason == Reason::ClientGone.name() {
            true => Stop::Cut(Reason::ClientGone),
            false => Stop::Reply(reply),
        }
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        if reason.is_silent() { Stop::Cut(reason) } else { Stop::Reply(reason.into()) }
    }
}

impl From<http1::Refusal> for Stop {
    fn from(refusal: http1::Refusal) -> Stop {
        Stop::Reply(LocalReply::from_parts(refusal.status(), refusal.reason(), refusal.detail()))
    }
}

/// An exchange under way: the request, and what is seen of it.
pub(crate) struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    connection: &'a Downstream,
    /// The client's side of this exchange: the connection itself, or a stream on it.
    client: &'a Link,
    hop: &'a Hop,
    current: Rc<Current>,
    /// Of the connection's listener in `current`; a reload changes both elsewhere.
    place: usize,
    /// The head's bytes.
    head: Lease,
    request: RequestHead,
    /// An upload took some of the body: what is left of it is known to nobody else.
    body_taken: bool,
    seen: Seen,
}

/// Runs one exchange whose first bytes are `first`: some of a connection's, or a stream's whole head.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    connection: &Downstream,
    client: &Link,
    hop: &Hop,
    first: Result<Lease, http1::Refusal>,
) -> Next {
    let mut scratch = worker.take_scratch();
    let (first, refused) = match first {
        Ok(first) => (first, None),
        Err(refusal) => (Lease::copy_of(b""), Some(refusal)),
    };
    let mut exchange = Exchange {
        worker,
        connection,
        client,
        hop,
        current: worker.current_of(&connection.open),
        place: connection.open.place.get(),
        head: first,
        request: std::mem::take(&mut scratch.request),
        body_taken: false,
        seen: Seen::begun(now()),
    };
    exchange.seen.lines = std::mem::take(&mut scratch.lines);
    worker.stats.exchanges_started.increment();
    let mut rest = None;
    let ended = match refused {
        None => line(&mut exchange, &mut scratch, &mut rest).await,
        Some(refusal) => Err(refusal.into()),
    };
    let next = match ended {
        Ok(next) => next,
        Err(stop) => exchange.stop(stop, rest),
    };
    // Before its head is taken back: the log shows it.
    exchange.observe();
    scratch.request = std::mem::take(&mut exchange.request);
    scratch.lines = std::mem::take(&mut exchange.seen.lines);
    worker.give_scratch(scratch);
    next
}

/// The line. `rest` is what arrived after the head and was not taken by a body yet.
async fn line(x: &mut Exchange<'_>, scratch: &mut Scratch, rest: &mut Option<Lease>) -> Result<Next, Stop> {
    *rest = x.read_head().await?;
    x.seen.grpc = x.request().known(Known::ContentType).is_some_and(grpc::is_call);
    let current = x.current.clone();
    let plan = &current.snapshot.listeners[x.place];
    let matched = match decide::decide(x, plan, scratch)? {
        Decision::Route(matched) => matched,
        Decision::Answer(reason) => return Ok(x.answer_for_this_hop(reason, rest.take(), scratch)),
        Decision::Prove(answer) => return Ok(x.prove(&answer, rest.take())),
    };
    let route = current.snapshot.route(matched.route);
    // Whatever is answered with 2xx would be taken for a tunnel.
    if x.client.stream().is_some_and(http2::Stream::opens_tunnel)
        && !(matches!(route.action, ActionPlan::Forward(_)) && switch::upgrade(&x.request(), plan).is_some())
    {
        return Err(Reason::UpgradeNotAllowed.into());
    }
    x.shed_by(route)?;
    if let Some(fault) = faults::drawn(x, matched.route) {
        if let Some(delay) = fault.delay {
            Box::pin(faults::wait(x, delay, matched.route)).await?;
        }
        if let Some(abort) = fault.abort {
            return Err(faults::abort(x, abort, matched.route));
        }
    }
    if !route.limits.is_empty() {
        limits::admit(x, scratch, matched.route).await?;
    }
    match &route.action {
        ActionPlan::Forward(to) => forward::forward(x, scratch, route, to, matched, rest).await,
        ActionPlan::Respond(respond) => {
            let own = RouteReply {
                content_type: &respond.content_type,
                body: &respond.body,
                ..own_answer(respond.status)
            };
            Ok(x.answer(Some(Reason::Responded), own, rest.take()))
        }
        ActionPlan::Redirect(redirect) => {
            let mut location = std::mem::take(&mut scratch.rewritten);
            location.clear();
            let request = x.request();
            let path = decide::path_of(&request, scratch);
            let claims = decide::claims(&request, x.connection.peer.get(), plan);
            let https = claims.and_then(|claims| claims.scheme()) == Some(Scheme::Https);
            let origin = Origin { https, authority: request.authority() };
            redirect.location(origin, matched, path, request.query().unwrap_or_default(), &mut location);
            let own = RouteReply { location: Some(&location), ..own_answer(redirect.status) };
            let next = x.answer(Some(Reason::Redirected), own, rest.take());
            scratch.rewritten = location;
            Ok(next)
        }
    }
}

impl Exchange<'_> {
    fn request(&self) -> Request<'_> {
        Request { bytes: &self.head, head: &self.request }
    }

    fn plan(&self) -> &ListenerPlan {
        &self.current.snapshot.listeners[self.place]
    }

    /// Reads until the head is whole. Returns what came after it.
    async fn read_head(&mut self) -> Result<Option<Lease>, Stop> {
        let plan = self.plan();
        let limits = http1::Limits {
            head_bytes_max: plan.limits.head_bytes_max,
            fields_max: plan.limits.headers_max,
            target_bytes_max: plan.limits.target_bytes_max,
            underscores: plan.allow_underscores,
        };
        let deadline = self.seen.started.after(Duration::from_millis(plan.timeouts.head_ms));
        let stream = self.client;
        stream.set_deadline(Nanos::NEVER);
        loop {
            match self.request.parse(&self.head, &limits)? {
                Progress::Complete(len) => {
                    if let Some(stream) = self.client.stream() {
                        self.request.read_from_stream(stream.is_bodyless())?;
                    }
                    self.seen.parsed = true;
                    self.seen.head_in = len as u64;
                    stream.set_deadline(Nanos::NEVER);
                    return Ok((self.head.len() > len).then(|| self.head.slice(len..self.head.len())));
                }
                // A stream's head comes whole.
                Progress::Partial if self.client.is_stream() => return Err(http1::Refusal::Malformed.into()),
                Progress::Partial => {
                    stream.set_deadline(deadline);
                    if self.head.is_pooled() {
                        // Half a head may be all that comes: it waits in memory of its own.
                        let before = std::mem::replace(&mut self.head, Lease::copy_of(b""));
                        self.head = before.joined(b"");
                    }
                    match stream.recv().await {
                        Ok(lease) if !lease.is_end() => {
                            let before = std::mem::replace(&mut self.head, Lease::copy_of(b""));
                            self.head = before.joined(&lease);
                        }
                        Err(error) if error.kind() == ErrorKind::TimedOut => {
                            return Err(Reason::HeadTimeout.into());
                        }
                        _ => return Err(Stop::Cut(Reason::ClientGone)),
                    }
                }
            }
        }
    }

    /// Counts the request; whether the connection may carry another, as far as the request and the listener are
    /// concerned. Once for each exchange.
    fn may_keep(&self) -> bool {
        let requests = self.connection.requests.get() + 1;
        self.connection.requests.set(requests);
        let plan = self.plan();
        self.request.keep_alive
            && self.request.upgrade.is_none()
            && requests < plan.limits.requests_max
            && !self.connection.is_closing(self.worker.draining.get())
    }

    /// What the client is told about the connection.
    fn persistence(&self, keep: bool) -> Persistence {
        match (keep, self.request.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::Said,
            (true, Version::Http11 | Version::Http2) => Persistence::Implied,
        }
    }

    /// What follows the head of a request that is answered here, of which `rest` has arrived.
    fn unread(&self, rest: Option<Lease>) -> Unread {
        match (self.request.framing, rest) {
            _ if !self.seen.parsed || self.client.is_stream() => Unread::Lost,
            (BodyFraming::None | BodyFraming::Length(0), rest) => Unread::Ended(rest),
            _ if self.body_taken => Unread::Lost,
            (BodyFraming::Length(bytes), Some(mut rest)) if bytes <= rest.len() as u64 => {
                rest.advance(bytes as usize);
                Unread::Ended((!rest.is_empty()).then_some(rest))
            }
            // Whether the body still comes is for the client to choose (RFC 9110 §10.1.1).
            _ if self.request.expect_continue => Unread::Lost,
            (BodyFraming::Length(bytes), _) if bytes > DRAIN_BYTES_MAX => Unread::Lost,
            (framing, rest) => {
                let limits = ChunkLimits { body_bytes_max: DRAIN_BYTES_MAX, ..ChunkLimits::default() };
                Unread::Body(Box::new(Incoming::of_request(framing, limits, rest, self.client)))
            }
        }
    }

    fn stop(&mut self, stop: Stop, rest: Option<Lease>) -> Next {
        match stop {
            Stop::Reply(reply) => self.reply(reply, rest),
            Stop::Cut(reason) => {
                self.worker.stats.cut.count(reason.name(), reason.status());
                if self.seen.status == 0 {
                    self.seen.status = reason.status();
                }
                self.seen.reason = reason.name();
                // Without a length the connection's end would look like the response's.
                self.client.reset_on_close();
                Next::Close
            }
        }
    }

    /// Sends a local reply.
    fn reply(&mut self, mut reply: LocalReply, rest: Option<Lease>) -> Next {
        let plan = self.plan();
        let format = match plan.errors {
            ErrorFormat::Problem => Format::Problem,
            ErrorFormat::Text => Format::Text,
        };
        let unread = self.unread(rest);
        let keep = self.seen.parsed && self.may_keep() && !matches!(unread, Unread::Lost);
        reply.closes |= !keep;
        if reply.status == 405 && self.seen.lines.is_empty() {
            self.seen.allows("");
        }
        let by_json = self.seen.grpc && !self.request().known(Known::ContentType).is_some_and(grpc::is_call);
        let code = self
            .seen
            .grpc
            .then(|| self.seen.grpc_status.unwrap_or_else(|| grpc::code_of(reply.status, reply.reason)));
        let web = self.seen.web.take();
        let call = code.filter(|_| web.is_some() || !by_json);
        self.send_answer(
            |out, answering| {
                if let Some(code) = call {
                    return put_call_status(out, code, web.as_deref(), &reply, answering);
                }
                local_reply::render(out, &reply, format, answering);
            },
            keep,
        );
        self.worker.stats.local_replies.count(reply.reason, reply.status);
        self.seen.status = reply.status;
        self.seen.grpc_status = code;
        self.seen.reason = reply.reason;
        unread.next(!reply.closes)
    }

    /// Sends an answer that is made here: by the route itself, or without a reason, of what a service answered.
    fn answer(&mut self, reason: Option<Reason>, own: RouteReply<'_>, rest: Option<Lease>) -> Next {
        let unread = self.unread(rest);
        let keep = self.may_keep() && !matches!(unread, Unread::Lost);
        let current = self.current.clone();
        let extra = self.seen.route.map(|route| &current.snapshot.route(route).response_headers);
        let drops = |name| extra.is_some_and(|plan| plan.drops(name));
        let answer = RouteReply {
            content_type: if drops(b"content-type") { b"" } else { own.content_type },
            location: own.location.filter(|_| !drops(b"location")),
            added: extra.map_or(&b""[..], |plan| plan.lines()),
            ..own
        };
        self.send_answer(|out, answering| local_reply::render_route(out, &answer, answering), keep);
        self.seen.status = own.status;
        if let Some(reason) = reason {
            self.worker.stats.local_replies.count(reason.name(), own.status);
            self.seen.reason = reason.name();
        }
        unread.next(keep)
    }

    /// What an authority looks for (RFC 8555 §8.3).
    fn prove(&mut self, answer: &str, rest: Option<Lease>) -> Next {
        let own = RouteReply {
            content_type: b"application/octet-stream",
            body: answer.as_bytes(),
            ..own_answer(Reason::ChallengeAnswered.status())
        };
        self.answer(Some(Reason::ChallengeAnswered), own, rest)
    }

    /// OPTIONS and TRACE that were for this hop (RFC 9110 §7.6.2).
    fn answer_for_this_hop(&mut self, reason: Reason, rest: Option<Lease>, scratch: &mut Scratch) -> Next {
        let mut echo = std::mem::take(&mut scratch.rewritten);
        echo.clear();
        let mut own = own_answer(reason.status());
        if reason == Reason::TraceAnswered {
            decide::echo(&self.request(), &mut echo);
            own.content_type = b"message/http";
        }
        let next = self.answer(Some(reason), RouteReply { body: &echo, ..own }, rest);
        scratch.rewritten = echo;
        next
    }

    /// Whether the answer has no body. Of a head that was refused, only its beginning is known.
    fn is_head(&self) -> bool {
        match self.seen.parsed {
            true => self.request.method == Method::Head,
            false => self.head.strip_prefix(b"\r\n").unwrap_or(&self.head).starts_with(b"HEAD "),
        }
    }

    /// Renders an answer into a draft and sends it.
    fn send_answer(&mut self, render: impl Fn(&mut HeadWriter<'_>, &Answering<'_>), keep: bool) {
        let seconds = self.worker.unix_seconds();
        let mut date = self.worker.date.borrow_mut();
        let answering = Answering {
            head_only: self.is_head(),
            persistence: self.persistence(keep),
            request_id: &self.seen.request_id,
            date: date.get(seconds),
            lines: &self.seen.lines,
        };
        let stream = self.client;
        let lease = drafted(stream.draft(), |out| render(out, &answering));
        self.seen.sent(lease.len() as u64);
        let head = memchr::memmem::find(&lease, b"\r\n\r\n").map_or(lease.len(), |at| at + 4);
        self.seen.body_out = (lease.len() - head) as u64;
        if !self.client.is_stream() {
            return self.client.send(lease);
        }
        self.client.send_head(lease.slice(0..head), head == lease.len());
        if head < lease.len() {
            self.client.send(lease.slice(head..lease.len()));
            self.client.end(None);
        }
    }
}

/// What a caller of gRPC gets in place of a document: a status. `closes` has its meaning for HTTP/1.1 only.
fn put_call_status(
    out: &mut HeadWriter<'_>,
    code: u8,
    web: Option<&Web>,
    reply: &LocalReply,
    answering: &Answering<'_>,
) {
    let mut fields = SmallVec::<[u8; 128]>::new();
    if !answering.request_id.is_empty() {
        crate::request_id::put_field(&mut fields, answering.request_id);
    }
    fields.extend_from_slice(answering.lines);
    fields.extend_from_slice(b"content-length: 0\r\n");
    if reply.closes {
        fields.extend_from_slice(b"connection: close\r\n");
    }
    let mut message = SmallVec::<[u8; 128]>::from_slice(reply.reason.as_bytes());
    message.extend_from_slice(b": ");
    message.extend_from_slice(reply.detail.as_bytes());
    let content_type = web.map_or("application/grpc", |web| &web.content_type);
    fields.extend_from_slice(web.map_or(&b""[..], |web| web.fields.as_bytes()));
    grpc::put_status(out, content_type.as_bytes(), code, &message, answering.date, &fields);
}

/// Writes a head into `draft`, or into memory of its own where it does not fit.
fn drafted(mut draft: Draft, write: impl Fn(&mut HeadWriter<'_>)) -> Lease {
    let written = {
        let mut out = HeadWriter::new(draft.spare());
        write(&mut out);
        out.finish()
    };
    match written {
        Ok(len) => {
            draft.written(len);
            draft.into_lease()
        }
        Err(overflow) => drafted(Draft::sized(overflow.needed), write),
    }
}

/// An answer of this status and nothing else yet.
fn own_answer(status: u16) -> RouteReply<'static> {
    RouteReply { status, content_type: b"", location: None, fields: b"", added: b"", body: b"" }
}
