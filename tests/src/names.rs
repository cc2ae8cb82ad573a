//! Names the tests rely on that users see too: metrics, exit codes. One place to look when one of them changes.

/// Rises by one with each configuration that was applied.
pub const CONFIG_GENERATION: &str = "ringway_config_generation";
/// Counts reloads that did not work.
pub const CONFIG_RELOAD_FAILURES: &str = "ringway_config_reload_failures_total";
/// Requests answered, by route, service and status class.
pub const REQUESTS: &str = "ringway_http_requests_total";
/// Local replies, by reason.
pub const LOCAL_REPLIES: &str = "ringway_local_replies_total";
/// Downstream connections open now.
pub const CONNECTIONS: &str = "ringway_connections_active";
/// Exit code of a configuration that does not stand (`EX_CONFIG`).
pub const EXIT_CONFIG: i32 = 78;
