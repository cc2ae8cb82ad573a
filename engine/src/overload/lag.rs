//! A worker's own lag: how late its loop is to a timer.

use std::rc::Rc;

use ringway_runtime::{Nanos, now, sleep_until};

use super::LOOK_EVERY;
use super::gauge::{Gauge, signal};
use crate::worker::Worker;

/// Looks in a row that must be late: a single long turn is not overload.
const LATE_LOOKS: u32 = 3;

/// Looks at the lag for as long as the worker lives, and goes by the larger pressure: its own, or that of memory.
pub(crate) async fn watch(worker: Rc<Worker>) {
    let mut gauge = Gauge::new(LATE_LOOKS);
    loop {
        let due = now().after(LOOK_EVERY);
        sleep_until(due).await;
        // The loop's clock is as old as the turn, and the turn's length is part of the lag. Timers of the wheel are
        // rounded up to a millisecond.
        let at = Nanos::precise();
        let late_ns = at.since(due).as_nanos() as u64;
        worker.stats.lag_us.set(late_ns / 1000);
        let own = match worker.current().snapshot.overload.loop_lag_ns {
            Some(bound_ns) => {
                let bound = bound_ns.max(1) as f64;
                gauge.look(at, signal(late_ns as f64, bound, 4.0 * bound))
            }
            None => gauge.look(at, 0.0),
        };
        worker.set_pressure(own.max(worker.memory.pressure()));
    }
}
