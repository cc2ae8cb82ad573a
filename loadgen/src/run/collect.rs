//! What threads tell, brought together: seconds as they end, totals at the end, and the report of them.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use ringway_runtime::Nanos;

use super::record::{Finished, GRPC_BASE, Slice, Totals};
use crate::plan::{Pacing, Plan, Requests};
use crate::progress::Tick;
use crate::report::model::{
    Bytes, ERROR_KINDS, Environment, FORMAT, Figures, Interval, Latency, Part, PlanSummary, Report, Warmup,
};
use crate::scenario::Phase;
use crate::schedule::Arrivals;
use crate::target::Protocol;
use crate::units::{show_rate, show_us};

/// The busiest thread may be at work for this share of the time before its lateness can't be told from the target's.
const OCCUPANCY_MAX: f64 = 0.95;
/// Lag may be at most this share of what is reported.
const LAG_SHARE_MAX: f64 = 0.1;

/// What is known so far.
pub struct Collected {
    /// How the threads talk to the kernel.
    pub driver: &'static str,
    /// CPUs they are pinned to.
    pub cpus: Vec<u32>,
    /// Begin of the run.
    pub begin: Nanos,
    /// Begin of the measured part.
    pub measured: Nanos,
    /// The same on the wall clock.
    pub started_unix_ms: u64,
    /// When it was stopped early.
    pub stopped_at: Option<Nanos>,
    /// Threads that have ended.
    pub finished: usize,
    open: HashMap<u32, (usize, Slice)>,
    intervals: Vec<Interval>,
    totals: Totals,
    dropped: u64,
    busiest_ns: u64,
    told: Nanos,
}

impl Collected {
    /// Nothing yet.
    pub fn new(plan: &Plan) -> Collected {
        Collected {
            driver: "",
            cpus: Vec::new(),
            begin: Nanos::NEVER,
            measured: Nanos::NEVER,
            started_unix_ms: 0,
            stopped_at: None,
            finished: 0,
            open: HashMap::new(),
            intervals: Vec::new(),
            totals: Totals::new(if plan.parts() > 1 { plan.parts() } else { 0 }),
            dropped: 0,
            busiest_ns: 0,
            told: Nanos(0),
        }
    }

    /// A thread is ready.
    pub fn ready(&mut self, driver: &'static str, cpu: Option<u32>) {
        self.driver = driver;
        self.cpus.extend(cpu);
        self.cpus.sort_unstable();
        self.cpus.dedup();
    }

    /// A thread's second is over. Once all have told theirs it is encoded and its histogram given back.
    pub fn second(&mut self, slice: Slice, threads: usize, spare: &mut impl FnMut(Box<Histogram<u64>>)) {
        let number = slice.number;
        match self.open.get_mut(&number) {
            None => {
                self.open.insert(number, (1, slice));
            }
            Some((told, sum)) => {
                *told += 1;
                sum.ok += slice.ok;
                sum.errors += slice.errors;
                sum.lag_max_ns = sum.lag_max_ns.max(slice.lag_max_ns);
                sum.response.add(&*slice.response).expect("all histograms have the same bounds");
                give_back(slice.response, spare);
            }
        }
        if self.open.get(&number).is_some_and(|(told, _)| *told == threads) {
            self.close(number, spare);
        }
    }

    fn close(&mut self, number: u32, spare: &mut impl FnMut(Box<Histogram<u64>>)) {
        let Some((_, sum)) = self.open.remove(&number) else { return };
        let latency = Latency(*sum.response);
        self.intervals.push(Interval {
            at_s: f64::from(number),
            length_s: 1.0,
            asked: 0,
            ok: sum.ok,
            errors: sum.errors,
            lag_max_us: sum.lag_max_ns as f64 / 1000.0,
            response_time_us: Figures::from(&latency),
        });
        give_back(Box::new(latency.0), spare);
    }

    /// A thread has ended.
    pub fn done(&mut self, finished: &Finished) {
        self.finished += 1;
        self.totals.add(&finished.totals);
        self.dropped += finished.dropped;
        self.busiest_ns = self.busiest_ns.max(finished.busy_ns);
    }

    /// What progress shows, once a second has ended.
    pub fn tick(&mut self, plan: &Plan, now: Nanos) -> Option<Tick> {
        if now.since(self.told).as_millis() < 1000 || now < self.begin {
            return None;
        }
        self.told = now;
        let last = self.intervals.last();
        let total_s = measured_s(plan) + plan.warmup.as_secs_f64();
        let figures = last.map(|interval| interval.response_time_us.clone()).unwrap_or_default();
        Some(Tick {
            elapsed_s: now.since(self.begin).as_secs_f64().min(total_s),
            total_s,
            asked_rate: asked_rate(plan),
            achieved_rate: last.map_or(0.0, |interval| interval.ok as f64 / interval.length_s),
            p50_us: figures.p50,
            p99_us: figures.p99,
            p99_9_us: figures.p99_9,
            max_us: figures.max,
            ok: self.intervals.iter().map(|interval| interval.ok).sum(),
            errors: self.intervals.iter().map(|interval| interval.errors).sum(),
            errors_by_kind: Vec::new(),
            lag_p99_us: last.map_or(0.0, |interval| interval.lag_max_us),
            in_warmup: now < self.measured,
        })
    }

    /// The report, once every thread has ended.
    pub fn report(&mut self, plan: &Plan, environment: Environment) -> Report {
        let left: Vec<u32> = self.open.keys().copied().collect();
        left.into_iter().for_each(|number| self.close(number, &mut |_| {}));
        self.intervals.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let totals = std::mem::replace(&mut self.totals, Totals::new(0));
        let seconds = self.seconds(plan, &totals);
        for interval in &mut self.intervals {
            interval.asked = totals.asked.get(interval.at_s as usize).copied().unwrap_or(0);
            interval.length_s = (seconds - interval.at_s).clamp(0.001, 1.0);
        }
        let closed = matches!(plan.pace, Pacing::Closed(_));
        let service = Latency(totals.service);
        let response = if closed { service.clone() } else { Latency(totals.response) };
        let mut report = Report {
            format: FORMAT.to_owned(),
            valid: true,
            invalid_because: Vec::new(),
            notes: Vec::new(),
            partial: self.stopped_at.is_some(),
            plan: summary(plan),
            environment,
            started_unix_ms: self.started_unix_ms,
            seconds,
            warmup: Warmup {
                seconds: plan.warmup.as_secs_f64(),
                requests: totals.warmup_requests,
                errors: totals.warmup_errors,
            },
            requests: totals.requests,
            ok: totals.ok,
            dropped: self.dropped,
            achieved_rate: if seconds > 0.0 { totals.ok as f64 / seconds } else { 0.0 },
            errors: ERROR_KINDS.iter().map(|kind| (*kind).to_owned()).zip(totals.errors).collect(),
            statuses: statuses(&totals.statuses[..], plan.target.protocol == Protocol::Grpc),
            bytes: Bytes { sent: totals.sent_bytes, received: totals.received_bytes },
            response_time_us: response,
            service_time_us: service,
            waiting_us: Latency(totals.waiting),
            generator_lag_us: Latency(totals.lag),
            error_time_us: Latency(totals.error_time),
            connect_time_us: Latency(totals.connect),
            handshake_time_us: Latency(totals.handshake),
            resumed: totals.resumed,
            occupancy: if seconds > 0.0 { (self.busiest_ns as f64 / 1e9 / seconds).min(1.0) } else { 0.0 },
            intervals: std::mem::take(&mut self.intervals),
            parts: parts(plan, totals.parts),
            watched: None,
            expectations: Vec::new(),
        };
        judge(&mut report, closed);
        report
    }

    /// From the end of the warm-up to the end of the schedule, or of the closed loop, or to an early stop; longer where
    /// a backlog was still being answered after that.
    fn seconds(&self, plan: &Plan, totals: &Totals) -> f64 {
        let until = match self.stopped_at {
            Some(stopped) => stopped,
            None => Nanos(self.measured.0 + (measured_s(plan) * 1e9) as u64),
        };
        until.max(totals.last).since(self.measured).as_secs_f64()
    }
}

/// Says what a reader must know before believing the figures.
fn judge(report: &mut Report, closed: bool) {
    let lag = report.generator_lag_us.percentile_us(99.0);
    let p99 = report.response_time_us.percentile_us(99.0);
    if !closed && report.ok > 0 && lag > p99 * LAG_SHARE_MAX {
        report.invalid_because.push(format!(
            "the generator itself was late: its lag at p99 is {}, more than a tenth of the reported p99 of {}; \
             give it more threads (--threads) on cores of their own (--cores), or ask for a lower rate",
            show_us(lag),
            show_us(p99)
        ));
    }
    if !closed && report.occupancy > OCCUPANCY_MAX {
        report.invalid_because.push(format!(
            "the generator's busiest thread had work for {:.0}% of the time, so its own queueing can't be told from \
             the target's; give it more threads (--threads) on cores of their own (--cores), or ask for a lower rate",
            report.occupancy * 100.0
        ));
    }
    if report.dropped > 0 {
        report.invalid_because.push(format!(
            "{} requests were due and never sent or never ended: every connection was busy until long after the end; \
             ask for a lower rate or open more connections",
            report.dropped
        ));
    }
    if closed {
        report.notes.push(
            "closed loop: these latencies hide queueing. While an answer is late nothing else is sent, so the wait that \
             users would have had is not in them; measure latency with `run` at a rate."
                .into(),
        );
        if report.occupancy > OCCUPANCY_MAX {
            report.notes.push(
                "the generator's busiest thread had no time left: the figure may be its limit and not the target's"
                    .into(),
            );
        }
    }
    report.valid = report.invalid_because.is_empty();
}

fn give_back(mut histogram: Box<Histogram<u64>>, spare: &mut impl FnMut(Box<Histogram<u64>>)) {
    histogram.reset();
    spare(histogram);
}

fn summary(plan: &Plan) -> PlanSummary {
    let (loop_kind, arrivals) = match &plan.pace {
        Pacing::Closed(_) => ("closed", ""),
        Pacing::Open(schedule) => (
            "open",
            match schedule.arrivals() {
                Arrivals::Constant => "constant",
                Arrivals::Poisson { .. } => "poisson",
            },
        ),
    };
    PlanSummary {
        label: plan.label.clone(),
        target: plan.target.url.clone(),
        loop_kind: loop_kind.into(),
        arrivals: arrivals.into(),
        phases: match &plan.requests {
            Requests::Same(_) => Vec::new(),
            Requests::Mix(scenario) => scenario.phases.iter().map(phase).collect(),
        },
        rate: asked_rate(plan),
        duration_s: measured_s(plan),
        protocol: plan.target.protocol_name(),
        connections: plan.connections,
        depth: plan.depth,
        threads: plan.threads,
        seed: plan.seed,
    }
}

fn phase(phase: &Phase) -> String {
    let rates = match phase.from_rate == phase.to_rate {
        true => show_rate(phase.from_rate),
        false => format!("{} to {}", show_rate(phase.from_rate), show_rate(phase.to_rate)),
    };
    format!("{} {rates} for {} s", phase.kind.name(), phase.duration.as_secs_f64())
}

fn asked_rate(plan: &Plan) -> Option<f64> {
    match &plan.pace {
        Pacing::Closed(_) => None,
        Pacing::Open(schedule) => Some(schedule.mean_rate(plan.warmup)),
    }
}

fn measured_s(plan: &Plan) -> f64 {
    match &plan.pace {
        Pacing::Closed(length) => length.as_secs_f64(),
        Pacing::Open(schedule) => schedule.length_ns() as f64 / 1e9 - plan.warmup.as_secs_f64(),
    }
}

fn statuses(counts: &[u64], grpc: bool) -> BTreeMap<String, u64> {
    let name = |status: usize| match (status as u16).checked_sub(GRPC_BASE) {
        Some(code) if grpc && code < 100 => format!("grpc-{code}"),
        _ => status.to_string(),
    };
    let seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    seen.map(|(status, count)| (name(status), *count)).collect()
}

fn parts(plan: &Plan, totals: Vec<super::record::PartTotals>) -> BTreeMap<String, Part> {
    let Requests::Mix(scenario) = &plan.requests else { return BTreeMap::new() };
    let named = scenario.requests.iter().map(|template| template.name.clone()).zip(totals);
    let part = |(name, totals): (String, super::record::PartTotals)| {
        let response_time_us = Latency(totals.response);
        (name, Part { requests: totals.requests, errors: totals.errors, response_time_us })
    };
    named.map(part).collect()
}
