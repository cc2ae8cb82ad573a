//! How many handshakes are under way at once on one worker: they are the dearest thing a stranger can ask for.

use std::cell::Cell;

use ringway_runtime::Nanos;

use crate::waiters::Waiters;

/// Turns of one worker.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Cell<u32>,
    waiting: Waiters,
}

/// A turn; dropping it ends it.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until fewer than `max` are taken, in the order in which they came, and takes one. `None`: `deadline` came
    /// first.
    pub async fn enter(&self, max: u32, deadline: Nanos) -> Option<Turn<'_>> {
        let mut in_turn = self.waiting.is_empty();
        while !in_turn || self.taken.get() >= max {
            if !self.waiting.wait(deadline).await {
                return None;
            }
            in_turn = true;
        }
        self.taken.set(self.taken.get() + 1);
        // There may be room for more since a reload.
        if self.taken.get() < max {
            self.waiting.wake_one();
        }
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        self.0.waiting.wake_one();
    }
}
