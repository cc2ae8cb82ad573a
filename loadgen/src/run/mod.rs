//! A run: threads that carry it, and a coordinator that begins it, watches it and writes down what came of it.

mod collect;
pub mod line;
pub mod record;
pub mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
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
/// How long threads may take to connect before that is an error; each connect has its own limit.
const CONNECT_MAX: Duration = Duration::from_secs(60);
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

/// Runs a plan to its end.
pub fn run(plan: &Arc<Plan>, beside: &mut Beside) -> Result<Report, String> {
    let (to, told) = sync_channel(plan.threads as usize * 8);
    let mut threads = Vec::new();
    for number in 0..plan.threads {
        threads.push(start(plan, number, to.clone())?);
    }
    drop(to);
    let mut run = Run { plan, threads, beside, collected: Collected::new(plan), sampled: None };
    let outcome = run.conduct(&told);
    // Whatever happened, no thread is left behind.
    run.order_all(|| Order::Stop);
    drop(told);
    for thread in run.threads.drain(..) {
        let _ = thread.handle.join();
    }
    outcome?;
    Ok(run.report())
}

struct Thread {
    handle: std::thread::JoinHandle<()>,
    orders: Mailbox<Order>,
    empties: Sender<Box<Histogram<u64>>>,
}

fn start(plan: &Arc<Plan>, number: u32, to: SyncSender<Told>) -> Result<Thread, String> {
    let (orders, inbox) = mailbox(8);
    let (empties, spare) = channel();
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
}

impl Run<'_> {
    fn conduct(&mut self, told: &std::sync::mpsc::Receiver<Told>) -> Result<(), String> {
        for _ in 0..self.plan.threads {
            match told.recv_timeout(CONNECT_MAX) {
                Ok(Told::Ready { driver, cpu }) => self.collected.ready(driver, cpu),
                Ok(Told::Failed(why)) => return Err(why),
                Ok(_) | Err(_) => return Err("the connections could not be brought up in a minute".into()),
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
                    self.collected.second(*slice, threads.len(), |empty| {
                        // Any thread may use it; the first one is as good as another.
                        let _ = threads[0].empties.send(empty);
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
        Ok(())
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
