//! Limits as they are shown.

use serde_json::{Map, Value, json};

use crate::decode::key_text;
use crate::model::{ConcurrencyLimit, Config, LimitBy, Missing, RateLimit, Route, Tell, Unsure};
use crate::units::{duration_text, quota_text};

/// `rate_limits`, where there are any.
pub(super) fn shared(config: &Config, shown: &mut Map<String, Value>) {
    let shared = config.rate_limits.iter().filter(|limit| limit.shared);
    let limits: Map<String, Value> = shared.map(|limit| (limit.name.clone(), rate_limit(limit))).collect();
    if !limits.is_empty() {
        shown.insert("rate_limits".into(), Value::Object(limits));
    }
}

/// What a route says of limits.
pub(super) fn of_route(route: &Route, config: &Config, shown: &mut Map<String, Value>) {
    let limits: Vec<Value> = route
        .rate_limits
        .iter()
        .filter_map(|id| config.rate_limits.get(id.0 as usize))
        .map(|limit| match limit.shared {
            true => json!(limit.name),
            false => named(&limit.name, rate_limit(limit)),
        })
        .collect();
    if !limits.is_empty() {
        shown.insert("rate_limit".into(), Value::Array(limits));
    }
    let limits: Vec<Value> =
        route.concurrency_limits.iter().map(|limit| named(&limit.name, at_once(limit))).collect();
    if !limits.is_empty() {
        shown.insert("concurrency_limit".into(), Value::Array(limits));
    }
}

fn named(name: &str, limit: Value) -> Value {
    let mut shown = Map::new();
    shown.insert("name".into(), json!(name));
    if let Value::Object(limit) = limit {
        shown.extend(limit);
    }
    Value::Object(shown)
}

fn rate_limit(limit: &RateLimit) -> Value {
    let mut shown = Map::new();
    shown.insert("rate".into(), json!(quota_text(limit.rate)));
    shown.insert("burst".into(), json!(limit.burst));
    let cost = if limit.cost.methods.is_empty() {
        json!(limit.cost.other)
    } else {
        let methods = limit.cost.methods.iter().map(|(method, cost)| (method.clone(), json!(cost)));
        Value::Object(methods.chain([("other".to_owned(), json!(limit.cost.other))]).collect())
    };
    shown.insert("cost".into(), cost);
    if let Some(fleet) = &limit.fleet {
        shown.insert("fleet".into(), json!(fleet));
    }
    if let Some(header) = &limit.cost_header {
        shown.insert("cost_header".into(), json!(header));
        shown.insert("cost_header_pass".into(), json!(limit.cost_header_pass));
    }
    let tell = match limit.tell {
        Tell::Fields => "ratelimit",
        Tell::XFields => "x-ratelimit",
        Tell::Both => "both",
        Tell::Nothing => "nothing",
    };
    shown.insert("tell".into(), json!(tell));
    by(&limit.by, &mut shown);
    Value::Object(shown)
}

fn at_once(limit: &ConcurrencyLimit) -> Value {
    let mut shown = Map::new();
    shown.insert("requests".into(), json!(limit.requests));
    by(&limit.by, &mut shown);
    Value::Object(shown)
}

fn by(by: &LimitBy, shown: &mut Map<String, Value>) {
    if !by.per.is_empty() {
        shown.insert("per".into(), json!(by.per.iter().map(key_text).collect::<Vec<_>>()));
    }
    let missing = match by.missing {
        Missing::Together => "together",
        Missing::Pass => "pass",
        Missing::Deny => "deny",
    };
    shown.insert("missing".into(), json!(missing));
    shown.insert("keys".into(), json!(by.keys));
    shown.insert("dry_run".into(), json!(by.dry_run));
    if let Some(unsure) = by.when_unsure {
        let unsure = if unsure == Unsure::Allow { "allow" } else { "deny" };
        shown.insert("when_unsure".into(), json!(unsure));
    }
    shown.insert("wait".into(), json!(duration_text(by.wait)));
}
