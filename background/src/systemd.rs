//! What the service manager is told: ready, reloading, stopping, and that every worker still turns.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. A message that can't be delivered is dropped: telling is a courtesy and
//! never stops traffic. Sockets it hands over are taken by `ringway_runtime`, which alone may own raw descriptors.

use std::sync::Arc;
use std::time::Duration;

use ringway_engine::engine::WorkerInfo;
use sd_notify::NotifyState;

use crate::say;

/// Start-up is over: `READY=1`, with a line for `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// `Type=notify-reload` wants the time with it, so that an earlier `READY=1` isn't taken for the answer.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        send(&[NotifyState::Reloading, now, NotifyState::Status("Reloading the configuration")]);
    }
}

/// `STOPPING=1`
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

/// The line for `systemctl status` alone.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// Pets the watchdog at half its interval as long as every worker's loop has turned within it. Returns at once where
/// none is asked for. That this runs shows the background thread to be alive too.
pub async fn watchdog(workers: Arc<dyn Fn() -> Vec<WorkerInfo> + Send + Sync>) {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else { return };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match stuck(&workers(), interval) {
            None => send(&[NotifyState::Watchdog]),
            Some(worker) => say::error(format_args!(
                "worker {} has not turned for {} ms: the watchdog is not reassured",
                worker.id,
                worker.last_turn_us / 1000
            )),
        }
    }
}

/// The first worker whose loop has not turned within `interval`.
fn stuck(workers: &[WorkerInfo], interval: Duration) -> Option<&WorkerInfo> {
    workers.iter().find(|worker| Duration::from_micros(worker.last_turn_us) >= interval)
}

fn send(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// A message is `NAME=value` lines: a line break in a value would begin another.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: u16, last_turn_us: u64) -> WorkerInfo {
        WorkerInfo { id, core: None, driver: "epoll".into(), last_turn_us, counters: Vec::new() }
    }

    #[test]
    fn one_stuck_worker_is_enough_to_stop_reassuring_the_watchdog() {
        let interval = Duration::from_millis(100);
        assert!(stuck(&[worker(0, 10), worker(1, 99_999)], interval).is_none());
        assert_eq!(stuck(&[worker(0, 10), worker(1, 100_000)], interval).map(|w| w.id), Some(1));
    }

    #[test]
    fn a_status_cannot_smuggle_a_second_message() {
        assert_eq!(one_line("bad\nREADY=1"), "bad READY=1");
    }
}
