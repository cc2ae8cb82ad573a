//! Sends a request upstream and waits for the head of its response: balance, checkout, send, read response head.
//!
//! A request that met a pooled connection closed meanwhile is sent once more, on a fresh one, where that is safe: the
//! method is idempotent and no byte of a response came (RFC 9112 §9.3.1), and of its body nothing has been read that
//! is not still at hand.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, now};

use super::guise::{self, Dressed, Guise};
use super::upload::{Bounds, Upload};
use super::{Exchange, Next, Permit, Stop, decide, drafted, relay};
use crate::body::{Incoming, Outgoing};
use crate::carried::Carried;
use crate::grpc;
use crate::http1::{self, BodyFraming, ChunkLimits, Method, Progress, Response, ResponseHead, Version};
use crate::http2::{self, UNPROCESSED};
use crate::local_reply::LocalReply;
use crate::outgoing::{Announced, Connection, RequestOut, ResponseOut};
use crate::path::{self, PathOptions};
use crate::reason::Reason;
use crate::routing::Matched;
use crate::snapshot::{ForwardPlan, HeaderPlan, ListenerPlan, RoutePlan, ServicePlan};
use crate::tunnel::Tunnel;
use crate::upstream::{Lent, Wish};
use crate::websocket;
use crate::worker::Scratch;

/// Interim responses to one request. They go to the client without waiting for it to take them.
const INTERIMS_MAX: u32 = 64;

/// A response's head: its bytes, and how many they are; more may follow.
pub(super) struct Answer {
    pub bytes: Lease,
    pub len: usize,
}

/// An endpoint that has begun to answer, and what is still under way with it.
pub(super) struct Reached {
    pub lent: Lent,
    pub upload: Option<Upload>,
    pub answer: Answer,
    pub guise: Option<Box<Guise>>,
}

/// No answer came.
enum Failed {
    /// The connection had been closed while it was pooled.
    Stale,
    /// The endpoint says that it has not looked at the request.
    Unprocessed,
    Stopped(Stop),
}

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Failed {
        Failed::Stopped(stop)
    }
}

/// What a forwarded exchange goes by.
pub(super) struct Course<'a> {
    pub listener: &'a ListenerPlan,
    pub route: &'a RoutePlan,
    pub to: &'a ForwardPlan,
    pub service: &'a ServicePlan,
    /// When it must be over.
    pub deadline: Nanos,
}

/// Forwards the request and relays the response.
pub(super) async fn forward(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    route: &RoutePlan,
    to: &ForwardPlan,
    matched: Matched,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let current = x.current.clone();
    let plan = &current.snapshot.listeners[x.place];
    let random = if to.split.is_split() { x.worker.random.borrow_mut().u32(..) } else { 0 };
    let id = to.split.pick(random);
    x.seen.service = Some(id);
    let service = &current.services[id.0 as usize];
    let limits = ChunkLimits {
        body_bytes_max: route.body_bytes_max(plan),
        underscores: plan.allow_underscores,
        ..ChunkLimits::default()
    };
    let mut guise = None;
    if to.grpc_web.is_some() || to.grpc_json.is_some() {
        // Outside of the exchange's own room, which most never need it for.
        match Box::pin(guise::put_on(x, scratch, to, limits, rest)).await? {
            Dressed::Plain => {}
            Dressed::Call(call) => guise = Some(call),
            Dressed::Answered(next) => return Ok(next),
        }
    }
    let deadline = to.timeout_ms.map_or(Nanos::NEVER, |ms| x.seen.started.after(Duration::from_millis(ms)));
    let grpc_timeout =
        if x.seen.grpc { x.request().get(b"grpc-timeout").and_then(grpc::timeout) } else { None };
    let deadline = grpc_timeout.map_or(deadline, |within| x.seen.started.after(within).min(deadline));
    let course = Course { listener: plan, route, to, service: current.snapshot.service(id), deadline };
    rewrite(x, scratch, plan, to, matched)?;
    let has_body =
        guise.is_some() || !matches!(x.request.framing, BodyFraming::None | BodyFraming::Length(0));
    // What has arrived of the body already, in case it must be sent twice.
    let first = rest.as_ref().map(|rest| rest.slice(0..rest.len()));
    if x.request.method == Method::Connect {
        let lent = service.tunnel(course.service, deadline, None).await.map_err(Stop::Reply)?;
        x.seen.endpoint = Some(lent.endpoint.clone());
        return connect(x, plan, lent, rest.take(), std::mem::take(&mut scratch.permits));
    }
    let mut wish = Wish {
        fresh: false,
        http2: x.request.version == Version::Http2 || guise.is_some(),
        tunnel: upgrade(&x.request(), plan).is_some(),
    };
    loop {
        let lent = service.checkout(course.service, wish, deadline, &mut x.seen.endpoint).await;
        let mut lent = lent.map_err(Stop::Reply)?;
        let head = request_head(x, scratch, &course, &lent, guise.as_deref());
        lent.sending(now());
        x.worker.stats.upstream_sent.add(head.len() as u64);
        let mut sent = Waiting::begin(&lent, &course);
        lent.link().send_head(head, !has_body && !wish.tunnel);
        x.body_taken = has_body;
        let mut upload = has_body.then(|| {
            let body = match &guise {
                None => Incoming::of_request(x.request.framing, limits, rest.take(), x.client),
                Some(guise) => guise.incoming(rest.take()),
            };
            let outgoing = match x.request.framing {
                BodyFraming::Chunked | BodyFraming::UntilEnd if !lent.link().is_stream() => Outgoing::Chunked,
                _ => Outgoing::Plain,
            };
            let bounds =
                Bounds { rate_min: plan.timeouts.rate_bytes_per_second_min, deadline, stall: sent.idle };
            Upload::new(body, outgoing, x.client, lent.link(), bounds)
        });
        let answered = sent.answer(x, &lent, &mut upload, &mut scratch.response).await;
        x.seen.body_in = upload.as_ref().map_or(0, Upload::received);
        match answered {
            Ok(answer) => {
                drop(first);
                let reached = Reached { lent, upload, answer, guise };
                return answered_by(x, scratch, &course, reached, rest).await;
            }
            Err(again @ (Failed::Stale | Failed::Unprocessed))
                if !wish.fresh && may_repeat(x, &again, &first, &upload) =>
            {
                drop(upload);
                drop(lent);
                service.counters.stale_retries.increment();
                x.seen.retries += 1;
                wish.fresh = true;
                *rest = first.as_ref().map(|first| first.slice(0..first.len()));
                scratch.response.clear();
            }
            Err(failed) => {
                let whole = upload.as_ref().is_none_or(Upload::is_done);
                if let Some(upload) = &mut upload
                    && upload.is_done()
                {
                    *rest = upload.rest();
                }
                drop(upload);
                // What a client did says nothing about the endpoint.
                let of_client = match &failed {
                    Failed::Stale | Failed::Unprocessed => false,
                    Failed::Stopped(Stop::Cut(_)) => true,
                    Failed::Stopped(Stop::Reply(reply)) => reply.status < 500,
                };
                if !of_client {
                    lent.outcome = crate::balance::Outcome::Failed;
                }
                if !whole {
                    lent.link().reset_on_close();
                }
                let stop = match failed {
                    Failed::Stale | Failed::Unprocessed => {
                        Stop::Reply(LocalReply::from(Reason::UpstreamReset))
                    }
                    Failed::Stopped(stop) => stop,
                };
                return Err(stop_of(x, stop, whole && has_body));
            }
        }
    }
}

/// Once the body has been read, what is left is the next request, whatever the framing said.
fn stop_of(x: &mut Exchange<'_>, stop: Stop, body_was_read: bool) -> Stop {
    if body_was_read {
        x.request.framing = BodyFraming::None;
    }
    stop
}

/// Idempotent or never looked at, and all of the body that was read is what had arrived with the head.
fn may_repeat(x: &Exchange<'_>, failed: &Failed, first: &Option<Lease>, upload: &Option<Upload>) -> bool {
    let at_hand = first.as_ref().map_or(0, |first| first.len() as u64);
    let replayable = match (upload, x.request.framing) {
        (None, _) => true,
        (Some(upload), BodyFraming::Length(_) | BodyFraming::UntilEnd) => upload.received() <= at_hand,
        _ => false,
    };
    (x.request.method.is_idempotent() || matches!(failed, Failed::Unprocessed)) && replayable
}

/// Puts the path the upstream gets into `scratch.path`, where it is not the one that came.
fn rewrite(
    x: &Exchange<'_>,
    scratch: &mut Scratch,
    plan: &ListenerPlan,
    to: &ForwardPlan,
    matched: Matched,
) -> Result<(), Stop> {
    let Some(fill) = &to.rewrite_path else { return Ok(()) };
    let request = x.request();
    let mut filled = std::mem::take(&mut scratch.rewritten);
    filled.clear();
    fill.fill(matched, decide::path_of(&request, scratch), &mut filled);
    let options = PathOptions { merge_slashes: plan.merge_slashes, encoded_slashes: true };
    let again = path::canonical(&filled, options, &mut scratch.path);
    if let Ok(path::Canonical::AsGiven) = again {
        scratch.path.clear();
        scratch.path.extend_from_slice(&filled);
    }
    scratch.rewritten = filled;
    again.map(drop).map_err(|_| Reason::RewriteInvalid.into())
}

fn request_head(
    x: &Exchange<'_>,
    scratch: &Scratch,
    course: &Course<'_>,
    lent: &Lent,
    guise: Option<&Guise>,
) -> Lease {
    let request = x.request();
    let claims = decide::claims(&request, x.connection.peer.get(), course.listener);
    let service = course.service;
    let host = match &course.to.rewrite_host {
        Some(host) => host,
        None if service.authority_as_host || request.authority().is_empty() => &service.authority,
        None => request.authority(),
    };
    let out = RequestOut {
        request,
        path: decide::path_of(&request, scratch),
        host,
        hop: &x.hop.lines,
        claims: claims.as_ref(),
        request_id: &x.seen.request_id,
        client_cert: x.hop.client.as_ref().and_then(|client| client.field.as_deref()).unwrap_or_default(),
        grpc_timeout: (x.seen.grpc && course.deadline != Nanos::NEVER).then(|| course.deadline.since(now())),
        call: guise.map(Guise::head),
        upgrade: upgrade(&request, course.listener),
        plan: &course.route.request_headers,
    };
    drafted(lent.link().draft(), |writer| out.write(writer))
}

/// The first protocol asked for that is allowed. A body and an upgrade don't go together here: which of the bytes
/// that follow would be the body's is a question smugglers like.
pub(super) fn upgrade<'a>(request: &http1::Request<'a>, plan: &ListenerPlan) -> Option<&'a [u8]> {
    let bodyless = matches!(request.head.framing, BodyFraming::None | BodyFraming::Length(0));
    if request.head.upgrade.is_none() || request.head.version == Version::Http10 || !bodyless {
        return None;
    }
    request.upgrades().find(|protocol| plan.allows_upgrade(protocol))
}

/// The wait for a response's head.
struct Waiting {
    deadline: Nanos,
    head_within: Duration,
    idle: Duration,
    /// Something of the response has come.
    begun: bool,
    /// Heads of 1xx so far.
    interims: u32,
}

impl Waiting {
    fn begin(lent: &Lent, course: &Course<'_>) -> Waiting {
        let waiting = Waiting {
            deadline: course.deadline,
            head_within: Duration::from_millis(course.service.response_head_ms),
            idle: Duration::from_millis(course.service.idle_ms),
            begun: false,
            interims: 0,
        };
        lent.link().set_deadline(now().after(waiting.head_within).min(course.deadline));
        waiting
    }

    /// Reads heads until one is final; interim ones are passed on.
    async fn answer(
        &mut self,
        x: &mut Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
        response: &mut ResponseHead,
    ) -> Result<Answer, Failed> {
        let mut bytes: Option<Lease> = None;
        loop {
            let more = self.receive(x, lent, upload).await?;
            self.begun = true;
            let mut lease = match bytes.take() {
                None => more,
                Some(before) => before.joined(&more),
            };
            loop {
                match response.parse(&lease, x.request.method, &http1::Limits::default()) {
                    Ok(Progress::Partial) => break,
                    Ok(Progress::Complete(len)) if response.status >= 200 || response.status == 101 => {
                        return Ok(Answer { bytes: lease, len });
                    }
                    Ok(Progress::Complete(_)) if self.interims == INTERIMS_MAX => {
                        return Err(Stop::from(Reason::UpstreamBadResponse).into());
                    }
                    Ok(Progress::Complete(len)) => {
                        self.interims += 1;
                        pass_interim(x, response, &lease);
                        lease.advance(len);
                        if lease.is_empty() {
                            break;
                        }
                    }
                    Err(refusal) => {
                        let reply = match refusal {
                            http1::Refusal::HeadTooLarge | http1::Refusal::TooManyFields => {
                                Reason::UpstreamHeadTooLarge.into()
                            }
                            _ => {
                                LocalReply { detail: refusal.detail(), ..Reason::UpstreamBadResponse.into() }
                            }
                        };
                        return Err(Stop::Reply(reply).into());
                    }
                }
            }
            bytes = (!lease.is_empty()).then_some(lease);
        }
    }

    /// The next bytes of the upstream, the upload going on meanwhile and the client being watched for a reset.
    async fn receive(
        &mut self,
        x: &Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
    ) -> Result<Lease, Failed> {
        poll_fn(|cx| self.poll_receive(cx, x, lent, upload)).await
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        x: &Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
    ) -> Poll<Result<Lease, Failed>> {
        match upload {
            Some(upload) if upload.is_going() => {
                if let Poll::Ready(ended) = upload.poll(cx, x.client, lent.link()) {
                    ended.map_err(Failed::Stopped)?;
                    lent.link().set_deadline(now().after(self.head_within).min(self.deadline));
                }
            }
            _ => {
                if x.client.poll_broken(cx).is_ready() {
                    return Poll::Ready(Err(Stop::Cut(Reason::ClientGone).into()));
                }
            }
        }
        loop {
            return Poll::Ready(match lent.link().poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(lease)) if !lease.is_end() => Ok(lease),
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::TimedOut => match upload {
                    Some(upload) if upload.is_going() => match upload.upstream_late(lent.link()) {
                        Some(stop) => Err(stop.into()),
                        None => continue,
                    },
                    _ if now() >= self.deadline => Err(Stop::from(Reason::ExchangeTimeout).into()),
                    _ => Err(Stop::from(Reason::UpstreamHeadTimeout).into()),
                },
                Poll::Ready(Err(error)) if error.kind() == UNPROCESSED && !self.begun => {
                    Err(Failed::Unprocessed)
                }
                Poll::Ready(Ok(_)) if lent.reused && !self.begun => Err(Failed::Stale),
                Poll::Ready(Err(_)) if lent.reused && !self.begun => Err(Failed::Stale),
                Poll::Ready(Ok(_)) => Err(Stop::from(Reason::UpstreamClosed).into()),
                Poll::Ready(Err(_)) => Err(Stop::from(Reason::UpstreamReset).into()),
            });
        }
    }
}

/// Passes on a 1xx head: to HTTP/1.1 clients only, and 100 only to those that asked (RFC 9110 §15.2).
fn pass_interim(x: &mut Exchange<'_>, response: &ResponseHead, bytes: &Lease) {
    let wanted = response.status != 100 || x.request.expect_continue;
    if x.request.version == Version::Http10 || !wanted {
        return;
    }
    let (current, unchanged) = (x.current.clone(), HeaderPlan::default());
    let out = ResponseOut {
        response: Response { bytes, head: response },
        announced: Announced::Nothing,
        connection: Connection::Implied,
        plan: x.seen.route.map_or(&unchanged, |route| &current.snapshot.route(route).response_headers),
        date: b"",
        told: None,
        lines: b"",
    };
    let head = drafted(x.client.draft(), |writer| out.write(writer));
    x.seen.sent(head.len() as u64);
    x.client.send_head(head, false);
}

/// The head has come: switches protocols or relays the response.
async fn answered_by(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    mut reached: Reached,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let is_call = x.seen.grpc || reached.guise.is_some();
    let head_after = reached.lent.answered(now(), scratch.response.status, is_call);
    x.seen.upstream_head_us = Some(head_after.as_micros() as u64);
    if let Some(route) = x.seen.route.filter(|_| !scratch.held.is_empty()) {
        super::limits::settle(x, scratch, route, &reached.answer.bytes);
    }
    let opens = x.client.stream().is_some_and(http2::Stream::opens_tunnel);
    if opens && matches!(scratch.response.status, 200..300) {
        return Err(Reason::UpstreamBadUpgrade.into());
    }
    if scratch.response.status == 101 {
        return switch(x, scratch, course, reached.lent, reached.answer, rest);
    }
    match &reached.guise {
        Some(guise) if guise.is_document() || scratch.response.status != 200 => {
            Box::pin(relay::document(x, scratch, course, reached, rest)).await
        }
        _ => relay::relay(x, scratch, course, reached, rest).await,
    }
}

/// 101: passes the head on and leaves the line for a tunnel.
fn switch(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    lent: Lent,
    answer: Answer,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let response = Response { bytes: &answer.bytes, head: &scratch.response };
    let is_websocket = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"websocket");
    let asked = upgrade(&x.request(), course.listener);
    let switched = scratch.response.upgrade.map(|span| span.of(&answer.bytes));
    let agreed =
        matches!((asked, switched), (Some(asked), Some(switched)) if asked.eq_ignore_ascii_case(switched));
    // A client of HTTP/2 did not make the key, so nobody else would notice a wrong answer to it.
    let proven = x.request.version != Version::Http2
        || !asked.is_some_and(is_websocket)
        || response.get(b"sec-websocket-accept")
            == Some(websocket::accept_of(websocket::key_in(&x.head)).as_bytes());
    if !(agreed && proven) {
        // `rest` stays: it begins the next request, and what follows it must not be read without it.
        return Err(Reason::UpstreamBadUpgrade.into());
    }
    let out = ResponseOut {
        response,
        announced: Announced::Nothing,
        connection: Connection::Upgrade,
        plan: &course.route.response_headers,
        date: b"",
        told: None,
        lines: &x.seen.lines,
    };
    let head = drafted(x.client.draft(), |writer| out.write(writer));
    let is_websocket = asked.is_some_and(is_websocket);
    x.seen.sent(head.len() as u64);
    x.seen.status = 101;
    x.client.send_head(head, false);
    let early = (answer.bytes.len() > answer.len).then(|| answer.bytes.slice(answer.len..answer.bytes.len()));
    Ok(Next::Tunnel(Box::new(Tunnel {
        upstream: lent,
        to_upstream: rest.take(),
        to_downstream: early,
        idle: Duration::from_millis(course.listener.timeouts.tunnel_idle_ms),
        is_websocket,
        permits: std::mem::take(&mut scratch.permits),
        seen: Carried::default(),
    })))
}

/// CONNECT, where a listener allows it: the endpoint is the other end of a tunnel (RFC 9110 §9.3.6).
fn connect(
    x: &mut Exchange<'_>,
    plan: &ListenerPlan,
    lent: Lent,
    rest: Option<Lease>,
    permits: Vec<Permit>,
) -> Result<Next, Stop> {
    x.client.send_head(Lease::copy_of(b"HTTP/1.1 200 OK\r\n\r\n"), false);
    x.seen.status = 200;
    Ok(Next::Tunnel(Box::new(Tunnel {
        upstream: lent,
        to_upstream: rest,
        to_downstream: None,
        idle: Duration::from_millis(plan.timeouts.tunnel_idle_ms),
        is_websocket: false,
        permits,
        seen: Carried::default(),
    })))
}
