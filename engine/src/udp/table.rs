//! Which endpoint a client's datagrams go to: by hash of its address, so that they keep going there. Pure.
//!
//! Rendezvous hashing: each endpoint has a score for each client, and the lowest one wins. When an endpoint comes or
//! goes, only the clients that it wins or had won move.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use rustc_hash::FxHasher;

/// The score of an endpoint for this client. `seed` keeps strangers from choosing.
pub fn score(client: SocketAddr, endpoint: SocketAddr, weight: u32, seed: u64) -> f64 {
    let mut hasher = FxHasher::default();
    (seed, client, endpoint).hash(&mut hasher);
    // Uniform within (0, 1]; the logarithm makes shares follow weights.
    let uniform = ((mix(hasher.finish()) >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

/// A number for this client.
pub fn hash(client: SocketAddr, seed: u64) -> u64 {
    let mut hasher = FxHasher::default();
    (seed, client).hash(&mut hasher);
    mix(hasher.finish())
}

/// Spreads every bit over all others (the finaliser of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1000 + (n % 50_000) as u16))
    }

    fn pick(client: SocketAddr, endpoints: &[(SocketAddr, u32)]) -> usize {
        let scores =
            endpoints.iter().map(|(address, weight)| score(client, *address, *weight, 7)).enumerate();
        scores.min_by(|(_, one), (_, other)| one.total_cmp(other)).unwrap().0
    }

    fn endpoints(weights: &[u32]) -> Vec<(SocketAddr, u32)> {
        let address = |place: usize| SocketAddr::from(([127, 0, 0, 1], 9000 + place as u16));
        weights.iter().enumerate().map(|(place, weight)| (address(place), *weight)).collect()
    }

    #[test]
    fn shares_follow_weights() {
        let endpoints = endpoints(&[1, 2, 1]);
        let mut counts = [0; 3];
        for n in 0..20_000 {
            counts[pick(client(n), &endpoints)] += 1;
        }
        assert!((4500..5500).contains(&counts[0]) && (9300..10_700).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn only_clients_of_what_goes_move() {
        let (all, fewer) = (endpoints(&[1, 1, 1, 1]), endpoints(&[1, 1, 1]));
        for n in 0..5000 {
            let (before, after) = (pick(client(n), &all), pick(client(n), &fewer));
            assert!(before == after || before == 3);
        }
    }
}
