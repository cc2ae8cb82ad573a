//! Faults as they are shown.

use serde_json::{Map, Value, json};

use super::conditions;
use crate::model::Fault;
use crate::time;
use crate::units::{duration_text, share_text};

/// One of `routes[].faults`
pub(super) fn fault(fault: &Fault) -> Value {
    let mut shown = Map::new();
    if let Some(delay) = fault.delay {
        shown.insert("delay".into(), json!(duration_text(delay)));
    }
    if let Some(abort) = fault.abort {
        shown.insert("abort".into(), json!(abort.text()));
    }
    shown.insert("share".into(), json!(share_text(fault.share)));
    if !fault.headers.is_empty() {
        shown.insert("headers".into(), conditions(&fault.headers));
    }
    shown.insert("until".into(), json!(time::text(fault.until)));
    Value::Object(shown)
}
