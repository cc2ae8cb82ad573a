//! A run: threads that carry it, and a coordinator that begins it, watches it and writes down what came of it.

mod collect;
pub mod line;
pub mod record;
pub mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use ringway_runtime::Nanos;
use ringway_runtime::mailbox::{Sender as Mailbox, mailbox};

use crate::environment::environment;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::model::Report;
use crate::watch::Watch;
use collect::Collected;
use record::Told;
use thread::Order;

/// Between the last thread being ready and the begin.
const LEAD: Duration = Duration::from_millis(20);
/// Empty histograms that wait for a thread.
const SPARES_MAX: usize = 4;
/// How often the coordinator looks whether it was stopped.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is looked at beside the load.
pub struct Beside {
    /// The process under test.
    pub watch: Option<Watch>,
    /// Where progress is shown.
    pub progress: Progress,
    /// Raised to end the run early.
    pub stop: Arc<AtomicBool>,
}

/// Runs a plan to its end. None where it was stopped before anything was sent.
pub fn run(plan: &Arc<Plan>, beside: &mut Beside) -> Result<Option<Report>, String> {
    let (to, told) = sync_channel(plan.threads as usize * 8);
    let mut threads = Vec::new();
    for number in 0..plan.threads {
        threads.push(start(plan, number, to.clone())?);
    }
    drop(to);
    let mut run = Run { plan, threads, beside, collected: Collected::new(plan), sampled: None, turn: 0 };
    let outcome = run.conduct(&told);
    // Whatever happened, no thread is left behind.
    run.order_all(|| Order::Stop);
    drop(told);
    for thread in run.threads.drain(..) {
        let _ = thread.handle.join();
    }
    Ok(outcome?.then(|| run.report()))
}

struct Thread {
    handle: std::thread::JoinHandle<()>,
    orders: Mailbox<Order>,
    empties: SyncSender<Box<Histogram<u64>>>,
}

fn start(plan: &Arc<Plan>, number: u32, to: SyncSender<Told>) -> Result<Thread, String> {
    let (orders, inbox) = mailbox(8);
    let (empties, spare) = sync_channel(SPARES_MAX);
    let plan = plan.clone();
    let run = move || {
        let failed = to.clone();
        if let Err(why) = thread::run(&plan, number, to, spare, inbox) {
            let _ = failed.send(Told::Failed(why));
        }
    };
    let named = std::thread::Builder::new().name(format!("load-{number}"));
    let handle = named.spawn(run).map_err(|error| format!("a thread can't be started: {error}"))?;
    Ok(Thread { handle, orders, empties })
}

struct Run<'a> {
    plan: &'a Arc<Plan>,
    threads: Vec<Thread>,
    beside: &'a mut Beside,
    collected: Collected,
    sampled: Option<f64>,
    /// Which thread has the next empty histogram.
    turn: usize,
}

impl Run<'_> {
    /// Whether anything was sent.
    fn conduct(&mut self, told: &std::sync::mpsc::Receiver<Told>) -> Result<bool, String> {
        let mut ready = 0;
        while ready < self.threads.len() {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(Told::Ready { driver, cpu }) => {
                    self.collected.ready(driver, cpu);
                    ready += 1;
                }
                Ok(Told::Failed(why)) => return Err(why),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("a generator thread died".into()),
            }
            if self.beside.stop.load(Relaxed) {
                return Ok(false);
            }
        }
        let begin = Nanos::precise().after(LEAD);
        let measured = begin.after(self.plan.warmup);
        self.collected.begin = begin;
        self.collected.measured = measured;
        self.collected.started_unix_ms = wall_ms() + measured.since(Nanos::precise()).as_millis() as u64;
        self.order_all(|| Order::Begin { begin, measured });
        let mut stopped = false;
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(Told::Second(slice)) => {
                    let threads = &self.threads;
                    let turn = &mut self.turn;
                    self.collected.second(*slice, threads.len(), &mut |empty| {
                        // To each in turn, since each gives one away a second. One too many is dropped.
                        let _ = threads[*turn % threads.len()].empties.try_send(empty);
                        *turn += 1;
                    });
                }
                Ok(Told::Done(finished)) => {
                    self.collected.done(&finished);
                    if self.collected.finished == self.threads.len() {
                        break;
                    }
                }
                Ok(Told::Failed(why)) => return Err(why),
                Ok(Told::Ready { .. }) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("a generator thread died".into()),
            }
            if !stopped && self.beside.stop.load(Relaxed) {
                stopped = true;
                self.collected.stopped_at = Some(Nanos::precise());
                self.order_all(|| Order::Stop);
            }
            self.look();
        }
        std::mem::replace(&mut self.beside.progress, Progress::None).end();
        Ok(true)
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        for thread in &self.threads {
            // A full box holds a stop already.
            let _ = thread.orders.send(order());
        }
    }

    /// Samples the watched process, and shows progress, once a second.
    fn look(&mut self) {
        let now = Nanos::precise();
        let measuring = now >= self.collected.measured;
        let at_s = now.since(self.collected.measured).as_secs_f64();
        if let Some(watch) = self.beside.watch.as_mut().filter(|_| measuring) {
            match self.sampled {
                None => watch.begin(),
                Some(last) if at_s - last >= 1.0 => watch.sample(at_s),
                Some(_) => {}
            }
        }
        if measuring && self.sampled.is_none_or(|last| at_s - last >= 1.0) {
            self.sampled = Some(at_s);
        }
        if let Some(tick) = self.collected.tick(self.plan, now) {
            self.beside.progress.tick(&tick);
        }
    }

    fn report(&mut self) -> Report {
        let pinned: Vec<u32> = self.collected.cpus.clone();
        let environment = environment(&pinned, self.collected.driver);
        let mut report = self.collected.report(self.plan, environment);
        if let Some(mut watch) = self.beside.watch.take() {
            report.notes.extend(watch.note());
            report.watched = Some(watch.end(report.requests));
        }
        report
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
