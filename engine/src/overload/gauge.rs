//! From a signal to a pressure, without flapping. Pure: `now` passed in.
//!
//! The signal is told as how far it is on the way from where shedding begins (1) to where everything is shed (4). It
//! must be at a step for as many looks in a row as [`Gauge::new`] is told before the pressure rises to it, and a tenth of a step below it for
//! [`FALL_AFTER`] before it falls by one. So one long turn of a loop sheds nothing, and a signal that swings about a step
//! sheds or doesn't, but not in turns.

use std::time::Duration;

use ringway_runtime::Nanos;

use super::Pressure;

/// How long a signal must have been below a step, by a margin, before that step is left.
pub(crate) const FALL_AFTER: Duration = Duration::from_secs(1);
/// By how much below.
const MARGIN: f64 = 0.1;

/// See the module.
#[derive(Debug)]
pub struct Gauge {
    /// Looks in a row that make it rise.
    rise: u32,
    pressure: Pressure,
    /// Looks in a row above the pressure, and the least of the steps they reached.
    above: (u32, u8),
    below_since: Option<Nanos>,
}

impl Gauge {
    /// With `rise` looks in a row that make it rise.
    pub fn new(rise: u32) -> Gauge {
        Gauge { rise, pressure: Pressure::None, above: (0, u8::MAX), below_since: None }
    }

    /// The signal now: below 1 all is well; from 1, 2, 3 and 4 another step is reached.
    pub fn look(&mut self, now: Nanos, signal: f64) -> Pressure {
        let reached = signal.clamp(0.0, 4.0) as u8;
        let held = self.pressure as u8;
        if reached > held {
            let (looks, least) = self.above;
            self.above = (looks + 1, least.min(reached));
            self.below_since = None;
            if self.above.0 >= self.rise {
                self.pressure = Pressure::of(self.above.1);
                self.above = (0, u8::MAX);
            }
            return self.pressure;
        }
        self.above = (0, u8::MAX);
        if held == 0 || signal > f64::from(held) - MARGIN {
            self.below_since = None;
            return self.pressure;
        }
        let since = *self.below_since.get_or_insert(now);
        if now.since(since) >= FALL_AFTER {
            self.pressure = Pressure::of(held - 1);
            self.below_since = Some(now);
        }
        self.pressure
    }
}

/// Where on the way from `begins` to `ends` a value is, as [`Gauge::look`] takes it.
pub fn signal(value: f64, begins: f64, ends: f64) -> f64 {
    if value < begins {
        return value / begins;
    }
    let step = (ends - begins) / 3.0;
    if step <= 0.0 { 4.0 } else { 1.0 + (value - begins) / step }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    fn looks(gauge: &mut Gauge, now: &mut Nanos, signal: f64, count: u32) -> Pressure {
        let mut pressure = Pressure::None;
        for _ in 0..count {
            *now = now.after(TENTH);
            pressure = gauge.look(*now, signal);
        }
        pressure
    }

    #[test]
    fn one_long_turn_sheds_nothing() {
        let (mut gauge, mut now) = (Gauge::new(3), Nanos(0));
        for _ in 0..50 {
            assert_eq!(looks(&mut gauge, &mut now, 9.0, 2), Pressure::None);
            looks(&mut gauge, &mut now, 0.2, 1);
        }
    }

    #[test]
    fn what_lasts_sheds_as_much_as_the_least_of_it_asks_for() {
        let (mut gauge, mut now) = (Gauge::new(3), Nanos(0));
        looks(&mut gauge, &mut now, 4.5, 2);
        assert_eq!(looks(&mut gauge, &mut now, 2.5, 1), Pressure::Normal);
        assert_eq!(looks(&mut gauge, &mut now, 4.5, 3), Pressure::Full);
    }

    #[test]
    fn it_falls_step_by_step_and_not_at_once() {
        let (mut gauge, mut now) = (Gauge::new(1), Nanos(0));
        assert_eq!(looks(&mut gauge, &mut now, 3.0, 1), Pressure::High);
        assert_eq!(looks(&mut gauge, &mut now, 0.0, 10), Pressure::High);
        assert_eq!(looks(&mut gauge, &mut now, 0.0, 1), Pressure::Normal);
        assert_eq!(looks(&mut gauge, &mut now, 0.0, 10), Pressure::Low);
        assert_eq!(looks(&mut gauge, &mut now, 0.0, 10), Pressure::None);
    }

    #[test]
    fn a_signal_that_swings_about_a_step_does_not_flap() {
        let (mut gauge, mut now, mut dice) = (Gauge::new(1), Nanos(0), fastrand::Rng::with_seed(3));
        let (mut changes, mut before) = (0, Pressure::None);
        for _ in 0..5000 {
            let pressure = looks(&mut gauge, &mut now, 0.95 + 0.1 * dice.f64(), 1);
            changes += u32::from(pressure != before);
            before = pressure;
        }
        assert_eq!((changes, before), (1, Pressure::Low));
    }

    #[test]
    fn steps_are_even_from_where_it_begins_to_where_it_ends() {
        for (value, expected) in [(45.0, 0.5), (90.0, 1.0), (95.0, 2.5), (100.0, 4.0)] {
            assert!((signal(value, 90.0, 100.0) - expected).abs() < 1e-9, "{value}");
        }
        assert_eq!(signal(100.0, 100.0, 100.0), 4.0);
    }
}
