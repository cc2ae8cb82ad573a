//! How the origin behaves: when an answer is due, how large it is, and whether it fails. Pure: time and dice are passed
//! in, so the same seed and the same arrivals give the same answers.
//!
//! Invariant: every behaviour that was read is bounded; a plan never asks for more than [`DELAY_MAX`] or [`SIZE_MAX`].

use std::time::Duration;

use crate::units::{self, show_us};

use super::delay::Delay;

/// What every answer follows, unless its request asks for something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// From a request's arrival to its answer.
    pub delay: Delay,
    /// Bytes of an answer's body.
    pub size: usize,
    /// The share of requests that fail, from 0 to 1.
    pub fail: f64,
    /// How those fail.
    pub fail_with: Failure,
    /// When nothing is answered at all.
    pub stall: Option<Stall>,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A whole answer with this status.
    Status(u16),
    /// The connection is reset instead of an answer.
    Reset,
    /// The answer stops half-way and the connection ends.
    Truncate,
    /// No answer ever comes; the connection stays open.
    Hang,
}

/// The last `length` of every `period` since the server's start, in which nothing is answered. It is the last part, so
/// that a server that has just started answers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    length: Duration,
    period: Duration,
}

/// What one request asks for on its own, in its query: `?delay=5ms&size=2KiB&status=404`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    delay: Option<Delay>,
    size: Option<usize>,
    status: Option<u16>,
}

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When, in nanoseconds since the server's start; at or before the arrival: at once.
    pub due_ns: u64,
    /// Bytes of the body.
    pub size: usize,
    /// The status, if the request does not fail.
    pub status: u16,
    /// How it fails, if it does.
    pub failure: Option<Failure>,
}

impl Default for Behaviour {
    /// 1 KiB at once, always.
    fn default() -> Behaviour {
        Behaviour {
            delay: Delay::None,
            size: 1024,
            fail: 0.0,
            fail_with: Failure::Status(FAIL_STATUS),
            stall: None,
        }
    }
}

impl Behaviour {
    /// Every answer is the same and due at once: neither clock nor dice are needed.
    pub fn is_plain(&self) -> bool {
        self.delay == Delay::None && self.fail == 0.0 && self.stall.is_none()
    }

    /// What becomes of a request that arrived `arrival_ns` after the server's start.
    pub fn plan(&self, wish: &Wish, arrival_ns: u64, dice: &mut fastrand::Rng) -> Plan {
        // The dice are rolled the same number of times for every request, so that one request's wish does not change
        // what becomes of the next.
        let (delay_dice, fail_dice) = (dice.f64(), dice.f64());
        let open = |at_ns| self.stall.map_or(at_ns, |stall| stall.open_from(at_ns));
        let delay_ns = wish.delay.as_ref().unwrap_or(&self.delay).at(delay_dice).as_nanos() as u64;
        let failure = (wish.status.is_none() && fail_dice < self.fail).then_some(self.fail_with);
        Plan {
            due_ns: open(open(arrival_ns) + delay_ns),
            size: wish.size.unwrap_or(self.size),
            status: wish.status.unwrap_or(200),
            failure,
        }
    }
}

impl Stall {
    /// Reads `1s every 10s`.
    pub fn read(text: &str) -> Result<Stall, String> {
        let form =
            || format!("`{text}` is not a stall: write how long and how often, such as `1s every 10s`");
        let (length, period) = text.split_once(" every ").ok_or_else(form)?;
        let (length, period) = (units::duration(length.trim())?, units::duration(period.trim())?);
        if length.is_zero() {
            return Err(format!("`{text}`: a stall must last longer than 0 s; leave it out for none"));
        }
        if length >= period {
            return Err(format!(
                "`{text}`: nothing would ever be answered; the period must be the longer one"
            ));
        }
        Ok(Stall { length, period })
    }

    /// When something is answered again, for a time within a stall; otherwise that time. Both in nanoseconds since the
    /// server's start.
    pub fn open_from(&self, at_ns: u64) -> u64 {
        let period_ns = self.period.as_nanos() as u64;
        let within_ns = at_ns % period_ns;
        if within_ns >= period_ns - self.length.as_nanos() as u64 {
            at_ns - within_ns + period_ns
        } else {
            at_ns
        }
    }
}

impl std::fmt::Display for Stall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |duration: Duration| show_us(duration.as_secs_f64() * 1e6);
        write!(f, "{} every {}", shown(self.length), shown(self.period))
    }
}

impl Wish {
    /// Reads a query (what stands behind the `?`). Other keys are somebody else's and are left alone.
    pub fn read(query: &str) -> Result<Wish, String> {
        let mut wish = Wish::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("delay", value)) => wish.delay = Some(Delay::read(value)?),
                Some(("size", value)) => wish.size = Some(size(value)?),
                Some(("status", value)) => wish.status = Some(status(value)?),
                _ => {}
            }
        }
        Ok(wish)
    }
}

/// Reads bytes of a body, at most [`SIZE_MAX`].
pub fn size(text: &str) -> Result<usize, String> {
    let size = units::size(text)?;
    if size > SIZE_MAX {
        return Err(format!("`{text}`: an answer has at most 1 GiB"));
    }
    Ok(size)
}

/// Reads a status that ends an exchange: 200 to 599.
pub fn status(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(status @ 200..=599) => Ok(status),
        _ => Err(format!("`{text}` is not a final status: write a number from 200 to 599")),
    }
}

/// Bytes of a body at most.
pub const SIZE_MAX: usize = 1 << 30;
/// The longest delay.
pub const DELAY_MAX: Duration = Duration::from_secs(3600);
/// How requests fail unless told otherwise.
pub const FAIL_STATUS: u16 = 503;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn stall() -> Stall {
        Stall::read("1s every 10s").unwrap()
    }

    #[test]
    fn a_fresh_server_answers_at_once_and_the_last_second_of_ten_answers_nothing() {
        for open in [0, 1, 5000 * MS, 9000 * MS - 1, 10_000 * MS, 18_999 * MS] {
            assert_eq!(stall().open_from(open), open);
        }
        for (stalled, until) in
            [(9000 * MS, 10_000 * MS), (9999 * MS, 10_000 * MS), (19_500 * MS, 20_000 * MS)]
        {
            assert_eq!(stall().open_from(stalled), until);
        }
    }

    #[test]
    fn what_arrives_in_a_stall_is_answered_its_delay_after_the_stall() {
        let behaviour =
            Behaviour { delay: Delay::read("5ms").unwrap(), stall: Some(stall()), ..Behaviour::default() };
        let mut dice = fastrand::Rng::with_seed(1);
        let mut due =
            |arrival_ms: u64| behaviour.plan(&Wish::default(), arrival_ms * MS, &mut dice).due_ns / MS;
        assert_eq!(due(100), 105);
        assert_eq!(due(9500), 10_005);
        // Due within the stall: nothing is answered then.
        assert_eq!(due(8998), 10_000);
    }

    #[test]
    fn a_plain_behaviour_answers_at_once() {
        let plan = Behaviour::default().plan(&Wish::default(), 77, &mut fastrand::Rng::with_seed(1));
        assert_eq!(plan, Plan { due_ns: 77, size: 1024, status: 200, failure: None });
        assert!(Behaviour::default().is_plain());
    }

    #[test]
    fn the_share_asked_for_fails() {
        let behaviour = Behaviour { fail: 0.01, fail_with: Failure::Reset, ..Behaviour::default() };
        let mut dice = fastrand::Rng::with_seed(7);
        let failed = (0..100_000)
            .filter(|&n| behaviour.plan(&Wish::default(), n, &mut dice).failure == Some(Failure::Reset))
            .count();
        assert!((900..=1100).contains(&failed), "{failed}");
    }

    #[test]
    fn a_wish_changes_its_own_answer_and_no_other() {
        let behaviour =
            Behaviour { delay: Delay::read("exp:5ms").unwrap(), fail: 0.5, ..Behaviour::default() };
        let wish = Wish::read("x=1&delay=5ms&size=2KiB&status=404&y").unwrap();
        let mut dice = fastrand::Rng::with_seed(3);
        let plan = behaviour.plan(&wish, 0, &mut dice);
        assert_eq!(plan, Plan { due_ns: 5 * MS, size: 2048, status: 404, failure: None });
        let mut other = fastrand::Rng::with_seed(3);
        behaviour.plan(&Wish::default(), 0, &mut other);
        assert_eq!(
            behaviour.plan(&Wish::default(), 0, &mut dice),
            behaviour.plan(&Wish::default(), 0, &mut other)
        );
    }

    #[test]
    fn bad_forms_are_refused_in_words() {
        assert!(Stall::read("1s").unwrap_err().contains("1s every 10s"));
        assert!(Stall::read("10s every 10s").unwrap_err().contains("ever be answered"));
        assert!(Stall::read("0s every 10s").is_err() && Stall::read("1 every 10s").is_err());
        assert!(Wish::read("size=2GiB").unwrap_err().contains("1 GiB"));
        assert!(Wish::read("status=100").unwrap_err().contains("200 to 599"));
        assert!(Wish::read("delay=soon").is_err());
    }

    proptest! {
        #[test]
        fn nothing_is_due_within_a_stall_and_nobody_waits_longer_than_one(
            length_ms in 1u64..1000, more_ms in 1u64..10_000, at_ns in 0u64..1_000_000_000_000,
        ) {
            let stall = Stall {
                length: Duration::from_millis(length_ms),
                period: Duration::from_millis(length_ms + more_ms),
            };
            let open = stall.open_from(at_ns);
            prop_assert!(open >= at_ns && open - at_ns <= length_ms * MS);
            prop_assert_eq!(stall.open_from(open), open);
            prop_assert!(open % ((length_ms + more_ms) * MS) < more_ms * MS);
        }
    }
}
