//! How often each client's address may come, counted for the node as a whole in constant memory.
//!
//! One table for all workers, without a lock: an address may be in any of the eight places of its set, one cache line,
//! and all that is kept of it is one word, when its bucket will be full again (GCRA). An address whose bucket is full
//! carries no information, so its place can be another's; where nobody in a set can go, newcomers share one bucket. So no
//! number of strangers drives out an address that is in use, and none can be made to pay for another.
//!
//! Why not on a home core, as requests' keys: what comes is decided before anything is known of it, often by the million
//! and without a wait, and a flood must cost no letters. A client's connections and datagrams mostly reach one worker, so
//! its line is mostly one core's. Pure but for its words; `now` is passed in.
//!
//! Invariant: within any time `x` an address takes at most `burst + x / interval`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Sets of eight addresses each: 131 072 addresses in 1 MiB, touched as they come.
const SETS: usize = 1 << 14;
/// A word is 20 bits of an address's hash, 0 for an empty place, and 44 of a time.
const TIME_BITS: u32 = 44;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// Nanoseconds of a unit of time: a word's time comes round after 78 hours.
const UNIT_NS: u64 = 16;
/// An empty bucket is full again within this, a quarter of the round: what is further ahead has passed.
const FILL_MAX: u64 = TIME / 4;
/// How far workers' clocks may be apart: each is as old as its loop's turn. In units.
const SKEW: u64 = 60_000_000_000 / UNIT_NS;
/// So many others may come between; after that, which is never, an address is refused.
const TRIES_MAX: u32 = 64;

/// How often, and how often at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In units.
    interval: u64,
    burst: u32,
}

impl Pace {
    /// `count` in each `period_ns`, at most `burst` at once.
    pub fn new(count: u32, period_ns: u64, burst: u32) -> Pace {
        let interval = period_ns.div_ceil(u64::from(count.max(1))).div_ceil(UNIT_NS).clamp(1, FILL_MAX);
        let most = u32::try_from(FILL_MAX / interval).unwrap_or(u32::MAX).max(1);
        Pace { interval, burst: burst.clamp(1, most) }
    }

    /// For people: `at most 20 at once, then one each 100 ms`.
    pub fn told(self) -> String {
        let each = std::time::Duration::from_nanos(self.interval * UNIT_NS);
        format!("at most {} at once, then one each {each:?}", self.burst)
    }

    fn capacity(self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    /// How far ahead a word's time is. 0: it has passed; so has one much further ahead than this pace can fill, which came
    /// round, or was spent by another pace.
    fn ahead(self, word: u64, now: u64) -> u64 {
        let ahead = (word & TIME).wrapping_sub(now) & TIME;
        if ahead <= self.capacity() + SKEW { ahead.min(self.capacity()) } else { 0 }
    }

    /// Takes up to `want` from a bucket that is full so far ahead: how many, and how far ahead it is then.
    fn take(self, ahead: u64, want: u32) -> (u32, u64) {
        let there = u32::try_from((self.capacity() - ahead) / self.interval).unwrap_or(u32::MAX);
        let taken = want.min(there);
        (taken, ahead + u64::from(taken) * self.interval)
    }
}

/// A bucket that all share.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes up to `want`.
    pub fn take(&self, now_ns: u64, pace: Pace, want: u32) -> u32 {
        let now = (now_ns / UNIT_NS) & TIME;
        let mut known = self.0.load(Relaxed);
        loop {
            let (taken, ahead) = pace.take(pace.ahead(known, now), want);
            if taken == 0 {
                return 0;
            }
            match self.0.compare_exchange_weak(known, (now + ahead) & TIME, Relaxed, Relaxed) {
                Ok(_) => return taken,
                Err(other) => known = other,
            }
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; 8]);

/// The addresses.
#[derive(Debug)]
pub struct Clients {
    sets: Box<[Set]>,
    overflow: Bucket,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients { sets: (0..SETS).map(|_| Set::default()).collect(), overflow: Bucket::default() }
    }
}

impl Clients {
    /// Takes up to `want` for the address of this hash, which strangers can't choose.
    pub fn take(&self, now_ns: u64, hash: u64, pace: Pace, want: u32) -> u32 {
        let now = (now_ns / UNIT_NS) & TIME;
        let tag = (hash >> TIME_BITS).max(1);
        let Set(set) = &self.sets[hash as usize % SETS];
        for _ in 0..TRIES_MAX {
            let words: [u64; 8] = std::array::from_fn(|way| set[way].load(Relaxed));
            let own = words.iter().position(|word| word >> TIME_BITS == tag);
            // All workers choose alike, so an address that comes to two at once gets one place.
            let way = own.or_else(|| words.iter().position(|word| pace.ahead(*word, now) == 0));
            let Some(way) = way else { return self.overflow.take(now_ns, pace, want) };
            let known = if own.is_some() { pace.ahead(words[way], now) } else { 0 };
            let (taken, ahead) = pace.take(known, want);
            let next = tag << TIME_BITS | (now + ahead) & TIME;
            if taken == 0 || set[way].compare_exchange(words[way], next, Relaxed, Relaxed).is_ok() {
                return taken;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let clients = Clients::default();
        let pace = Pace::new(10, S, 5);
        assert_eq!(clients.take(S, 7, pace, 9), 5);
        assert_eq!(clients.take(S, 7, pace, 1), 0);
        assert_eq!(clients.take(S, 8, pace, 1), 1, "another one");
        assert_eq!(clients.take(S + S / 10, 7, pace, 3), 1);
        assert_eq!(clients.take(9 * S, 7, pace, 9), 5);
        let slow = Pace::new(5, 60 * S, 5);
        assert_eq!(clients.take(S, 9, slow, 9), 5);
        assert_eq!(clients.take(12 * S, 9, slow, 9), 0);
        assert_eq!(clients.take(13 * S, 9, slow, 9), 1);
    }

    #[test]
    fn strangers_drive_out_nobody_and_share_what_is_left() {
        let clients = Clients::default();
        let pace = Pace::new(1, 60 * S, 1);
        // The same set, another tag.
        let hash = |n: u64| (n << TIME_BITS) | 3;
        for n in 1..=8 {
            assert_eq!(clients.take(S, hash(n), pace, 1), 1);
        }
        let strangers: u32 = (9..10_000).map(|n| clients.take(S, hash(n), pace, 1)).sum();
        assert_eq!(strangers, 1, "all of them together have what one has");
        assert!((1..=8).all(|n| clients.take(S, hash(n), pace, 1) == 0), "who has spent has spent");
        assert_eq!(clients.take(62 * S, hash(77), pace, 1), 1, "once buckets are full again there is room");
    }

    #[test]
    fn a_time_that_came_round_is_no_debt() {
        let clients = Clients::default();
        let pace = Pace::new(1, S, 3);
        assert_eq!(clients.take(S, 7, pace, 3), 3);
        for hours in [1, 30, 40, 77, 200] {
            assert_eq!(clients.take(S + hours * 3600 * S, 7, pace, 3), 3, "after {hours} h");
        }
    }

    #[test]
    fn another_pace_holds_from_now_on() {
        let clients = Clients::default();
        assert_eq!(clients.take(S, 7, Pace::new(1, 60 * S, 100), 100), 100);
        let pace = Pace::new(10, S, 2);
        assert_eq!(clients.take(S, 7, pace, 9), 2, "what was spent beyond this pace is forgiven");
        assert_eq!(clients.take(S, 7, pace, 9), 0);
    }

    #[test]
    fn all_workers_together_take_no_more_than_one_would() {
        let (clients, bucket) = (Arc::new(Clients::default()), Arc::new(Bucket::default()));
        let pace = Pace::new(1, 60 * S, 1000);
        let worker = |_| {
            let (clients, bucket) = (clients.clone(), bucket.clone());
            std::thread::spawn(move || {
                let mut taken = (0, 0);
                for n in 0..40_000u64 {
                    taken.0 += clients.take(S, (n % 20) << TIME_BITS | 5, pace, 1);
                    taken.1 += bucket.take(S, pace, 1);
                }
                taken
            })
        };
        let threads: Vec<_> = (0..4).map(worker).collect();
        let sums = threads.into_iter().fold((0, 0), |(a, b), thread| {
            let (c, d) = thread.join().unwrap();
            (a + c, b + d)
        });
        // Eight have places, the others share one bucket; tags 0 and 1 are one.
        assert_eq!(sums, (9 * 1000, 1000));
    }
}
