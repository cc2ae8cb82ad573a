//! How often connections and datagrams may come to a listener, and from each client's address.
//!
//! On the line before anything else: a connection is decided on when it is accepted, or once its PROXY protocol header has
//! said whose it is; a datagram before it has a session. What is beyond the rate is closed, or dropped, and counted.
//! What is known of a listener's clients lives as long as its sockets, over reloads.

mod clients;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use clients::{Bucket, Clients};

pub use clients::Pace;

/// The rate of each client's address, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// How often.
    pub pace: Pace,
    /// Leading bits of an IPv4 address that count.
    pub v4_bits: u8,
    /// The same of an IPv6 address.
    pub v6_bits: u8,
}

impl ClientRate {
    /// For people.
    pub fn told(&self) -> String {
        format!("each client's address (/{} or /{}): {}", self.v4_bits, self.v6_bits, self.pace.told())
    }
}

/// What all workers know of a listener's arrivals.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Made when an address is first asked for.
    clients: OnceLock<Clients>,
    all: Bucket,
    seed: RandomState,
}

impl Arrivals {
    /// How many of so many arrivals from an address may pass.
    pub fn of_client(&self, now_ns: u64, rate: ClientRate, client: IpAddr, want: u32) -> u32 {
        let hash = self.seed.hash_one(masked(client, rate));
        self.clients.get_or_init(Clients::default).take(now_ns, hash, rate.pace, want)
    }

    /// How many of so many arrivals may pass, wherever they come from.
    pub fn of_all(&self, now_ns: u64, pace: Pace, want: u32) -> u32 {
        if want == 0 { 0 } else { self.all.take(now_ns, pace, want) }
    }
}

/// The bits that count. IPv4 within IPv6 counts as what it is.
fn masked(client: IpAddr, rate: ClientRate) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(rate.v4_bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(rate.v6_bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_prefix_are_one_client() {
        let arrivals = Arrivals::default();
        let rate = ClientRate { pace: Pace::new(1, 1_000_000_000, 2), v4_bits: 24, v6_bits: 64 };
        let take = |client: &str| arrivals.of_client(1, rate, client.parse().unwrap(), 1);
        assert_eq!(take("10.0.0.1") + take("10.0.0.2") + take("::ffff:10.0.0.3"), 2);
        assert_eq!(take("10.0.1.1"), 1);
        assert_eq!(take("2001:db8::1") + take("2001:db8::2:1") + take("2001:db8:0:0:9::"), 2);
        assert_eq!(take("2001:db8:0:1::"), 1);
    }
}
