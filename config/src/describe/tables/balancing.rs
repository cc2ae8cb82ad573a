//! What goes with `balance`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::NAME;
use super::routes::SPLIT;

/// Labels of an endpoint or a subset.
pub const SUBSET_LABELS_MAX: usize = 32;

const LABEL: Kind = Kind::Text("a label's value");

/// `to` of routes and listeners.
pub(super) const TO: Kind =
    Kind::Either(&NAME, &Kind::Either(&Kind::Object(&SPLIT), &Kind::List(&Kind::Object(&SPLIT))));

pub(super) const ZONE: Field = Field {
    name: "zone",
    kind: NAME,
    absent: Means("none"),
    about: "Where this node is (`${RINGWAY_ZONE:-}` takes it from the environment): of a service's endpoints, those in \
            the same zone are asked before the others of their priority level.",
};

const KEY: Kind = Kind::Text(
    "`client_ip`, `client_ip/24/56`, `header:NAME`, `cookie:NAME`, `query:NAME`, `path`, `path_template`, `method`, `host` or \
     `route`",
);

pub(super) const HASH_BY: Field = Field {
    name: "hash_by",
    kind: Kind::Either(&KEY, &Kind::List(&KEY)),
    absent: Means("required for `ring_hash` and `maglev`"),
    about: "What they hash (not `route` and `path_template`): requests with the same values go to the same endpoint, from \
            every worker and node. One that lacks a part of it is balanced by `least_request`; so is a connection of \
            `tcp`, unless the key is `client_ip` alone.",
};

/// Of a route.
pub(super) const SPLIT_BY: Field = Field {
    name: "split_by",
    kind: Kind::Either(&KEY, &Kind::List(&KEY)),
    absent: Means("by chance"),
    about: "Requests with the same values go to the same part of `to`. Where weights change only as many move as must: \
            those of a part whose share grows stay. The order in which parts are written does not matter; routes whose \
            parts have the same names split in the same way. By chance where a value is absent. Only with `to`.",
};

pub(super) const HASH_LOAD: Field = Field {
    name: "hash_load",
    kind: Kind::Or("none", &Kind::Text("a percentage, `101%` to `1000%`")),
    absent: Default("125%"),
    about: "For `ring_hash` and `maglev`: an endpoint with this much of its share, by weight, of what is under way is \
            passed over for the next one of the key. `none`: never.",
};

pub(super) const SLOW_START: Field = Field {
    name: "slow_start",
    kind: Kind::Or("none", &Kind::Duration),
    absent: Default("none"),
    about: "An endpoint that is new, or back after it was unhealthy, ejected or refused connections, begins with a tenth \
            of its weight, which grows linearly to the whole within this time. With `ring_hash` and `maglev` it is the \
            bound of `hash_load` that grows.",
};

pub(super) const PANIC: Field = Field {
    name: "panic",
    kind: Kind::Share,
    absent: Default("50%"),
    about: "With less than this share of endpoints usable, and no other priority level to go to, all are picked again, but \
            for those that refuse connections. `0%`: never; then 503 where none is usable.",
};

pub(super) const STICKY_FIELD: Field = Field {
    name: "sticky",
    kind: Kind::Object(&STICKY),
    absent: Means("no cookie"),
    about: "A cookie leads a client back to the endpoint that answered it first.",
};

/// Of an endpoint.
pub(super) const PRIORITY: Field = Field {
    name: "priority",
    kind: Kind::Integer(0, 127),
    absent: Default("0"),
    about: "Its level. Lower ones are asked first; a level with `usable` of its `total` endpoints usable takes \
            `min(100%, 1.4 * usable / total)` of the load, the rest goes on to the next.",
};

/// Of an endpoint.
pub(super) const ENDPOINT_ZONE: Field = Field {
    name: "zone",
    kind: NAME,
    absent: Means("elsewhere"),
    about: "Where it is. In the node's own zone it comes, within its level, before the others, as if they were a level of \
            their own.",
};

/// Of an endpoint.
pub(super) const LABELS: Field = Field {
    name: "labels",
    kind: Kind::Map(&LABEL),
    absent: Means("none"),
    about: "What subsets ask for: `{ version: v2 }`. At most 32.",
};

/// Of a part of a split.
pub(super) const SUBSET: Field = Field {
    name: "subset",
    kind: Kind::Map(&LABEL),
    absent: Means("all of them"),
    about: "Only endpoints that have all of these labels. Load, health and connections belong to the service, whatever \
            subset an endpoint is asked as part of.",
};

/// `services.X.sticky`
pub static STICKY: Object = Object {
    name: "sticky",
    about: "A cookie that names the endpoint which answered, as a keyed hash of its address. A request that brings it goes \
            there for as long as that endpoint is picked at all; else another is picked and the cookie is set anew. It is \
            `HttpOnly`, `SameSite=Lax`, `Path=/`, and `Secure` where the client came by TLS.",
    later: &["path", "domain", "same_site"],
    fields: &[
        Field { name: "cookie", kind: Kind::Text("a cookie's name"), absent: Required, about: "Its name." },
        Field {
            name: "ttl",
            kind: Kind::Or("session", &Kind::Duration),
            absent: Default("session"),
            about: "How long the client keeps it; `session`: until it ends its session.",
        },
        Field {
            name: "secret",
            kind: Kind::Text("text"),
            absent: Means("the service's name alone"),
            about: "What its values are made with. Nodes with the same one take each other's cookies; without one they do \
                    so too, but then whoever knows this page can find out an address by trying them all.",
        },
    ],
};
