//! Faults: errors made on purpose, drawn for each exchange. Pure; on the line right after `route`.
//!
//! Each fault is drawn by itself; of those that come up the first delay and the first abort are taken. Invariant: a
//! fault whose time is over is never drawn, whoever is late to take it away.

use std::sync::Arc;
use std::time::Duration;

use crate::routing::{Condition, Headers};

/// The whole, as a share.
pub const SHARE_ALL: u32 = 1_000_000;

/// One fault of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// How long the exchange waits.
    pub delay: Option<Duration>,
    /// What is answered in place of the route, after that.
    pub abort: Option<Abort>,
    /// Of exchanges with these headers, in parts per million.
    pub share_ppm: u32,
    /// All must hold.
    pub headers: Box<[Condition]>,
    /// Seconds since 1970 at which it ends.
    pub until_s: u64,
    /// What it does, for a person: `delay by 2s`.
    pub told: Arc<str>,
}

/// What an aborted exchange is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A status, 400 to 599.
    Status(u16),
    /// A code of gRPC, 1 to 16.
    Grpc(u8),
}

/// What an exchange suffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// It waits so long.
    pub delay: Option<Duration>,
    /// Then this is its answer.
    pub abort: Option<Abort>,
}

impl FaultPlan {
    /// Its time is not over.
    #[inline]
    pub fn holds(&self, now_s: u64) -> bool {
        now_s < self.until_s
    }
}

impl Injected {
    /// Adds what comes up of `plans` at `now_s`, seconds since 1970. `random` draws evenly from all of `u32`, once for
    /// each fault that could apply.
    pub fn draw<H: Headers + ?Sized>(
        &mut self,
        plans: &[FaultPlan],
        now_s: u64,
        mut random: impl FnMut() -> u32,
        headers: &H,
    ) {
        for plan in plans {
            let told = |condition: &Condition| {
                let holds =
                    |value: &[u8]| condition.value.as_ref().is_none_or(|wanted| wanted.as_bytes() == value);
                headers.any_value(&condition.name, holds)
            };
            if !plan.holds(now_s) || !plan.headers.iter().all(told) || !comes_up(plan.share_ppm, &mut random)
            {
                continue;
            }
            self.delay = self.delay.or(plan.delay);
            self.abort = self.abort.or(plan.abort);
        }
    }

    /// Nothing came up.
    pub fn is_none(self) -> bool {
        self == Injected::default()
    }
}

/// All of nothing and nothing of all need no luck.
fn comes_up(share_ppm: u32, random: &mut impl FnMut() -> u32) -> bool {
    match share_ppm {
        0 => false,
        SHARE_ALL.. => true,
        share => (u64::from(random()) * u64::from(SHARE_ALL)) >> 32 < u64::from(share),
    }
}

impl Abort {
    /// The status of HTTP, of a code as `google.rpc.Code` maps it.
    pub fn status(self) -> u16 {
        match self {
            Abort::Status(status) => status,
            Abort::Grpc(1) => 499,
            Abort::Grpc(3 | 9 | 11) => 400,
            Abort::Grpc(4) => 504,
            Abort::Grpc(5) => 404,
            Abort::Grpc(6 | 10) => 409,
            Abort::Grpc(7) => 403,
            Abort::Grpc(8) => 429,
            Abort::Grpc(12) => 501,
            Abort::Grpc(14) => 503,
            Abort::Grpc(16) => 401,
            Abort::Grpc(_) => 500,
        }
    }

    /// The code of gRPC, where one was asked for.
    pub fn grpc_code(self) -> Option<u8> {
        match self {
            Abort::Status(_) => None,
            Abort::Grpc(code) => Some(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Head = [(&'static str, &'static str)];

    fn delay(share_ppm: u32) -> FaultPlan {
        FaultPlan {
            delay: Some(Duration::from_secs(2)),
            abort: None,
            share_ppm,
            headers: Box::default(),
            until_s: 100,
            told: "".into(),
        }
    }

    fn abort(share_ppm: u32) -> FaultPlan {
        FaultPlan { delay: None, abort: Some(Abort::Status(503)), ..delay(share_ppm) }
    }

    fn drawn(plans: &[FaultPlan], now_s: u64, head: &Head, random: impl FnMut() -> u32) -> Injected {
        let mut injected = Injected::default();
        injected.draw(plans, now_s, random, head);
        injected
    }

    #[test]
    fn a_fault_ends_on_time_though_nobody_took_it_away() {
        let plans = [delay(SHARE_ALL)];
        assert!(drawn(&plans, 99, &[], || 0).delay.is_some());
        assert!(drawn(&plans, 100, &[], || 0).is_none());
        assert!(drawn(&plans, u64::MAX, &[], || 0).is_none());
    }

    #[test]
    fn shares_are_met_within_the_binomial_interval() {
        let mut dice = fastrand::Rng::with_seed(7);
        for share_ppm in [1_000, 50_000, 100_000, 500_000, 999_000] {
            let plans = [delay(share_ppm), abort(share_ppm)];
            let (n, p) = (200_000, f64::from(share_ppm) / 1e6);
            let (mut delayed, mut aborted, mut both) = (0u32, 0u32, 0u32);
            for _ in 0..n {
                let injected = drawn(&plans, 0, &[], || dice.u32(..));
                delayed += u32::from(injected.delay.is_some());
                aborted += u32::from(injected.abort.is_some());
                both += u32::from(injected.delay.is_some() && injected.abort.is_some());
            }
            for (count, p) in [(delayed, p), (aborted, p), (both, p * p)] {
                let (mean, deviation) = (f64::from(n) * p, (f64::from(n) * p * (1.0 - p)).sqrt());
                let off = (f64::from(count) - mean).abs();
                assert!(off <= 5.0 * deviation, "{share_ppm} ppm: {count} of {n}, {mean} expected");
            }
        }
    }

    #[test]
    fn none_and_all_are_exact() {
        for random in [0, 1, u32::MAX] {
            assert!(drawn(&[delay(0)], 0, &[], || random).is_none());
            assert!(drawn(&[delay(SHARE_ALL)], 0, &[], || random).delay.is_some());
        }
        assert!(drawn(&[delay(1)], 0, &[], || 0).delay.is_some());
        assert!(drawn(&[delay(SHARE_ALL - 1)], 0, &[], || u32::MAX).is_none());
    }

    #[test]
    fn all_headers_must_hold_and_any_value_is_a_value() {
        let condition = |name: &str, value: Option<&str>| Condition {
            name: name.into(),
            value: value.map(str::to_owned),
        };
        let headers = [condition("x-chaos", Some("1")), condition("x-who", None)].into();
        let plans = [FaultPlan { headers, ..abort(SHARE_ALL) }];
        let cases: [(&Head, bool); 5] = [
            (&[("x-chaos", "1"), ("x-who", "me")], true),
            (&[("x-chaos", "0"), ("x-chaos", "1"), ("x-who", "")], true),
            (&[("x-chaos", "1")], false),
            (&[("x-chaos", "2"), ("x-who", "me")], false),
            (&[], false),
        ];
        for (head, comes_up) in cases {
            assert_eq!(!drawn(&plans, 0, head, || 0).is_none(), comes_up, "{head:?}");
        }
    }

    #[test]
    fn the_first_of_each_kind_is_taken() {
        let late = FaultPlan { delay: Some(Duration::from_secs(9)), ..delay(SHARE_ALL) };
        let other = FaultPlan { abort: Some(Abort::Grpc(14)), ..abort(SHARE_ALL) };
        let plans = [delay(SHARE_ALL), abort(SHARE_ALL), late, other];
        let expected = Injected { delay: Some(Duration::from_secs(2)), abort: Some(Abort::Status(503)) };
        assert_eq!(drawn(&plans, 0, &[], || 0), expected);
    }

    #[test]
    fn codes_of_grpc_are_statuses_of_errors() {
        for code in 1..=16 {
            let status = Abort::Grpc(code).status();
            assert!((400..600).contains(&status), "{code}: {status}");
        }
    }
}
