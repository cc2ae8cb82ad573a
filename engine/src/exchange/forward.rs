//! Sends a request upstream and waits for the head of its response: balance, checkout, send, read response head.
//!
//! A try that came to nothing may be followed by another; [`again`] says whether and when. An answer that takes long may
//! be raced by another endpoint's ([`hedge`]), and a copy of the request may go elsewhere ([`mirror`]). What of the
//! request's body has gone by is at hand for all three, up to a bound, or they don't take place.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Draft, Lease, Nanos, now};

use super::again::{self, Tries};
use super::failed::Failed;
use super::guise::{self, Dressed, Guise};
use super::replay::Kept;
use super::switch::{connect, switch, upgrade};
use super::upload::{Bounds, Upload};
use super::waiting::Waiting;
use super::{Exchange, Next, Stop, decide, drafted, hedge, mirror, relay};
use crate::balance::{Outcome, Slot};
use crate::body::{Incoming, Outgoing};
use crate::grpc;
use crate::http1::{BodyFraming, ChunkLimits, Method, Version};
use crate::http2;
use crate::outgoing::RequestOut;
use crate::path::{self, PathOptions};
use crate::reason::Reason;
use crate::routing::Matched;
use crate::snapshot::{ForwardPlan, ListenerPlan, MirrorPlan, RoutePlan, ServicePlan};
use crate::upstream::{By, Lent, Service, Wish};
use crate::worker::Scratch;

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

/// What a forwarded exchange goes by.
pub(super) struct Course<'a> {
    pub listener: &'a ListenerPlan,
    pub route: &'a RoutePlan,
    pub to: &'a ForwardPlan,
    pub service: &'a ServicePlan,
    /// When it must be over.
    pub deadline: Nanos,
    /// Of the request's body.
    pub limits: ChunkLimits,
}

impl Course<'_> {
    /// When a try that begins now must have its answer's head.
    fn try_at(&self) -> Nanos {
        let within = self.to.retries.as_ref().and_then(|retries| retries.per_try_ms);
        within.map_or(Nanos::NEVER, |ms| now().after(Duration::from_millis(ms)))
    }

    /// What endpoints are told as Host.
    pub fn host<'x>(&'x self, x: &'x Exchange<'_>) -> &'x [u8] {
        let (request, service) = (x.request(), self.service);
        match &self.to.rewrite_host {
            Some(host) => host,
            None if service.authority_as_host || request.authority().is_empty() => &service.authority,
            None => request.authority(),
        }
    }
}

/// A request being forwarded: what its tries share.
pub(super) struct Forwarding<'a> {
    pub course: Course<'a>,
    pub service: &'a Rc<Service>,
    pub wish: Wish,
    pub guise: Option<Box<Guise>>,
    /// What of its body is at hand, because it came with the head.
    pub first: Option<Lease>,
    pub upload: Option<Upload>,
    /// It is to be mirrored, and was not yet.
    copy: Option<&'a MirrorPlan>,
    /// The endpoint that was asked last.
    pub asked: Option<Slot>,
    /// Once there is more than one try.
    pub tries: Option<Box<Tries>>,
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
    let course = Course { listener: plan, route, to, service: current.snapshot.service(id), deadline, limits };
    rewrite(x, scratch, plan, to, matched)?;
    if x.request.method == Method::Connect {
        let lent = service.tunnel(course.service, deadline, None).await.map_err(Stop::Reply)?;
        x.seen.endpoint = Some(lent.endpoint.clone());
        return connect(x, plan, lent, rest.take());
    }
    let wish = Wish {
        http2: x.request.version == Version::Http2 || guise.is_some(),
        tunnel: upgrade(&x.request(), plan).is_some(),
        ..Wish::default()
    };
    let _active = service.begin();
    let first = at_hand(x, guise.as_deref(), rest);
    let copy = to.mirror.as_ref().filter(|plan| !wish.tunnel && mirror::is_due(x, plan));
    let (upload, asked, tries) = Default::default();
    let mut call = Forwarding { course, service, wish, guise, first, upload, copy, asked, tries };
    loop {
        match call.try_once(x, scratch, rest).await {
            Ok((lent, answer)) if again::after_answer(&mut call, x, scratch, &lent, &answer) => {
                again::throw_away(lent, answer, &scratch.response, call.upload.as_ref());
            }
            Ok((lent, answer)) => {
                call.make_copy(x, scratch);
                call.let_go(scratch);
                let Forwarding { course, upload, guise, .. } = &mut call;
                let reached = Reached { lent, upload: upload.take(), answer, guise: guise.take() };
                return answered_by(x, scratch, course, reached, rest).await;
            }
            Err(failed) if again::after_failure(&mut call, x, &failed) => {}
            Err(failed) => return Err(call.give_up(x, scratch, failed, rest)),
        }
        scratch.response.clear();
        if let Some(until) = call.tries.as_ref().and_then(|tries| tries.waits_until()) {
            Box::pin(again::wait_until(x, until)).await?;
        }
    }
}

/// What of the request's body has arrived with its head, or before it is sent: it is held in any case.
fn at_hand(x: &Exchange<'_>, guise: Option<&Guise>, rest: &Option<Lease>) -> Option<Lease> {
    if let Some(guise) = guise {
        return Some(guise.body());
    }
    match (x.request.framing, rest) {
        (BodyFraming::Length(bytes), Some(rest)) => {
            Some(rest.slice(0..rest.len().min(usize::try_from(bytes).unwrap_or(usize::MAX))))
        }
        (BodyFraming::UntilEnd, Some(rest)) => Some(rest.slice(0..rest.len())),
        _ => None,
    }
}

impl Forwarding<'_> {
    /// One try, until the head of an answer has come.
    async fn try_once(
        &mut self,
        x: &mut Exchange<'_>,
        scratch: &mut Scratch,
        rest: &mut Option<Lease>,
    ) -> Result<(Lent, Answer), Failed> {
        let by = By { deadline: self.course.deadline, try_at: self.course.try_at() };
        let tried = self.tries.as_ref().map_or(&[][..], |tries| tries.tried());
        let lent = self.service.checkout(self.course.service, self.wish, tried, by, &mut x.seen.endpoint).await;
        self.asked = lent.as_ref().map_or_else(|unreached| unreached.slot, |lent| Some(lent.slot));
        if let (Some(tries), Some(_)) = (&mut self.tries, self.asked) {
            tries.begun(x, self.service);
        }
        let mut lent = lent.map_err(Failed::Unreached)?;
        let mut waiting = self.send(x, scratch, &mut lent, by.try_at, rest);
        let (upload, response) = (&mut self.upload, &mut scratch.response);
        let mut answered = poll_fn(|cx| waiting.poll_answer(cx, x, &lent, upload, response)).await;
        if let Err(Failed::Slow) = answered {
            (lent, answered) = Box::pin(hedge::race(self, x, scratch, waiting, lent)).await;
        }
        x.seen.body_in = self.upload.as_ref().map_or(0, Upload::received);
        match answered {
            Ok(answer) => Ok((lent, answer)),
            Err(failed) => {
                if !failed.is_of_client() {
                    lent.outcome = Outcome::Failed;
                }
                if self.upload.as_ref().is_some_and(|upload| !upload.is_done()) {
                    lent.link().reset_on_close();
                }
                Err(failed)
            }
        }
    }

    /// Sends the request, and begins to send its body.
    fn send(
        &mut self,
        x: &mut Exchange<'_>,
        scratch: &mut Scratch,
        lent: &mut Lent,
        try_at: Nanos,
        rest: &mut Option<Lease>,
    ) -> Waiting {
        let attempt = 1 + self.tries.as_ref().map_or(0, |tries| tries.worked_on());
        let head = self.request_head(x, scratch, lent.link().draft(), attempt, None);
        lent.sending(now());
        x.worker.stats.upstream_sent.add(head.len() as u64);
        let hedge_us = if self.tries.is_none() { hedge::after_us(self, x) } else { u64::MAX };
        let waiting = Waiting::begin(lent, &self.course, try_at, hedge_us);
        let has_body = self.guise.is_some()
            || !matches!(x.request.framing, BodyFraming::None | BodyFraming::Length(0));
        lent.link().send_head(head, !has_body && !self.wish.tunnel);
        if !has_body {
            self.make_copy(x, scratch);
            return waiting;
        }
        x.body_taken = true;
        let outgoing = outgoing(x, lent);
        if let Some(upload) = &mut self.upload {
            upload.replay(self.first.as_ref(), outgoing, x.client, lent.link());
            return waiting;
        }
        let body = match &self.guise {
            None => Incoming::of_request(x.request.framing, self.course.limits, rest.take(), x.client),
            Some(guise) => guise.incoming(rest.take()),
        };
        let bounds = Bounds {
            rate_min: self.course.listener.timeouts.rate_bytes_per_second_min,
            deadline: self.course.deadline,
            stall: Duration::from_millis(self.course.service.idle_ms),
            kept: self.room(scratch),
        };
        self.upload = Some(Upload::new(body, outgoing, x.client, lent.link(), bounds));
        waiting
    }

    /// Room for a body that may have to be sent again.
    fn room(&self, scratch: &mut Scratch) -> Option<Box<Kept>> {
        let retries = self.course.to.retries.as_ref().map_or(0, |retries| retries.buffer_bytes);
        let bytes_max = retries.max(self.copy.map_or(0, |copy| copy.body_bytes_max));
        (bytes_max > 0).then(|| {
            let mut kept = scratch.kept.take().unwrap_or_default();
            kept.begin(self.first.as_ref().map_or(0, |first| first.len() as u64), bytes_max);
            kept
        })
    }

    /// The head of the request as an endpoint gets it; `host` in place of the one it would get.
    pub fn request_head(
        &self,
        x: &Exchange<'_>,
        scratch: &Scratch,
        draft: Draft,
        attempt: u32,
        host: Option<&[u8]>,
    ) -> Lease {
        let (request, course) = (x.request(), &self.course);
        let claims = decide::claims(&request, x.connection.peer.get(), course.listener);
        let out = RequestOut {
            request,
            path: decide::path_of(&request, scratch),
            host: host.unwrap_or_else(|| course.host(x)),
            hop: &x.hop.lines,
            claims: claims.as_ref(),
            request_id: &x.seen.request_id,
            client_cert: x.hop.client.as_ref().and_then(|client| client.field.as_deref()).unwrap_or_default(),
            is_call: x.seen.grpc,
            grpc_timeout: (x.seen.grpc && course.deadline != Nanos::NEVER).then(|| course.deadline.since(now())),
            attempt: claims.as_ref().map_or(0, |claims| claims.attempt() - 1) + attempt,
            call: self.guise.as_deref().map(Guise::head),
            upgrade: upgrade(&request, course.listener),
            plan: &course.route.request_headers,
        };
        drafted(draft, |writer| out.write(writer))
    }

    /// Whether all that was read of the body can be sent again.
    pub fn is_replayable(&self) -> bool {
        let Some(upload) = &self.upload else { return true };
        let at_hand = self.first.as_ref().map_or(0, |first| first.len() as u64);
        let buffer = self.course.to.retries.as_ref().map_or(0, |retries| u64::from(retries.buffer_bytes));
        upload.is_replayable(self.first.as_ref()) && upload.received() <= at_hand.max(buffer)
    }

    /// Mirrors the request, where that is wanted and was not done yet.
    fn make_copy(&mut self, x: &Exchange<'_>, scratch: &Scratch) {
        if let Some(plan) = self.copy.take() {
            mirror::copy(self, x, scratch, plan);
        }
    }

    /// Nothing is sent again.
    fn let_go(&mut self, scratch: &mut Scratch) {
        self.first = None;
        if let Some(kept) = self.upload.as_mut().and_then(Upload::take_kept) {
            scratch.kept = Some(kept);
        }
    }

    /// No answer comes any more. What follows a body that was read is the next request, whatever the framing said.
    fn give_up(
        &mut self,
        x: &mut Exchange<'_>,
        scratch: &mut Scratch,
        failed: Failed,
        rest: &mut Option<Lease>,
    ) -> Stop {
        self.make_copy(x, scratch);
        self.let_go(scratch);
        if let Some(upload) = self.upload.as_mut().filter(|upload| upload.is_done()) {
            *rest = upload.rest();
            x.request.framing = BodyFraming::None;
        }
        match (failed, &self.tries) {
            // Nobody else is there: it ends as it did with the last one.
            (Failed::Unreached(unreached), Some(tries)) if unreached.nobody_else => tries.last(unreached.reply),
            (failed, _) => failed.stop(),
        }
    }
}

/// How a body is framed for this endpoint.
pub(super) fn outgoing(x: &Exchange<'_>, lent: &Lent) -> Outgoing {
    match x.request.framing {
        BodyFraming::Chunked | BodyFraming::UntilEnd if !lent.link().is_stream() => Outgoing::Chunked,
        _ => Outgoing::Plain,
    }
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

<<<<<<< HEAD
=======
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

>>>>>>> main
/// The head has come: switches protocols or relays the response.
async fn answered_by(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    mut reached: Reached,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let head_after = reached.lent.answered(now());
    hedge::note(course, &reached.lent, head_after);
    x.seen.upstream_head_us = Some(head_after.as_micros() as u64);
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

<<<<<<< HEAD
=======
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
        seen: Carried::default(),
    })))
}

/// CONNECT, where a listener allows it: the endpoint is the other end of a tunnel (RFC 9110 §9.3.6).
fn connect(x: &mut Exchange<'_>, plan: &ListenerPlan, lent: Lent, rest: Option<Lease>) -> Result<Next, Stop> {
    x.client.send_head(Lease::copy_of(b"HTTP/1.1 200 OK\r\n\r\n"), false);
    x.seen.status = 200;
    Ok(Next::Tunnel(Box::new(Tunnel {
        upstream: lent,
        to_upstream: rest,
        to_downstream: None,
        idle: Duration::from_millis(plan.timeouts.tunnel_idle_ms),
        is_websocket: false,
        seen: Carried::default(),
    })))
}
>>>>>>> main
