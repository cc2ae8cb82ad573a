//! Hashes that are the same on every worker, node and version: places on rings, and which tier a key goes to.
//!
//! Not against strangers who choose what is hashed: who sends all keys to one endpoint meets its bound of load.

use super::Address;

/// Set once and for all: another one would move every key.
const SEED: u64 = 0x52_69_6e_67_77_61_79_31;

/// Of an endpoint's address. What a name resolves to is hashed, not the name.
pub(super) fn of_address(address: &Address) -> u64 {
    match address {
        Address::Ip(ip) => match ip.ip() {
            std::net::IpAddr::V4(v4) => of_bytes(&v4.octets(), u64::from(ip.port()) << 8 | 4),
            std::net::IpAddr::V6(v6) => of_bytes(&v6.octets(), u64::from(ip.port()) << 8 | 6),
        },
        Address::Unix(path) => of_bytes(path.as_os_str().as_encoded_bytes(), 1),
    }
}

/// Of bytes, and what kind they are of.
pub(crate) fn of_bytes(bytes: &[u8], kind: u64) -> u64 {
    let mut state = mix(SEED ^ kind ^ (bytes.len() as u64).rotate_left(32));
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

/// Spreads every bit over all others (the finaliser of SplitMix64).
#[inline]
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hash_as_they_always_did() {
        let of = |text: &str| of_address(&Address::Ip(text.parse().unwrap()));
        let unix = of_address(&Address::Unix(std::path::Path::new("/run/app.sock").into()));
        // Written down: another number here moves every key of every ring on upgrade.
        assert_eq!(
            [of("127.0.0.1:9001"), of("[::1]:9001"), unix].map(|hash| format!("{hash:016x}")),
            ["b6f665ca19879753", "180c688faae23194", "81a7d1828e3e65da"]
        );
    }
}
