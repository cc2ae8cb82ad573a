//! What goes with `balance`, where endpoints stand, and splits, as they are shown.

use serde_json::{Map, Value, json};

use super::REDACTED;
use crate::decode::{endpoint_text, key_text};
use crate::model::{Balance, Config, Endpoint, KeySource, Labels, Part, Service};
use crate::units::{duration_text, share_text};

/// One endpoint.
pub(super) fn endpoint(endpoint: &Endpoint) -> Value {
    let position = &endpoint.position;
    let mut shown = Map::new();
    shown.insert("address".into(), json!(endpoint_text(&endpoint.address)));
    shown.insert("weight".into(), json!(endpoint.weight));
    if position.priority > 0 {
        shown.insert("priority".into(), json!(position.priority));
    }
    if let Some(zone) = &position.zone {
        shown.insert("zone".into(), json!(zone));
    }
    if !position.labels.is_empty() {
        shown.insert("labels".into(), labels(&position.labels));
    }
    Value::Object(shown)
}

/// `balance` and what goes with it.
pub(super) fn balancing(service: &Service, shown: &mut Map<String, Value>) {
    let balancing = &service.balancing;
    let balance = match service.balance {
        Balance::RoundRobin => "round_robin",
        Balance::LeastRequest => "least_request",
        Balance::PeakEwma => "peak_ewma",
        Balance::Random => "random",
        Balance::RingHash => "ring_hash",
        Balance::Maglev => "maglev",
    };
    shown.insert("balance".into(), json!(balance));
    if matches!(service.balance, Balance::RingHash | Balance::Maglev) {
        shown.insert("hash_by".into(), keys(&balancing.hash_by));
        let load = balancing.hash_load.map_or("none".to_owned(), |percent| format!("{percent}%"));
        shown.insert("hash_load".into(), json!(load));
    }
    let slow_start = balancing.slow_start.map_or("none".to_owned(), duration_text);
    shown.insert("slow_start".into(), json!(slow_start));
    shown.insert("panic".into(), json!(share_text(balancing.panic)));
    if let Some(sticky) = &balancing.sticky {
        let ttl = sticky.ttl.map_or("session".to_owned(), duration_text);
        let mut value = json!({ "cookie": sticky.cookie, "ttl": ttl });
        if !sticky.secret.is_empty() {
            value["secret"] = json!(REDACTED);
        }
        shown.insert("sticky".into(), value);
    }
}

/// Services, weights and subsets.
pub(super) fn split(split: &[Part], config: &Config) -> Value {
    let part = |part: &Part| {
        let service = config.services.get(part.service.0 as usize)?;
        let mut shown = json!({ "service": service.name, "weight": part.weight });
        if !part.subset.is_empty() {
            shown["subset"] = labels(&part.subset);
        }
        Some(shown)
    };
    split.iter().filter_map(part).collect()
}

/// A key, as a list.
pub(super) fn keys(keys: &[KeySource]) -> Value {
    keys.iter().map(|key| json!(key_text(key))).collect()
}

fn labels(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}
