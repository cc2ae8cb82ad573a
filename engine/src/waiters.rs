//! Tasks of one worker that wait for something to change, in the order in which they came.
//!
//! Being woken says to look again, no more. Invariant: a wake-up is not lost on who no longer wants it: where a waiter
//! that was woken goes before it has looked, the next one is woken in its place.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ringway_runtime::{Nanos, sleep_until};

/// Those who wait.
#[derive(Default)]
pub(crate) struct Waiters {
    queue: RefCell<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The number of the next one to come.
    next: u64,
    /// By number; without a waker: woken, and has not looked yet.
    entries: BTreeMap<u64, Option<Waker>>,
}

impl Waiters {
    /// Waits to be woken; `false`: `deadline` came first.
    pub async fn wait(&self, deadline: Nanos) -> bool {
        let mut place = self.place();
        let mut patience = pin!(sleep_until(deadline));
        poll_fn(|cx| {
            if place.poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            patience.as_mut().poll(cx).map(|()| false)
        })
        .await
    }

    /// For who waits for other things too.
    pub fn place(&self) -> Place<'_> {
        Place { waiters: self, number: None }
    }

    /// Nobody waits, and nobody that was woken has yet to look.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().entries.is_empty()
    }

    /// Wakes the one that has waited longest.
    pub fn wake_one(&self) {
        let waker = self.queue.borrow_mut().entries.values_mut().find_map(Option::take);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes all.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.queue.borrow_mut().entries.values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A waiter's place among the others, until it has looked or gone.
pub(crate) struct Place<'a> {
    waiters: &'a Waiters,
    number: Option<u64>,
}

impl Place<'_> {
    /// Ready once it was woken, and from then on.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.waiters.queue.borrow_mut();
        let number = *self.number.get_or_insert_with(|| {
            let number = queue.next;
            queue.next += 1;
            queue.entries.insert(number, Some(cx.waker().clone()));
            number
        });
        match queue.entries.get_mut(&number) {
            Some(Some(waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            _ => {
                queue.entries.remove(&number);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let left = self.waiters.queue.borrow_mut().entries.remove(&number);
        if let Some(None) = left {
            self.waiters.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use ringway_runtime::{Choice, Gauges, Options, Runtime, now};

    use super::*;

    #[derive(Default)]
    struct Told(AtomicU32);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Waiter<'a> {
        wait: Pin<Box<dyn Future<Output = bool> + 'a>>,
        told: Arc<Told>,
    }

    impl<'a> Waiter<'a> {
        fn new(waiters: &'a Waiters, deadline: Nanos) -> Waiter<'a> {
            let mut waiter =
                Waiter { wait: Box::pin(waiters.wait(deadline)), told: Arc::new(Told::default()) };
            assert_eq!(waiter.look(), Poll::Pending);
            waiter
        }

        fn look(&mut self) -> Poll<bool> {
            self.wait.as_mut().poll(&mut Context::from_waker(&self.told.clone().into()))
        }

        fn told(&self) -> u32 {
            self.told.0.load(Ordering::Relaxed)
        }
    }

    fn on_a_loop(test: impl FnOnce() + 'static) {
        let options = Options { choice: Choice::Epoll, ..Options::default() };
        let runtime = Runtime::new(&options, Arc::new(Gauges::default())).expect("a loop");
        runtime.block_on(async { test() }).expect("it ran");
    }

    #[test]
    fn they_are_woken_in_the_order_in_which_they_came() {
        on_a_loop(|| {
            let waiters = Waiters::default();
            let mut first = Waiter::new(&waiters, Nanos::NEVER);
            let mut second = Waiter::new(&waiters, Nanos::NEVER);
            waiters.wake_one();
            assert_eq!((first.told(), second.told()), (1, 0));
            assert_eq!((first.look(), second.look()), (Poll::Ready(true), Poll::Pending));
            waiters.wake_one();
            assert_eq!(second.look(), Poll::Ready(true));
            assert!(waiters.is_empty());
        });
    }

    #[test]
    fn a_wake_up_that_nobody_took_goes_to_the_next() {
        on_a_loop(|| {
            let waiters = Waiters::default();
            let first = Waiter::new(&waiters, Nanos::NEVER);
            let gone = Waiter::new(&waiters, Nanos::NEVER);
            let mut last = Waiter::new(&waiters, Nanos::NEVER);
            waiters.wake_one();
            drop(gone);
            drop(first);
            assert_eq!(last.look(), Poll::Ready(true));
            assert!(waiters.is_empty());
        });
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        on_a_loop(|| {
            let waiters = Waiters::default();
            assert_eq!(
                Box::pin(waiters.wait(now())).as_mut().poll(&mut Context::from_waker(Waker::noop())),
                Poll::Ready(false)
            );
            drop(Waiter::new(&waiters, now().after(Duration::from_secs(60))));
            assert!(waiters.is_empty());
        });
    }

    #[test]
    fn all_are_woken_once() {
        on_a_loop(|| {
            let waiters = Waiters::default();
            let mut all: Vec<Waiter<'_>> = (0..3).map(|_| Waiter::new(&waiters, Nanos::NEVER)).collect();
            waiters.wake_all();
            waiters.wake_all();
            assert!(all.iter().all(|waiter| waiter.told() == 1) && !waiters.is_empty());
            assert!(all.iter_mut().all(|waiter| waiter.look() == Poll::Ready(true)) && waiters.is_empty());
        });
    }
}
