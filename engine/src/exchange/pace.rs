//! The least rate at which a client must move, over any five seconds.

use std::io::ErrorKind;
use std::time::Duration;

use ringway_runtime::{Nanos, now};

use crate::link::Link;
use crate::reason::Reason;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(5);

/// Watches one direction of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rate_min: u32,
    since: Nanos,
    before: u64,
    /// How much of the window had passed when it was paused.
    passed: Duration,
}

impl Pace {
    /// From `now` on, `total` bytes having moved so far.
    pub fn new(rate_min: u32, now: Nanos, total: u64) -> Pace {
        Pace { rate_min, since: now, before: total, passed: Duration::ZERO }
    }

    /// When it is to be looked at.
    pub fn due(&self) -> Nanos {
        if self.rate_min == 0 { Nanos::NEVER } else { self.since.after(WINDOW) }
    }

    /// Begins anew: the time before was not the client's.
    pub fn restart(&mut self, now: Nanos, total: u64) {
        *self = Pace::new(self.rate_min, now, total);
    }

    /// From now on the wait is not the client's.
    pub fn pause(&mut self, now: Nanos) {
        self.passed = now.since(self.since).min(WINDOW);
    }

    /// It is the client's again: the window goes on where it was paused, so that taking a little now and then does
    /// not begin it anew.
    pub fn resume(&mut self, now: Nanos) {
        self.since = Nanos(now.0.saturating_sub(self.passed.as_nanos() as u64));
    }

    /// Whether too little has moved by `now`. If not, the next window begins once this one has passed.
    pub fn is_too_slow(&mut self, now: Nanos, total: u64) -> bool {
        if now < self.due() {
            return false;
        }
        let slow = total - self.before < u64::from(self.rate_min) * WINDOW.as_secs();
        self.restart(now, total);
        slow
    }
}

/// Waits until the client has taken all but `left` bytes of what was sent, at the least rate and by `deadline`.
pub(crate) async fn finish_sending(
    client: &Link,
    rate_min: u32,
    deadline: Nanos,
    left: usize,
) -> Result<(), Reason> {
    let mut pace = Pace::new(rate_min, now(), client.sent());
    loop {
        client.set_deadline(pace.due().min(deadline));
        match client.flushed_to(left).await {
            Ok(()) => {
                client.set_deadline(Nanos::NEVER);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                if now() >= deadline {
                    return Err(Reason::ExchangeTimeout);
                }
                if pace.is_too_slow(now(), client.sent()) {
                    return Err(Reason::ResponseRateTooLow);
                }
            }
            Err(_) => return Err(Reason::ClientGone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn slow_and_stalled_are_told_apart() {
        let mut pace = Pace::new(100, Nanos(0), 0);
        assert!(!pace.is_too_slow(Nanos(4 * SECOND), 0), "not before five seconds have passed");
        assert!(!pace.is_too_slow(Nanos(5 * SECOND), 500));
        assert!(pace.is_too_slow(Nanos(10 * SECOND), 999));
    }

    #[test]
    fn a_window_goes_on_after_a_pause() {
        let mut pace = Pace::new(100, Nanos(0), 0);
        pace.pause(Nanos(3 * SECOND));
        pace.resume(Nanos(20 * SECOND));
        assert!(!pace.is_too_slow(Nanos(21 * SECOND), 10));
        assert!(pace.is_too_slow(Nanos(22 * SECOND), 10));
    }

    #[test]
    fn a_rate_of_zero_is_never_due() {
        assert_eq!(Pace::new(0, Nanos(0), 0).due(), Nanos::NEVER);
    }
}
