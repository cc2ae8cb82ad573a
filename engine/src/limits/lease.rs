//! Tokens of keys whose bucket is elsewhere: on the key's home core, or with the fleet. One state machine serves both.
//!
//! ```text
//!            ask              granted                 below half: ask
//!   (absent) ----> Asked ----------------------> Held ----------------> Asked
//!      ^             |  refused, none in hand      ^   granted            | refused, some in hand
//!      |             v                             +----------------------+
//!      +--------- Refused (until when)                                    v
//!      +------------------------------------------------------ Ebbing (spent to the last, then asked anew)
//! ```
//!
//! What is in hand was taken from the bucket when it was leased, so spending it asks nobody. Only one ask for more is
//! under way for a key; whoever can't wait for it asks for itself alone. What is not spent within the lease's term is
//! given back. A refusal is remembered for as long as it said, so that who goes on asking costs no letters.
//!
//! Invariant: of a key no more than [`Terms::batch`] tokens are in hand or asked for ahead of requests. So over all cores
//! at most `(workers - 1) * batch` tokens are taken and not yet spent. Pure.

use std::collections::VecDeque;

use super::gcra::{Left, Rate};
use super::shard::{Inserted, Key, Shard, Words};

/// Of a burst one part in so many may be on lease, over all cores together.
pub const LEASED: u32 = 8;
/// Smaller leases than this are not worth a letter: each request is decided at home.
const BATCH_MIN: u32 = 4;
/// How long tokens stay in hand unspent.
pub const TERM_NS: u64 = 250_000_000;
/// Leases whose end is waited for; before there are more, the oldest ends.
const ENDS_MAX: usize = 32_768;

/// What may be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tokens of a key in hand at most; 0: each request is decided where the bucket is.
    pub batch: u32,
    /// From one token to the next, for what is told of what is left.
    pub interval_ns: u64,
}

impl Terms {
    /// Between so many cores of one node.
    pub fn between_cores(rate: Rate, workers: usize) -> Terms {
        let others = u32::try_from(workers.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        let batch = rate.burst() / LEASED / others;
        Terms { batch: if batch < BATCH_MIN { 0 } else { batch }, interval_ns: rate.interval_ns() }
    }
}

/// What is to be done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It passes; whoever has the bucket is to be asked for so many more meanwhile, if any.
    Allowed(Left, u32),
    /// It does not.
    Refused(Left),
    /// Whoever has the bucket knows.
    Ask(Wanted),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// With less the request does not pass.
    pub least: u32,
    /// As much would be welcome.
    pub want: u32,
    /// It is the key's ask for more: the answer is told to [`Leases`], whatever becomes of the request.
    pub batch: bool,
}

/// What was answered, by a home core or for the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// So many tokens were taken from the bucket, to be spent or given back by then.
    Granted {
        /// At least what was needed.
        tokens: u32,
        /// What is left in the bucket.
        left: Left,
        /// Nanoseconds of the loop's clock.
        until_ns: u64,
    },
    /// There is too little; what is said of it is when there is enough.
    Refused(Left),
    /// Nobody knows for now; nobody needs to be asked for so long.
    Unavailable {
        /// Nanoseconds.
        for_ns: u64,
    },
}

/// The leases of one limit on one core.
#[derive(Debug)]
pub struct Leases {
    terms: Terms,
    keys: Shard,
    ends: VecDeque<(Key, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    Asked,
    Ebbing,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    state: State,
    /// In hand; of a refusal: what was asked for.
    tokens: u32,
    /// In the bucket, as was told; of a refusal: when, in [`TICK_SHIFT`]ths.
    left: u32,
    until_ns: u64,
}

impl Leases {
    /// For so many keys.
    pub fn new(terms: Terms, keys: usize) -> Leases {
        Leases { terms, keys: Shard::new(keys), ends: VecDeque::new() }
    }

    /// Other terms from now on: what was refused by the old ones is asked anew.
    pub fn set_terms(&mut self, terms: Terms, now: u64) {
        self.terms = terms;
        self.keys.change_all(|words| match Lease::of(words) {
            lease if lease.state == State::Refused => Lease { until_ns: now, ..lease }.words(),
            _ => words,
        });
    }

    /// Tokens are leased; else each request is decided where the bucket is.
    pub fn leases(&self) -> bool {
        self.terms.batch > 0
    }

    /// Keys with a lease or a refusal.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Decides for a request that costs so much.
    #[inline]
    pub fn take(&mut self, now: u64, key: Key, cost: u32) -> Step {
        let Some(place) = self.keys.find(key) else { return self.first(now, key, cost) };
        let mut lease = Lease::of(self.keys.words(place));
        let batch = self.terms.batch;
        let alone = Step::Ask(Wanted { least: cost, want: cost, batch: false });
        let step = match lease.state {
            State::Refused if now >= lease.until_ns || lease.is_old(now) => {
                self.keys.remove(place);
                return self.first(now, key, cost);
            }
            State::Refused if cost >= lease.tokens => {
                return Step::Refused(Left { tokens: 0, more_ns: lease.until_ns - now });
            }
            State::Refused => return alone,
            State::Asked if lease.tokens < cost => return alone,
            _ if lease.tokens >= cost => {
                lease.tokens -= cost;
                let left =
                    Left { tokens: lease.tokens.saturating_add(lease.left), more_ns: self.terms.interval_ns };
                let more = if lease.state == State::Held && lease.tokens < batch / 2 {
                    lease.state = State::Asked;
                    batch - lease.tokens
                } else {
                    0
                };
                Step::Allowed(left, more)
            }
            // More than a lease ever holds is asked for alone, and so is everything under terms without leases.
            _ if cost > batch => return alone,
            _ => {
                lease.state = State::Asked;
                // Paid from what is granted: what is in hand may be spent meanwhile.
                Step::Ask(Wanted { least: cost, want: (batch - lease.tokens).max(cost), batch: true })
            }
        };
        self.keys.set_words(place, lease.words());
        step
    }

    /// What is known of a key without asking; `full` where nothing is.
    pub fn left(&self, now: u64, key: Key, full: u32) -> Left {
        let Some(place) = self.keys.find(key) else { return Left { tokens: full, more_ns: 0 } };
        let lease = Lease::of(self.keys.words(place));
        match lease.state {
            State::Refused => Left { tokens: 0, more_ns: lease.until_ns.saturating_sub(now) },
            _ => Left { tokens: lease.tokens.saturating_add(lease.left), more_ns: self.terms.interval_ns },
        }
    }

    /// Whoever has the bucket answered the key's ask for at least `cost`, which goes to the request that waited, if it
    /// `spends` it still. What the lease may not hold is to be given back.
    #[must_use]
    pub fn told(&mut self, now: u64, key: Key, told: Told, cost: u32, spends: bool) -> u32 {
        let spend = if spends { cost } else { 0 };
        let Some(place) = self.keys.find(key) else {
            // Its place was needed for another.
            return match told {
                Told::Granted { tokens, .. } => tokens.saturating_sub(spend),
                _ => 0,
            };
        };
        let mut lease = Lease::of(self.keys.words(place));
        let mut over = 0;
        match told {
            Told::Granted { tokens, left, until_ns } => {
                let there = if lease.state == State::Refused { 0 } else { lease.tokens };
                let held = there.saturating_add(tokens).saturating_sub(spend);
                over = held.saturating_sub(self.terms.batch);
                lease = Lease { state: State::Held, tokens: held - over, left: left.tokens, until_ns };
                self.ends_at(key, until_ns);
            }
            Told::Refused(left) if lease.tokens == 0 => {
                lease.refuse(now, left, cost.max(1));
            }
            Told::Refused(_) | Told::Unavailable { .. } if lease.tokens > 0 => {
                lease.state = State::Ebbing;
                self.ends_at(key, lease.until_ns.max(now + TERM_NS / 2));
            }
            _ => {
                self.keys.remove(place);
                return 0;
            }
        }
        self.keys.set_words(place, lease.words());
        over
    }

    /// A request that asked for itself alone was refused: others like it need not ask before that time.
    pub fn refused(&mut self, now: u64, key: Key, left: Left, cost: u32) {
        let mut lease = Lease { state: State::Refused, tokens: 0, left: 0, until_ns: now };
        lease.refuse(now, left, cost);
        match self.keys.find(key).map(|place| (place, Lease::of(self.keys.words(place)))) {
            None => {
                let _ = self.keys.insert(key, lease.words(), |words| worth(words, now));
            }
            Some((place, known)) if known.state == State::Refused => {
                self.keys.set_words(place, lease.words())
            }
            Some(_) => {}
        }
    }

    /// Tokens that were spent for nothing; the outcome is what does not fit in the lease.
    #[must_use]
    pub fn give_back(&mut self, key: Key, tokens: u32) -> u32 {
        let Some(place) = self.keys.find(key) else { return tokens };
        let mut lease = Lease::of(self.keys.words(place));
        if lease.state == State::Refused || lease.tokens.saturating_add(tokens) > self.terms.batch {
            return tokens;
        }
        lease.tokens += tokens;
        self.keys.set_words(place, lease.words());
        0
    }

    /// Ends leases whose term is over; what they had left is told to `give_back`.
    pub fn lapse(&mut self, now: u64, mut give_back: impl FnMut(Key, u32)) {
        while let Some((key, until_ns)) = self.ends.front().copied()
            && (until_ns <= now || self.ends.len() > ENDS_MAX)
        {
            self.ends.pop_front();
            let Some(place) = self.keys.find(key) else { continue };
            let lease = Lease::of(self.keys.words(place));
            // One that was renewed has a later end in the line; one whose ask is out gets one with the answer.
            let over = lease.until_ns <= now || until_ns > now;
            if over && matches!(lease.state, State::Held | State::Ebbing) {
                give_back(key, lease.tokens);
                self.keys.remove(place);
            }
        }
    }

    /// A key of which nothing is known here.
    fn first(&mut self, now: u64, key: Key, cost: u32) -> Step {
        let alone = Step::Ask(Wanted { least: cost, want: cost, batch: false });
        if self.terms.batch < cost.max(1) {
            return alone;
        }
        let asked = Lease { state: State::Asked, tokens: 0, left: 0, until_ns: now };
        match self.keys.insert(key, asked.words(), |words| worth(words, now)) {
            Inserted::Here { .. } => Step::Ask(Wanted { least: cost, want: self.terms.batch, batch: true }),
            Inserted::Full => alone,
        }
    }

    fn ends_at(&mut self, key: Key, until_ns: u64) {
        self.ends.push_back((key, until_ns));
    }
}

impl Lease {
    fn of([until_ns, packed]: Words) -> Lease {
        let state = match packed & 3 {
            0 => State::Held,
            1 => State::Asked,
            2 => State::Ebbing,
            _ => State::Refused,
        };
        Lease { state, tokens: (packed >> 32) as u32, left: packed as u32 >> 2, until_ns }
    }

    fn words(self) -> Words {
        let left = u64::from(self.left.min(u32::MAX >> 2)) << 2;
        [self.until_ns, u64::from(self.tokens) << 32 | left | self.state as u64]
    }

    fn refuse(&mut self, now: u64, left: Left, cost: u32) {
        *self = Lease {
            state: State::Refused,
            tokens: cost,
            left: tick(now),
            until_ns: now.saturating_add(left.more_ns),
        };
    }

    /// A refusal that was told long ago: the limit may have changed since at the bucket.
    fn is_old(self, now: u64) -> bool {
        tick(now).wrapping_sub(self.left) & TICKS > REFUSED_TICKS_MAX
    }
}

/// About a second.
const TICK_SHIFT: u32 = 30;
/// What of a tick's number is kept.
const TICKS: u32 = u32::MAX >> 2;
/// A refusal is believed for so many ticks.
const REFUSED_TICKS_MAX: u32 = 10;

fn tick(now: u64) -> u32 {
    (now >> TICK_SHIFT) as u32 & TICKS
}

/// What has tokens in hand or an ask under way stays, and so does a refusal that holds.
fn worth(words: Words, now: u64) -> Option<u64> {
    let lease = Lease::of(words);
    (lease.state == State::Refused).then(|| lease.until_ns.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const KEY: Key = 7;

    #[test]
    fn a_refusal_is_of_what_was_asked_for_whether_it_is_waited_for_or_not() {
        for spends in [true, false] {
            let mut leases = Leases::new(Terms { batch: 100, interval_ns: 1000 }, 8);
            assert!(matches!(leases.take(S, KEY, 50), Step::Ask(Wanted { least: 50, .. })));
            let refused = Told::Refused(Left { tokens: 40, more_ns: S });
            assert_eq!(leases.told(S, KEY, refused, 50, spends), 0);
            assert!(matches!(leases.take(S + 1, KEY, 50), Step::Refused(_)));
            assert!(matches!(leases.take(S + 1, KEY, 1), Step::Ask(_)), "there are 40");
        }
    }
}
