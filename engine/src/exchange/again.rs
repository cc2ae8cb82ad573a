//! Another try, after one that came to nothing: whether, when, and to whom.
//!
//! What may be sent again is judged by [`crate::retry`]; here is what that needs to know of the exchange, the room in the
//! service's budget, and the wait. Invariant: nothing of an answer has reached the client, and an answer is thrown away
//! only once the next try is sure.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{Nanos, now, sleep_until, spawn};
use smallvec::SmallVec;

use super::failed::Failed;
use super::forward::{Answer, Forwarding};
use super::upload::Upload;
use super::{Exchange, Stop, decide};
use crate::balance::Slot;
use crate::body::Incoming;
use crate::grpc;
use crate::http1::{Known, Response, ResponseFraming, ResponseHead};
use crate::local_reply::LocalReply;
use crate::reason::Reason;
use crate::retry::{self, Cause, Facts, Pushback, Refused, RetryPlan, SoFar, WAIT_MAX_MS};
use crate::upstream::{self, Lent, Permit, Service};

/// What is read at most of an answer that nobody gets, so that its connection can be kept; and how long that may take.
const THROWN_BYTES_MAX: u64 = 64 << 10;
const THROWN_WITHIN: Duration = Duration::from_secs(1);

/// The tries of an exchange that has more than one.
#[derive(Default)]
pub(super) struct Tries {
    so_far: SoFar,
    /// Tries before that an endpoint may have worked on.
    worked_on: u32,
    /// Not to be asked while others remain; the last one failed last.
    tried: SmallVec<[Slot; 4]>,
    /// Room in the budget for the try that is under way.
    permit: Option<Permit>,
    /// What the next try is because of, until it begins.
    next: Option<Cause>,
    until: Option<Nanos>,
    /// What the client is told if nobody else is there.
    last: Option<LocalReply>,
}

impl Tries {
    /// Endpoints that are not to be asked while others remain.
    pub fn tried(&self) -> &[Slot] {
        &self.tried
    }

    /// Tries before this one that an endpoint may have worked on.
    pub fn worked_on(&self) -> u32 {
        self.worked_on
    }

    /// When the next one begins, if that is not now.
    pub fn waits_until(&self) -> Option<Nanos> {
        self.until
    }

    /// The last try has come to its answer: its room in the budget is another's.
    pub fn release(&mut self) {
        self.permit = None;
    }

    /// What it ended with before `reply`.
    pub fn last(&self, reply: LocalReply) -> Stop {
        Stop::Reply(self.last.unwrap_or(reply))
    }

    /// Another endpoint was asked beside the one that came to an end.
    pub fn beside(&mut self, slot: Slot) {
        self.tried.push(slot);
        self.worked_on += 1;
    }

    /// An endpoint has been asked.
    pub fn begun(&mut self, x: &mut Exchange<'_>, service: &Service) {
        if let Some(cause) = self.next.take() {
            service.counters.retries.count(cause);
            x.seen.retries += 1;
        }
    }
}

/// Whether what was answered is not relayed but tried again.
#[inline]
pub(super) fn after_answer(
    call: &mut Forwarding<'_>,
    x: &Exchange<'_>,
    head: &ResponseHead,
    lent: &Lent,
    answer: &Answer,
) -> bool {
    let Some(plan) = &call.course.to.retries else { return false };
    if call.tries.as_ref().is_some_and(|tries| tries.next.is_some()) {
        // The race that it won has seen to that.
        return true;
    }
    let response = Response { bytes: &answer.bytes, head };
    let Some(cause) = cause_of(plan, x, &response, lent) else { return false };
    let asks = asks(x, &response);
    another(call, x, cause, asks, None)
}

/// Whether another try is made after one without an answer.
pub(super) fn after_failure(call: &mut Forwarding<'_>, x: &Exchange<'_>, failed: &Failed) -> bool {
    let Some(cause) = failed.cause() else { return false };
    let reply = match failed {
        Failed::Unreached(unreached) => Some(unreached.reply),
        _ => None,
    };
    another(call, x, cause, None, reply)
}

/// What was answered speaks against its endpoint.
pub(super) fn is_failure(x: &Exchange<'_>, head: &ResponseHead, lent: &Lent, answer: &Answer) -> bool {
    let response = Response { bytes: &answer.bytes, head };
    let code = || response.get(b"grpc-status").and_then(grpc::code).filter(|_| is_all(head, lent));
    upstream::is_failure(head.status) || x.seen.grpc && code().is_some_and(upstream::is_failing)
}

/// What of an answer is retried.
fn cause_of(plan: &RetryPlan, x: &Exchange<'_>, response: &Response<'_>, lent: &Lent) -> Option<Cause> {
    let status = response.head.status;
    if x.seen.grpc {
        let code = match status {
            200 if is_all(response.head, lent) => response.get(b"grpc-status").and_then(grpc::code),
            200 => None,
            status => Some(grpc::code_of(status, "")),
        };
        if let Some(code) = code.filter(|code| plan.when.has_grpc(*code)) {
            return Some(Cause::Grpc(code));
        }
    }
    plan.when.has_status(status).then_some(Cause::Status(status))
}

/// Nothing follows the head: its fields are all trailers there are.
fn is_all(head: &ResponseHead, lent: &Lent) -> bool {
    match lent.link().stream() {
        Some(stream) => stream.is_bodyless(),
        None => matches!(head.framing, ResponseFraming::None | ResponseFraming::Length(0)),
    }
}

/// When the endpoint asks to be asked again.
fn asks(x: &Exchange<'_>, response: &Response<'_>) -> Option<Pushback> {
    if x.seen.grpc {
        return response.get(b"grpc-retry-pushback-ms").map(retry::pushback);
    }
    let value = response.known(Known::RetryAfter)?;
    retry::retry_after_ms(value, x.worker.unix_seconds()).map(Pushback::After)
}

/// Judges, and prepares the next try if there is one.
#[cold]
fn another(
    call: &mut Forwarding<'_>,
    x: &Exchange<'_>,
    cause: Cause,
    asks: Option<Pushback>,
    reply: Option<LocalReply>,
) -> bool {
    let counters = &call.service.counters.retries;
    match prepare(call, x, cause, asks) {
        Ok(mut tries) => {
            tries.last = reply;
            call.tries = Some(tries);
            true
        }
        Err(refused) => {
            refused.into_iter().for_each(|why| counters.refuse(why));
            false
        }
    }
}

fn prepare(
    call: &mut Forwarding<'_>,
    x: &Exchange<'_>,
    cause: Cause,
    asks: Option<Pushback>,
) -> Result<Box<Tries>, Option<Refused>> {
    let plan = call.course.to.retries.as_deref();
    let so_far = call.tries.as_ref().map_or(SoFar::default(), |tries| tries.so_far);
    let facts = Facts {
        is_idempotent: is_idempotent(x),
        is_replayable: call.is_replayable(),
        hop_attempt: hop_attempt(x, call),
    };
    let again = retry::judge(plan, so_far, cause, facts)?;
    let until = if again.waits { Some(wait(call, x, plan, so_far, asks)?) } else { None };
    let mut tries = call.tries.take().unwrap_or_default();
    tries.permit = None;
    if again.pays {
        let permit = call.service.permit(call.course.service);
        tries.permit = Some(permit.map_err(Some)?);
    }
    match again.fresh {
        true => tries.so_far.fresh = true,
        false => tries.so_far.tries += 1,
    }
    tries.so_far.elsewhere |= cause == Cause::Refused;
    tries.worked_on += u32::from(!cause.is_untouched() && cause != Cause::Stale);
    if let Some(slot) = call.asked.filter(|_| !again.fresh) {
        tries.tried.retain(|tried| *tried != slot);
        tries.tried.push(slot);
    }
    (tries.next, tries.until) = (Some(cause), until);
    (call.wish.fresh, call.wish.elsewhere) = (again.fresh, again.elsewhere_only);
    Ok(tries)
}

/// When the next try begins.
fn wait(
    call: &Forwarding<'_>,
    x: &Exchange<'_>,
    plan: Option<&RetryPlan>,
    so_far: SoFar,
    asks: Option<Pushback>,
) -> Result<Nanos, Option<Refused>> {
    let (base_ms, max_ms) = plan.map_or((0, 0), |plan| (plan.backoff_ms, plan.backoff_max_ms));
    let random = x.worker.random.borrow_mut().u64(..);
    let drawn = Duration::from_nanos(retry::delay_ns(base_ms, max_ms, so_far.tries + 1, random));
    let delay = match asks {
        Some(Pushback::Never) => return Err(Some(Refused::Pushback)),
        Some(Pushback::After(ms)) if ms > WAIT_MAX_MS => return Err(Some(Refused::Pushback)),
        Some(Pushback::After(ms)) => Duration::from_millis(ms).max(drawn),
        None => drawn,
    };
    let until = now().after(delay);
    if until >= call.course.deadline { Err(Some(Refused::Deadline)) } else { Ok(until) }
}

/// The same once or twice, as far as the request says.
pub(super) fn is_idempotent(x: &Exchange<'_>) -> bool {
    x.request.method.is_idempotent() || x.request().get(b"idempotency-key").is_some()
}

/// Which try of it this is over all trusted hops before, from 1.
pub(super) fn hop_attempt(x: &Exchange<'_>, call: &Forwarding<'_>) -> u32 {
    let claims = decide::claims(&x.request(), x.connection.peer.get(), call.course.listener);
    claims.map_or(1, |claims| claims.attempt())
}

/// Waits for the next try, as long as the client does.
pub(super) async fn wait_until(x: &Exchange<'_>, until: Nanos) -> Result<(), Stop> {
    let mut sleep = sleep_until(until);
    poll_fn(|cx| {
        if x.client.poll_broken(cx).is_ready() {
            return Poll::Ready(Err(Stop::Cut(Reason::ClientGone)));
        }
        Pin::new(&mut sleep).poll(cx).map(Ok)
    })
    .await
}

/// Nobody gets this answer: what is left of it is read, or its connection closed.
pub(super) fn throw_away(
    x: &Exchange<'_>,
    mut lent: Lent,
    answer: Answer,
    head: &ResponseHead,
    upload: Option<&Upload>,
) {
    lent.answered(now(), head.status, x.seen.grpc);
    if x.seen.grpc {
        let response = Response { bytes: &answer.bytes, head };
        lent.call_ended(response.get(b"grpc-status").and_then(grpc::code));
    }
    let uploaded = upload.is_none_or(Upload::is_done);
    if !uploaded {
        lent.link().reset_on_close();
    }
    let reusable = head.keep_alive && head.framing != ResponseFraming::UntilClose;
    if !uploaded || !reusable || lent.link().is_stream() {
        return;
    }
    let after_head = answer.bytes.slice(answer.len..answer.bytes.len());
    match head.framing {
        ResponseFraming::None | ResponseFraming::Length(0) if after_head.is_empty() => lent.give_back(),
        ResponseFraming::Length(bytes) if bytes == after_head.len() as u64 => lent.give_back(),
        framing => {
            let body = Incoming::of_response(framing, Some(after_head), lent.link());
            spawn(read_out(lent, body));
        }
    }
}

async fn read_out(lent: Lent, mut body: Incoming) {
    lent.link().set_deadline(now().after(THROWN_WITHIN));
    while body.received <= THROWN_BYTES_MAX {
        match poll_fn(|cx| body.poll_next(cx, lent.link())).await {
            Ok(Some(_)) => {}
            Ok(None) if body.rest().is_none() => return lent.give_back(),
            Ok(None) | Err(_) => return,
        }
    }
}
