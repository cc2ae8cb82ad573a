//! `rate_limits`, and `rate_limit` and `concurrency_limit` of routes.

use std::collections::HashMap;
use std::time::Duration;

use crate::describe::tables;
use crate::diagnostic::{Diagnostic, Place};
use crate::model::{
    ConcurrencyLimit, Cost, KeySource, LimitBy, Missing, Rate, RateLimit, RateLimitId, Tell, Unsure,
};
use crate::tree::{Node, Value};
use crate::units::{self, Problem, quoted};

use super::fields::{Fields, text_of};
use super::near::nearest;
use super::{Sink, headers, keys, name};

/// Limits of one route.
const OF_ROUTE_MAX: usize = 16;
/// Limits in `rate_limits`.
const SHARED_MAX: usize = 10_000;
/// Methods with a cost of their own.
const METHODS_MAX: usize = 32;
/// An empty bucket is full again within this.
const FILL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest wait for another core.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// All limits of a file, by name.
#[derive(Default)]
pub(super) struct Limits {
    pub rates: Vec<RateLimit>,
    places: HashMap<String, (RateLimitId, Place)>,
    used: Vec<bool>,
    at_once: HashMap<String, Place>,
}

impl Limits {
    /// `rate_limits`
    pub fn decode(config: &Fields<'_>, sink: &mut Sink) -> Limits {
        let mut limits = Limits::default();
        for (key, entry) in config.named("rate_limits", SHARED_MAX, sink) {
            let Some(fields) = Fields::open(&entry.value, &tables::RATE_LIMIT, sink) else { continue };
            if fields.has("name") {
                let message = "a limit in `rate_limits` is named by its key there";
                sink.push(Diagnostic::error("conflict", fields.key_place("name"), message));
            }
            match name(key) {
                Ok(name) => {
                    let limit = rate_limit(name, true, &fields, sink);
                    limits.add(limit, entry.key.place, sink);
                }
                Err(problem) => sink.problem(&entry.key, problem),
            }
        }
        limits
    }

    /// `rate_limit` of a route: a name, a limit, or a list of such.
    pub fn of_route(&mut self, route: &str, fields: &Fields<'_>, sink: &mut Sink) -> Vec<RateLimitId> {
        let mut ids = Vec::new();
        for (place, node) in items(fields, "rate_limit", sink).iter().enumerate() {
            let id = match &node.value {
                Value::Text(text) => self.named(text, node, sink),
                _ => Fields::open(node, &tables::RATE_LIMIT, sink).and_then(|fields| {
                    let (name, named_at) = own_name(route, place, &fields, node, sink);
                    let limit = rate_limit(name, false, &fields, sink);
                    self.add(limit, named_at, sink)
                }),
            };
            match id {
                Some(id) if ids.contains(&id) => {
                    let message = "this limit is in the list already";
                    sink.push(Diagnostic::warning("repeated", node.place, message));
                }
                id => ids.extend(id),
            }
        }
        ids
    }

    /// `concurrency_limit` of a route: a limit, or a list of such.
    pub fn at_once(&mut self, route: &str, fields: &Fields<'_>, sink: &mut Sink) -> Vec<ConcurrencyLimit> {
        let mut limits = Vec::new();
        for (place, node) in items(fields, "concurrency_limit", sink).iter().enumerate() {
            let Some(fields) = Fields::open(node, &tables::CONCURRENCY_LIMIT, sink) else { continue };
            let (name, named_at) = own_name(route, place, &fields, node, sink);
            match self.at_once.get(&name) {
                Some(first) => duplicate(&name, named_at, *first, sink),
                None => {
                    self.at_once.insert(name.clone(), named_at);
                    let requests = fields.integer("requests", sink);
                    limits.push(ConcurrencyLimit { name, requests, by: limit_by(&fields, sink) });
                }
            }
        }
        limits
    }

    /// Warns of limits that no route has.
    pub fn finish(self, sink: &mut Sink) -> Vec<RateLimit> {
        if !sink.has_errors() {
            for (limit, used) in self.rates.iter().zip(&self.used) {
                if let (false, Some((_, place))) = (used, self.places.get(&limit.name)) {
                    let message = format!("no route has the limit `{}`", limit.name);
                    sink.push(Diagnostic::warning("unused-limit", *place, message));
                }
            }
        }
        self.rates
    }

    fn named(&mut self, text: &str, node: &Node, sink: &mut Sink) -> Option<RateLimitId> {
        let shared = |(id, _): &&(RateLimitId, Place)| self.rates[id.0 as usize].shared;
        if let Some((id, _)) = self.places.get(text).filter(shared) {
            self.used[id.0 as usize] = true;
            return Some(*id);
        }
        let names = self.rates.iter().filter(|limit| limit.shared).map(|limit| limit.name.as_str());
        let problem = Problem::new("unknown-limit", format!("there is no limit {}", quoted(text)));
        let near = if sink.is_full() { None } else { nearest(text, names) };
        sink.problem(
            node,
            match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(
                    "define it in `rate_limits`, or write the limit here: `{ rate: 100/s, per: client_ip }`",
                ),
            },
        );
        None
    }

    fn add(&mut self, limit: RateLimit, place: Place, sink: &mut Sink) -> Option<RateLimitId> {
        if let Some((_, first)) = self.places.get(&limit.name) {
            duplicate(&limit.name, place, *first, sink);
            return None;
        }
        let id = RateLimitId(u32::try_from(self.rates.len()).unwrap_or(u32::MAX));
        self.places.insert(limit.name.clone(), (id, place));
        self.used.push(!limit.shared);
        self.rates.push(limit);
        Some(id)
    }
}

fn duplicate(name: &str, place: Place, first: Place, sink: &mut Sink) {
    let diagnostic = Diagnostic::error("duplicate-name", place, format!("two limits are named `{name}`"));
    sink.push(diagnostic.related(first, "the first is here").help("give this one a `name` of its own"));
}

/// The field as a list; one is a list of one.
fn items<'n>(fields: &Fields<'n>, field: &str, sink: &mut Sink) -> &'n [Node] {
    match fields.node(field) {
        None => &[],
        Some(node) if matches!(node.value, Value::List(_)) => fields.list(field, OF_ROUTE_MAX, sink),
        Some(node) => std::slice::from_ref(node),
    }
}

fn own_name(route: &str, place: usize, fields: &Fields<'_>, node: &Node, sink: &mut Sink) -> (String, Place) {
    let default = if place == 0 { route.to_owned() } else { format!("{route}/{}", place + 1) };
    let named_at = if fields.has("name") { fields.value_place("name") } else { node.place };
    (fields.parsed("name", sink, |_, text| name(text)).unwrap_or(default), named_at)
}

fn rate_limit(name: String, shared: bool, fields: &Fields<'_>, sink: &mut Sink) -> RateLimit {
    let errors = sink.errors();
    let rate = fields.parsed("rate", sink, |_, text| units::quota(text));
    let rate = rate.unwrap_or(Rate { count: 1, period: Duration::from_secs(1) });
    let burst = if fields.has("burst") { fields.integer("burst", sink) } else { rate.count };
    let limit = RateLimit {
        name,
        shared,
        rate,
        burst,
        cost: cost(fields, sink),
        cost_header: fields.parsed("cost_header", sink, |_, text| headers::name(text)),
        cost_header_pass: fields.boolean("cost_header_pass", sink),
        tell: fields.chosen("tell", &[Tell::Fields, Tell::XFields, Tell::Both, Tell::Nothing], sink),
        fleet: super::fleets::named(fields, sink),
        by: limit_by(fields, sink),
    };
    if sink.errors() == errors {
        check(&limit, fields, sink);
    }
    limit
}

fn limit_by(fields: &Fields<'_>, sink: &mut Sink) -> LimitBy {
    let when_unsure = fields.has("when_unsure").then(|| fields.choice("when_unsure", sink)).flatten();
    let wait = fields.duration("wait", sink);
    if let Some(node) = fields.node("wait").filter(|_| wait > WAIT_MAX) {
        let message = format!("requests wait {} at most", units::duration_text(WAIT_MAX));
        sink.problem(node, Problem::new("out-of-range", message));
    }
    LimitBy {
        per: keys::keys(fields, "per", sink),
        missing: fields.chosen("missing", &[Missing::Together, Missing::Pass, Missing::Deny], sink),
        keys: fields.integer("keys", sink),
        dry_run: fields.boolean("dry_run", sink),
        when_unsure: when_unsure.map(|place| if place == 0 { Unsure::Allow } else { Unsure::Deny }),
        wait,
    }
}

/// What is right in itself and makes no sense together.
fn check(limit: &RateLimit, fields: &Fields<'_>, sink: &mut Sink) {
    let dearest =
        limit.cost.methods.iter().map(|(_, cost)| *cost).chain([limit.cost.other]).max().unwrap_or(1);
    if dearest > limit.burst {
        let message = format!("a request that costs {dearest} never passes a burst of {}", limit.burst);
        let diagnostic = Diagnostic::error("never-passes", fields.value_place("cost"), message);
        sink.push(diagnostic.help(format!("write `burst: {dearest}` or more, or a lower cost")));
    }
    let interval = limit.rate.period / limit.rate.count;
    if interval.saturating_mul(limit.burst) > FILL_MAX {
        let message = format!("a burst of {} takes more than 30 days to come again", limit.burst);
        let place =
            if fields.has("burst") { fields.value_place("burst") } else { fields.value_place("rate") };
        sink.push(Diagnostic::error("out-of-range", place, message).help("write a smaller burst"));
    }
    if dearest == 0 {
        let diagnostic =
            Diagnostic::warning("no-effect", fields.value_place("cost"), "what costs nothing is not limited");
        sink.push(match limit.cost_header {
            None => diagnostic,
            Some(_) => diagnostic.help("write `cost: 1`: only then does what `cost_header` tells count"),
        });
    }
    if limit.cost_header.is_none() && fields.has("cost_header_pass") {
        let message = "`cost_header_pass` says nothing without `cost_header`";
        sink.push(Diagnostic::warning("no-effect", fields.key_place("cost_header_pass"), message));
    }
    if limit.by.per.contains(&KeySource::Path) {
        let message = "each path is a key of its own here, and clients choose paths";
        let diagnostic = Diagnostic::warning("many-keys", fields.value_place("per"), message);
        sink.push(diagnostic.help("write `path_template`, which is one key for each route"));
    }
}

fn cost(fields: &Fields<'_>, sink: &mut Sink) -> Cost {
    const MIN: u64 = 0;
    const MAX: u64 = 100_000;
    let mut cost = Cost { other: 1, methods: Vec::new() };
    let Some(node) = fields.node("cost") else { return cost };
    let words = || format!("a whole number, {MIN} to {MAX}");
    let number = |node: &Node, sink: &mut Sink| {
        let text = text_of(node, &words(), sink)?;
        match units::integer(text, MIN, MAX) {
            Ok(cost) => u32::try_from(cost).ok(),
            Err(problem) => {
                sink.problem(node, problem);
                None
            }
        }
    };
    match &node.value {
        Value::Text(_) => cost.other = number(node, sink).unwrap_or(1),
        Value::Map(_) => {
            for (method, entry) in fields.named("cost", METHODS_MAX, sink) {
                let Some(of_method) = number(&entry.value, sink) else { continue };
                if method == "other" {
                    cost.other = of_method;
                } else if headers::is_token(method) {
                    cost.methods.push((method.to_owned(), of_method));
                } else {
                    let message = format!("{} is not a method", quoted(method));
                    sink.problem(&entry.key, Problem::new("bad-method", message));
                }
            }
        }
        _ => drop(text_of(node, "a number, or methods with their numbers", sink)),
    }
    cost
}
