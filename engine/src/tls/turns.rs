//! How many handshakes are under way at once on one worker: they are the dearest thing a stranger can ask for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Turns of one worker.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Cell<u32>,
    waiting: RefCell<VecDeque<Waker>>,
}

/// A turn; dropping it ends it.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until fewer than `max` are taken, and takes one.
    pub async fn enter(&self, max: u32) -> Turn<'_> {
        poll_fn(|cx| {
            if self.taken.get() < max {
                self.taken.set(self.taken.get() + 1);
                return Poll::Ready(Turn(self));
            }
            self.waiting.borrow_mut().push_back(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        if let Some(waker) = self.0.waiting.borrow_mut().pop_front() {
            waker.wake();
        }
    }
}
