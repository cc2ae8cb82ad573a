//! How long is waited before a request is sent again: full jitter, or what the endpoint asks for.

use std::time::Duration;

/// No endpoint is waited for longer because it asked for it.
pub const WAIT_MAX_MS: u64 = 5_000;

/// A wait before try number `tries` (1 is the first after the first), evenly drawn from nothing to a bound that doubles
/// from `base_ms` on, `max_ms` at most. So those who failed together don't come back together.
pub fn delay_ns(base_ms: u64, max_ms: u64, tries: u32, random: u64) -> u64 {
    let doubled = base_ms.saturating_mul(1 << tries.saturating_sub(1).min(30));
    let bound_ns = doubled.min(max_ms).saturating_mul(1_000_000);
    ((u128::from(random) * u128::from(bound_ns)) >> 64) as u64
}

/// What an endpoint says of when it wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// After so many milliseconds.
    After(u64),
    /// Not at all.
    Never,
}

/// The value of `grpc-retry-pushback-ms`: what is no number or a negative one asks not to be asked again (gRFC A6).
pub fn pushback(value: &[u8]) -> Pushback {
    let digits = !value.is_empty() && value.len() <= 10 && value.iter().all(u8::is_ascii_digit);
    match digits {
        true => Pushback::After(value.iter().fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'))),
        false => Pushback::Never,
    }
}

/// The value of `Retry-After`, seconds or a date (RFC 9110 §10.2.3). `None`: it is neither.
pub fn retry_after_ms(value: &[u8], unix_seconds: u64) -> Option<u64> {
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let seconds = value
            .iter()
            .fold(0u64, |seconds, digit| seconds.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        return Some(seconds.saturating_mul(1000));
    }
    let at = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let seconds = at.duration_since(std::time::UNIX_EPOCH + Duration::from_secs(unix_seconds));
    Some(seconds.map_or(0, |left| left.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_and_ends() {
        let most = |tries| delay_ns(25, 250, tries, u64::MAX).div_ceil(1_000_000);
        assert_eq!((1..8).map(most).collect::<Vec<_>>(), [25, 50, 100, 200, 250, 250, 250]);
    }

    #[test]
    fn what_endpoints_ask_for_is_read_or_heeded_as_a_no() {
        assert_eq!(pushback(b"0"), Pushback::After(0));
        assert_eq!(pushback(b"1500"), Pushback::After(1500));
        for bad in [&b"-1"[..], b"", b"x", b"1s", b"99999999999"] {
            assert_eq!(pushback(bad), Pushback::Never);
        }
        assert_eq!(retry_after_ms(b"2", 0), Some(2000));
        assert_eq!(retry_after_ms(b"99999999999999999999999", 0), Some(u64::MAX));
        assert_eq!(retry_after_ms(b"Sun, 06 Nov 1994 08:49:37 GMT", 784_111_775), Some(2000));
        assert_eq!(retry_after_ms(b"Sun, 06 Nov 1994 08:49:37 GMT", 784_111_779), Some(0), "it has passed");
        assert_eq!(retry_after_ms(b"soon", 0), None);
    }

    proptest! {
        #[test]
        fn no_wait_is_beyond_its_bound(base in 1u64..100_000, max in 1u64..100_000, tries: u32, random: u64) {
            prop_assert!(delay_ns(base, max, tries, random) <= max * 1_000_000);
            prop_assert!(tries > 1 || delay_ns(base, max, tries, random) <= base * 1_000_000);
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_bound() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            tenths[(delay_ns(100, 100, 1, random.u64(..)) / 10_000_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }
}
