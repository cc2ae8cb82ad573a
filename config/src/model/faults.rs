//! Faults of routes, as configured, and how what they answer is written.

use std::time::Duration;

use super::ValueMatch;
use crate::units::{Problem, integer, quoted};

/// Faults of one route.
pub const FAULTS_MAX: usize = 16;
/// The longest that a fault delays.
pub const FAULT_DELAY_MAX: Duration = Duration::from_secs(5 * 60);
/// How far ahead a fault of a file may end.
pub const FAULT_UNTIL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// One of `routes[].faults`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Waits so long before anything else is done; with `abort`, before that.
    pub delay: Option<Duration>,
    /// Answers in place of the route. One of both is there.
    pub abort: Option<Abort>,
    /// Of the exchanges it is for, in parts per million (default all).
    pub share: u32,
    /// All must hold. Names lower case.
    pub headers: Vec<ValueMatch>,
    /// It has an effect before then: seconds since 1970.
    pub until: u64,
}

/// `routes[].faults[].abort`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A status, 400 to 599; callers of gRPC get the code that belongs to it.
    Status(u16),
    /// A code of gRPC, 1 to 16; others than its callers get the status that belongs to it.
    Grpc(u8),
}

/// Names of gRPC's codes as they are written, from 1 on: 0 is no failure.
pub const GRPC_CODES: [&str; 16] = [
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

impl Abort {
    /// `503` or `grpc:unavailable`.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(text: &str) -> Result<Abort, Problem> {
        if let Some(code) = text.strip_prefix("grpc:") {
            let place = GRPC_CODES.iter().position(|name| *name == code);
            return place.map(|place| Abort::Grpc(place as u8 + 1)).ok_or_else(|| {
                let problem =
                    Problem::new("bad-choice", format!("{} is no code of an error in gRPC", quoted(code)));
                problem.help(format!("write one of {}", GRPC_CODES.join(", ")))
            });
        }
        let status = integer(text, 400, 599).map_err(|problem| {
            problem.help("write a status of an error (`503`) or a code of gRPC (`grpc:unavailable`)")
        })?;
        Ok(Abort::Status(status as u16))
    }

    /// What [`Abort::read`] reads back.
    pub fn text(self) -> String {
        match self {
            Abort::Status(status) => status.to_string(),
            Abort::Grpc(code) => {
                format!("grpc:{}", GRPC_CODES.get(usize::from(code).wrapping_sub(1)).unwrap_or(&"unknown"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_abort_answers_reads_back() {
        for text in ["400", "503", "599", "grpc:cancelled", "grpc:unavailable", "grpc:unauthenticated"] {
            assert_eq!(Abort::read(text).map(Abort::text).as_deref(), Ok(text));
        }
        assert_eq!(Abort::read("grpc:unavailable"), Ok(Abort::Grpc(14)));
        for bad in ["", "200", "399", "600", "0503", "grpc:", "grpc:ok", "grpc:UNAVAILABLE", "grpc:14", "5xx"]
        {
            assert!(Abort::read(bad).is_err(), "{bad}");
        }
    }
}
