//! Faults on the line, right after `route`: what comes up is waited for, or answered.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{Nanos, now, sleep_until};

use super::{Exchange, Stop, forward};
use crate::faults::{Abort, Injected};
use crate::local_reply::LocalReply;
use crate::observe::{FaultKind, WorkerStats};
use crate::reason::Reason;
use crate::routing::RouteId;
use crate::snapshot::ActionPlan;

/// Exchanges of one worker that are delayed at once; beyond it there is no delay, so that a fault costs its callers and
/// not everybody else.
pub(super) const DELAYED_MAX: u64 = 4096;

/// What comes up for this exchange; hardly ever anything.
#[inline]
pub(super) fn drawn(x: &Exchange<'_>, route: RouteId) -> Option<Injected> {
    let current = &x.current;
    let own = &current.snapshot.route(route).faults;
    if own.is_empty() && current.overrides.is_none() {
        return None;
    }
    let by_hand = current.overrides.as_ref().map_or(&[][..], |overrides| overrides.faults(route));
    let mut random = x.worker.random.borrow_mut();
    let (request, now_s) = (x.request(), x.worker.unix_seconds());
    let mut injected = Injected::default();
    injected.draw(by_hand, now_s, || random.u32(..), &request);
    injected.draw(own, now_s, || random.u32(..), &request);
    (!injected.is_none()).then_some(injected)
}

/// Waits, unless too many do so already. The client's leaving and the exchange's deadline end it.
pub(super) async fn wait(x: &Exchange<'_>, delay: Duration, route: RouteId) -> Result<(), Stop> {
    let stats = &x.worker.stats;
    if stats.faults_delayed.get() >= DELAYED_MAX {
        stats.faults_left_out.increment();
        return Ok(());
    }
    x.current.route_counters(Some(route), None).record_fault(FaultKind::Delay);
    let _counted = Delayed::begin(stats);
    let deadline = match &x.current.snapshot.route(route).action {
        ActionPlan::Forward(to) => forward::deadline(x, to),
        ActionPlan::Respond(_) | ActionPlan::Redirect(_) => Nanos::NEVER,
    };
    let mut over = pin!(sleep_until(now().after(delay).min(deadline)));
    let left = poll_fn(|cx| match x.client.poll_broken(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => over.as_mut().poll(cx).map(|()| false),
    });
    if left.await {
        return Err(Stop::Cut(Reason::ClientGone));
    }
    if now() >= deadline { Err(Reason::ExchangeTimeout.into()) } else { Ok(()) }
}

/// The answer in place of what the route does.
pub(super) fn abort(x: &mut Exchange<'_>, abort: Abort, route: RouteId) -> Stop {
    x.current.route_counters(Some(route), None).record_fault(FaultKind::Abort);
    if x.seen.grpc {
        x.seen.grpc_status = abort.grpc_code();
    }
    let reply = LocalReply::from(Reason::FaultInjected);
    let status = abort.status();
    let retry_after_s = reply.retry_after_s.filter(|_| status == reply.status);
    Stop::Reply(LocalReply { status, retry_after_s, ..reply })
}

/// Counts an exchange that is delayed, as long as it is.
struct Delayed<'a>(&'a WorkerStats);

impl Delayed<'_> {
    fn begin(stats: &WorkerStats) -> Delayed<'_> {
        stats.faults_delayed.up();
        Delayed(stats)
    }
}

impl Drop for Delayed<'_> {
    fn drop(&mut self) {
        self.0.faults_delayed.down();
    }
}
