//! What responses tell of limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), and the
//! `X-RateLimit-*` fields that came before them. Pure; the name of a limit needs no escape within a quoted string.

use super::gcra::Left;
use crate::sink::{Sink, put_decimal};
use crate::snapshot::LimitPlan;

/// A limit that a request met, and what it was told.
pub type Met<'a> = (&'a LimitPlan, Left);

/// Between the members of a list.
const SEPARATOR: &str = ", ";

/// The parts of the fields that are the same in every response, each with a separator before it.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The limit's member of `RateLimit-Policy`.
    policy: Box<[u8]>,
    /// Its member of `RateLimit`, up to the number that is left.
    left: Box<[u8]>,
}

impl Texts {
    /// Of a limit of so many in so many seconds.
    pub fn new(name: &str, (count, seconds): (u32, u64)) -> Texts {
        let text = |text: String| text.into_bytes().into_boxed_slice();
        Texts {
            policy: text(format!("{SEPARATOR}\"{name}\";q={count};w={seconds}")),
            left: text(format!("{SEPARATOR}\"{name}\";r=")),
        }
    }
}

/// Appends whole lines with their CRLF.
#[inline]
pub fn put<'a>(out: &mut Vec<u8>, met: impl Iterator<Item = Met<'a>> + Clone) {
    let told = met.clone().filter_map(|(plan, left)| Some((plan.tells.as_ref()?, left)));
    if told.clone().next().is_some() {
        out.put(b"RateLimit-Policy: ");
        let mut skipped = SEPARATOR.len();
        for (texts, _) in told.clone() {
            out.put(&texts.policy[skipped..]);
            skipped = 0;
        }
        out.put(b"\r\nRateLimit: ");
        let mut skipped = SEPARATOR.len();
        for (texts, left) in told {
            out.put(&texts.left[skipped..]);
            skipped = 0;
            put_decimal(out, left.tokens.into());
            if left.more_ns > 0 {
                out.put(b";t=");
                put_decimal(out, seconds(left));
            }
        }
        out.put(b"\r\n");
    }
    put_x(out, met);
}

/// Whole seconds until there is more, rounded up; also for Retry-After.
pub fn seconds(left: Left) -> u64 {
    left.more_ns.div_ceil(1_000_000_000)
}

/// They can tell of one limit only: the one of which least is left.
fn put_x<'a>(out: &mut Vec<u8>, met: impl Iterator<Item = Met<'a>>) {
    let Some((plan, left)) = met.filter(|(plan, _)| plan.tells_x).min_by_key(|(_, left)| left.tokens) else {
        return;
    };
    for (name, value) in [
        (&b"X-RateLimit-Limit: "[..], u64::from(plan.quota.0)),
        (b"X-RateLimit-Remaining: ", u64::from(left.tokens)),
        (b"X-RateLimit-Reset: ", seconds(left)),
    ] {
        out.put(name);
        put_decimal(out, value);
        out.put(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::gcra::Rate;
    use crate::limits::limiter::{Spec, What};
    use crate::snapshot::MissingKey;

    fn plan(name: &str, quota: (u32, u64), tells: bool, tells_x: bool) -> LimitPlan {
        let what = What::Rate(Rate::new(1, 1, 1));
        let spec = Spec { what, keys: 1, unsure_allowed: None, wait_ns: 0, fleet: None };
        LimitPlan {
            name: name.into(),
            id: 1,
            spec,
            dry_run: false,
            missing: MissingKey::Pass,
            fleet: None,
            tells: tells.then(|| Texts::new(name, quota)),
            tells_x,
            quota,
        }
    }

    fn told(met: &[Met<'_>]) -> String {
        let mut out = Vec::new();
        put(&mut out, met.iter().copied());
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn policies_and_what_is_left_are_lists_of_the_same_names() {
        let (second, day) =
            (plan("api", (100, 1), true, false), plan("daily", (10_000, 86_400), true, false));
        let met = [
            (&second, Left { tokens: 50, more_ns: 10_000_000 }),
            (&day, Left { tokens: 0, more_ns: 8_640_000_001 }),
        ];
        assert_eq!(
            told(&met),
            "RateLimit-Policy: \"api\";q=100;w=1, \"daily\";q=10000;w=86400\r\n\
             RateLimit: \"api\";r=50;t=1, \"daily\";r=0;t=9\r\n"
        );
    }

    #[test]
    fn a_full_bucket_tells_no_time() {
        let api = plan("api", (5, 60), true, false);
        let told = told(&[(&api, Left { tokens: 5, more_ns: 0 })]);
        assert_eq!(told, "RateLimit-Policy: \"api\";q=5;w=60\r\nRateLimit: \"api\";r=5\r\n");
    }

    #[test]
    fn old_fields_tell_of_the_tightest_and_nothing_is_told_unasked() {
        let (one, other) = (plan("a", (5, 60), false, true), plan("b", (9, 1), false, true));
        let met = [(&one, Left { tokens: 4, more_ns: 1 }), (&other, Left { tokens: 2, more_ns: 0 })];
        assert_eq!(
            told(&met),
            "X-RateLimit-Limit: 9\r\nX-RateLimit-Remaining: 2\r\nX-RateLimit-Reset: 0\r\n"
        );
        let silent = plan("c", (5, 60), false, false);
        assert_eq!(told(&[(&silent, Left::default())]), "");
        assert_eq!(told(&[]), "");
    }
}
