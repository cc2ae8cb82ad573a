//! Waiting for something to become true, bounded, for what has no event to wait on.

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks `ready` again and again until it gives a value; panics with `what` after `bound`.
#[track_caller]
pub fn until<T>(what: &str, bound: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {bound:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// As [`until`] for a condition.
#[track_caller]
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, PATIENCE, || holds().then_some(()));
}
