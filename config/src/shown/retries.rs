//! What is sent more than once, as it is shown.

use serde_json::{Map, Value, json};

use crate::decode::condition_text;
use crate::model::{Config, Forward, HedgeAfter, RetryBudget};
use crate::units::{duration_text, share_text, size_text};

/// `retries`, `hedge` and `mirror` of a route that has them.
pub(super) fn route(forward: &Forward, config: &Config, shown: &mut Map<String, Value>) {
    if let Some(retries) = &forward.retries {
        let value = json!({
            "attempts": retries.attempts,
            "when": retries.when.iter().map(|one| condition_text(*one)).collect::<Vec<_>>(),
            "per_try_timeout": retries.per_try_timeout.map_or("none".to_owned(), duration_text),
            "backoff": duration_text(retries.backoff),
            "backoff_max": duration_text(retries.backoff_max),
            "buffer": size_text(u64::from(retries.buffer)),
            "unsafe": retries.unsafe_too,
        });
        shown.insert("retries".into(), value);
    }
    if let Some(hedge) = &forward.hedge {
        let after = match hedge.after {
            HedgeAfter::Share(share) => share_text(share),
            HedgeAfter::Time(time) => duration_text(time),
        };
        shown.insert("hedge".into(), json!({ "after": after, "at_least": duration_text(hedge.at_least) }));
    }
    if let Some(mirror) = &forward.mirror {
        let value = json!({
            "service": config.services.get(mirror.service.0 as usize).map(|service| &service.name),
            "share": share_text(mirror.share),
            "concurrency": mirror.concurrency,
            "body": size_text(u64::from(mirror.body)),
        });
        shown.insert("mirror".into(), value);
    }
}

/// `retry_budget` of a service.
pub(super) fn budget(budget: &RetryBudget) -> Value {
    let floor = if budget.floor == 0 { "none".to_owned() } else { format!("{}/s", budget.floor) };
    json!({ "share": share_text(budget.share), "floor": floor })
}
