//! The seam to buckets that are not on this node: how a worker asks for tokens that a whole fleet shares.
//!
//! A limit whose [`Spec::fleet`](super::limiter::Spec) is set is leased from whoever keeps the fleet's buckets, and not
//! from the key's home core; the state machine is the same ([`super::lease`]). For whoever keeps them, on the
//! background thread:
//!
//! 1. [`Handles::take_fleet`](crate::Handles::take_fleet) gives the one [`Receiver`](ringway_runtime::mailbox::Receiver)
//!    of [`Letter`]s; its `recv` works on tokio as on a worker.
//! 2. Each [`Ask`] is to be answered once by [`Handles::tell_fleet`](crate::Handles::tell_fleet), with a [`Told`]: tokens
//!    *taken from the fleet's bucket* (at least `least`, at most `want`) that may be spent until `until_ns`; a refusal
//!    with what is left and when there is more; or that nobody knows, and for how long it is no use to ask. Asks for the
//!    same key may come from several workers; they may be put together.
//! 3. An ask that is not answered within [`Terms::wait_ns`] is decided by the node: the limit's own rate with its home core,
//!    as if it had no fleet. So nobody waits for a dead store, and a dead store is no outage. An answer that comes later is
//!    welcome still: its tokens are leased.
//! 4. Unspent tokens come back as [`Letter::GiveBack`] soon after `until_ns`, best effort; they may be ignored, then the
//!    bucket refills as it does. What requests cost beyond what they took is a [`Letter::Debit`].
//!
//! Times are nanoseconds of [`Nanos::precise`](ringway_runtime::Nanos::precise), the same on every thread.

use std::fmt::Write as _;

use aws_lc_rs::digest;

use super::gcra::Rate;
use super::shard::Key;
use super::waits::Ticket;

pub use super::gcra::Left;
pub use super::lease::Told;

/// Letters that may wait for the background thread. Beyond it the node decides.
pub const LETTERS_MAX: usize = 8192;

/// Of a burst one part in so many may be in one worker's hand.
const BATCH_PART: u32 = 8;
/// Smaller batches than this are not worth it: each request is decided by the fleet.
const BATCH_MIN: u32 = 2;
/// More than this is never in one hand.
const BATCH_MAX: u32 = 10_000;

/// Tokens of a key that one worker may have in hand.
pub fn batch(rate: Rate) -> u32 {
    match (rate.burst() / BATCH_PART).min(BATCH_MAX) {
        small if small < BATCH_MIN => 0,
        batch => batch,
    }
}

/// How a limit is leased from the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tokens of a key that one worker may have in hand. 0: each request is decided by the fleet.
    pub batch: u32,
    /// How long a request waits for an answer before the node decides.
    pub wait_ns: u64,
}

/// The time so much later, as a lease says it.
pub fn until_ns(term: std::time::Duration) -> u64 {
    ringway_runtime::Nanos::precise().after(term).0
}

/// The parts of a key, as they are written, with their values. Empty: one key for all; or a request lacks a part.
pub type Values = Vec<(String, String)>;

/// Bytes of a value in a letter.
const VALUE_BYTES_MAX: usize = 256;
/// What is kept of a longer one, before the digest that tells it from others.
const BEGINNING_BYTES: usize = 64;

/// As letters carry them: a long value is its beginning, `#` and its SHA-256.
pub(super) fn bounded(mut values: Values) -> Values {
    for (_, value) in values.iter_mut().filter(|(_, value)| value.len() > VALUE_BYTES_MAX) {
        let whole = digest::digest(&digest::SHA256, value.as_bytes());
        let mut short = value[..value.floor_char_boundary(BEGINNING_BYTES)].to_owned();
        short.push('#');
        for byte in whole.as_ref() {
            let _ = write!(short, "{byte:02x}");
        }
        *value = short;
    }
    values
}

/// A letter to whoever keeps the fleet's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// For tokens.
    Ask(Ask),
    /// Tokens were not used. Whose values these were is known from the ask, if anybody remembers.
    GiveBack {
        /// Of this limit.
        limit: u64,
        /// Of this key.
        key: Key,
        /// How many.
        tokens: u32,
    },
    /// These were used all the same, and are to be taken even if they are not there.
    Debit {
        /// Of this limit.
        limit: u64,
        /// Of this key.
        key: Key,
        /// How many.
        tokens: u32,
    },
}

/// An ask for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which limit: [`id_of`](super::limiter::id_of) its name.
    pub limit: u64,
    /// A hash with this process's secret: the same for the same values, here and nowhere else.
    pub key: Key,
    /// What was hashed; of long values as much as tells them apart.
    pub values: Values,
    /// With less a request does not pass.
    pub least: u32,
    /// As much would be welcome.
    pub want: u32,
    /// Of this worker.
    pub from: usize,
    /// To be told with the answer.
    pub ticket: Ticket,
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::super::gcra::Rate;
    use super::super::limiter::{self, Decision, Limit, Limiter, Post, Source, Spec, Taken, What, id_of};
    use super::*;
    use crate::observe::LimitCounters;

    const S: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;
    const KEY: Key = 7 << 80;

    /// A worker whose limit of five a minute is the fleet's, with leases of eight.
    fn limited(batch: u32) -> (Limiter, Rc<Limit>) {
        let limiter = Limiter::new(0, 1);
        let what = What::Rate(Rate::new(5, 60 * S, 5));
        let fleet = Some(Terms { batch, wait_ns: 20 * MS });
        let spec = Spec { what, keys: 100, unsure_allowed: None, wait_ns: MS, fleet };
        let counters: Arc<LimitCounters> = Arc::default();
        let limit = limiter.adopt(0, id_of(&spec, "api"), spec, &counters);
        (limiter, limit)
    }

    fn letters(limiter: &Limiter) -> Vec<Letter> {
        let mut letters = vec![];
        limiter.carry(|post| {
            if let Post::Fleet(letter) = post {
                letters.push(letter);
            }
            Ok(())
        });
        letters
    }

    fn asks(limiter: &Limiter) -> Vec<Ask> {
        let ask = |letter| match letter {
            Letter::Ask(ask) => Some(ask),
            _ => None,
        };
        letters(limiter).into_iter().filter_map(ask).collect()
    }

    fn values() -> Values {
        vec![("client_ip".into(), "10.1.2.3".into())]
    }

    fn take(limiter: &Limiter, limit: &Rc<Limit>, now: u64) -> Taken {
        limiter.take(now, limit, KEY, 1, &values)
    }

    fn polled(limiter: &Limiter, taken: Taken) -> Option<Decision> {
        let mut ticket = match taken {
            Taken::Now(decision) => return Some(decision),
            Taken::Later(ticket) => ticket,
        };
        match limiter.poll(&mut ticket, &Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => Some(decision),
            Poll::Pending => None,
        }
    }

    fn tell(limiter: &Limiter, now: u64, ask: &Ask, told: Told) {
        limiter.receive(now, limiter::Letter::Answer { ticket: ask.ticket, told });
    }

    fn granted(tokens: u32, until_ns: u64) -> Told {
        Told::Granted { tokens, left: Left { tokens: 90, more_ns: 0 }, until_ns }
    }

    #[test]
    fn the_fleet_is_asked_once_and_its_tokens_are_spent_here() {
        let (limiter, limit) = limited(8);
        let first = take(&limiter, &limit, S);
        assert_eq!(polled(&limiter, first), None);
        let asked = asks(&limiter);
        assert_eq!((asked.len(), asked[0].least, asked[0].want, &asked[0].values), (1, 1, 8, &values()));
        tell(&limiter, S, &asked[0], granted(8, 2 * S));
        let decision = polled(&limiter, first).expect("decided");
        assert!(decision.allowed && decision.source == Source::Fleet && decision.left.tokens == 90);
        for left in (4..7).rev() {
            let Taken::Now(decision) = take(&limiter, &limit, S) else { panic!("it was leased") };
            assert_eq!((decision.allowed, decision.left.tokens), (true, 90 + left));
        }
        assert!(asks(&limiter).is_empty());
        assert!(matches!(take(&limiter, &limit, S), Taken::Now(decision) if decision.allowed));
        assert_eq!(asks(&limiter)[0].want, 5, "more is asked for while there is some");
    }

    #[test]
    fn what_costs_nothing_passes_and_asks_nobody() {
        for batch in [0, 8] {
            let (limiter, limit) = limited(batch);
            let free = || limiter.take(S, &limit, KEY, 0, &values);
            assert!(matches!(free(), Taken::Now(decision) if decision.allowed && decision.left.tokens == 5));
            let first = take(&limiter, &limit, S);
            let refused = Told::Refused(Left { tokens: 0, more_ns: S });
            tell(&limiter, S, &asks(&limiter)[0], refused);
            assert!(polled(&limiter, first).is_some_and(|decision| !decision.allowed));
            let Taken::Now(decision) = free() else { panic!("nobody is asked") };
            assert!(decision.allowed && !decision.unsure && decision.source == Source::Fleet);
            assert_eq!(decision.left, Left { tokens: 0, more_ns: S });
            assert!(letters(&limiter).is_empty());
        }
    }

    #[test]
    fn long_values_are_short_in_letters_and_still_told_apart() {
        let long = |end: &str| vec![("header:x".to_owned(), format!("{}{end}", "ä".repeat(1000)))];
        let (one, other) = (bounded(long("1")), bounded(long("2")));
        assert_ne!(one, other);
        let (beginning, hash) = one[0].1.split_once('#').expect("both");
        assert_eq!((beginning, hash.len()), ("ä".repeat(32).as_str(), 64));
        let short = vec![("header:x".to_owned(), "a".repeat(VALUE_BYTES_MAX))];
        assert_eq!(bounded(short.clone()), short);
    }

    #[test]
    fn what_is_not_spent_goes_back() {
        let (limiter, limit) = limited(8);
        let first = take(&limiter, &limit, S);
        tell(&limiter, S, &asks(&limiter)[0], granted(8, 2 * S));
        assert!(polled(&limiter, first).is_some_and(|decision| decision.allowed));
        limiter.sweep(2 * S);
        assert!(matches!(letters(&limiter)[..], [Letter::GiveBack { key: KEY, tokens: 7, .. }]));
        assert!(matches!(take(&limiter, &limit, 2 * S), Taken::Later(_)));
    }

    #[test]
    fn a_refusal_holds_for_as_long_as_it_says() {
        let (limiter, limit) = limited(8);
        let first = take(&limiter, &limit, S);
        let refused = Told::Refused(Left { tokens: 0, more_ns: S });
        tell(&limiter, S, &asks(&limiter)[0], refused);
        assert!(
            polled(&limiter, first).is_some_and(|decision| !decision.allowed && decision.left.more_ns == S)
        );
        assert!(matches!(take(&limiter, &limit, S + S / 2), Taken::Now(decision) if !decision.allowed));
        assert!(asks(&limiter).is_empty());
        assert!(matches!(take(&limiter, &limit, 2 * S), Taken::Later(_)));
    }

    #[test]
    fn a_fleet_that_does_not_answer_leaves_it_to_the_node() {
        for batch in [0, 8] {
            let (limiter, limit) = limited(batch);
            let waiting: Vec<Taken> = (0..7).map(|_| take(&limiter, &limit, S)).collect();
            let asked = asks(&limiter);
            limiter.expire(S + 20 * MS);
            let decided: Vec<_> = waiting.iter().filter_map(|taken| polled(&limiter, *taken)).collect();
            assert_eq!(decided.len(), 7);
            let passed = decided.iter().filter(|decision| decision.allowed).count();
            assert_eq!(passed, 5, "the limit's own rate holds on the node");
            assert!(decided.iter().all(|decision| decision.source == Source::Home && !decision.unsure));
            // Late answers bring tokens that nobody waits for: they are leased, or go back.
            for ask in &asked {
                tell(&limiter, S + 30 * MS, ask, granted(ask.least.max(1), 2 * S));
            }
            let back = letters(&limiter).len();
            assert_eq!(back, if batch == 0 { 7 } else { 6 });
        }
    }

    #[test]
    fn a_fleet_that_says_it_is_gone_is_left_alone_for_a_while() {
        let (limiter, limit) = limited(8);
        let first = take(&limiter, &limit, S);
        tell(&limiter, S, &asks(&limiter)[0], Told::Unavailable { for_ns: S });
        assert!(polled(&limiter, first).is_some_and(|decision| decision.allowed));
        assert!(
            matches!(take(&limiter, &limit, S + 1), Taken::Now(decision) if decision.source == Source::Home)
        );
        assert!(letters(&limiter).is_empty());
        assert!(matches!(take(&limiter, &limit, 2 * S), Taken::Later(_)));
    }
}
