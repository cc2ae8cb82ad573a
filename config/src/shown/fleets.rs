//! `fleets` as they are shown: of a password only that there is one.

use serde_json::{Map, Value, json};

use crate::model::{Fleet, FleetStore, RedisAt};
use crate::units::duration_text;

use super::REDACTED;

/// One of `fleets`
pub(super) fn fleet(fleet: &Fleet) -> Value {
    let mut shown = Map::new();
    match &fleet.store {
        FleetStore::Redis(redis) => {
            shown.insert("redis".into(), json!(redis.url()));
            if redis.password.is_some() {
                shown.insert("password".into(), json!(REDACTED));
            }
            if let RedisAt::Tcp { tls: Some(Some(ca)), .. } = &redis.at {
                shown.insert("ca".into(), json!(ca.file));
            }
            shown.insert("prefix".into(), json!(redis.prefix));
        }
        FleetStore::Rls(rls) => {
            shown.insert("rls".into(), json!(rls.authority()));
            shown.insert("domain".into(), json!(rls.domain));
        }
    }
    shown.insert("timeout".into(), json!(duration_text(fleet.timeout)));
    Value::Object(shown)
}
