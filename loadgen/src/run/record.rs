//! What one thread saw: histograms, counts, and a slice for each second.
//!
//! Invariant: a request is counted exactly once, when it ends or when the run gives it up. What was intended before the
//! measured part counts as warm-up only. Nothing here grows with the number of requests; a second's histogram is given
//! away as the second ends.

use std::sync::mpsc::{Receiver, SyncSender};

use hdrhistogram::Histogram;
use ringway_runtime::Nanos;

use crate::report::model::{ERROR_KINDS, LONGEST_NS, empty};

/// What became of a request that was sent, or tried to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A good answer.
    Ok,
    /// None, or not a good one.
    Failed(Kind),
}

/// Kinds of failure; the order is that of [`ERROR_KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection came to be.
    Connect,
    /// The TLS handshake failed, or a record was bad.
    Tls,
    /// No whole answer within the time.
    Timeout,
    /// The connection ended or was reset before the answer was whole.
    Reset,
    /// The answer breaks its protocol.
    Protocol,
    /// A whole answer with a status that was not wanted.
    Status,
    /// A whole answer with the wrong length or content.
    Body,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its number in the run.
    pub index: u64,
    /// When it was due; in a closed loop when it was taken.
    pub intended: Nanos,
    /// When a connection was free for it: never before it was due.
    pub free: Nanos,
    /// When it was taken to be sent.
    pub sent: Nanos,
}

/// The statuses that are counted apart: HTTP's, and gRPC's behind them.
const STATUSES: usize = 1000;
/// `grpc-status` 0 is counted here.
pub const GRPC_BASE: u16 = 700;

/// One thread's record.
pub struct Recorder {
    /// When the measured part begins.
    begin: Nanos,
    closed: bool,
    /// Ends of the slice that is being filled.
    slice_end: Nanos,
    slice_number: u32,
    slice: Slice,
    to: SyncSender<Told>,
    empties: Receiver<Box<Histogram<u64>>>,
    /// The totals.
    pub totals: Totals,
}

/// What a thread found in all.
pub struct Totals {
    /// See [`crate::report::model::Report`] for each of them.
    pub response: Histogram<u64>,
    pub service: Histogram<u64>,
    pub waiting: Histogram<u64>,
    pub lag: Histogram<u64>,
    pub error_time: Histogram<u64>,
    pub connect: Histogram<u64>,
    pub handshake: Histogram<u64>,
    pub resumed: u64,
    pub requests: u64,
    pub ok: u64,
    pub errors: [u64; ERROR_KINDS.len()],
    pub statuses: Box<[u64; STATUSES]>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub warmup_requests: u64,
    pub warmup_errors: u64,
    /// Due in each second.
    pub asked: Vec<u64>,
    pub parts: Vec<PartTotals>,
    /// When the last answer of the measured part came.
    pub last: Nanos,
}

impl Totals {
    /// Nothing yet, of so many kinds of request.
    pub fn new(parts: usize) -> Totals {
        let part = |_| PartTotals { requests: 0, errors: 0, response: empty() };
        Totals {
            response: empty(),
            service: empty(),
            waiting: empty(),
            lag: empty(),
            error_time: empty(),
            connect: empty(),
            handshake: empty(),
            resumed: 0,
            requests: 0,
            ok: 0,
            errors: [0; ERROR_KINDS.len()],
            statuses: Box::new([0; STATUSES]),
            sent_bytes: 0,
            received_bytes: 0,
            warmup_requests: 0,
            warmup_errors: 0,
            asked: Vec::new(),
            parts: (0..parts).map(part).collect(),
            last: Nanos(0),
        }
    }

    /// Adds what another thread found.
    pub fn add(&mut self, other: &Totals) {
        let pairs = [
            (&mut self.response, &other.response),
            (&mut self.service, &other.service),
            (&mut self.waiting, &other.waiting),
            (&mut self.lag, &other.lag),
            (&mut self.error_time, &other.error_time),
            (&mut self.connect, &other.connect),
            (&mut self.handshake, &other.handshake),
        ];
        for (sum, more) in pairs {
            sum.add(more).expect("all histograms have the same bounds");
        }
        for (sum, more) in [
            (&mut self.resumed, other.resumed),
            (&mut self.requests, other.requests),
            (&mut self.ok, other.ok),
            (&mut self.sent_bytes, other.sent_bytes),
            (&mut self.received_bytes, other.received_bytes),
            (&mut self.warmup_requests, other.warmup_requests),
            (&mut self.warmup_errors, other.warmup_errors),
        ] {
            *sum += more;
        }
        self.errors.iter_mut().zip(&other.errors).for_each(|(sum, more)| *sum += more);
        self.statuses.iter_mut().zip(other.statuses.iter()).for_each(|(sum, more)| *sum += more);
        self.asked.resize(self.asked.len().max(other.asked.len()), 0);
        self.asked.iter_mut().zip(&other.asked).for_each(|(sum, more)| *sum += more);
        for (sum, more) in self.parts.iter_mut().zip(&other.parts) {
            sum.requests += more.requests;
            sum.errors += more.errors;
            sum.response.add(&more.response).expect("all histograms have the same bounds");
        }
        self.last = self.last.max(other.last);
    }
}

/// The share of one kind of request.
pub struct PartTotals {
    pub requests: u64,
    pub errors: u64,
    pub response: Histogram<u64>,
}

/// What a thread tells while it runs.
pub enum Told {
    /// Every lane has connected, or tried to.
    Ready {
        /// How it talks to the kernel.
        driver: &'static str,
        /// The CPU it runs on.
        cpu: Option<u32>,
    },
    /// A second of the measured part is over.
    Second(Box<Slice>),
    /// It can't go on.
    Failed(String),
    /// It has ended.
    Done(Box<Finished>),
}

/// What a thread leaves.
pub struct Finished {
    /// Its record.
    pub totals: Totals,
    /// Due, and never sent.
    pub dropped: u64,
    /// Nanoseconds in the measured part for which it was on a core or waited for one.
    pub busy_ns: u64,
}

/// A second.
pub struct Slice {
    /// Which one, from 0; of the warm-up, none.
    pub number: u32,
    pub ok: u64,
    pub errors: u64,
    pub lag_max_ns: u64,
    pub response: Box<Histogram<u64>>,
}

impl Slice {
    fn new(number: u32, response: Box<Histogram<u64>>) -> Slice {
        Slice { number, ok: 0, errors: 0, lag_max_ns: 0, response }
    }
}

const SECOND_NS: u64 = 1_000_000_000;

impl Recorder {
    /// A record that begins at `begin`, for requests of `parts` kinds.
    pub fn new(
        closed: bool,
        parts: usize,
        to: SyncSender<Told>,
        empties: Receiver<Box<Histogram<u64>>>,
    ) -> Recorder {
        Recorder {
            begin: Nanos::NEVER,
            closed,
            slice_end: Nanos::NEVER,
            slice_number: 0,
            slice: Slice::new(0, Box::new(empty())),
            to,
            empties,
            totals: Totals::new(if parts > 1 { parts } else { 0 }),
        }
    }

    /// The measured part begins at `begin`.
    pub fn begin_at(&mut self, begin: Nanos) {
        self.begin = begin;
        self.slice_end = Nanos(begin.0 + SECOND_NS);
    }

    /// A request was taken to be sent.
    #[inline]
    pub fn taken(&mut self, job: &Job, bytes: usize) {
        if job.intended < self.begin {
            return;
        }
        self.totals.sent_bytes += bytes as u64;
        let second = ((job.intended.0 - self.begin.0) / SECOND_NS) as usize;
        if self.totals.asked.len() <= second {
            self.totals.asked.resize(second + 1, 0);
        }
        self.totals.asked[second] += 1;
        if self.closed {
            return;
        }
        let lag = job.sent.0.saturating_sub(job.free.0);
        record(&mut self.totals.lag, lag);
        record(&mut self.totals.waiting, job.free.0 - job.intended.0);
        self.slice.lag_max_ns = self.slice.lag_max_ns.max(lag);
    }

    /// A request ended at `done`. `status` is that of a whole answer, `part` its kind in a scenario.
    #[inline]
    pub fn ended(&mut self, job: &Job, done: Nanos, outcome: Outcome, status: Option<u16>, part: usize) {
        if job.intended < self.begin {
            self.totals.warmup_requests += 1;
            self.totals.warmup_errors += u64::from(outcome != Outcome::Ok);
            return;
        }
        if done >= self.slice_end {
            self.roll(done);
        }
        let totals = &mut self.totals;
        totals.requests += 1;
        if let Some(count) = status.and_then(|status| totals.statuses.get_mut(usize::from(status))) {
            *count += 1;
        }
        let service = done.0.saturating_sub(job.sent.0);
        let response = done.0.saturating_sub(job.intended.0);
        totals.last = totals.last.max(done);
        match outcome {
            Outcome::Ok => {
                totals.ok += 1;
                record(&mut totals.service, service);
                if !self.closed {
                    record(&mut totals.response, response);
                }
                self.slice.ok += 1;
                record(&mut self.slice.response, response);
            }
            Outcome::Failed(kind) => {
                totals.errors[kind as usize] += 1;
                record(&mut totals.error_time, service);
                self.slice.errors += 1;
            }
        }
        if let Some(part) = totals.parts.get_mut(part) {
            part.requests += 1;
            match outcome {
                Outcome::Ok => record(&mut part.response, response),
                Outcome::Failed(_) => part.errors += 1,
            }
        }
    }

    /// Bytes arrived.
    #[inline]
    pub fn received(&mut self, bytes: usize) {
        self.totals.received_bytes += bytes as u64;
    }

    /// A connection came to be, in this time.
    pub fn connected(&mut self, took_ns: u64) {
        record(&mut self.totals.connect, took_ns);
    }

    /// A TLS handshake was done, in this time.
    pub fn shook_hands(&mut self, took_ns: u64, resumed: bool) {
        record(&mut self.totals.handshake, took_ns);
        self.totals.resumed += u64::from(resumed);
    }

    /// Gives away the slices that are over at `now`.
    pub fn roll(&mut self, now: Nanos) {
        while now >= self.slice_end && self.begin != Nanos::NEVER {
            self.give_slice();
            self.slice_end = Nanos(self.slice_end.0 + SECOND_NS);
        }
    }

    /// The run is over: gives away what is left of the last slice.
    pub fn finish(&mut self, now: Nanos) {
        self.roll(now);
        if self.slice.ok + self.slice.errors > 0 {
            self.give_slice();
        }
    }

    fn give_slice(&mut self) {
        let next = self.empties.try_recv().unwrap_or_else(|_| Box::new(empty()));
        self.slice_number += 1;
        let over = std::mem::replace(&mut self.slice, Slice::new(self.slice_number, next));
        // A coordinator that is gone wants no more of it.
        let _ = self.to.send(Told::Second(Box::new(over)));
    }

    /// What was found in all; nothing is left here.
    pub fn take_totals(&mut self) -> Totals {
        let parts = self.totals.parts.len();
        std::mem::replace(&mut self.totals, Totals::new(parts))
    }

    /// Tells the coordinator.
    pub fn tell(&self, told: Told) {
        let _ = self.to.send(told);
    }
}

#[inline]
fn record(histogram: &mut Histogram<u64>, ns: u64) {
    histogram.saturating_record(ns.min(LONGEST_NS));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, sync_channel};

    fn recorder() -> (Recorder, Receiver<Told>) {
        let (to, told) = sync_channel(64);
        let (_, empties) = channel();
        (Recorder::new(false, 1, to, empties), told)
    }

    fn job(intended: u64, free: u64, sent: u64) -> Job {
        Job { index: 0, intended: Nanos(intended), free: Nanos(free), sent: Nanos(sent) }
    }

    #[test]
    fn waiting_lag_service_and_response_are_kept_apart() {
        let (mut recorder, _told) = recorder();
        recorder.begin_at(Nanos(1000));
        let job = job(2_000_000, 5_000_000, 5_100_000);
        recorder.taken(&job, 10);
        recorder.ended(&job, Nanos(7_100_000), Outcome::Ok, Some(200), 0);
        let totals = &recorder.totals;
        let about = |histogram: &Histogram<u64>, ns: u64| {
            assert!((histogram.max() as f64 / ns as f64 - 1.0).abs() < 0.001, "{} for {ns}", histogram.max());
        };
        about(&totals.waiting, 3_000_000);
        about(&totals.lag, 100_000);
        about(&totals.service, 2_000_000);
        about(&totals.response, 5_100_000);
        assert_eq!(totals.statuses[200], 1);
    }

    #[test]
    fn what_was_due_before_the_measured_part_is_warm_up_only() {
        let (mut recorder, _told) = recorder();
        recorder.begin_at(Nanos(1_000_000));
        let job = job(999_999, 999_999, 999_999);
        recorder.taken(&job, 10);
        recorder.ended(&job, Nanos(5_000_000), Outcome::Failed(Kind::Reset), None, 0);
        assert_eq!((recorder.totals.warmup_requests, recorder.totals.warmup_errors), (1, 1));
        assert_eq!((recorder.totals.requests, recorder.totals.lag.len()), (0, 0));
    }

    #[test]
    fn failures_are_never_among_the_latencies() {
        let (mut recorder, _told) = recorder();
        recorder.begin_at(Nanos(0));
        let job = job(10, 10, 10);
        recorder.taken(&job, 10);
        recorder.ended(&job, Nanos(20), Outcome::Failed(Kind::Status), Some(503), 0);
        assert_eq!((recorder.totals.response.len(), recorder.totals.service.len()), (0, 0));
        assert_eq!((recorder.totals.error_time.len(), recorder.totals.errors[Kind::Status as usize]), (1, 1));
    }

    #[test]
    fn merged_records_equal_one_record_of_all() {
        let (mut one, _t) = recorder();
        let (mut left, _t) = recorder();
        let (mut right, _t) = recorder();
        [&mut one, &mut left, &mut right].into_iter().for_each(|recorder| recorder.begin_at(Nanos(0)));
        let mut random = fastrand::Rng::with_seed(3);
        for n in 0..20_000u64 {
            let job = job(n * 1000, n * 1000 + random.u64(0..500), n * 1000 + random.u64(500..900));
            let done = Nanos(job.sent.0 + random.u64(1..50_000_000));
            let outcome = if n % 97 == 0 { Outcome::Failed(Kind::Timeout) } else { Outcome::Ok };
            let half = if random.bool() { &mut left } else { &mut right };
            for recorder in [&mut one, half] {
                recorder.taken(&job, 7);
                recorder.ended(&job, done, outcome, Some(200), 0);
            }
        }
        let mut sum = Totals::new(0);
        sum.add(&left.totals);
        sum.add(&right.totals);
        let whole = &one.totals;
        assert_eq!((&sum.response, &sum.service, &sum.lag), (&whole.response, &whole.service, &whole.lag));
        assert_eq!((&sum.waiting, &sum.error_time), (&whole.waiting, &whole.error_time));
        assert_eq!((sum.requests, sum.ok, sum.errors), (whole.requests, whole.ok, whole.errors));
        assert_eq!(
            (sum.statuses, sum.asked, sum.last),
            (whole.statuses.clone(), whole.asked.clone(), whole.last)
        );
    }

    #[test]
    fn a_silent_second_is_told_too() {
        let (mut recorder, told) = recorder();
        recorder.begin_at(Nanos(0));
        recorder.roll(Nanos(3 * SECOND_NS + 1));
        let numbers: Vec<u32> = told
            .try_iter()
            .map(|told| match told {
                Told::Second(slice) => slice.number,
                _ => panic!("only seconds are told"),
            })
            .collect();
        assert_eq!(numbers, [0, 1, 2]);
    }
}
