//! A second try beside the first, where an answer takes longer than most: the first answer wins, the other try is ended.
//! A second try that fails wins nothing, unless the route has it tried again: the first one may still do better.
//!
//! Only what may be done twice is, once its whole body is at hand, and within the service's budget. On the line it is part
//! of `read response head`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::now;

use super::again::{self, hop_attempt, is_idempotent};
use super::failed::Failed;
use super::forward::{Answer, Course, Forwarding, outgoing};
use super::upload::Upload;
use super::waiting::Waiting;
use super::{Exchange, Stop};
use crate::balance::Outcome;
use crate::http1::ResponseHead;
use crate::reason::Reason;
use crate::snapshot::{HedgeAfter, HedgePlan};
use crate::upstream::{By, Lent, Permit, Unreached, Wish};
use crate::worker::Scratch;

/// After how long another endpoint is asked too; `u64::MAX`: none is.
#[inline]
pub(super) fn after_us(call: &Forwarding<'_>, x: &Exchange<'_>) -> u64 {
    match &call.course.to.hedge {
        Some(plan) if !call.wish.tunnel && may_be_done_twice(call, x) => wait_us(call, plan),
        _ => u64::MAX,
    }
}

fn may_be_done_twice(call: &Forwarding<'_>, x: &Exchange<'_>) -> bool {
    is_idempotent(x) || call.course.to.retries.as_ref().is_some_and(|retries| retries.unsafe_too)
}

fn wait_us(call: &Forwarding<'_>, plan: &HedgePlan) -> u64 {
    let after_us = match plan.after {
        HedgeAfter::Ms(ms) => Some(ms * 1000),
        HedgeAfter::Share(ppm) => call.service.latencies.borrow().within_us(ppm),
    };
    after_us.map_or(u64::MAX, |us| us.max(plan.at_least_ms * 1000))
}

/// Takes note of how long an answer was waited for, where that is looked at: since the first try was sent, whoever
/// answered. By second tries' own times the percentile would fall, and more would be asked twice than should.
#[inline]
pub(super) fn note(course: &Course<'_>, lent: &Lent, head_after: Duration) {
    if course.to.hedge.is_some() {
        let waited_us = head_after.as_micros() as u64 + lent.behind_us;
        lent.service().latencies.borrow_mut().record(waited_us);
    }
}

/// The second try.
enum Other<'f> {
    /// Nobody can be asked, or is any more.
    None,
    Connecting(Pin<Box<dyn Future<Output = Result<Lent, Unreached>> + 'f>>),
    Waiting(Lent, Box<Waiting>),
}

/// Who was first, or how both failed.
enum Ended {
    First(Answer),
    Other(Lent, Answer),
    Failed(Failed),
}

/// Waits on, and asks another endpoint too if that may be. Returns whoever answered, or failed last.
pub(super) async fn race(
    call: &mut Forwarding<'_>,
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    mut waiting: Waiting,
    lent: Lent,
) -> (Lent, Result<Answer, Failed>) {
    let mut asked = None;
    let mut response = ResponseHead::default();
    let mut first_failed = None;
    let mut beside = None;
    let ready = call.upload.as_ref().is_none_or(Upload::is_done) && call.is_replayable();
    let permit = if ready && hop_attempt(x, call) == 1 { room(call) } else { None };
    let ended = {
        let (tried, whom) = ([lent.slot], scratch.asked);
        let wish = Wish { elsewhere: true, fresh: false, ..call.wish };
        let by = By { deadline: call.course.deadline, try_at: call.course.try_at(), client: None };
        let (service, plan) = (call.service, call.course.service);
        let mut other = match permit {
            Some(_) => {
                Other::Connecting(Box::pin(service.checkout(plan, &whom, wish, &tried, by, &mut asked)))
            }
            None => Other::None,
        };
        poll_fn(|cx| {
            if first_failed.is_none() {
                let polled = waiting.poll_answer(cx, x, &lent, &mut call.upload, &mut scratch.response);
                match polled {
                    Poll::Ready(Ok(answer)) => return Poll::Ready(Ended::First(answer)),
                    Poll::Ready(Err(failed)) if failed.is_of_client() => {
                        return Poll::Ready(Ended::Failed(failed));
                    }
                    Poll::Ready(Err(failed)) => first_failed = Some(failed),
                    Poll::Pending => {}
                }
            } else if x.client.poll_broken(cx).is_ready() {
                // While the other one connects nobody else looks.
                return Poll::Ready(Ended::Failed(Stop::Cut(Reason::ClientGone).into()));
            }
            let answered = other.poll(cx, call, x, scratch, by, &mut response);
            if let Other::Waiting(second, _) = &other {
                beside = Some(second.slot);
            }
            if let Poll::Ready(Some((second, answer))) = answered {
                if first_failed.is_some()
                    || !again::is_failure(x, &response, &second, &answer)
                    || is_tried_again(call, x, &response, &second, &answer)
                {
                    return Poll::Ready(Ended::Other(second, answer));
                }
                beside = Some(second.slot);
                again::throw_away(x, second, answer, &response, None);
            }
            match (&other, first_failed.take()) {
                (Other::None, Some(failed)) => Poll::Ready(Ended::Failed(failed)),
                (_, failed) => {
                    first_failed = failed;
                    Poll::Pending
                }
            }
        })
        .await
    };
    drop(permit);
    let mut lent = lent;
    if first_failed.as_ref().is_some_and(|failed| is_of_endpoint(failed, call, x, &lent)) {
        lent.outcome = Outcome::Failed;
    }
    let loser = if matches!(ended, Ended::Other(..)) { Some(lent.slot) } else { beside };
    if let Some(slot) = loser {
        call.tries.get_or_insert_default().beside(slot);
    }
    match ended {
        Ended::First(answer) => (lent, Ok(answer)),
        Ended::Failed(failed) => (lent, Err(failed)),
        Ended::Other(mut other, answer) => {
            let now = now();
            let behind = lent.asked_for(now).saturating_sub(other.asked_for(now));
            other.behind_us = behind.as_micros() as u64;
            if first_failed.is_none() {
                lent.outrun(now);
            }
            call.service.counters.retries.hedges_won.increment();
            x.seen.endpoint = asked;
            call.asked = Some(other.slot);
            std::mem::swap(&mut scratch.response, &mut response);
            (other, Ok(answer))
        }
    }
}

/// What a try came to is to be held against the endpoint.
fn is_of_endpoint(failed: &Failed, call: &Forwarding<'_>, x: &Exchange<'_>, lent: &Lent) -> bool {
    !failed.is_of_client() && !call.is_ours(x, failed, lent)
}

fn room(call: &Forwarding<'_>) -> Option<Permit> {
    let permit = call.service.permit(call.course.service);
    permit.map_err(|why| call.service.counters.retries.refuse(why)).ok()
}

/// Whether a failed second try is followed by another, and the first one given up for that.
fn is_tried_again(
    call: &mut Forwarding<'_>,
    x: &Exchange<'_>,
    head: &ResponseHead,
    second: &Lent,
    answer: &Answer,
) -> bool {
    let first = call.asked.replace(second.slot);
    let again = again::after_answer(call, x, head, second, answer);
    if !again {
        call.asked = first;
    }
    again
}

impl Other<'_> {
    /// Ready with an answer; `None` inside: no answer comes of it.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Forwarding<'_>,
        x: &mut Exchange<'_>,
        scratch: &Scratch,
        by: By<'_>,
        response: &mut ResponseHead,
    ) -> Poll<Option<(Lent, Answer)>> {
        if let Other::Connecting(connecting) = self {
            match std::task::ready!(connecting.as_mut().poll(cx)) {
                Ok(mut lent) => {
                    let waiting = Box::new(send(call, x, scratch, &mut lent, by));
                    *self = Other::Waiting(lent, waiting);
                }
                Err(_) => *self = Other::None,
            }
        }
        let Other::Waiting(lent, waiting) = self else { return Poll::Ready(None) };
        let answered = std::task::ready!(waiting.poll_answer(cx, x, lent, &mut call.upload, response));
        let Other::Waiting(mut lent, _) = std::mem::replace(self, Other::None) else {
            return Poll::Ready(None);
        };
        match answered {
            Ok(answer) => Poll::Ready(Some((lent, answer))),
            Err(failed) => {
                if is_of_endpoint(&failed, call, x, &lent) {
                    lent.outcome = Outcome::Failed;
                }
                Poll::Ready(None)
            }
        }
    }
}

/// Sends the request whole.
fn send(
    call: &Forwarding<'_>,
    x: &mut Exchange<'_>,
    scratch: &Scratch,
    lent: &mut Lent,
    by: By<'_>,
) -> Waiting {
    let head = call.request_head(x, scratch, lent.link().draft(), 2, None);
    lent.sending(now());
    x.worker.stats.upstream_sent.add(head.len() as u64);
    x.seen.retries += 1;
    call.service.counters.retries.hedges.increment();
    let mut waiting = Waiting::begin(lent, &call.course, by.try_at, u64::MAX);
    waiting.quiet = true;
    lent.link().send_head(head, call.upload.is_none());
    if let Some(upload) = &call.upload {
        lent.link().send(upload.again(call.first.as_ref(), outgoing(x, lent)));
        lent.link().end(upload.trailers());
    }
    waiting
}
