//! Routing: from a request's host, path, method, headers and query to one route. Pure, on the line after `read head`.
//!
//! Invariant: a [`Router`] is a frozen set of lookup tables. A match hashes the host once and each path segment once
//! for each kind of path, whatever the number of routes, and allocates nothing.
//!
//! # Which route wins
//!
//! The most specific route that matches in everything. Of two that do, the first of these differences decides:
//!
//! 1. host: exact, then `*.x` (the longer suffix first), then any host;
//! 2. path: exact, then template (`/orders/{id}`), then prefix (whatever ends in `/**`). Between two templates, or
//!    two prefixes, a literal segment beats a parameter at their first difference, and a longer prefix a shorter one.
//!    A template that ends in `/**` is a prefix: `/v1/orders/**` beats `/{tenant}/**`;
//! 3. method: routes that name methods come before those that take any;
//! 4. headers: more conditions first; of equally many, more with a value to be equal to;
//! 5. query: likewise;
//! 6. the order in which they were written.
//!
//! A route that fails in method, headers or query leaves the request to less specific ones, those of less specific
//! hosts included. If none is left, the answer is 405 where some route failed in nothing but its method, else 404.
//!
//! # Details
//!
//! - Hosts are compared without port and without a final dot, in any case. `*.x` matches any depth, not `x`.
//! - Paths are compared byte for byte in canonical form. `/a/**` matches `/a`, `/a/` and `/a/b`, not `/ab`.
//!   A parameter is one segment that is not empty.
//! - `methods: [GET]` does not admit HEAD: what is not written is not routed. Write `[GET, HEAD]`.
//! - A header condition holds if any field of that name has that value, byte for byte.
//! - A query condition holds if any parameter of that name has that value, after percent-decoding, `+` as a space.

mod fill;
mod host;
mod query;
mod router;
mod rule;
mod table;
mod tree;

#[cfg(test)]
mod tests;

pub use fill::PathFill;
pub use host::{HOST_BYTES_MAX, bare_host};
pub(crate) use query::query_values;
pub use router::{Candidate, HostRank, Matched, NoMatch, RouteQuery, Router};
pub use rule::{Admission, Condition, Failure, HostRule, PathKind, PathRule, RouteRule, Segment};

/// Place of a route in [`crate::snapshot::Snapshot::routes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// The headers of a request, as far as routing asks about them.
pub trait Headers {
    /// Whether any field called `name` (lower case here, any case there) has a value for which `holds` says yes.
    fn any_value(&self, name: &str, holds: impl FnMut(&[u8]) -> bool) -> bool;
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn any_value(&self, name: &str, mut holds: impl FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(n, v)| n.as_ref().eq_ignore_ascii_case(name) && holds(v.as_ref()))
    }
}

/// Stands for "none" where an index is expected; no table grows that far.
const NONE: u32 = u32::MAX;
