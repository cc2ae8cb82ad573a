//! A precise alarm for one loop, kept by a thread of its own: it sleeps until the time set and wakes the loop's task.
//!
//! It has the shape of the runtime's precise timer, which is to take its place. Invariant: at most one time is set; the
//! thread ends with its alarm.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::Nanos;

/// An alarm of the loop on this thread.
pub struct Alarm {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    set: Mutex<Set>,
    changed: Condvar,
}

#[derive(Default)]
struct Set {
    at: Option<(Nanos, Waker)>,
    is_over: bool,
}

impl Alarm {
    /// An alarm that is not set.
    #[expect(clippy::new_without_default, reason = "it starts a thread, which a default should not")]
    pub fn new() -> Alarm {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("serve-alarm".into()).spawn(move || theirs.keep());
        assert!(thread.is_ok(), "a thread for the alarm, when the server starts");
        Alarm { shared }
    }

    /// Ready once `due` has come; until then the task is woken at that time.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, due: Nanos) -> Poll<()> {
        if Nanos::precise() >= due {
            return Poll::Ready(());
        }
        self.shared.lock().at = Some((due, cx.waker().clone()));
        self.shared.changed.notify_one();
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn keep(&self) {
        let mut set = self.lock();
        while !set.is_over {
            let wait = match &set.at {
                None => Duration::MAX,
                Some((due, _)) => due.since(Nanos::precise()),
            };
            if wait.is_zero() {
                if let Some((_, waker)) = set.at.take() {
                    waker.wake();
                }
                continue;
            }
            set =
                self.changed.wait_timeout(set, wait.min(WAIT_MAX)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the thread sleeps in one go.
const WAIT_MAX: Duration = Duration::from_secs(3600);
