//! Answers that are due later: a heap of who waits until when, and one task that wakes them.
//!
//! One precise alarm serves a whole loop, since the runtime goes through its precise timers one by one. Invariant:
//! nobody goes on before it is due.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_runtime::{Nanos, PreciseTimer, spawn};

/// The clock of one loop.
pub struct Clock {
    waiting: RefCell<BinaryHeap<Reverse<Waiting>>>,
    /// What the alarm is set to; the task is woken when someone is due before that.
    alarm_at: Cell<Nanos>,
    task: Cell<Option<Waker>>,
}

struct Waiting {
    due: Nanos,
    waker: Waker,
}

impl Clock {
    /// Starts the clock on this thread's event loop.
    pub fn start() -> Rc<Clock> {
        let clock = Rc::new(Clock {
            waiting: RefCell::default(),
            alarm_at: Cell::new(Nanos::NEVER),
            task: Cell::new(None),
        });
        spawn(clock.clone().run());
        clock
    }

    /// Waits until `due`, to some microseconds.
    pub fn until(self: &Rc<Clock>, due: Nanos) -> Until {
        Until { clock: self.clone(), due, is_waiting: false }
    }

    async fn run(self: Rc<Clock>) {
        let mut alarm = PreciseTimer::new();
        poll_fn::<(), _>(|cx| {
            loop {
                let next = self.wake_due(Nanos::precise());
                self.alarm_at.set(next);
                if next == Nanos::NEVER || alarm.poll_until(cx, next).is_pending() {
                    self.task.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// Wakes those that are due; returns when the next one is.
    fn wake_due(&self, now: Nanos) -> Nanos {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(Reverse(first)) = waiting.peek() {
            if first.due > now {
                return first.due;
            }
            if let Some(Reverse(first)) = waiting.pop() {
                first.waker.wake();
            }
        }
        Nanos::NEVER
    }

    fn add(&self, due: Nanos, waker: Waker) {
        self.waiting.borrow_mut().push(Reverse(Waiting { due, waker }));
        if due < self.alarm_at.get()
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
    }
}

/// See [`Clock::until`]. Dropped early it leaves its place in the heap until it is due; a waker of a task that has ended
/// does nothing.
pub struct Until {
    clock: Rc<Clock>,
    due: Nanos,
    is_waiting: bool,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Nanos::precise() >= self.due {
            return Poll::Ready(());
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.clock.add(self.due, cx.waker().clone());
        }
        Poll::Pending
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_runtime::{Choice, Gauges, Options, Runtime, mailbox};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[test]
    fn many_wait_and_each_goes_on_when_it_is_due_and_not_before() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let options = Options { choice, ..Options::default() };
            let runtime = Runtime::new(&options, Arc::new(Gauges::default())).unwrap();
            let late_ns = Arc::new(Mutex::new(Vec::new()));
            let seen = late_ns.clone();
            let run = runtime.block_on(async move {
                let clock = Clock::start();
                let (done, ended) = mailbox::mailbox(256);
                let begin = Nanos::precise();
                for number in 0..200u64 {
                    // In no order, and some at the same time.
                    let due = begin.after(Duration::from_micros(1000 + number * 7919 % 100 * 300));
                    let (clock, seen, done) = (clock.clone(), seen.clone(), done.clone());
                    spawn(async move {
                        clock.until(due).await;
                        let now = Nanos::precise();
                        assert!(now >= due, "early");
                        seen.lock().unwrap().push(now.0 - due.0);
                        let _ = done.send(());
                    });
                }
                for _ in 0..200 {
                    ended.recv().await;
                }
            });
            run.unwrap();
            let mut late_ns = std::mem::take(&mut *late_ns.lock().unwrap());
            late_ns.sort_unstable();
            assert!(
                late_ns[100] < 500_000,
                "{choice:?}: median {} ns, worst {} ns",
                late_ns[100],
                late_ns[199]
            );
        }
    }
}
