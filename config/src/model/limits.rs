//! What limits requests.

use std::time::Duration;

use super::KeySource;

/// Index into [`Config::rate_limits`](super::Config::rate_limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RateLimitId(pub u32);

/// So many in a time: `100/s`, `5/min`, `10000/day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// A second, minute, hour or day.
    pub period: Duration,
}

/// One of `rate_limits`, or what a route says itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Unique among them.
    pub name: String,
    /// It stands in `rate_limits`; else in the one route that has it.
    pub shared: bool,
    /// How many of a key.
    pub rate: Rate,
    /// How many at once; default the rate's count.
    pub burst: u32,
    /// What a request costs.
    pub cost: Cost,
    /// Responses tell in it what the request cost in all; lower case.
    pub cost_header: Option<String>,
    /// The client gets that header too (default false).
    pub cost_header_pass: bool,
    /// What responses tell.
    pub tell: Tell,
    /// Which of `fleets` counts it; `None`: the node.
    pub fleet: Option<String>,
    /// Whom it tells apart, and what for.
    pub by: LimitBy,
}

/// What limits of rates and of requests at once have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitBy {
    /// Empty: all requests are counted together.
    pub per: Vec<KeySource>,
    /// What becomes of requests that lack a part of the key.
    pub missing: Missing,
    /// Keys told apart on the node (default 100 000).
    pub keys: u32,
    /// Count and log, let through (default false).
    pub dry_run: bool,
    /// When the key's home core does not answer in time; `None`: deny where each request is decided at home, else allow.
    pub when_unsure: Option<Unsure>,
    /// For the home core's answer (default 1 ms).
    pub wait: Duration,
}

/// What a request costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Of methods that are not named (default 1).
    pub other: u32,
    /// By method.
    pub methods: Vec<(String, u32)>,
}

/// `missing`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Missing {
    /// They are counted together, as one key (default).
    #[default]
    Together,
    /// They are not limited.
    Pass,
    /// They are refused.
    Deny,
}

/// `when_unsure`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsure {
    /// Let through; it is owed.
    Allow,
    /// Refuse.
    Deny,
}

/// `tell`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tell {
    /// `RateLimit` and `RateLimit-Policy` (default).
    #[default]
    Fields,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    XFields,
    /// All of them.
    Both,
    /// Nothing.
    Nothing,
}

/// `routes[].concurrency_limit`
#[derive(Clone, Debug, PartialEq)]
pub struct ConcurrencyLimit {
    /// Unique among them.
    pub name: String,
    /// At once, of a key.
    pub requests: u32,
    /// Whom it tells apart, and what for.
    pub by: LimitBy,
}
