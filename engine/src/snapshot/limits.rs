//! Plans of limits: what is decided by them on each worker, and what a route's requests count as.

use std::sync::Arc;

use ringway_config::model::{self, Missing, RateLimit, Tell, Unsure};

use super::key_plan;
use crate::key::KeyPlan;
use crate::limits::gcra::Rate;
use crate::limits::limiter::{Spec, What, id_of};
use crate::limits::{fields, fleet};
use crate::routing::RouteRule;

/// Place of a limit in [`super::Snapshot::limits`]; changes with every snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitId(pub u32);

/// One limit.
#[derive(Clone, Debug)]
pub struct LimitPlan {
    /// Unique among its kind; what state that outlives a snapshot is keyed by.
    pub name: Arc<str>,
    /// Of its name.
    pub id: u64,
    /// What workers decide by.
    pub spec: Spec,
    /// Nothing is refused.
    pub dry_run: bool,
    /// What becomes of requests that lack a part of the key.
    pub missing: MissingKey,
    /// What is told in `RateLimit` and `RateLimit-Policy`, where they are.
    pub tells: Option<fields::Texts>,
    /// `X-RateLimit-*` are told.
    pub tells_x: bool,
    /// Which fleet counts it.
    pub fleet: Option<Arc<str>>,
    /// The rate as it was written: so many in so many seconds. Of requests at once: 0 seconds.
    pub quota: (u32, u64),
}

/// What becomes of requests that lack a part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// They are one key.
    Together,
    /// They are not limited.
    Pass,
    /// They are refused.
    Deny,
}

/// A limit as a route has it.
#[derive(Clone, Debug)]
pub struct RouteLimit {
    /// Which.
    pub limit: LimitId,
    /// What its requests are told apart by.
    pub key: KeyPlan,
    /// What they cost, by method; the last, without a name, for any other.
    pub costs: Box<[(Box<[u8]>, u32)]>,
    /// Where responses tell what they cost in all; lower case.
    pub cost_header: Option<Box<[u8]>>,
}

impl LimitPlan {
    /// It limits requests at once.
    #[inline]
    pub fn is_at_once(&self) -> bool {
        matches!(self.spec.what, What::AtOnce(_))
    }

    /// `rate` or `concurrency`.
    pub fn kind(&self) -> &'static str {
        match self.spec.what {
            What::Rate(_) => "rate",
            What::AtOnce(_) => "concurrency",
        }
    }
}

impl RouteLimit {
    /// What a request of this method costs.
    #[inline]
    pub fn cost(&self, method: &[u8]) -> u32 {
        match &*self.costs {
            [(_, cost)] => *cost,
            costs => {
                let of = |(name, _): &&(Box<[u8]>, u32)| name.is_empty() || **name == *method;
                costs.iter().find(of).map_or(1, |(_, cost)| *cost)
            }
        }
    }
}

/// All limits: those of rates, and then those of requests at once in the order of their routes.
pub(super) fn plans(config: &model::Config) -> Box<[LimitPlan]> {
    let rates = config.rate_limits.iter().map(|limit| rate_plan(limit, config));
    let at_once = config.routes.iter().flat_map(|route| &route.concurrency_limits);
    rates.chain(at_once.map(at_once_plan)).collect()
}

/// Those that a route's requests meet. `first_at_once` is the place of its first limit of requests at once.
pub(super) fn of_route(
    config: &model::Config,
    route: &model::Route,
    rule: &RouteRule,
    first_at_once: usize,
) -> Box<[RouteLimit]> {
    let rates = route.rate_limits.iter().filter_map(|id| {
        let limit = config.rate_limits.get(id.0 as usize)?;
        let methods = limit.cost.methods.iter().map(|(method, cost)| (method.as_bytes().into(), *cost));
        Some(RouteLimit {
            limit: LimitId(id.0),
            key: key_plan(&limit.by.per, rule, &route.name),
            costs: methods.chain([(Box::default(), limit.cost.other)]).collect(),
            cost_header: limit.cost_header.as_ref().map(|name| name.as_bytes().into()),
        })
    });
    let at_once = route.concurrency_limits.iter().enumerate().map(|(place, limit)| RouteLimit {
        limit: LimitId((config.rate_limits.len() + first_at_once + place) as u32),
        key: key_plan(&limit.by.per, rule, &route.name),
        costs: [(Box::default(), 1)].into(),
        cost_header: None,
    });
    // Requests at once last: who is refused by a rate has not entered.
    rates.chain(at_once).collect()
}

/// Response headers that clients don't get.
pub(super) fn hidden_headers<'c>(
    config: &'c model::Config,
    route: &'c model::Route,
) -> impl Iterator<Item = &'c String> {
    let limits = route.rate_limits.iter().filter_map(|id| config.rate_limits.get(id.0 as usize));
    limits.filter(|limit| !limit.cost_header_pass).filter_map(|limit| limit.cost_header.as_ref())
}

/// What a worker waits longer for an answer than whoever asks for it: letters take a moment.
const FLEET_GRACE_NS: u64 = 5_000_000;

/// How a limit is leased from its fleet.
fn fleet_terms(fleet: &model::Fleet, rate: Rate) -> fleet::Terms {
    let wait_ns = fleet.timeout.as_nanos() as u64 + FLEET_GRACE_NS;
    fleet::Terms { batch: fleet::batch(rate), wait_ns }
}

fn rate_plan(limit: &RateLimit, config: &model::Config) -> LimitPlan {
    let period_ns = u64::try_from(limit.rate.period.as_nanos()).unwrap_or(u64::MAX);
    let rate = Rate::new(limit.rate.count, period_ns, limit.burst);
    let what = What::Rate(rate);
    let own = plan(&limit.name, what, &limit.by);
    let quota = (limit.rate.count, limit.rate.period.as_secs());
    let tells = matches!(limit.tell, Tell::Fields | Tell::Both);
    let fleet = limit.fleet.as_ref().and_then(|name| config.fleets.iter().find(|one| one.name == *name));
    LimitPlan {
        fleet: fleet.map(|fleet| fleet.name.as_str().into()),
        spec: Spec { fleet: fleet.map(|fleet| fleet_terms(fleet, rate)), ..own.spec },
        tells: tells.then(|| fields::Texts::new(&limit.name, quota)),
        tells_x: matches!(limit.tell, Tell::XFields | Tell::Both),
        quota,
        ..own
    }
}

fn at_once_plan(limit: &model::ConcurrencyLimit) -> LimitPlan {
    plan(&limit.name, What::AtOnce(limit.requests), &limit.by)
}

fn plan(name: &str, what: What, by: &model::LimitBy) -> LimitPlan {
    let spec = Spec {
        what,
        keys: by.keys as usize,
        unsure_allowed: by.when_unsure.map(|unsure| unsure == Unsure::Allow),
        wait_ns: by.wait.as_nanos() as u64,
        fleet: None,
    };
    LimitPlan {
        name: name.into(),
        id: id_of(&spec, name),
        spec,
        dry_run: by.dry_run,
        missing: match by.missing {
            Missing::Together => MissingKey::Together,
            Missing::Pass => MissingKey::Pass,
            Missing::Deny => MissingKey::Deny,
        },
        fleet: None,
        tells: None,
        tells_x: false,
        quota: (0, 0),
    }
}
