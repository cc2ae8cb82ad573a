//! A service's limit on requests under way, found by looking at how it does. Pure but for the samples, which workers
//! write each for itself.
//!
//! Workers add up how long responses' heads took and how many requests failed; the background looks ten times a second,
//! takes what came since as a window once it holds enough, and asks the mode for a limit. The limit is the gate's, so it
//! holds for the node; nothing of this is on the request path but four additions.

mod aimd;
mod gradient;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ringway_runtime::Nanos;

use super::ledger::Alone;
use aimd::Aimd;
use gradient::Gradient;

/// Fewer samples make no window, unless [`WINDOW_MAX`] has passed.
const SAMPLES_MIN: u64 = 20;
/// After so long any samples are a window.
const WINDOW_MAX: Duration = Duration::from_secs(1);

/// What `services.X.concurrency` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Concurrency {
    /// By how latency compares with that at rest.
    Gradient {
        /// Never fewer.
        min: u32,
        /// Never more.
        max: u32,
        /// How much slower than at rest is still well: 1.25 is a quarter slower.
        tolerance: f64,
        /// From one measurement of that to the next.
        remeasure_ns: u64,
    },
    /// One more while all is well, a tenth less when it is not.
    Aimd {
        /// Never fewer.
        min: u32,
        /// Never more.
        max: u32,
        /// On average; more is too much.
        latency_ns: u64,
        /// Of all requests; more is too much.
        failures: f64,
    },
}

/// What came to light in a while.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    answered: u64,
    failed: u64,
    /// Of those answered, on average.
    latency_ns: f64,
    /// The limit was in use: under way and waiting were at least half of it.
    limit_was_used: bool,
}

/// What workers add up, ever.
#[derive(Debug)]
pub(crate) struct Samples(Box<[Alone<Sums>]>);

#[derive(Debug, Default)]
struct Sums {
    answered: AtomicU64,
    latency_ns: AtomicU64,
    failed: AtomicU64,
}

impl Samples {
    fn new(workers: usize) -> Samples {
        Samples((0..workers.max(1)).map(|_| Alone::default()).collect())
    }

    /// A response's head came after so long.
    #[inline]
    pub fn answered(&self, worker: usize, latency_ns: u64) {
        let sums = &self.0[worker].0;
        add(&sums.answered, 1);
        add(&sums.latency_ns, latency_ns);
    }

    /// None came.
    #[inline]
    pub fn failed(&self, worker: usize) {
        add(&self.0[worker].0.failed, 1);
    }

    fn sum(&self) -> Sum {
        self.0.iter().fold(Sum::default(), |sum, sums| Sum {
            answered: sum.answered + sums.0.answered.load(Relaxed),
            latency_ns: sum.latency_ns + sums.0.latency_ns.load(Relaxed),
            failed: sum.failed + sums.0.failed.load(Relaxed),
        })
    }
}

/// One worker writes a given sum.
#[inline]
fn add(sum: &AtomicU64, n: u64) {
    sum.store(sum.load(Relaxed).wrapping_add(n), Relaxed);
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    answered: u64,
    latency_ns: u64,
    failed: u64,
}

#[derive(Debug)]
enum Mode {
    Gradient(Gradient),
    Aimd(Aimd),
}

/// The limit of one service.
#[derive(Debug)]
pub(crate) struct Adaptive {
    how: Concurrency,
    mode: Mode,
    samples: Arc<Samples>,
    seen: Sum,
    since: Nanos,
    /// The most that were under way or waiting since.
    busy: u64,
}

impl Adaptive {
    pub fn new(how: Concurrency, workers: usize, now: Nanos) -> Adaptive {
        let samples = Arc::new(Samples::new(workers));
        Adaptive { how, mode: Mode::new(how, now), samples, seen: Sum::default(), since: now, busy: 0 }
    }

    pub fn samples(&self) -> &Arc<Samples> {
        &self.samples
    }

    pub fn limit(&self) -> u32 {
        match &self.mode {
            Mode::Gradient(gradient) => gradient.limit(),
            Mode::Aimd(aimd) => aimd.limit(),
        }
    }

    /// Takes over what a configuration says; what was found is kept where that still says the same. The limit then.
    pub fn adjust(&mut self, how: Concurrency, now: Nanos) -> u32 {
        if how != self.how {
            (self.how, self.mode) = (how, Mode::new(how, now));
        }
        self.limit()
    }

    /// Looks at what came since the last window; `busy` is how many are under way or waiting. The limit then.
    pub fn look(&mut self, now: Nanos, busy: u64) -> u32 {
        self.busy = self.busy.max(busy);
        let sum = self.samples.sum();
        let answered = sum.answered.wrapping_sub(self.seen.answered);
        let failed = sum.failed.wrapping_sub(self.seen.failed);
        let late = now.since(self.since) >= WINDOW_MAX;
        if answered + failed == 0 || (answered + failed < SAMPLES_MIN && !late) {
            return self.limit();
        }
        let latency_ns = sum.latency_ns.wrapping_sub(self.seen.latency_ns) as f64 / answered.max(1) as f64;
        let limit_was_used = self.busy * 2 >= u64::from(self.limit());
        let window = Window { answered, failed, latency_ns, limit_was_used };
        (self.seen, self.since, self.busy) = (sum, now, 0);
        match &mut self.mode {
            Mode::Gradient(gradient) => gradient.window(now, &window),
            Mode::Aimd(aimd) => aimd.window(&window),
        }
        self.limit()
    }
}

impl Mode {
    fn new(how: Concurrency, now: Nanos) -> Mode {
        match how {
            Concurrency::Gradient { min, max, tolerance, remeasure_ns } => {
                Mode::Gradient(Gradient::new(min, max, tolerance, remeasure_ns, now))
            }
            Concurrency::Aimd { min, max, latency_ns, failures } => {
                Mode::Aimd(Aimd::new(min, max, latency_ns, failures))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    /// A service that serves `room` at once, each in `base_ns`; more wait in it. Always as much is asked as may be.
    /// The limit after each look.
    fn limits(how: Concurrency, room: impl Fn(u32) -> u32, base_ns: u64, looks: u32) -> Vec<u32> {
        let mut now = Nanos(1);
        let mut adaptive = Adaptive::new(how, 2, now);
        let look = |at: u32| {
            now = now.after(TENTH);
            let (limit, room) = (u64::from(adaptive.limit()), u64::from(room(at)));
            let latency_ns = base_ns * limit.max(room) / room;
            let answered = limit * TENTH.as_nanos() as u64 / latency_ns;
            for one in 0..answered {
                adaptive.samples.answered((one % 2) as usize, latency_ns);
            }
            adaptive.look(now, limit)
        };
        (0..looks).map(look).collect()
    }

    const GRADIENT: Concurrency =
        Concurrency::Gradient { min: 4, max: 1000, tolerance: 1.25, remeasure_ns: 60_000_000_000 };

    #[test]
    fn the_gradient_finds_what_a_service_can_do() {
        for room in [8, 20, 100] {
            let limits = limits(GRADIENT, |_| room, 10_000_000, 400);
            let settled = &limits[100..590.min(limits.len())];
            let (least, most) = (settled.iter().min().unwrap(), settled.iter().max().unwrap());
            assert!(*least >= room * 3 / 4, "{least} where {room} fit");
            assert!(*most <= room * 3, "{most} where {room} fit");
        }
    }

    #[test]
    fn the_gradient_follows_a_service_that_becomes_worse() {
        let limits = limits(GRADIENT, |at| if at < 200 { 100 } else { 10 }, 10_000_000, 500);
        assert!(limits[190] >= 75);
        assert!(limits[400] <= 30, "{}", limits[400]);
    }

    #[test]
    fn aimd_stays_about_where_latency_is_too_high() {
        let how = Concurrency::Aimd { min: 2, max: 500, latency_ns: 20_000_000, failures: 0.1 };
        // Twice as slow at 20 under way.
        let limits = limits(how, |_| 10, 10_000_000, 600);
        let settled = &limits[300..];
        assert!(settled.iter().all(|limit| (15..=23).contains(limit)), "{settled:?}");
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut now = Nanos(1);
        let how = Concurrency::Aimd { min: 2, max: 500, latency_ns: 20_000_000, failures: 0.1 };
        let mut adaptive = Adaptive::new(how, 1, now);
        let first = adaptive.limit();
        for _ in 0..50 {
            now = now.after(WINDOW_MAX);
            adaptive.samples.answered(0, 1_000_000);
            assert_eq!(adaptive.look(now, 0), first);
        }
    }
}
