//! The tables of how often connections and datagrams may come.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

const RATE: Field = Field {
    name: "rate",
    kind: Kind::Quota,
    absent: Required,
    about: "How often they may come, to the node as a whole.",
};
const BURST: Field = Field {
    name: "burst",
    kind: Kind::Integer(1, 10_000_000),
    absent: Means("the number in `rate`"),
    about: "How many may come at once.",
};

/// `udp.rate`
pub static ARRIVAL_RATE: Object =
    Object { name: "arrival_rate", about: "How often they may come.", later: &[], fields: &[RATE, BURST] };

/// `client_rate`
pub static CLIENT_RATE: Object = Object {
    name: "client_rate",
    about: "How often they may come from one client's address. 131 072 addresses are told apart at a time, in 1 MiB for \
            each listener; in a flood of more, those that find no place share one rate, and none in use loses its own.",
    later: &[],
    fields: &[
        RATE,
        BURST,
        Field {
            name: "per",
            kind: Kind::Text("`client_ip`, or with the bits of IPv4 and IPv6 that count `client_ip/24/56`"),
            absent: Default("client_ip"),
            about: "What an address is; `client_ip` is `client_ip/32/64`.",
        },
    ],
};
