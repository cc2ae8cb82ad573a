//! `services.X.health` and `services.X.eject`, as they are written.

use serde_json::{Value, json};

use crate::decode::multiple_text;
use crate::model::{CheckBy, Eject, EjectMode, Health};
use crate::units::{duration_text, share_text};

pub(super) fn health(health: &Health) -> Value {
    let mut shown = json!({
        "interval": duration_text(health.interval),
        "jitter": share_text(health.jitter),
        "timeout": duration_text(health.timeout),
        "healthy": health.healthy,
        "unhealthy": health.unhealthy,
    });
    match &health.by {
        CheckBy::Grpc(service) => shown["grpc"] = json!(service),
        CheckBy::Tcp => shown["tcp"] = json!({}),
        CheckBy::Http(http) => {
            let status = |(first, last): &(u16, u16)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let statuses: Vec<String> = http.statuses.iter().map(status).collect();
            let mut asked = json!({ "path": http.path, "status": statuses });
            if let Some(body) = &http.body {
                asked["body"] = json!(body);
            }
            if let Some(host) = &http.host {
                asked["host"] = json!(host);
            }
            shown["http"] = asked;
        }
    }
    shown
}

pub(super) fn eject(eject: &Eject) -> Value {
    let mut shown = json!({
        "consecutive": eject.consecutive,
        "success": share_text(eject.success),
        "interval": duration_text(eject.interval),
        "requests": eject.requests,
        "base": duration_text(eject.base),
        "max": duration_text(eject.max),
        "share": share_text(eject.share),
        "mode": match eject.mode { EjectMode::Enforce => "enforce", EjectMode::Observe => "observe" },
    });
    if let Some(latency) = eject.latency {
        shown["latency"] = json!(multiple_text(latency));
    }
    shown
}
