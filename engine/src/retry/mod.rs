//! Whether a request is sent once more after a try came to nothing. Pure.
//!
//! ```text
//! try -- answered well ---------------------------------------------------> respond
//!  ^ \-- failed, or answered what is retried -- judge --- no -------------> respond with what came last
//!  |                                              \-- yes -- budget, backoff --+
//!  +---------------------------------------------------------------------------+
//! ```
//!
//! Two further tries need no configuration, once each: another endpoint where one refuses the connection, and the same
//! request on a fresh connection where a pooled one had been closed or an endpoint says that it has not looked at it.
//! All others are those a route asks for. Invariant: what an endpoint may have worked on is sent again only if that is
//! safe, and what is sent again is the whole request. Around `balance .. read response head` on the line
//! (`exchange/again.rs`).

mod backoff;
mod budget;
mod latency;

pub use backoff::{Pushback, WAIT_MAX_MS, delay_ns, pushback, retry_after_ms};
pub use budget::{Budget, BudgetPlan, Floor, Taken};
pub use latency::{Latencies, SAMPLES_MIN};

/// What a route says about retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPlan {
    /// Tries beyond the first.
    pub attempts: u32,
    /// After what.
    pub when: Conditions,
    /// From a try's beginning, or the end of its request's body, to the head of the response.
    pub per_try_ms: Option<u64>,
    /// The first wait is up to this.
    pub backoff_ms: u64,
    /// No wait is up to more.
    pub backoff_max_ms: u64,
    /// Bytes of a request's body that are kept to be sent again.
    pub buffer_bytes: u32,
    /// Also what must not be sent twice in general.
    pub unsafe_too: bool,
}

/// What is retried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// There is no connection.
    pub connect: bool,
    /// The connection ended before the response's head.
    pub reset: bool,
    /// The endpoint took too long.
    pub timeout: bool,
    /// Bit by status.
    statuses: [u64; 10],
    /// Bit by code.
    grpc: u32,
}

impl Conditions {
    /// Adds a status, 400 to 599.
    pub fn add_status(&mut self, status: u16) {
        if let Some(word) = self.statuses.get_mut(usize::from(status / 64)) {
            *word |= 1 << (status % 64);
        }
    }

    /// Adds a code of gRPC.
    pub fn add_grpc(&mut self, code: u8) {
        self.grpc |= 1 << code.min(31);
    }

    /// Whether this status of a response is retried.
    #[inline]
    pub fn has_status(&self, status: u16) -> bool {
        self.statuses.get(usize::from(status / 64)).is_some_and(|word| word >> (status % 64) & 1 != 0)
    }

    /// Whether calls that end with this code are retried.
    #[inline]
    pub fn has_grpc(&self, code: u8) -> bool {
        self.grpc >> code.min(31) & 1 != 0
    }

    /// In words as they are written.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (has, word) in [(self.connect, "connect"), (self.reset, "reset"), (self.timeout, "timeout")] {
            words.extend(has.then(|| word.to_owned()));
        }
        let all = |mut range: std::ops::Range<u16>| range.all(|status| self.has_status(status));
        let five = all(500..600);
        words.extend(five.then(|| "5xx".to_owned()));
        let single = (400..600).filter(|status| self.has_status(*status) && !(five && *status >= 500));
        words.extend(single.map(|status| status.to_string()));
        let codes = (0..).zip(crate::grpc::CODES).filter(|(code, _)| self.has_grpc(*code));
        words.extend(codes.map(|(_, name)| format!("grpc:{}", name.to_ascii_lowercase())));
        words
    }

    fn has(&self, cause: Cause) -> bool {
        match cause {
            Cause::Refused | Cause::Connect => self.connect,
            Cause::Stale | Cause::Unprocessed | Cause::Reset => self.reset,
            Cause::Timeout => self.timeout,
            Cause::Status(status) => self.has_status(status),
            Cause::Grpc(code) => self.has_grpc(code),
        }
    }
}

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The endpoint refused the connection.
    Refused,
    /// There was no connection for another reason.
    Connect,
    /// The pooled connection had been closed.
    Stale,
    /// The endpoint says that it has not looked at the request (RFC 9113 §8.7).
    Unprocessed,
    /// The connection ended before the response's head was whole.
    Reset,
    /// The endpoint took too long.
    Timeout,
    /// It answered with this status.
    Status(u16),
    /// The call ended with this code and nothing else.
    Grpc(u8),
}

impl Cause {
    /// The endpoint has not worked on the request: it may be sent again whatever it is.
    pub fn is_untouched(self) -> bool {
        matches!(self, Cause::Refused | Cause::Connect | Cause::Unprocessed)
    }

    /// Its place among [`CONDITIONS`].
    pub fn condition(self) -> usize {
        match self {
            Cause::Refused | Cause::Connect => 0,
            Cause::Stale | Cause::Unprocessed => 1,
            Cause::Reset => 2,
            Cause::Timeout => 3,
            Cause::Status(_) => 4,
            Cause::Grpc(_) => 5,
        }
    }
}

/// Values of the label `condition`.
pub const CONDITIONS: [&str; 6] = ["connect", "stale", "reset", "timeout", "status", "grpc"];

/// Why a request that a route would retry is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many tries as the route allows were made.
    Attempts,
    /// The endpoint may have worked on it, and it must not be done twice.
    Unsafe,
    /// Too much of its body has gone by to be sent again.
    Body,
    /// A hop before this one retries it already.
    Hop,
    /// The service's budget is spent.
    Budget,
    /// As many retries are under way as its breaker allows.
    Breaker,
    /// The endpoint asks not to be asked again, or not soon enough.
    Pushback,
    /// The exchange would be over by then.
    Deadline,
}

/// Values of the label `reason`, in the order of [`Refused`].
pub const REFUSALS: [&str; Refused::Deadline as usize + 1] =
    ["attempts", "unsafe", "body", "hop", "budget", "breaker", "pushback", "deadline"];

/// What counts of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its method is idempotent, or it bears an Idempotency-Key.
    pub is_idempotent: bool,
    /// All of its body that was read is still at hand.
    pub is_replayable: bool,
    /// Which try of it this is over all trusted hops before, from 1.
    pub hop_attempt: u32,
}

/// Tries beyond the first so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Without the one on a fresh connection.
    pub tries: u32,
    /// Another endpoint was asked because one refused.
    pub elsewhere: bool,
    /// It was sent again on a fresh connection.
    pub fresh: bool,
}

/// How it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Only where there is another endpoint.
    pub elsewhere_only: bool,
    /// On a connection that is made now.
    pub fresh: bool,
    /// Out of the service's budget.
    pub pays: bool,
    /// After a wait.
    pub waits: bool,
}

/// Whether a request is sent again. `Err(None)`: nobody asked for that.
pub fn judge(
    plan: Option<&RetryPlan>,
    so_far: SoFar,
    cause: Cause,
    facts: Facts,
) -> Result<Again, Option<Refused>> {
    let listed = plan.is_some_and(|plan| plan.when.has(cause));
    let fresh = matches!(cause, Cause::Stale | Cause::Unprocessed) && !so_far.fresh;
    let elsewhere = cause == Cause::Refused && !so_far.elsewhere;
    if !(listed || fresh || elsewhere) {
        return Err(None);
    }
    // Calls of gRPC all look alike: whoever lists a code says that calls which end with it may be made again.
    let is_safe = facts.is_idempotent
        || cause.is_untouched()
        || matches!(cause, Cause::Grpc(_))
        || plan.is_some_and(|plan| plan.unsafe_too);
    if !is_safe {
        return Err(Some(Refused::Unsafe));
    }
    if !facts.is_replayable {
        return Err(Some(Refused::Body));
    }
    if fresh {
        return Ok(Again { elsewhere_only: false, fresh, pays: false, waits: false });
    }
    if facts.hop_attempt > 1 && !cause.is_untouched() {
        return Err(Some(Refused::Hop));
    }
    if so_far.tries >= plan.map_or(1, |plan| plan.attempts.max(1)) {
        return Err(plan.map(|_| Refused::Attempts));
    }
    let refused = cause == Cause::Refused;
    Ok(Again {
        elsewhere_only: !listed,
        fresh: false,
        // Who refuses a connection has had no work by it.
        pays: !refused,
        waits: !refused || so_far.tries > 0,
    })
}

#[cfg(test)]
mod tests;
