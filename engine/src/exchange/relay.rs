//! The response on its way to the client, alongside what is left of the request's body.
//!
//! Pieces that have arrived are sent together; at most [`WINDOW`] bytes wait for a slow client before the upstream is no
//! longer read. A response that breaks off is never shown as whole: its connection is reset.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, SendList, now, scarce};

use super::forward::{Answer, Course, Reached};
use super::guise::Guise;
use super::pace::{Pace, finish_sending};
use super::upload::{RUNS_MAX, Upload};
use super::{Exchange, Next, Stop, drafted, own_answer};
use crate::body::{Broken, Incoming, Outgoing};
use crate::grpc;
use crate::grpc_json::Problem;
use crate::http1::{Response, ResponseFraming, ResponseHead, Version};
use crate::local_reply::RouteReply;
use crate::outgoing::{Announced, Connection, ResponseOut, Told};
use crate::reason::Reason;
use crate::snapshot::RoutePlan;
use crate::upstream::Lent;
use crate::waiters::Place;
use crate::worker::Scratch;

/// Bytes that may wait for a slow client.
const WINDOW: usize = 256 << 10;
/// The same where buffers are scarce.
const WINDOW_SCARCE: usize = 32 << 10;
/// Bytes gathered into one send.
const BATCH: usize = 256 << 10;
/// What may still be on its way to the client when the next request is read.
const LEFT_OVER: usize = 32 << 10;

/// How the client gets the body.
struct Shape {
    announced: Announced,
    outgoing: Outgoing,
    /// The connection's end is the body's.
    until_close: bool,
}

/// Sends the head and the body.
pub(super) async fn relay(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    reached: Reached<'_>,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let Reached { mut lent, upload, answer, mut guise } = reached;
    let response = &scratch.response;
    let from_stream = lent.link().is_stream();
    let uploaded = upload.as_ref().is_none_or(Upload::is_done);
    // What is borrowed here is not kept while the body is under way.
    let (head, outgoing, keep, events) = {
        let shape = match &guise {
            None => shape(response, x.request.version),
            Some(_) => shape_of_unknown_length(x.request.version),
        };
        let keep = x.may_keep() && uploaded && !shape.until_close;
        let told = guise.as_ref().map(|guise| guise.told());
        let events = is_events(&Response { bytes: &answer.bytes, head: response }, told.as_ref(), &shape);
        (head(x, response, &answer, course.route, &shape, keep, told), shape.outgoing, keep, events)
    };
    let said = if guise.is_some() { said_in_head(response, &answer.bytes) } else { Vec::new() };
    x.seen.status = response.status;
    let reusable =
        from_stream || response.keep_alive && uploaded && response.framing != ResponseFraming::UntilClose;
    // A head that is kept keeps a buffer.
    let called = x.seen.grpc.then(|| answer.bytes.slice(0..answer.len));
    let after_head = (answer.bytes.len() > answer.len).then(|| {
        let mut bytes = answer.bytes;
        bytes.advance(answer.len);
        bytes
    });
    let body = Incoming::of_response(response.framing, after_head, lent.link());
    let mut flow = Flow {
        list: x.client.begin(head, body.is_done() && guise.is_none()),
        body,
        guise: guise.as_deref_mut(),
        said,
        outgoing,
        idle: Duration::from_millis(course.service.idle_ms),
        deadline: course.deadline,
        pace: Pace::new(course.listener.timeouts.rate_bytes_per_second_min, now(), x.client.sent()),
        blocked: false,
        done: false,
        gave_up: None,
        parting: events.then(|| Box::new(x.worker.until_parting.place())),
        sent: 0,
    };
    let relayed = flow.run(x, &lent, upload).await;
    x.seen.sent(flow.sent);
    x.seen.body_out = flow.body.received;
    x.worker.stats.upstream_received.add(answer.len as u64 + flow.body.received);
    if let Some(upload) = upload.as_mut() {
        x.seen.body_in = upload.received();
        x.worker.stats.upstream_sent.add(upload.received());
        if upload.is_done() && uploaded {
            *rest = upload.rest();
        }
    }
    *upload = None;
    if let Some(bytes) = &called {
        x.seen.grpc_status = grpc_status(&flow.body, &Response { bytes, head: &scratch.response });
        // That it was late for a deadline of the client's own says nothing of the endpoint.
        let late = x.seen.grpc_status == Some(grpc::DEADLINE_EXCEEDED) && course.is_cut_short(x);
        lent.call_ended(x.seen.grpc_status.filter(|_| !late));
    }
    if let Some(reason) = flow.gave_up {
        x.seen.grpc_status = x.seen.grpc.then_some(grpc::code_of(reason.status(), reason.name()));
        x.seen.reason = reason.name();
        x.worker.stats.cut.count(reason.name(), reason.status());
    }
    if let Err(reason) = relayed {
        x.seen.grpc_status = None;
        lent.broke_off(reason);
        lent.link().reset_on_close();
        return Err(Stop::Cut(reason));
    }
    // Bytes after a response are no answer to anything: such a connection is not used again.
    let clean = flow.body.is_done() && flow.body.rest().is_none();
    if reusable && clean {
        lent.give_back();
    } else {
        if !uploaded {
            lent.link().reset_on_close();
        }
        drop(lent);
    }
    if let Some(left) = owed(x, keep) {
        let rate_min = course.listener.timeouts.rate_bytes_per_second_min;
        finish_sending(x.client, rate_min, course.deadline, left).await.map_err(Stop::Cut)?;
    }
    Ok(match keep {
        true => Next::Idle(rest.take()),
        // Who was to go on may have sent more already, and a reset would overtake the response.
        false if uploaded && rest.is_none() && !x.request.keep_alive => Next::Close,
        false => Next::Linger,
    })
}

/// Whether a client that meets the end of this response asks anew for what comes next (Server-Sent Events).
fn is_events(response: &Response<'_>, told: Option<&Told<'_>>, shape: &Shape) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let content_type =
        told.map_or_else(|| response.get(b"content-type").unwrap_or_default(), |told| told.content_type);
    let begins = content_type.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS));
    begins && !matches!(shape.announced, Announced::Length(_))
}

/// What becomes of an answer that is told in other words.
fn shape_of_unknown_length(client: Version) -> Shape {
    let (announced, outgoing) = match client {
        Version::Http11 => (Announced::Chunked, Outgoing::Chunked),
        Version::Http10 | Version::Http2 => (Announced::Nothing, Outgoing::Plain),
    };
    Shape { announced, outgoing, until_close: client == Version::Http10 }
}

/// Fields of gRPC in a head: where nothing follows it, they stand for trailers.
fn said_in_head(response: &ResponseHead, bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = Response { bytes, head: response }.fields();
    let grpc =
        fields.filter(|(name, ..)| name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"grpc-")));
    grpc.map(|(name, value, _)| (name.to_vec(), value.to_vec())).collect()
}

/// Reads the whole answer of a call and answers with one document: only its end says how it went.
pub(super) async fn document(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    reached: Reached<'_>,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let Reached { mut lent, upload, answer, guise } = reached;
    let Some(mut guise) = guise else { return Err(Reason::UpstreamBadResponse.into()) };
    let response = &scratch.response;
    let said = said_in_head(response, &answer.bytes);
    if let Some(mut upload) = upload.take().filter(Upload::is_done) {
        *rest = upload.rest();
    }
    if response.status != 200 {
        let problem = Problem::of_status(response.status);
        return Ok(x.answer_problem(&problem, None, rest.take()));
    }
    let after_head =
        (answer.bytes.len() > answer.len).then(|| answer.bytes.slice(answer.len..answer.bytes.len()));
    let mut body = Incoming::of_response(response.framing, after_head, lent.link());
    let mut out = Vec::new();
    let idle = Duration::from_millis(course.service.idle_ms);
    let told = loop {
        lent.link().set_deadline(now().after(idle).min(course.deadline));
        let data = match poll_fn(|cx| body.poll_next(cx, lent.link())).await {
            Ok(Some(data)) => data,
            Ok(None) => break Ok(()),
            Err(broken) => {
                let reason = match broken {
                    Broken::TimedOut if now() >= course.deadline => Reason::ExchangeTimeout,
                    Broken::TimedOut => Reason::UpstreamIdleTimeout,
                    Broken::Ended => Reason::UpstreamClosed,
                    Broken::Reset => Reason::UpstreamReset,
                    Broken::Refused(_) => Reason::UpstreamBadResponse,
                };
                lent.broke_off(reason);
                return Err(reason.into());
            }
        };
        match guise.push(&data) {
            Ok(told) if out.len() + told.len() <= DOCUMENT_BYTES_MAX => out.extend_from_slice(&told),
            Ok(_) => break Err(Problem::internal("the answer is too large for a document")),
            Err(problem) => break Err(problem),
        }
    };
    x.worker.stats.upstream_received.add(answer.len as u64 + body.received);
    let problem = told.err().or_else(|| guise.problem(body.trailers(), &said));
    lent.call_ended(problem.as_ref().filter(|problem| problem.of_service).map(|problem| problem.code));
    if body.is_done() && body.rest().is_none() {
        lent.give_back();
    }
    let next = match problem {
        Some(problem) => {
            let reason = (!problem.of_service).then_some(Reason::UpstreamBadResponse);
            x.answer_problem(&problem, reason, rest.take())
        }
        None => {
            x.seen.grpc_status = Some(0);
            let own = RouteReply { content_type: guise.told().content_type, body: &out, ..own_answer(200) };
            x.answer(None, own, rest.take())
        }
    };
    if let Some(left) = owed(x, matches!(next, Next::Idle(_))) {
        let rate_min = course.listener.timeouts.rate_bytes_per_second_min;
        finish_sending(x.client, rate_min, course.deadline, left).await.map_err(Stop::Cut)?;
    }
    Ok(next)
}

/// To how many bytes what is unsent must shrink before the connection goes on, or ends. `None`: it has already.
fn owed(x: &Exchange<'_>, keep: bool) -> Option<usize> {
    let left = if keep && !x.client.is_stream() { LEFT_OVER } else { 0 };
    (x.client.unsent() > left || !keep).then_some(left)
}

/// Bytes of one document.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

fn shape(response: &ResponseHead, client: Version) -> Shape {
    let plain = |announced| Shape { announced, outgoing: Outgoing::Plain, until_close: false };
    match (response.framing, client) {
        // It can't have a body, so it must not tell a length, not even 0 (RFC 9110 §8.6).
        (ResponseFraming::None, _) if response.status == 204 => plain(Announced::Nothing),
        (ResponseFraming::None, _) => {
            plain(response.content_length.map_or(Announced::Nothing, Announced::Length))
        }
        (ResponseFraming::Length(bytes), _) => plain(Announced::Length(bytes)),
        (ResponseFraming::Chunked | ResponseFraming::UntilClose, Version::Http2) => plain(Announced::Nothing),
        (ResponseFraming::Chunked | ResponseFraming::UntilClose, Version::Http11) => {
            Shape { announced: Announced::Chunked, outgoing: Outgoing::Chunked, until_close: false }
        }
        (ResponseFraming::Chunked | ResponseFraming::UntilClose, Version::Http10) => {
            Shape { until_close: true, ..plain(Announced::Nothing) }
        }
    }
}

/// How a call of gRPC ended: said in its trailers, or in its head where there is nothing else.
fn grpc_status(body: &Incoming, response: &Response<'_>) -> Option<u8> {
    let mut trailers = body.trailers().into_iter().flat_map(|trailers| trailers.iter());
    let late = trailers.find(|(name, _)| name.eq_ignore_ascii_case(b"grpc-status")).map(|(_, value)| value);
    late.or_else(|| response.get(b"grpc-status")).and_then(grpc::code)
}

fn head(
    x: &Exchange<'_>,
    response: &ResponseHead,
    answer: &Answer,
    route: &RoutePlan,
    shape: &Shape,
    keep: bool,
    told: Option<Told<'_>>,
) -> Lease {
    let seconds = x.worker.unix_seconds();
    let mut date = x.worker.date.borrow_mut();
    let out = ResponseOut {
        response: Response { bytes: &answer.bytes, head: response },
        announced: shape.announced,
        connection: match (keep, x.request.version) {
            (false, _) => Connection::Close,
            (true, Version::Http10) => Connection::KeepAlive,
            (true, Version::Http11 | Version::Http2) => Connection::Implied,
        },
        plan: &route.response_headers,
        date: date.get(seconds),
        told,
        lines: &x.seen.lines,
    };
    drafted(x.client.draft(), |writer| out.write(writer))
}

/// A response's body under way.
struct Flow<'g> {
    body: Incoming,
    /// Tells the body in other words.
    guise: Option<&'g mut Guise>,
    /// What stands for trailers where there are none.
    said: Vec<(Vec<u8>, Vec<u8>)>,
    outgoing: Outgoing,
    /// Gathered, not yet sent.
    list: SendList,
    idle: Duration,
    deadline: Nanos,
    pace: Pace,
    /// Waits for the client rather than for the upstream.
    blocked: bool,
    done: bool,
    /// The answer could not be told to its end, which was said to the client in so many words.
    gave_up: Option<Reason>,
    /// Of a stream of events: when the time to drain is over it ends as if it were whole, for whoever reads it comes again.
    parting: Option<Box<Place<'g>>>,
    /// Bytes handed over for the client.
    sent: u64,
}

impl Flow<'_> {
    async fn run(
        &mut self,
        x: &Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
    ) -> Result<(), Reason> {
        poll_fn(|cx| self.poll(cx, x, lent, upload)).await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        x: &Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
    ) -> Poll<Result<(), Reason>> {
        let (down, up) = (x.client, lent.link());
        if let Some(upload) = upload
            && upload.is_going()
            && let Poll::Ready(Err(_)) = upload.poll(cx, down, up)
        {
            // The response goes on without the rest of the request, as long as the upstream has something to say; the
            // connection ends after it.
            upload.give_up();
            down.set_deadline(Nanos::NEVER);
            if self.blocked {
                down.set_deadline(self.pace.due().min(self.deadline));
            }
            up.set_deadline(now().after(self.idle).min(self.deadline));
        }
        loop {
            if down.is_behind(WINDOW, RUNS_MAX) || down.unsent() > WINDOW_SCARCE && scarce() {
                match down.poll_flushed(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                        self.client_late(x)?;
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Reason::ClientGone)),
                    Poll::Pending => {
                        self.block(x, lent);
                        return Poll::Pending;
                    }
                }
            }
            self.unblock(x, lent);
            let parts = |place: &mut Box<Place<'_>>| place.poll(cx).is_ready() || x.worker.parting.get();
            let gathered = match self.parting.as_mut().is_some_and(parts) {
                true => {
                    self.give_up(Reason::DrainCut);
                    Poll::Ready(Ok(()))
                }
                false => self.gather(cx, lent),
            };
            self.hand_over(x);
            match gathered {
                Poll::Pending if self.done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if self.done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Broken::TimedOut)) => self.upstream_late(lent, upload)?,
                Poll::Ready(Err(Broken::Ended)) => return Poll::Ready(Err(Reason::UpstreamClosed)),
                Poll::Ready(Err(Broken::Reset)) => return Poll::Ready(Err(Reason::UpstreamReset)),
                Poll::Ready(Err(Broken::Refused(_))) => return Poll::Ready(Err(Reason::UpstreamBadResponse)),
                Poll::Pending => {
                    up.set_deadline(now().after(self.idle).min(self.deadline));
                    let watched = upload.as_ref().is_none_or(|upload| !upload.is_going());
                    if watched && down.poll_broken(cx).is_ready() {
                        return Poll::Ready(Err(Reason::ClientGone));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes what has arrived, up to a batch. Ready when a batch is full, the body is done or broken.
    fn gather(&mut self, cx: &mut Context<'_>, lent: &Lent) -> Poll<Result<(), Broken>> {
        while self.list.len() < BATCH && self.list.runs() < RUNS_MAX {
            match self.body.poll_next(cx, lent.link()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Ready(Ok(None)) => {
                    match &mut self.guise {
                        None => self.outgoing.finish(&mut self.list, self.body.trailers()),
                        Some(guise) => {
                            let last = guise.finish(self.body.trailers(), &self.said);
                            if !last.is_end() {
                                self.outgoing.push(&mut self.list, last);
                            }
                            self.outgoing.finish(&mut self.list, None);
                        }
                    }
                    self.done = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(Some(data))) => match &mut self.guise {
                    None => self.outgoing.push(&mut self.list, data),
                    Some(guise) => match guise.push(&data) {
                        Ok(told) if told.is_end() => {}
                        Ok(told) => self.outgoing.push(&mut self.list, told),
                        Err(problem) => {
                            let last = guise.give_up(&problem);
                            self.outgoing.push(&mut self.list, last);
                            self.give_up(Reason::UpstreamBadResponse);
                            return Poll::Ready(Ok(()));
                        }
                    },
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the response, though more was to come.
    fn give_up(&mut self, reason: Reason) {
        self.outgoing.finish(&mut self.list, None);
        (self.done, self.gave_up) = (true, Some(reason));
    }

    fn hand_over(&mut self, x: &Exchange<'_>) {
        if !self.list.is_empty() {
            let list = std::mem::take(&mut self.list);
            self.sent += list.len() as u64;
            x.client.send(list);
        }
        if self.done {
            x.client.end(self.body.trailers().filter(|_| self.guise.is_none()));
        }
    }

    /// From now on it is the client who is waited for.
    fn block(&mut self, x: &Exchange<'_>, lent: &Lent) {
        if !self.blocked {
            self.blocked = true;
            self.pace.resume(now());
            x.client.set_deadline(self.pace.due().min(self.deadline));
            lent.link().set_deadline(Nanos::NEVER);
        }
    }

    fn unblock(&mut self, x: &Exchange<'_>, lent: &Lent) {
        if self.blocked {
            self.blocked = false;
            self.pace.pause(now());
            x.client.set_deadline(Nanos::NEVER);
            lent.link().set_deadline(now().after(self.idle).min(self.deadline));
        }
    }

    fn client_late(&mut self, x: &Exchange<'_>) -> Result<(), Reason> {
        let now = now();
        if now >= self.deadline {
            return Err(Reason::ExchangeTimeout);
        }
        if self.pace.is_too_slow(now, x.client.sent()) {
            return Err(Reason::ResponseRateTooLow);
        }
        x.client.set_deadline(self.pace.due().min(self.deadline));
        Ok(())
    }

    fn upstream_late(&mut self, lent: &Lent, upload: &Option<Upload>) -> Result<(), Reason> {
        if now() >= self.deadline {
            return Err(Reason::ExchangeTimeout);
        }
        if upload.as_ref().is_some_and(Upload::is_going) {
            lent.link().set_deadline(now().after(self.idle).min(self.deadline));
            return Ok(());
        }
        Err(Reason::UpstreamIdleTimeout)
    }
}
