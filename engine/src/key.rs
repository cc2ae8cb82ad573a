//! Keys of requests: what limits, hashing and splits tell requests apart by. Pure, on the line after `route`.
//!
//! A [`KeyPlan`] reads its parts from a request where they stand and hashes them in one piece, which costs far less than
//! bit by bit. Invariant: two requests have the same hash only if all parts are the same (but for chance, 1 in 2^128, which nobody can provoke who
//! does not know the seed); lengths are hashed too, so no part runs into the next one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip128::SipHasher13;
use smallvec::SmallVec;

use crate::http1::{Known, Request};
use crate::routing::{bare_host, query_values};

/// What hashes are seeded with: one that is known to all nodes where they must agree, else one that clients can't guess.
pub type Seed = [u8; 16];

/// The same on every worker, node and version: what is placed by it stays where it is.
pub const STABLE: Seed = *b"ringway.key.v1\0\0";

/// A key on its way to be hashed; longer ones than most are on the heap.
type Bytes = SmallVec<[u8; 128]>;

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address down to a prefix.
    ClientIp {
        /// Leading bits of IPv4, 1 to 32.
        v4_bits: u8,
        /// Leading bits of IPv6, 1 to 128.
        v6_bits: u8,
    },
    /// A header that comes once; the name in lower case.
    Header(Box<str>),
    /// A cookie of that name that comes once.
    Cookie(Box<str>),
    /// A query parameter of that name that comes once, decoded.
    Query(Box<str>),
    /// The canonical path.
    Path,
    /// The method.
    Method,
    /// The host as it is routed: without port, final dot and regard to case.
    Host,
    /// Something the route says, the same for all its requests: the name, and the word it is written as.
    Fixed(Box<str>, &'static str),
}

/// Parts that together tell requests apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlan {
    parts: Box<[KeyPart]>,
}

/// The request, and what is known about it beside its head.
#[derive(Clone, Copy)]
pub struct KeyInput<'a> {
    /// The head.
    pub request: Request<'a>,
    /// Canonical.
    pub path: &'a [u8],
    /// Trusted hops considered. `None`: it came by a Unix socket.
    pub client: Option<IpAddr>,
}

impl KeyPlan {
    /// A key of these parts; of none, all requests are the same.
    pub fn new(parts: impl IntoIterator<Item = KeyPart>) -> KeyPlan {
        KeyPlan { parts: parts.into_iter().collect() }
    }

    /// No parts.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts.
    pub fn parts(&self) -> &[KeyPart] {
        &self.parts
    }

    /// `None`: the request lacks a part.
    #[inline]
    pub fn hash(&self, input: &KeyInput<'_>, seed: &Seed) -> Option<u128> {
        if let [KeyPart::ClientIp { v4_bits, v6_bits }] = *self.parts {
            return Some(hash_ip(masked(input.client?, v4_bits, v6_bits), seed));
        }
        self.hash_of(seed, |part, bytes| part.read(input, bytes))
    }

    /// The same where there is no request, only a client: of the parts that are its address. `None`: it has others too.
    pub fn hash_of_client(&self, client: Option<IpAddr>, seed: &Seed) -> Option<u128> {
        self.hash_of(seed, |part, bytes| match (part, client) {
            (KeyPart::ClientIp { v4_bits, v6_bits }, Some(client)) => {
                put_ip(masked(client, *v4_bits, *v6_bits), bytes);
                true
            }
            _ => false,
        })
    }

    fn hash_of(&self, seed: &Seed, read: impl Fn(&KeyPart, &mut Bytes) -> bool) -> Option<u128> {
        let mut bytes = Bytes::new();
        for part in &self.parts {
            let before = bytes.len();
            if !read(part, &mut bytes) {
                return None;
            }
            let read = (bytes.len() - before) as u64;
            bytes.extend_from_slice(&read.to_le_bytes());
        }
        Some(SipHasher13::new_with_key(seed).hash(&bytes).as_u128())
    }

    /// The parts as they are written, with their values, for those who need the text. Allocates: off the common path.
    /// Values that are no UTF-8 have replacement characters. `None` as with [`KeyPlan::hash`].
    pub fn values(&self, input: &KeyInput<'_>) -> Option<Vec<(String, String)>> {
        let value = |part: &KeyPart| {
            if let KeyPart::ClientIp { v4_bits, v6_bits } = part {
                return Some((part.word(), masked(input.client?, *v4_bits, *v6_bits).to_string()));
            }
            let mut bytes = Bytes::new();
            let found = part.read(input, &mut bytes);
            found.then(|| (part.word(), String::from_utf8_lossy(&bytes).into_owned()))
        };
        self.parts.iter().map(value).collect()
    }

    /// As it is written, parts joined by `, `.
    pub fn text(&self) -> String {
        self.parts.iter().map(KeyPart::word).collect::<Vec<_>>().join(", ")
    }
}

impl KeyPart {
    /// Appends the part's value; `false` where the request has none.
    #[inline]
    fn read(&self, input: &KeyInput<'_>, bytes: &mut Bytes) -> bool {
        let request = &input.request;
        match self {
            KeyPart::ClientIp { v4_bits, v6_bits } => {
                let Some(client) = input.client else { return false };
                put_ip(masked(client, *v4_bits, *v6_bits), bytes);
            }
            KeyPart::Header(name) => {
                let named = request.fields().filter(|(of, ..)| of.eq_ignore_ascii_case(name.as_bytes()));
                let Some(value) = sole(named.map(|(_, value, _)| value)) else { return false };
                bytes.extend_from_slice(value);
            }
            KeyPart::Cookie(name) => {
                let Some(value) = sole(cookies(request, name.as_bytes())) else { return false };
                bytes.extend_from_slice(value);
            }
            KeyPart::Query(name) => {
                let values = query_values(request.query().unwrap_or_default(), name.as_bytes());
                let Some(value) = sole(values) else { return false };
                bytes.extend(value);
            }
            KeyPart::Path => bytes.extend_from_slice(input.path),
            KeyPart::Method => bytes.extend_from_slice(request.method()),
            KeyPart::Host => {
                bytes.extend(bare_host(request.authority()).iter().map(u8::to_ascii_lowercase));
            }
            KeyPart::Fixed(value, _) => bytes.extend_from_slice(value.as_bytes()),
        }
        true
    }

    /// As it is written.
    pub fn word(&self) -> String {
        match self {
            KeyPart::ClientIp { v4_bits: 32, v6_bits: 64 } => "client_ip".to_owned(),
            KeyPart::ClientIp { v4_bits, v6_bits } => format!("client_ip/{v4_bits}/{v6_bits}"),
            KeyPart::Header(name) => format!("header:{name}"),
            KeyPart::Cookie(name) => format!("cookie:{name}"),
            KeyPart::Query(name) => format!("query:{name}"),
            KeyPart::Path => "path".to_owned(),
            KeyPart::Method => "method".to_owned(),
            KeyPart::Host => "host".to_owned(),
            KeyPart::Fixed(_, word) => (*word).to_owned(),
        }
    }
}

/// The value of the first cookie of that name (RFC 6265 §5.4), quotes included.
pub fn cookie<'a>(request: &Request<'a>, name: &[u8]) -> Option<&'a [u8]> {
    request.known(Known::Cookie)?;
    cookies(request, name).next()
}

fn cookies<'a>(request: &Request<'a>, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let fields = request.fields().filter(|(_, _, field)| field.known == Known::Cookie);
    let pairs = fields.flat_map(|(_, value, _)| value.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

/// What is told twice is no key: who looks at one of the two may not be who looks at the other.
fn sole<T>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Of a key that is an address and no more, as [`KeyPlan::hash_of`] would; most are.
#[inline]
fn hash_ip(ip: IpAddr, seed: &Seed) -> u128 {
    let hasher = SipHasher13::new_with_key(seed);
    let hash = match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes[4..].copy_from_slice(&4u64.to_le_bytes());
            hasher.hash(&bytes)
        }
        IpAddr::V6(ip) => {
            let mut bytes = [0; 24];
            bytes[..16].copy_from_slice(&ip.octets());
            bytes[16..].copy_from_slice(&16u64.to_le_bytes());
            hasher.hash(&bytes)
        }
    };
    hash.as_u128()
}

fn put_ip(ip: IpAddr, bytes: &mut Bytes) {
    match ip {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    }
}

/// The address with all bits after the prefix cleared. IPv4 within IPv6 counts as what it is.
fn masked(client: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4_bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6_bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Limits, RequestHead};

    fn with<T>(head: &str, client: &str, read: impl Fn(&KeyInput<'_>) -> T) -> T {
        let mut parsed = RequestHead::default();
        parsed.parse(head.as_bytes(), &Limits::default()).unwrap();
        let request = Request { bytes: head.as_bytes(), head: &parsed };
        read(&KeyInput { request, path: request.path(), client: client.parse().ok() })
    }

    fn hash(parts: &[KeyPart], head: &str, client: &str) -> Option<u128> {
        with(head, client, |input| KeyPlan::new(parts.iter().cloned()).hash(input, &STABLE))
    }

    const HEAD: &str =
        "GET /a/7?u=%41x&v=2 HTTP/1.1\r\nHost: A.example\r\nX-User: one\r\nCookie: sid=5; a=b\r\n\r\n";

    #[test]
    fn parts_are_read_where_they_stand() {
        let parts = [
            KeyPart::ClientIp { v4_bits: 24, v6_bits: 64 },
            KeyPart::Header("x-user".into()),
            KeyPart::Cookie("a".into()),
            KeyPart::Query("u".into()),
            KeyPart::Path,
            KeyPart::Method,
            KeyPart::Host,
            KeyPart::Fixed("orders".into(), "route"),
        ];
        let values = with(HEAD, "10.1.2.3", |input| KeyPlan::new(parts.clone()).values(input)).unwrap();
        let values: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["10.1.2.0", "one", "b", "Ax", "/a/7", "GET", "a.example", "orders"]);
    }

    #[test]
    fn the_same_key_hashes_the_same_however_it_is_written() {
        let query = [KeyPart::Query("u".into())];
        assert_eq!(hash(&query, HEAD, ""), hash(&query, &HEAD.replace("%41x", "A%78"), ""));
        assert_ne!(hash(&query, HEAD, ""), hash(&query, &HEAD.replace("%41x", "B"), ""));
        let ip = [KeyPart::ClientIp { v4_bits: 24, v6_bits: 64 }];
        assert_eq!(hash(&ip, HEAD, "10.1.2.3"), hash(&ip, HEAD, "::ffff:10.1.2.99"));
        assert_ne!(hash(&ip, HEAD, "10.1.2.3"), hash(&ip, HEAD, "10.1.3.3"));
        assert_eq!(hash(&ip, HEAD, "2001:db8::1"), hash(&ip, HEAD, "2001:db8::ffff:1"));
        assert_ne!(hash(&ip, HEAD, "2001:db8::1"), hash(&ip, HEAD, "2001:db8:0:1::1"));
    }

    #[test]
    fn a_client_is_the_same_with_and_without_a_request() {
        let ip = [KeyPart::ClientIp { v4_bits: 24, v6_bits: 64 }];
        let plan = KeyPlan::new(ip.clone());
        for client in ["10.1.2.3", "2001:db8::1"] {
            assert_eq!(plan.hash_of_client(client.parse().ok(), &STABLE), hash(&ip, HEAD, client));
        }
        assert_eq!(plan.hash_of_client(None, &STABLE), None);
        let path = KeyPlan::new([KeyPart::Path]);
        assert_eq!(path.hash_of_client("10.1.2.3".parse().ok(), &STABLE), None);
    }

    #[test]
    fn long_keys_are_told_apart_to_their_ends() {
        let long = |end: &str| hash(&[KeyPart::Path], &HEAD.replace("/a/7", &("/a".repeat(500) + end)), "");
        assert_eq!(long("x"), long("x"));
        assert_ne!(long("x"), long("y"));
    }

    #[test]
    fn what_is_absent_is_no_key() {
        for part in [KeyPart::Header("x".into()), KeyPart::Cookie("si".into()), KeyPart::Query("w".into())] {
            assert_eq!(hash(&[KeyPart::Path, part], HEAD, ""), None);
        }
        assert_eq!(hash(&[KeyPart::ClientIp { v4_bits: 32, v6_bits: 64 }], HEAD, ""), None);
    }

    #[test]
    fn what_is_told_twice_is_no_key() {
        let twice = HEAD
            .replace("u=%41x", "u=1&u=2")
            .replace("X-User: one", "X-User: one\r\nX-User: two")
            .replace("a=b", "sid=6");
        for part in
            [KeyPart::Query("u".into()), KeyPart::Header("x-user".into()), KeyPart::Cookie("sid".into())]
        {
            assert!(hash(std::slice::from_ref(&part), HEAD, "").is_some());
            assert_eq!(hash(&[part], &twice, ""), None);
        }
    }

    #[test]
    fn a_host_is_the_same_with_whatever_port() {
        let host = |name: &str| hash(&[KeyPart::Host], &HEAD.replace("A.example", name), "");
        assert_eq!(host("a.example"), host("A.example:81"));
        assert_eq!(host("a.example"), host("a.example."));
        assert_ne!(host("a.example"), host("b.example"));
    }

    #[test]
    fn no_part_runs_into_the_next() {
        let parts = [KeyPart::Header("a".into()), KeyPart::Header("b".into())];
        let of = |a: &str, b: &str| {
            hash(&parts, &format!("GET / HTTP/1.1\r\nHost: h\r\na: {a}\r\nb: {b}\r\n\r\n"), "")
        };
        assert_ne!(of("12", "3"), of("1", "23"));
        assert_ne!(of("1", "2"), of("2", "1"));
    }

    /// Placement by these hashes must not move with a new version.
    #[test]
    fn the_stable_hash_holds_still() {
        let user = [KeyPart::Header("x-user".into())];
        assert_eq!(hash(&user, HEAD, ""), Some(PINNED));
    }

    /// However an address is hashed.
    #[test]
    fn the_stable_hash_of_a_client_holds_still() {
        let ip = [KeyPart::ClientIp { v4_bits: 32, v6_bits: 64 }];
        for client in ["10.1.2.3", "2001:db8::1"] {
            let by_parts = KeyPlan::new(ip.clone()).hash_of_client(client.parse().ok(), &STABLE);
            assert_eq!(hash(&ip, HEAD, client), by_parts);
        }
        assert_eq!(hash(&ip, HEAD, "10.1.2.3"), Some(260_625_461_388_701_742_449_093_977_290_754_527_902));
        assert_eq!(hash(&ip, HEAD, "2001:db8::1"), Some(49_946_147_474_085_076_851_155_723_954_152_984_698));
    }

    const PINNED: u128 = 4_942_683_356_771_949_749_156_091_584_991_398_116;
}
