//! Precise timers: a few for each loop, exact to some microseconds, for whoever paces things.
//!
//! The wheel is coarse because a time-out need not be exact and must cost nothing. A precise timer bounds the loop's
//! wait to the nanosecond instead, and the thread's timer slack (50 us unless asked otherwise) is turned off with the
//! first one. Invariant: a timer never fires early.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Nanos;
use crate::sys;
use crate::task::current;
use crate::turn::Core;

/// The precise timers of one loop. There are one or two, so they are gone through one by one.
#[derive(Default)]
pub(crate) struct Precise {
    all: Vec<Entry>,
    /// The loop does not sleep when the next deadline is closer than this.
    spin_ns: u64,
}

/// See [`Precise::wake_at`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeAt {
    pub time: Nanos,
    /// From then on the loop looks at the kernel over and over.
    pub spins: bool,
}

struct Entry {
    deadline: Nanos,
    waker: Option<Waker>,
    in_use: bool,
}

impl Precise {
    fn add(&mut self) -> usize {
        let fresh = Entry { deadline: Nanos::NEVER, waker: None, in_use: true };
        match self.all.iter().position(|entry| !entry.in_use) {
            Some(place) => {
                self.all[place] = fresh;
                place
            }
            None => {
                self.all.push(fresh);
                self.all.len() - 1
            }
        }
    }

    /// When the loop must not sleep any longer, for the earliest deadline that someone waits for.
    #[inline]
    pub fn wake_at(&self) -> Option<WakeAt> {
        let deadline = self.all.iter().map(|entry| entry.deadline).min()?;
        let spins = self.spin_ns > 0;
        let time = Nanos(deadline.0.saturating_sub(self.spin_ns));
        (deadline != Nanos::NEVER).then_some(WakeAt { time, spins })
    }

    /// Wakes whoever waits for a time that has come.
    #[inline]
    pub fn fire(&mut self, now: Nanos) {
        for entry in &mut self.all {
            if entry.deadline <= now {
                entry.deadline = Nanos::NEVER;
                if let Some(waker) = entry.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

/// A timer exact to some microseconds. Made within an event loop.
pub struct PreciseTimer {
    core: Rc<Core>,
    place: usize,
}

impl PreciseTimer {
    /// A timer that is not set. Panics outside of an event loop.
    #[expect(clippy::new_without_default, reason = "it needs an event loop, which a default should not")]
    pub fn new() -> PreciseTimer {
        let core = current();
        sys::no_timer_slack();
        let place = core.precise.borrow_mut().add();
        PreciseTimer { core, place }
    }

    /// Lets the loop look at the kernel over and over, rather than sleep, when the next precise deadline is closer than
    /// `within`: waking up costs tens of microseconds. Only for a loop with a core of its own. Time spent so is not
    /// work, and told apart in [`Gauges::spun_ns`](crate::Gauges).
    pub fn spin_within(&self, within: Duration) {
        self.core.precise.borrow_mut().spin_ns = within.as_nanos() as u64;
    }

    /// Ready once `deadline` has come.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Nanos) -> Poll<()> {
        let mut timers = self.core.precise.borrow_mut();
        let entry = &mut timers.all[self.place];
        if Nanos::precise() >= deadline {
            entry.deadline = Nanos::NEVER;
            return Poll::Ready(());
        }
        entry.deadline = deadline;
        match &entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => entry.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until `deadline`.
    pub async fn until(&mut self, deadline: Nanos) {
        poll_fn(|cx| self.poll_until(cx, deadline)).await;
    }
}

impl Drop for PreciseTimer {
    fn drop(&mut self) {
        let mut timers = self.core.precise.borrow_mut();
        timers.all[self.place] = Entry { deadline: Nanos::NEVER, waker: None, in_use: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Gauges, Options, Runtime};
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_dropped_timer_leaves_its_place_to_the_next_and_holds_up_no_wait() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let options = Options { choice, ..Options::default() };
            let runtime = Runtime::new(&options, Arc::new(Gauges::default())).unwrap();
            let run = runtime.block_on(async {
                let mut never = PreciseTimer::new();
                let mut dropped = PreciseTimer::new();
                let soon = Nanos::precise().after(Duration::from_millis(1));
                poll_fn(|cx| {
                    assert!(never.poll_until(cx, Nanos::NEVER).is_pending());
                    assert!(dropped.poll_until(cx, soon).is_pending());
                    Poll::Ready(())
                })
                .await;
                assert_eq!(current().precise.borrow().wake_at().map(|at| at.time), Some(soon));
                drop(dropped);
                assert!(current().precise.borrow().wake_at().is_none());
                let mut next = PreciseTimer::new();
                assert_eq!(current().precise.borrow().all.len(), 2);
                let deadline = Nanos::precise().after(Duration::from_millis(1));
                next.until(deadline).await;
                assert!(Nanos::precise() >= deadline);
            });
            run.unwrap();
        }
    }

    #[test]
    fn a_deadline_that_has_passed_is_ready_at_once() {
        let runtime = Runtime::new(&Options::default(), Arc::new(Gauges::default())).unwrap();
        let run = runtime.block_on(async {
            let mut timer = PreciseTimer::new();
            let passed = Nanos::precise();
            assert!(poll_fn(|cx| Poll::Ready(timer.poll_until(cx, passed))).await.is_ready());
            assert!(current().precise.borrow().wake_at().is_none());
        });
        run.unwrap();
    }

    fn lateness(choice: Choice) -> Vec<u64> {
        let options = Options { choice, ..Options::default() };
        let runtime = Runtime::new(&options, Arc::new(Gauges::default())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let late = seen.clone();
        let run = runtime.block_on(async move {
            let mut timer = PreciseTimer::new();
            let begin = Nanos::precise();
            for n in 1..=200 {
                let deadline = Nanos(begin.0 + n * 300_000);
                timer.until(deadline).await;
                let now = Nanos::precise();
                assert!(now >= deadline, "early");
                late.lock().unwrap().push(now.0 - deadline.0);
            }
        });
        run.unwrap();
        let mut late = std::mem::take(&mut *seen.lock().unwrap());
        late.sort_unstable();
        late
    }

    #[test]
    fn a_precise_timer_is_never_early_and_seldom_late_on_either_driver() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let late = lateness(choice);
            // A wait rounded to milliseconds would make the median more than 300 us.
            assert!(late[100] < 200_000, "{choice:?}: median {} ns, worst {} ns", late[100], late[199]);
        }
    }
}
