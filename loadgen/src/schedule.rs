//! When each request is due. Pure: no clock is read here.
//!
//! A schedule is a row of phases whose rates change linearly, so the number of requests due by a time t is a function
//! N(t), and request i is due when N(t) = i. Poisson arrivals go the same way, with a random walk of mean step 1 in
//! the place of i. Invariant: a time is computed from the request's number and never from the time of the request
//! before it, so nothing adds up to a drift; no number is skipped or used twice, whatever the number of threads.

use std::sync::Arc;
use std::time::Duration;

/// How requests are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// At random, independent of each other, from this seed.
    Poisson {
        /// The same seed gives the same times.
        seed: u64,
    },
}

/// A stretch of time in which the rate goes linearly from one figure to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Requests a second at its begin.
    pub from: f64,
    /// Requests a second at its end.
    pub to: f64,
    /// How long it is.
    pub length: Duration,
}

/// All times of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    spans: Vec<Span>,
    arrivals: Arrivals,
    length_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start_ns: u64,
    length_ns: u64,
    from: f64,
    to: f64,
    /// Requests due before it.
    before: f64,
}

impl Schedule {
    /// A schedule of these stretches, one after another.
    pub fn new(stretches: &[Stretch], arrivals: Arrivals) -> Schedule {
        let (mut start_ns, mut before) = (0, 0.0);
        let mut spans = Vec::with_capacity(stretches.len());
        for stretch in stretches.iter().filter(|stretch| !stretch.length.is_zero()) {
            let length_ns = stretch.length.as_nanos() as u64;
            spans.push(Span { start_ns, length_ns, from: stretch.from, to: stretch.to, before });
            before += (stretch.from + stretch.to) / 2.0 * stretch.length.as_secs_f64();
            start_ns += length_ns;
        }
        Schedule { spans, arrivals, length_ns: start_ns }
    }

    /// From its begin to its end, in nanoseconds.
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// How requests are spaced.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    /// Requests a second on average, the first `but` not counted.
    pub fn mean_rate(&self, but: Duration) -> f64 {
        let but_ns = but.as_nanos() as u64;
        let counted = self.spans.iter().filter(|span| span.start_ns >= but_ns);
        let requests: f64 =
            counted.map(|span| (span.from + span.to) / 2.0 * span.length_ns as f64 / 1e9).sum();
        requests / ((self.length_ns - but_ns).max(1) as f64 / 1e9)
    }

    /// Nanoseconds after the begin at which the `position`th request is due, counted from 0; `None` beyond the end.
    fn time_of(&self, position: f64, hint: &mut usize) -> Option<u64> {
        while let Some(span) = self.spans.get(*hint) {
            let within = position - span.before;
            if let Some(ns) = span.time_of(within)
                && ns < span.length_ns
            {
                return Some(span.start_ns + ns);
            }
            *hint += 1;
        }
        None
    }
}

impl Span {
    /// Nanoseconds into the span at which `count` requests have come due; `None` if they never do.
    fn time_of(&self, count: f64) -> Option<u64> {
        if self.from == self.to {
            return (self.from > 0.0).then(|| (count * 1e9 / self.from).round() as u64);
        }
        // N(t) = from t + slope t^2 / 2, solved in the form that loses no digits where the slope is small.
        let slope = (self.to - self.from) / (self.length_ns as f64 / 1e9);
        let root = self.from.mul_add(self.from, 2.0 * slope * count);
        if root < 0.0 {
            return None;
        }
        let below = self.from + root.sqrt();
        if below == 0.0 {
            return Some(0);
        }
        Some((2.0 * count / below * 1e9).round() as u64)
    }
}

/// One request's place in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number, from 0, in the whole run.
    pub index: u64,
    /// Nanoseconds after the begin.
    pub at_ns: u64,
}

/// The part of a schedule that one thread sends: every `of`th request.
#[derive(Debug)]
pub struct Share {
    schedule: Arc<Schedule>,
    step: u64,
    index: u64,
    /// Where the random walk stands, for `index`.
    position: f64,
    random: fastrand::Rng,
    hint: usize,
    next: Option<Due>,
}

impl Share {
    /// The share of thread `number` of `of`.
    pub fn new(schedule: Arc<Schedule>, number: u32, of: u32) -> Share {
        let seed = match schedule.arrivals {
            Arrivals::Constant => 0,
            Arrivals::Poisson { seed } => seed,
        };
        let mut share = Share {
            schedule,
            step: u64::from(of.max(1)),
            index: 0,
            position: 0.0,
            random: fastrand::Rng::with_seed(seed),
            hint: 0,
            next: None,
        };
        share.walk(1);
        share.index = 0;
        share.skip(u64::from(number));
        share.look();
        share
    }

    /// The next request, which stays next.
    pub fn peek(&self) -> Option<Due> {
        self.next
    }

    /// Takes the next request.
    pub fn take(&mut self) -> Option<Due> {
        let due = self.next?;
        self.skip(self.step);
        self.look();
        Some(due)
    }

    fn skip(&mut self, count: u64) {
        self.index += count;
        self.walk(count);
    }

    /// Random steps of mean 1, exponentially distributed.
    fn walk(&mut self, count: u64) {
        if let Arrivals::Poisson { .. } = self.schedule.arrivals {
            for _ in 0..count {
                self.position -= (1.0 - self.random.f64()).ln();
            }
        }
    }

    fn look(&mut self) {
        let position = match self.schedule.arrivals {
            Arrivals::Constant => self.index as f64,
            Arrivals::Poisson { .. } => self.position,
        };
        let at_ns = self.schedule.time_of(position, &mut self.hint);
        self.next = at_ns.map(|at_ns| Due { index: self.index, at_ns });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steady(rate: f64, seconds: f64, arrivals: Arrivals) -> Arc<Schedule> {
        let length = Duration::from_secs_f64(seconds);
        Arc::new(Schedule::new(&[Stretch { from: rate, to: rate, length }], arrivals))
    }

    #[test]
    fn ten_million_requests_do_not_drift_and_none_is_skipped_or_early() {
        let rate = 33_333.3;
        let mut share = Share::new(steady(rate, 400.0, Arrivals::Constant), 0, 1);
        let mut clock_ns = 0;
        for expected in 0..10_000_000u64 {
            let due = share.take().expect("not at the end yet");
            assert_eq!(due.index, expected);
            // A virtual clock that is moved to each due time: it never goes back.
            assert!(due.at_ns >= clock_ns);
            clock_ns = due.at_ns;
            let exact = expected as f64 / rate * 1e9;
            assert!((due.at_ns as f64 - exact).abs() <= 1.0, "request {expected}: {} for {exact}", due.at_ns);
        }
    }

    #[test]
    fn a_run_ends_with_its_last_stretch() {
        let mut share = Share::new(steady(1000.0, 2.0, Arrivals::Constant), 0, 1);
        let all: Vec<Due> = std::iter::from_fn(|| share.take()).collect();
        assert_eq!(all.len(), 2000);
        assert_eq!(all[1999].at_ns, 1_999_000_000);
        assert_eq!(share.peek(), None);
    }

    #[test]
    fn a_ramp_from_nothing_gets_denser_and_meets_its_area() {
        let ramp = Stretch { from: 0.0, to: 2000.0, length: Duration::from_secs(10) };
        let hold = Stretch { from: 2000.0, to: 2000.0, length: Duration::from_secs(1) };
        let pause = Stretch { from: 0.0, to: 0.0, length: Duration::from_secs(1) };
        let schedule = Arc::new(Schedule::new(&[ramp, hold, pause, hold], Arrivals::Constant));
        let mut share = Share::new(schedule, 0, 1);
        let all: Vec<u64> = std::iter::from_fn(|| share.take()).map(|due| due.at_ns).collect();
        assert_eq!(all.len(), 10_000 + 2000 + 2000);
        let second = |n: u64| all.iter().filter(|&&at| at / 1_000_000_000 == n).count();
        assert_eq!(second(0), 100);
        assert_eq!(second(9), 1900);
        assert_eq!((second(10), second(11), second(12)), (2000, 0, 2000));
    }

    #[test]
    fn random_arrivals_have_the_asked_rate_and_an_exponential_gap() {
        let mut share = Share::new(steady(1000.0, 200.0, Arrivals::Poisson { seed: 7 }), 0, 1);
        let all: Vec<u64> = std::iter::from_fn(|| share.take()).map(|due| due.at_ns).collect();
        assert!((all.len() as f64 - 200_000.0).abs() < 2000.0, "{}", all.len());
        let long = all.windows(2).filter(|pair| pair[1] - pair[0] > 3_000_000).count();
        let expected = (-3.0f64).exp() * all.len() as f64;
        assert!((long as f64 / expected - 1.0).abs() < 0.05, "{long} for {expected}");
    }

    proptest! {
        #[test]
        fn threads_share_a_schedule_without_gap_or_overlap(
            threads in 1u32..9, rate in 0.5f64..5000.0, to in 0.0f64..5000.0, seconds in 0.1f64..3.0,
            seed in proptest::option::of(any::<u64>()),
        ) {
            let arrivals = seed.map_or(Arrivals::Constant, |seed| Arrivals::Poisson { seed });
            let length = Duration::from_secs_f64(seconds);
            let stretches = [Stretch { from: rate, to, length }, Stretch { from: to, to: rate, length }];
            let schedule = Arc::new(Schedule::new(&stretches, arrivals));
            let mut whole = Share::new(schedule.clone(), 0, 1);
            let whole: Vec<Due> = std::iter::from_fn(|| whole.take()).collect();
            let mut parts: Vec<Due> = (0..threads)
                .flat_map(|number| {
                    let mut share = Share::new(schedule.clone(), number, threads);
                    std::iter::from_fn(move || share.take())
                })
                .collect();
            parts.sort_by_key(|due| due.index);
            prop_assert!(parts.iter().enumerate().all(|(i, due)| due.index == i as u64));
            prop_assert!(parts.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns));
            prop_assert_eq!(parts, whole);
        }
    }
}
