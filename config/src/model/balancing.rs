//! How endpoints are picked beyond the policy, and how services are split, as configured.

use std::time::Duration;

use super::{KeySource, ServiceId};

/// Labels of an endpoint, or those a subset asks for: names and values, sorted by name.
pub type Labels = Vec<(String, String)>;

/// What goes with `services.X.balance`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// What `ring_hash` and `maglev` hash; empty for others.
    pub hash_by: Vec<KeySource>,
    /// Percent of the mean load beyond which a key's endpoint is passed over (default 125); `None` is never.
    pub hash_load: Option<u16>,
    /// How long an endpoint that is new, or back, warms up; `None` is not at all (default).
    pub slow_start: Option<Duration>,
    /// Part of a million of usable endpoints below which all are picked again (default 500 000).
    pub panic: u32,
    /// A cookie that leads a client back to who answered it.
    pub sticky: Option<Sticky>,
}

/// `services.X.sticky`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// How long the client keeps it; `None`: for its session.
    pub ttl: Option<Duration>,
    /// What its values are made with, beside the address; empty: nothing.
    pub secret: String,
}

/// Where an endpoint stands among its siblings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Lower levels are asked first (0 to 127; default 0).
    pub priority: u8,
    /// Where it is.
    pub zone: Option<String>,
    /// What subsets ask for.
    pub labels: Labels,
}

/// One of `routes[].to`, and of a listener's
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which service.
    pub service: ServiceId,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// Only its endpoints with these labels; empty: all of them.
    pub subset: Labels,
}

impl Part {
    /// A service as a whole.
    pub fn whole(service: ServiceId) -> Part {
        Part { service, weight: 1, subset: Labels::new() }
    }

    /// It goes to the same endpoints.
    pub fn is_same(&self, other: &Part) -> bool {
        self.service == other.service && self.subset == other.subset
    }
}

/// A subset as one reads it: `version=v2, track=canary`.
pub fn labels_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}
