//! One thread's line: which request goes next, and to which lane.
//!
//! A lane carries one request at a time (an HTTP/1.1 connection carries `--pipeline` of them). A lane that is free asks
//! for a job. What is due already it takes at once; else it stands in line, and the dispatcher gives it the next job
//! when that comes due. So a request waits only while every lane is busy, and nothing is queued: the schedule itself
//! remembers what is due.
//!
//! Invariant: `free` of a job is the later of its intended time and the time its lane was known to be free, so
//! `sent - free` is the generator's own lateness and nothing of the target's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Nanos, PreciseTimer, now};

use super::record::{Job, Recorder};
use crate::schedule::Share;

/// How long before a request is due a loop with a core of its own stops to sleep: about twice what waking up takes.
const SPIN_WITHIN: Duration = Duration::from_micros(100);

/// What a thread's lanes share.
pub struct Line {
    pace: RefCell<Pace>,
    lanes: RefCell<Vec<Place>>,
    idle: RefCell<VecDeque<u32>>,
    dispatcher: Cell<Option<Waker>>,
    /// Begin of the run; [`Nanos::NEVER`] before it.
    begin: Cell<Nanos>,
    stopped: Cell<bool>,
    /// Jobs given to lanes that have not ended.
    under_way: Cell<u64>,
    /// Wakes who waits for the last of them.
    last: Cell<Option<Waker>>,
    /// The record.
    pub recorder: RefCell<Recorder>,
}

/// What decides when the next request goes.
pub enum Pace {
    /// A schedule.
    Open(Share),
    /// Answers: until a time, each thread's own numbers.
    Closed {
        /// Nanoseconds after the begin at which no more is sent.
        length_ns: u64,
        /// The next number.
        next: u64,
        /// Between numbers of one thread.
        step: u64,
    },
}

#[derive(Default)]
struct Place {
    in_line: bool,
    given: Option<Due>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Due {
    index: u64,
    intended: Nanos,
}

impl Line {
    /// A line without lanes, which begins when told.
    pub fn new(pace: Pace, recorder: Recorder) -> Rc<Line> {
        Rc::new(Line {
            pace: RefCell::new(pace),
            lanes: RefCell::default(),
            idle: RefCell::default(),
            dispatcher: Cell::default(),
            begin: Cell::new(Nanos::NEVER),
            stopped: Cell::new(false),
            under_way: Cell::new(0),
            last: Cell::default(),
            recorder: RefCell::new(recorder),
        })
    }

    /// A new lane's number.
    pub fn add_lane(&self) -> u32 {
        let mut lanes = self.lanes.borrow_mut();
        lanes.push(Place::default());
        lanes.len() as u32 - 1
    }

    /// The run begins at `begin`, its measured part at `measured`.
    pub fn begin_at(&self, begin: Nanos, measured: Nanos) {
        self.begin.set(begin);
        self.recorder.borrow_mut().begin_at(measured);
        self.wake_all();
    }

    /// No more jobs are given.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.wake_all();
        // Who waits for the last answers waits less long now.
        if let Some(waker) = self.last.take() {
            waker.wake();
        }
    }

    /// The next job for a lane that is free, now or when it comes due; `None` when there will be no more.
    #[inline]
    pub fn poll_job(&self, cx: &Context<'_>, lane: u32) -> Poll<Option<Job>> {
        let mut lanes = self.lanes.borrow_mut();
        let place = &mut lanes[lane as usize];
        if let Some(due) = place.given.take() {
            let sent = Nanos::precise();
            return Poll::Ready(Some(Job {
                index: due.index,
                intended: due.intended,
                free: due.intended,
                sent,
            }));
        }
        if place.in_line {
            place.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.stopped.get() {
            return Poll::Ready(None);
        }
        let sent = Nanos::precise();
        match self.next(sent) {
            Next::Now(due) => {
                self.under_way.set(self.under_way.get() + 1);
                // The lane was known to be free when this turn brought the news.
                let free = due.intended.max(now().min(sent));
                return Poll::Ready(Some(Job { index: due.index, intended: due.intended, free, sent }));
            }
            Next::Never => {
                // The dispatcher may be waiting for a lane to become free; none will any more.
                if let Some(dispatcher) = self.dispatcher.take() {
                    dispatcher.wake();
                }
                return Poll::Ready(None);
            }
            Next::Later => {}
        }
        place.in_line = true;
        place.waker = Some(cx.waker().clone());
        let mut idle = self.idle.borrow_mut();
        idle.push_back(lane);
        if idle.len() == 1
            && let Some(dispatcher) = self.dispatcher.take()
        {
            dispatcher.wake();
        }
        Poll::Pending
    }

    #[inline]
    fn next(&self, time: Nanos) -> Next {
        let begin = self.begin.get();
        if begin == Nanos::NEVER {
            return Next::Later;
        }
        match &mut *self.pace.borrow_mut() {
            Pace::Open(share) => match share.peek() {
                None => Next::Never,
                Some(due) if begin.0 + due.at_ns > time.0 => Next::Later,
                Some(due) => {
                    share.take();
                    Next::Now(Due { index: due.index, intended: Nanos(begin.0 + due.at_ns) })
                }
            },
            Pace::Closed { length_ns, .. } if time.0 >= begin.0 + *length_ns => Next::Never,
            Pace::Closed { .. } if time < begin => Next::Later,
            Pace::Closed { next, step, .. } => {
                let index = *next;
                *next += *step;
                Next::Now(Due { index, intended: time })
            }
        }
    }

    /// When the next job is due; `None` if there will be none.
    fn next_due(&self) -> Option<Nanos> {
        let begin = self.begin.get();
        if begin == Nanos::NEVER {
            return Some(Nanos::NEVER);
        }
        match &*self.pace.borrow() {
            Pace::Open(share) => share.peek().map(|due| Nanos(begin.0 + due.at_ns)),
            Pace::Closed { length_ns, .. } if Nanos::precise().0 >= begin.0 + *length_ns => None,
            Pace::Closed { .. } => Some(begin),
        }
    }

    /// Gives jobs as they come due to the lanes in line, until there are no more.
    pub async fn dispatch(&self, spins: bool) {
        let mut timer = PreciseTimer::new();
        if spins {
            timer.spin_within(SPIN_WITHIN);
        }
        std::future::poll_fn(|cx| self.poll_dispatch(cx, &mut timer)).await;
        self.wake_all();
    }

    fn poll_dispatch(&self, cx: &mut Context<'_>, timer: &mut PreciseTimer) -> Poll<()> {
        loop {
            if self.stopped.get() {
                return Poll::Ready(());
            }
            let Some(due) = self.next_due() else { return Poll::Ready(()) };
            if due == Nanos::NEVER || self.idle.borrow().is_empty() {
                self.dispatcher.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            if timer.poll_until(cx, due).is_pending() {
                self.dispatcher.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            let time = Nanos::precise();
            while !self.idle.borrow().is_empty() {
                let Next::Now(due) = self.next(time) else { break };
                self.under_way.set(self.under_way.get() + 1);
                self.give(due);
            }
        }
    }

    fn give(&self, due: Due) {
        let Some(lane) = self.idle.borrow_mut().pop_front() else { return };
        let mut lanes = self.lanes.borrow_mut();
        let place = &mut lanes[lane as usize];
        place.in_line = false;
        place.given = Some(due);
        if let Some(waker) = place.waker.take() {
            waker.wake();
        }
    }

    /// A job that a lane was given has ended.
    #[inline]
    pub fn job_ended(&self) {
        let left = self.under_way.get() - 1;
        self.under_way.set(left);
        if left == 0
            && let Some(waker) = self.last.take()
        {
            waker.wake();
        }
    }

    /// Waits until no job is under way.
    pub fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        if self.under_way.get() == 0 {
            return Poll::Ready(());
        }
        self.last.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Jobs that are under way, and those that were due and never given.
    pub fn left(&self, time: Nanos) -> (u64, u64) {
        let mut never = 0;
        if let (Pace::Open(share), false) = (&mut *self.pace.borrow_mut(), self.begin.get() == Nanos::NEVER) {
            let begin = self.begin.get().0;
            while share.peek().is_some_and(|due| begin + due.at_ns <= time.0) {
                share.take();
                never += 1;
            }
        }
        (self.under_way.get(), never)
    }

    fn wake_all(&self) {
        self.idle.borrow_mut().clear();
        for place in self.lanes.borrow_mut().iter_mut() {
            place.in_line = false;
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.wake();
        }
    }
}

enum Next {
    Now(Due),
    Later,
    Never,
}
