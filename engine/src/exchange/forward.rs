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
use super::{Exchange, Next, Stop, balancing, decide, drafted, hedge, mirror, relay};
use crate::balance::{Outcome, Slot};
use crate::body::{Incoming, Outgoing};
use crate::grpc;
use crate::http1::{BodyFraming, ChunkLimits, Method, Version};
use crate::http2;
use crate::link::Link;
use crate::outgoing::RequestOut;
use crate::path::{self, PathOptions};
use crate::reason::Reason;
use crate::routing::Matched;
use crate::snapshot::{ForwardPlan, ListenerPlan, MirrorPlan, Part, RoutePlan, ServicePlan};
use crate::upstream::{By, Lent, Service, Unreached, Wish};
use crate::worker::Scratch;

/// A response's head: its bytes, and how many they are; more may follow.
pub(super) struct Answer {
    pub bytes: Lease,
    pub len: usize,
}

/// An endpoint that has begun to answer, and what is still under way with it.
pub(super) struct Reached<'u> {
    pub lent: Lent,
    /// It stays where it is: it is large.
    pub upload: &'u mut Option<Upload>,
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
    pub fn try_at(&self) -> Nanos {
        let within = self.to.retries.as_ref().and_then(|retries| retries.per_try_ms);
        within.map_or(Nanos::NEVER, |ms| now().after(Duration::from_millis(ms)))
    }

    /// The client gave it less time than the route does (`grpc-timeout`).
    pub fn is_cut_short(&self, x: &Exchange<'_>) -> bool {
        let whole = Duration::from_millis(self.to.timeout_ms.unwrap_or(u64::MAX));
        self.deadline != Nanos::NEVER && self.deadline < x.seen.started.after(whole)
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

/// A request being forwarded: what its tries share. As long as it lives it counts among those under way.
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
    let split = current.split(matched.route, &to.split, x.worker);
    let Part { service: id, view } = balancing::part(x, scratch, to, split);
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
    let deadline = deadline(x, to);
    let course =
        Course { listener: plan, route, to, service: current.snapshot.service(id), deadline, limits };
    scratch.asked = balancing::ask(x, scratch, service, course.service, view);
    rewrite(x, scratch, plan, to, matched)?;
    let wish = Wish {
        http2: x.request.version == Version::Http2 || guise.is_some(),
        tunnel: upgrade(&x.request(), plan).is_some(),
        connect: x.request.method == Method::Connect,
        ..Wish::default()
    };
    let first = at_hand(x, guise.as_deref(), rest);
    let copied = |plan: &&MirrorPlan| !wish.tunnel && !wish.connect && mirror::is_due(x, plan);
    let copy = to.mirror.as_ref().filter(copied);
    let (upload, asked, tries) = Default::default();
    service.begin();
    let mut call = Forwarding { course, service, wish, guise, first, upload, copy, asked, tries };
    if wish.connect {
        let lent = Box::pin(call.reach(x, scratch, rest)).await?;
        return connect(x, plan, lent, rest.take(), std::mem::take(&mut scratch.permits));
    }
    loop {
        match call.try_once(x, scratch, rest).await {
            Ok((lent, answer)) if again::after_answer(&mut call, x, &scratch.response, &lent, &answer) => {
                again::throw_away(x, lent, answer, &scratch.response, call.upload.as_ref());
            }
            Ok((lent, answer)) => {
                call.make_copy(x, scratch);
                call.let_go(scratch);
                let Forwarding { course, upload, guise, .. } = &mut call;
                let reached = Reached { lent, upload, answer, guise: guise.take() };
                return answered_by(x, scratch, course, reached, rest).await;
            }
            Err(failed) if again::after_failure(&mut call, x, &failed) => {}
            Err(failed) => return Err(call.give_up(x, scratch, failed, rest)),
        }
        scratch.response.clear();
        call.pause(x).await?;
    }
}

/// When the exchange must be over.
pub(super) fn deadline(x: &Exchange<'_>, to: &ForwardPlan) -> Nanos {
    let deadline = to.timeout_ms.map_or(Nanos::NEVER, |ms| x.seen.started.after(Duration::from_millis(ms)));
    let grpc_timeout =
        if x.seen.grpc { x.request().get(b"grpc-timeout").and_then(grpc::timeout) } else { None };
    grpc_timeout.map_or(deadline, |within| x.seen.started.after(within).min(deadline))
}

impl Drop for Forwarding<'_> {
    fn drop(&mut self) {
        self.service.end();
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
    /// A connection for CONNECT, which has no answer to wait for. It asks as [`Forwarding::try_once`] does; a future of
    /// their own for what both have in common would cost every request a hundred instructions.
    async fn reach(
        &mut self,
        x: &mut Exchange<'_>,
        scratch: &mut Scratch,
        rest: &mut Option<Lease>,
    ) -> Result<Lent, Stop> {
        loop {
            let (tried, by) = (self.tried(), self.by(x.client));
            let lent = self
                .service
                .checkout(self.course.service, &scratch.asked, self.wish, tried, by, &mut x.seen.endpoint)
                .await;
            self.has_asked(x, &lent);
            match lent.map_err(Failed::Unreached) {
                Ok(mut lent) => {
                    lent.taken();
                    return Ok(lent);
                }
                Err(failed) if again::after_failure(self, x, &failed) => self.pause(x).await?,
                Err(failed) => return Err(self.give_up(x, scratch, failed, rest)),
            }
        }
    }

    /// Until the next try begins.
    async fn pause(&self, x: &Exchange<'_>) -> Result<(), Stop> {
        match self.tries.as_ref().and_then(|tries| tries.waits_until()) {
            Some(until) => Box::pin(again::wait_until(x, until)).await,
            None => Ok(()),
        }
    }

    /// Endpoints that are not to be asked while others remain.
    fn tried(&self) -> &[Slot] {
        self.tries.as_ref().map_or(&[], |tries| tries.tried())
    }

    /// Until when a try that begins now must have a connection.
    fn by<'c>(&self, client: &'c Link) -> By<'c> {
        By { deadline: self.course.deadline, try_at: self.course.try_at(), client: Some(client) }
    }

    /// An endpoint was asked, if there was one.
    fn has_asked(&mut self, x: &mut Exchange<'_>, lent: &Result<Lent, Unreached>) {
        self.asked = lent.as_ref().map_or_else(|unreached| unreached.slot, |lent| Some(lent.slot));
        if let (Some(tries), Some(_)) = (&mut self.tries, self.asked) {
            tries.begun(x, self.service);
        }
    }

    /// One try, until the head of an answer has come.
    async fn try_once(
        &mut self,
        x: &mut Exchange<'_>,
        scratch: &mut Scratch,
        rest: &mut Option<Lease>,
    ) -> Result<(Lent, Answer), Failed> {
        let (tried, by) = (self.tried(), self.by(x.client));
        let lent = self
            .service
            .checkout(self.course.service, &scratch.asked, self.wish, tried, by, &mut x.seen.endpoint)
            .await;
        self.has_asked(x, &lent);
        let mut lent = lent.map_err(Failed::Unreached)?;
        // Who waited in line for its turn is not late yet.
        let mut waiting = self.send(x, scratch, &mut lent, self.course.try_at(), rest);
        let (upload, response) = (&mut self.upload, &mut scratch.response);
        let mut answered = poll_fn(|cx| waiting.poll_answer(cx, x, &lent, upload, response)).await;
        if let Err(Failed::Slow) = answered {
            (lent, answered) = Box::pin(hedge::race(self, x, scratch, waiting, lent)).await;
        }
        x.seen.body_in = self.upload.as_ref().map_or(0, Upload::received);
        match answered {
            Ok(answer) => Ok((lent, answer)),
            Err(failed) => {
                if !failed.is_of_client() && !self.is_ours(x, &failed, &lent) {
                    lent.outcome = Outcome::Failed;
                }
                if self.upload.as_ref().is_some_and(|upload| !upload.is_done()) {
                    lent.link().reset_on_close();
                }
                Err(failed)
            }
        }
    }

    /// What a try came to says nothing about the endpoint: an idle connection had ended, it did not look at the request, or
    /// the exchange's time was over where the client had cut it short or was still sending, or where more than half of it had
    /// gone before the endpoint was asked.
    pub fn is_ours(&self, x: &Exchange<'_>, failed: &Failed, lent: &Lent) -> bool {
        match failed {
            Failed::Stale | Failed::Unprocessed => !self.wish.fresh,
            Failed::Stopped(Stop::Reply(reply)) if reply.reason == Reason::ExchangeTimeout.name() => {
                let all = Duration::from_millis(self.course.to.timeout_ms.unwrap_or(u64::MAX));
                self.course.is_cut_short(x)
                    || self.upload.as_ref().is_some_and(|upload| !upload.is_done())
                    || lent.asked_for(now()) < all / 2
            }
            _ => false,
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
        let has_body = self.has_body(x);
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

    /// Something follows its head.
    pub fn has_body(&self, x: &Exchange<'_>) -> bool {
        self.guise.is_some() || !matches!(x.request.framing, BodyFraming::None | BodyFraming::Length(0))
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
            grpc_timeout: (x.seen.grpc && course.deadline != Nanos::NEVER)
                .then(|| course.deadline.since(now())),
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
        if let Some(tries) = &mut self.tries {
            tries.release();
        }
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
            (Failed::Unreached(unreached), Some(tries)) if unreached.nobody_else => {
                tries.last(unreached.reply)
            }
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

/// The head has come: switches protocols or relays the response.
async fn answered_by(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    mut reached: Reached<'_>,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let is_call = x.seen.grpc || reached.guise.is_some();
    let head_after = reached.lent.answered(now(), scratch.response.status, is_call);
    hedge::note(course, &reached.lent, head_after);
    x.seen.upstream_head_us = Some(head_after.as_micros() as u64);
    balancing::stick(x, &scratch.asked, course.service, course.listener, &reached.lent);
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
