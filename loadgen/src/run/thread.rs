//! One generator thread: an event loop, its lanes, and what it tells the coordinator.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender};
use std::task::Poll;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringway_runtime::mailbox::Receiver as Mailbox;
use ringway_runtime::{Gauges, Nanos, Options, PreciseTimer, Runtime, now, pin_to_cpu, sleep, spawn};

use super::line::{Line, Pace};
use super::record::{Finished, Recorder, Told};
use crate::lane::{self, Dialer};
use crate::plan::{Pacing, Plan};
use crate::schedule::Share;

/// What the coordinator tells a thread.
pub enum Order {
    /// Begin at this time, measure from that one.
    Begin {
        /// Time zero of the schedule.
        begin: Nanos,
        /// Begin of the measured part.
        measured: Nanos,
    },
    /// Send no more.
    Stop,
}

/// How long the first connections may take, where an answer may take longer.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long answers are waited for after a run was stopped early.
const STOPPED_WAIT: Duration = Duration::from_secs(2);
/// Buffers of a loop, and their size.
const BUFFER_BYTES: u32 = 16 << 10;
const BUFFERS: u16 = 2048;

/// Runs thread `number` of a plan to its end.
pub fn run(
    plan: &Arc<Plan>,
    number: u32,
    to: SyncSender<Told>,
    empties: Receiver<Box<Histogram<u64>>>,
    orders: Mailbox<Order>,
) -> Result<(), String> {
    let cpu = match plan.cpus.get(number as usize % plan.cpus.len().max(1)) {
        Some(&cpu) if !pin_to_cpu(cpu) => return Err(format!("core {cpu} can't be used by this process")),
        cpu => cpu.map(|&cpu| cpu as u32),
    };
    let options = Options { choice: plan.driver, buffer_size: BUFFER_BYTES, buffer_count: BUFFERS };
    let gauges = Arc::new(Gauges::default());
    let runtime = Runtime::new(&options, gauges.clone()).map_err(|error| error.to_string())?;
    let driver = runtime.picked().driver;
    let closed = matches!(plan.pace, Pacing::Closed(_));
    let recorder = Recorder::new(closed, plan.parts(), to, empties);
    let pace = match &plan.pace {
        Pacing::Open(schedule) => Pace::Open(Share::new(schedule.clone(), number, plan.threads)),
        Pacing::Closed(length) => Pace::Closed {
            length_ns: (plan.warmup + *length).as_nanos() as u64,
            next: u64::from(number),
            step: u64::from(plan.threads),
        },
    };
    let line = Line::new(pace, recorder);
    let dialer = Dialer::new(plan.clone())?;
    let plan = plan.clone();
    let ended = runtime.block_on(async move {
        let connections = plan.connections_of(number);
        if !connected(&plan, &line, dialer, connections, &orders).await {
            return;
        }
        line.recorder.borrow().tell(Told::Ready { driver, cpu });
        let Order::Begin { begin, measured } = orders.recv().await else { return };
        line.begin_at(begin, measured);
        let finished = carry(&plan, &line, begin, measured, orders, gauges).await;
        line.recorder.borrow().tell(Told::Done(Box::new(finished)));
    });
    ended.map_err(|error| format!("the event loop failed: {error}"))
}

/// Starts the lanes and waits until each connection is up or has failed; false if it was told to stop before.
async fn connected(
    plan: &Arc<Plan>,
    line: &Rc<Line>,
    dialer: Dialer,
    connections: u32,
    orders: &Mailbox<Order>,
) -> bool {
    let left = Rc::new(Cell::new(connections));
    let waker = Rc::new(Cell::new(None::<std::task::Waker>));
    let started: Rc<dyn Fn()> = {
        let (left, waker) = (left.clone(), waker.clone());
        Rc::new(move || {
            left.set(left.get() - 1);
            if left.get() == 0
                && let Some(waker) = waker.take()
            {
                waker.wake();
            }
        })
    };
    lane::start(plan, line, dialer, connections, &started);
    let mut stopped = pin!(orders.recv());
    poll_fn(|cx| {
        if left.get() == 0 {
            return Poll::Ready(true);
        }
        // The only order before the begin is to stop.
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        waker.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await
}

/// When connecting ahead of the begin is given up.
pub fn connect_deadline(plan: &Plan) -> Nanos {
    now().after(plan.timeout.min(CONNECT_MAX))
}

/// From the begin to the last answer.
async fn carry(
    plan: &Arc<Plan>,
    line: &Rc<Line>,
    begin: Nanos,
    measured: Nanos,
    orders: Mailbox<Order>,
    gauges: Arc<Gauges>,
) -> Finished {
    let stopped = Rc::new(Cell::new(None));
    {
        let (line, stopped) = (line.clone(), stopped.clone());
        spawn(async move {
            while let Order::Begin { .. } = orders.recv().await {}
            stopped.set(Some(Nanos::precise()));
            line.stop();
        });
    }
    let busy_before = Rc::new(Cell::new(0));
    {
        // Seconds are told as they end, also when nothing comes.
        let (line, busy, gauges) = (line.clone(), busy_before.clone(), gauges.clone());
        spawn(async move {
            PreciseTimer::new().until(measured).await;
            busy.set(at_work_ns(&gauges));
            loop {
                sleep(Duration::from_millis(100)).await;
                line.recorder.borrow_mut().roll(now());
            }
        });
    }
    {
        // What is still due that long after the schedule's end will not be sent.
        let (line, length) = (line.clone(), length(plan));
        let patience = plan.timeout;
        spawn(async move {
            PreciseTimer::new().until(begin.after(length).after(patience)).await;
            line.stop();
        });
    }
    line.dispatch(plan.spins).await;
    let worked_until = at_work_ns(&gauges);
    // Lanes end their jobs by themselves: each has a time limit.
    let patience = Nanos::precise().after(plan.timeout * 2 + Duration::from_secs(1));
    let mut timer = PreciseTimer::new();
    poll_fn(|cx| {
        if line.poll_idle(cx).is_ready() {
            return Poll::Ready(());
        }
        let deadline = stopped.get().map_or(patience, |stopped| stopped.after(STOPPED_WAIT));
        timer.poll_until(cx, deadline)
    })
    .await;
    let ended = Nanos::precise();
    let (under_way, never_sent) = line.left(ended.min(begin.after(length(plan))));
    let mut recorder = line.recorder.borrow_mut();
    recorder.finish(ended);
    Finished {
        dropped: never_sent + under_way,
        busy_ns: worked_until.saturating_sub(busy_before.get()),
        totals: recorder.take_totals(),
    }
}

/// Nanoseconds for which this thread was on a core, or waited for one, to do something.
fn at_work_ns(gauges: &Gauges) -> u64 {
    ringway_runtime::thread_busy_ns().saturating_sub(gauges.spun_ns.load(Relaxed))
}

fn length(plan: &Plan) -> Duration {
    match &plan.pace {
        Pacing::Open(schedule) => Duration::from_nanos(schedule.length_ns()),
        Pacing::Closed(length) => plan.warmup + *length,
    }
}
