//! Where an exchange goes and what of it decides who gets it: its key, its cookie. Between routing and `balance`.

use super::{Exchange, decide};
use crate::balance::Asked;
use crate::forwarded::Scheme;
use crate::key::{self, KeyInput, STABLE};
use crate::snapshot::{ForwardPlan, ListenerPlan, Part, SPLIT_SEED, ServicePlan, Split};
use crate::upstream::{Lent, Service};
use crate::worker::Scratch;

/// The part of a split that the request goes to: by its key where it has one, else by chance.
pub(super) fn part(x: &Exchange<'_>, scratch: &Scratch, to: &ForwardPlan, split: &Split) -> Part {
    if !split.is_split() {
        return split.pick(0);
    }
    if !to.split_by.is_empty()
        && let Some(hash) = to.split_by.hash(&key_input(x, scratch), &SPLIT_SEED)
    {
        return split.pick_by(hash as u64);
    }
    split.pick(x.worker.random.borrow_mut().u32(..))
}

/// What is asked of a service's balancer for this exchange.
pub(super) fn ask(
    x: &Exchange<'_>,
    scratch: &Scratch,
    service: &Service,
    plan: &ServicePlan,
    view: u32,
) -> Asked {
    let mut asked = Asked { view, ..Asked::default() };
    let balancing = &plan.balancing;
    if !balancing.hash_by.is_empty() {
        let hash = balancing.hash_by.hash(&key_input(x, scratch), &STABLE);
        asked.hash = hash.map(|hash| hash as u64);
    }
    if let Some(sticky) = &balancing.sticky {
        let value = key::cookie(&x.request(), &sticky.cookie);
        asked.stick = value.and_then(|value| service.stick(value));
    }
    asked
}

/// Leads the client back to who has answered, where its service wants that and it did not come from there.
pub(super) fn stick(
    x: &mut Exchange<'_>,
    asked: &Asked,
    plan: &ServicePlan,
    listener: &ListenerPlan,
    lent: &Lent,
) {
    if plan.balancing.sticky.is_none() || asked.stick == Some(lent.slot) {
        return;
    }
    let claims = decide::claims(&x.request(), x.connection.peer.get(), listener);
    let secure = match claims.and_then(|claims| claims.scheme()) {
        Some(scheme) => scheme == Scheme::Https,
        None => x.connection.link().is_tls(),
    };
    lent.put_cookie(secure, &mut x.seen.lines);
}

pub(super) fn key_input<'a>(x: &'a Exchange<'_>, scratch: &'a Scratch) -> KeyInput<'a> {
    let request = x.request();
    KeyInput {
        request,
        path: decide::path_of(&request, scratch),
        client: x.seen.client.or(x.connection.peer.get()),
    }
}
