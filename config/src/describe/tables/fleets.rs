//! The table of `fleets`.

use crate::describe::Absent::{Default, Means};
use crate::describe::{Field, Kind, Object};

/// One of `fleets`
pub static FLEET: Object = Object {
    name: "fleet",
    about: "What several gateways count limits in together: a Redis or Valkey (`redis`), or a rate limit service as Envoy \
            asks it (`rls`). A limit names it with `fleet`. While it is slow or gone, each gateway holds the limit by itself.",
    later: &["cluster", "sentinel"],
    fields: &[
        Field {
            name: "redis",
            kind: Kind::Text(
                "`redis://`, `rediss://` (TLS) and `[user[:password]@]host[:port][/database]`, or `unix:/path`",
            ),
            absent: Means("it is no Redis"),
            about: "Where Redis (5 or later) or Valkey is. Its clock is the limit's clock. The password is never shown.",
        },
        Field {
            name: "password",
            kind: Kind::Text("text, better as `${VAR}`"),
            absent: Means("what the URL says"),
            about: "The password for Redis, in place of one in the URL, where it would have to be percent-encoded.",
        },
        Field {
            name: "ca",
            kind: Kind::Text("a file's path, from the configuration's folder"),
            absent: Means("whom the system trusts"),
            about: "Who may have signed the certificate of Redis, in PEM; with `rediss://`.",
        },
        Field {
            name: "prefix",
            kind: Kind::Text("1 to 64 letters, digits and `-_.:/{}`"),
            absent: Default("ringway"),
            about: "What the names of all keys in Redis begin with. Gateways with the same prefix share their limits.",
        },
        Field {
            name: "rls",
            kind: Kind::Text("a host and a port (`limits.internal:8081`)"),
            absent: Means("it is no rate limit service"),
            about: "Where the service answers `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`, by HTTP/2 \
                    without TLS. Its own configuration says what the limits are.",
        },
        Field {
            name: "domain",
            kind: Kind::Text("a name, 1 to 128 characters"),
            absent: Default("ringway"),
            about: "The domain that the rate limit service is asked about.",
        },
        Field {
            name: "timeout",
            kind: Kind::Duration,
            absent: Default("50ms"),
            about: "How long an answer is waited for, 1ms to 1s. One that is late counts as none: until the store answers a \
                    probe again, nobody waits for it.",
        },
    ],
};
