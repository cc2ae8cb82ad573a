//! What requests are told apart by: for limits, for hashing, for splits that hold still.

/// One thing about a request. Several together are a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// `client_ip`, `client_ip/24/56`: the client's address, trusted hops considered, down to a prefix.
    ClientIp {
        /// Leading bits of an IPv4 address that count, 1 to 32.
        v4_bits: u8,
        /// The same of an IPv6 address, 1 to 128.
        v6_bits: u8,
    },
    /// `header:NAME`, lower case.
    Header(String),
    /// `cookie:NAME`
    Cookie(String),
    /// `query:NAME`, compared after percent-decoding.
    Query(String),
    /// `path`: the canonical path of the request.
    Path,
    /// `path_template`: the route's path as written.
    PathTemplate,
    /// `method`
    Method,
    /// `host`: as in Host.
    Host,
    /// `route`: its name.
    Route,
}
