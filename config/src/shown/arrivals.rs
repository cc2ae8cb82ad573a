//! How often connections and datagrams may come, as it is shown.

use serde_json::{Value, json};

use crate::model::{ArrivalRate, ClientRate, KeySource};
use crate::units::quota_text;

/// `udp.rate`
pub(super) fn rate(rate: &ArrivalRate) -> Value {
    json!({ "rate": quota_text(rate.rate), "burst": rate.burst })
}

/// `client_rate`
pub(super) fn client_rate(rate: &ClientRate) -> Value {
    let per = KeySource::ClientIp { v4_bits: rate.v4_bits, v6_bits: rate.v6_bits };
    json!({
        "rate": quota_text(rate.rate.rate),
        "burst": rate.rate.burst,
        "per": crate::decode::key_text(&per),
    })
}
