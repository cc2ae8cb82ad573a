//! Outcomes: how exchanges with an endpoint ended, as one worker counts it and the background thread reads it.
//!
//! At the end of the line, under `observe`. A worker has one [`Outcomes`] for each endpoint of a service that is judged
//! (`eject`), and alone writes what it counts; a success is three plain stores. Whoever judges is woken by failures, and by
//! successes of an endpoint that is probed, at most once until it has looked. Invariant: times are of the clock that all workers share, so what several workers saw has
//! an order.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock, mpsc};

use crate::balance::Address;

/// Failures in a row that can be told apart.
pub const RUN_MAX: u32 = 64;

/// What one worker saw of one endpoint.
#[repr(align(128))]
pub struct Outcomes {
    answered: AtomicU64,
    failed: AtomicU64,
    latency_us: AtomicU64,
    answered_at_ns: AtomicU64,
    /// A success is waited for as well: the endpoint is probed.
    probed: AtomicBool,
    /// When the last failures ended: number `n` at `n` modulo the length.
    failed_at_ns: Box<[AtomicU64]>,
    bell: Arc<Bell>,
}

/// Sums since an endpoint came to a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Exchanges that were answered well.
    pub answered: u64,
    /// Those that failed.
    pub failed: u64,
    /// Over `answered`: from sent to response head.
    pub latency_us: u64,
}

impl Outcomes {
    fn new(run: u32, bell: Arc<Bell>) -> Outcomes {
        Outcomes {
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            answered_at_ns: AtomicU64::new(0),
            probed: AtomicBool::new(false),
            failed_at_ns: (0..run.clamp(1, RUN_MAX)).map(|_| AtomicU64::new(0)).collect(),
            bell,
        }
    }

    /// An exchange was answered well.
    #[inline]
    pub fn succeeded(&self, now_ns: u64, latency_us: u64) {
        add(&self.answered, 1, Relaxed);
        add(&self.latency_us, latency_us, Relaxed);
        self.answered_at_ns.store(now_ns, Relaxed);
        if self.probed.load(Relaxed) {
            self.bell.ring();
        }
    }

    /// An exchange failed.
    pub fn failed(&self, now_ns: u64) {
        let place = self.failed.load(Relaxed) as usize % self.failed_at_ns.len();
        self.failed_at_ns[place].store(now_ns, Relaxed);
        // Who sees this failure sees the success before it.
        add(&self.failed, 1, Release);
        self.bell.ring();
    }

    /// How many failures in a row it can tell.
    pub fn run_max(&self) -> usize {
        self.failed_at_ns.len()
    }

    /// Whether a success wakes as well, for whoever judges to say.
    pub fn set_probed(&self, probed: bool) {
        self.probed.store(probed, Relaxed);
    }

    /// What there is so far.
    pub fn sums(&self) -> Sums {
        Sums {
            failed: self.failed.load(Acquire),
            answered: self.answered.load(Relaxed),
            latency_us: self.latency_us.load(Relaxed),
        }
    }

    /// When an exchange was last answered well; 0: never.
    pub fn answered_at_ns(&self) -> u64 {
        self.answered_at_ns.load(Relaxed)
    }

    /// When the last failures ended, in no order. Read before [`Outcomes::answered_at_ns`], so that none is seen without
    /// the success before it.
    pub fn failed_at_ns(&self) -> impl Iterator<Item = u64> {
        let failed = self.failed.load(Acquire).min(self.failed_at_ns.len() as u64);
        self.failed_at_ns[..failed as usize].iter().map(|at| at.load(Relaxed))
    }
}

/// One writer: see `observe::counter`.
#[inline]
fn add(to: &AtomicU64, n: u64, order: std::sync::atomic::Ordering) {
    to.store(to.load(Relaxed).wrapping_add(n), order);
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sums().fmt(f)
    }
}

/// A worker begins to count for an endpoint.
#[derive(Clone, Debug)]
pub struct Counting {
    /// Of this service.
    pub service: Arc<str>,
    /// Where it answers.
    pub address: Address,
    /// Held by the worker as long as the endpoint is there.
    pub outcomes: Arc<Outcomes>,
}

/// Where workers tell whom they count for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    told: mpsc::Sender<Counting>,
    bell: Arc<Bell>,
}

/// Where that is heard.
pub struct Reports {
    /// Never more than the endpoints that came since the last look.
    pub counting: mpsc::Receiver<Counting>,
    bell: Arc<Bell>,
}

/// Wakes whoever judges.
#[derive(Default)]
struct Bell {
    /// It was rung since the last look. The one line that several workers write: with the first failure in each look's
    /// time.
    rung: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.load(Relaxed)
            && !self.rung.swap(true, Release)
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }
}

pub(crate) fn reports() -> (Reporter, Reports) {
    let (told, counting) = mpsc::channel();
    let bell = Arc::<Bell>::default();
    (Reporter { told, bell: bell.clone() }, Reports { counting, bell })
}

/// For tests and simulations: a worker of one's own that begins to count, and nobody to wake.
pub fn counting(service: &Arc<str>, address: &Address, run: u32) -> Counting {
    let outcomes = Arc::new(Outcomes::new(run, Arc::default()));
    Counting { service: service.clone(), address: address.clone(), outcomes }
}

impl Reporter {
    /// Outcomes of an endpoint that came, known to whoever judges.
    pub fn begin(&self, service: &Arc<str>, address: &Address, run: u32) -> Arc<Outcomes> {
        let outcomes = Arc::new(Outcomes::new(run, self.bell.clone()));
        let counting =
            Counting { service: service.clone(), address: address.clone(), outcomes: outcomes.clone() };
        // Nobody judges any more where nobody listens.
        let _ = self.told.send(counting);
        self.bell.ring();
        outcomes
    }
}

impl Reports {
    /// Calls `wake` on a worker's thread at the first failure, and at the first after each [`Reports::looking`]. Once.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.bell.wake.set(Box::new(wake));
    }

    /// A look begins: what fails from now on wakes again.
    pub fn looking(&self) {
        self.bell.rung.swap(false, Acquire);
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn the_last_failures_and_the_last_success_are_known_by_time() {
        let (reporter, reports) = reports();
        let address = Address::Ip(([127, 0, 0, 1], 80).into());
        let counts = reporter.begin(&"app".into(), &address, 3);
        assert_eq!(reports.counting.try_recv().unwrap().address, address);
        counts.failed(5);
        counts.succeeded(7, 100);
        counts.succeeded(8, 300);
        assert_eq!(counts.failed_at_ns().collect::<Vec<_>>(), [5]);
        (10..15).for_each(|at| counts.failed(at));
        let mut at: Vec<u64> = counts.failed_at_ns().collect();
        at.sort();
        assert_eq!((at, counts.answered_at_ns()), (vec![12, 13, 14], 8));
        assert_eq!(counts.sums(), Sums { answered: 2, failed: 6, latency_us: 400 });
    }

    #[test]
    fn failures_wake_once_until_somebody_looked() {
        let (reporter, reports) = reports();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        reports.wake_by(move || {
            count.fetch_add(1, Relaxed);
        });
        let counts = reporter.begin(&"app".into(), &Address::Ip(([127, 0, 0, 1], 80).into()), 3);
        reports.looking();
        counts.succeeded(1, 1);
        assert_eq!(woken.load(Relaxed), 1, "the endpoint came");
        counts.failed(2);
        counts.failed(3);
        assert_eq!(woken.load(Relaxed), 2);
        reports.looking();
        counts.failed(4);
        assert_eq!(woken.load(Relaxed), 3);
        reports.looking();
        counts.set_probed(true);
        counts.succeeded(5, 1);
        assert_eq!(woken.load(Relaxed), 4);
    }
}
