//! Datagrams that went nowhere, by why.

use super::counter::Counter;

/// Why a datagram went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Longer than what is received or sent at once.
    TooLong,
    /// A new client's, beyond the listener's bound of sessions.
    Sessions,
    /// A new client's while draining.
    Draining,
    /// Its service has no endpoint.
    NoEndpoint,
    /// No socket could be had for a session.
    NoSocket,
    /// Whom it was for is not there, or no way leads there.
    Unreachable,
    /// The kernel had no room for it.
    NoRoom,
    /// The kernel would not send it for another reason.
    NotSent,
    /// Its client's address sent more than it may.
    ClientRate,
    /// All clients together sent more than they may.
    Rate,
}

/// Values of the label `reason`, in the order of [`Dropped`].
const REASONS: [&str; Dropped::Rate as usize + 1] = [
    "too_long",
    "sessions",
    "draining",
    "no_endpoint",
    "no_socket",
    "unreachable",
    "no_room",
    "not_sent",
    "client_rate",
    "rate",
];

/// Counts of them.
#[derive(Debug, Default)]
pub struct DroppedCounts([Counter; REASONS.len()]);

impl DroppedCounts {
    /// Counts `n` datagrams.
    pub fn add(&self, why: Dropped, n: usize) {
        self.0[why as usize].add(n as u64);
    }

    /// All reasons, and how many.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.0.iter().map(Counter::get))
    }
}
