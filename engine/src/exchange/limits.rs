//! What limits say of a request: on the line after `route`, before anything is done for it.
//!
//! All of a route's limits must let it pass; of one that is refused, what others had taken is given back. What was let in
//! where requests at once are limited is given back when the exchange is over, however it ends, or with its tunnel.

use std::rc::Rc;

use super::balancing::key_input;
use super::seen::LimitSeen;
use super::{Exchange, Stop};
use crate::http1::Response;
use crate::limits::fields;
use crate::limits::gcra::Left;
use crate::limits::limiter::{Decision, Limit, Taken, Ticket};
use crate::limits::node::Node;
use crate::limits::shard::Key;
use crate::local_reply::LocalReply;
use crate::reason::Reason;
use crate::routing::RouteId;
use crate::snapshot::{LimitId, LimitPlan, MissingKey, RouteLimit};
use crate::worker::{Current, Scratch};

/// Of requests that lack a part of a limit's key.
const MISSING: Key = 0x5241_5445_4c49_4d49_5420_4d49_5353_494e;

/// What was taken of a rate.
pub(crate) struct Held {
    limit: LimitId,
    /// Where the service tells what it cost in all: the limit's place among the route's.
    settles: Option<u8>,
    key: Key,
    cost: u32,
    decision: Decision,
}

/// One of so many requests at once, for as long as it is kept.
pub(crate) struct Permit {
    node: Rc<Node>,
    limit: Rc<Limit>,
    key: Key,
    decision: Decision,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.node.give_back(&self.limit, self.key, 1, &self.decision);
    }
}

/// What a limit is asked for a request.
struct Asking<'a> {
    plan: &'a LimitPlan,
    limit: &'a Rc<Limit>,
    key: Key,
    cost: u32,
}

/// Lets the request pass, or not.
pub(super) async fn admit(x: &mut Exchange<'_>, scratch: &mut Scratch, route: RouteId) -> Result<(), Stop> {
    let current = x.current.clone();
    let limits = &current.snapshot.route(route).limits;
    for (place, of) in limits.iter().enumerate() {
        let asking = match ask(x, scratch, &current, of) {
            Ok(Some(asking)) => asking,
            Ok(None) => continue,
            Err(left) => return Err(refused(x, scratch, &current, of.limit, left)),
        };
        let taken = {
            let input = key_input(x, scratch);
            let values = || of.key.values(&input).unwrap_or_default();
            x.worker.limits.take(asking.limit, asking.key, asking.cost, &values)
        };
        let decision = match taken {
            Taken::Now(decision) => decision,
            Taken::Later(ticket) => later(x, &asking, ticket).await,
        };
        let Asking { plan, limit, key, cost } = asking;
        match (decision.allowed, plan.dry_run) {
            (true, _) => limit.counters.allowed.increment(),
            (false, true) => {
                x.seen.limit = LimitSeen::new(of.limit);
                limit.counters.dry_run.increment();
            }
            (false, false) => {
                limit.counters.limited.increment();
                return Err(refused(x, scratch, &current, of.limit, decision.left));
            }
        }
        if !plan.is_at_once() {
            let settles = of.cost_header.is_some().then_some(place as u8);
            scratch.held.push(Held { limit: of.limit, settles, key, cost, decision });
        } else if decision.allowed {
            // Kept from now on, whatever becomes of the exchange.
            let (node, limit) = (x.worker.limits.clone(), limit.clone());
            scratch.permits.push(Permit { node, limit, key, decision });
        }
    }
    tell(x, scratch, &current);
    Ok(())
}

/// A service told in its response what the request cost in all.
pub(super) fn settle(x: &Exchange<'_>, scratch: &Scratch, route: RouteId, bytes: &[u8]) {
    for held in &scratch.held {
        let Some(place) = held.settles else { continue };
        let of = &x.current.snapshot.route(route).limits[usize::from(place)];
        let response = Response { bytes, head: &scratch.response };
        let told = of.cost_header.as_deref().and_then(|name| response.get(name));
        let Some(cost) = told.and_then(cost) else { continue };
        let limit = &x.current.limits[held.limit.0 as usize];
        x.worker.limits.debit(limit, held.key, cost.saturating_sub(held.cost), &held.decision);
    }
}

/// Digits and nothing else; what is more than a million counts as that.
fn cost(value: &[u8]) -> Option<u32> {
    const COST_MAX: u32 = 1_000_000;
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    let number = || digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    is_number.then(|| number().min(u64::from(COST_MAX)) as u32)
}

async fn later(x: &Exchange<'_>, asking: &Asking<'_>, ticket: Ticket) -> Decision {
    x.worker.limits.decided(asking.limit, asking.key, asking.cost, ticket).await
}

/// What a limit is asked; `None`: it is not for this request. `Err`: the request lacks a part of the key, which it must not.
fn ask<'c>(
    x: &Exchange<'_>,
    scratch: &Scratch,
    current: &'c Current,
    of: &RouteLimit,
) -> Result<Option<Asking<'c>>, Left> {
    let plan = &current.snapshot.limits[of.limit.0 as usize];
    let limit = &current.limits[of.limit.0 as usize];
    let cost = of.cost(x.request().method());
    if cost == 0 && of.cost_header.is_none() {
        return Ok(None);
    }
    let key = of.key.hash(&key_input(x, scratch), x.worker.limits.seed());
    let key = match (key, plan.missing) {
        (Some(key), _) => key,
        (None, MissingKey::Together) => MISSING,
        (None, MissingKey::Pass) => return Ok(None),
        (None, MissingKey::Deny) if plan.dry_run => {
            limit.counters.dry_run.increment();
            return Ok(None);
        }
        (None, MissingKey::Deny) => {
            limit.counters.limited.increment();
            return Err(Left::default());
        }
    };
    // The same key of another limit has another home.
    let key = key ^ (u128::from(plan.id) << 64 | u128::from(plan.id.rotate_left(32)));
    Ok(Some(Asking { plan, limit, key, cost }))
}

/// One of the limits refuses: the others have nothing to do with the request.
#[cold]
fn refused(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    current: &Current,
    limit: LimitId,
    left: Left,
) -> Stop {
    for held in &scratch.held {
        let limit = &current.limits[held.limit.0 as usize];
        x.worker.limits.give_back(limit, held.key, held.cost, &held.decision);
    }
    x.seen.limit = LimitSeen::new(limit);
    let plan = &current.snapshot.limits[limit.0 as usize];
    let decision = Decision { left, ..Decision::default() };
    scratch.held.push(Held { limit, settles: None, key: MISSING, cost: 0, decision });
    tell(x, scratch, current);
    scratch.held.clear();
    scratch.permits.clear();
    let reason = if plan.is_at_once() { Reason::ConcurrencyLimited } else { Reason::RateLimited };
    let seconds = u32::try_from(fields::seconds(left)).unwrap_or(u32::MAX).max(1);
    Stop::Reply(LocalReply::from(reason).retry_after(seconds))
}

/// Tells the client what it has left of the limits that it met.
fn tell(x: &mut Exchange<'_>, scratch: &Scratch, current: &Current) {
    let plans = &current.snapshot.limits;
    let met = scratch.held.iter().map(|held| (&plans[held.limit.0 as usize], held.decision.left));
    fields::put(&mut x.seen.lines, met);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_response_says_it_cost_is_a_number_or_nothing() {
        for (value, is) in
            [("5", Some(5)), (" 17 ", Some(17)), ("0", Some(0)), ("99999999999", Some(1_000_000))]
        {
            assert_eq!(cost(value.as_bytes()), is);
        }
        for value in ["", "-1", "1.5", "five", "1 2", "9999999999999999999999999"] {
            assert_eq!(cost(value.as_bytes()), None, "{value}");
        }
    }
}
