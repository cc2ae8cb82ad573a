//! Tries beyond the first, those that were refused, hedges and mirrored copies, by service.

use super::counter::Counter;
use crate::retry::{CONDITIONS, Cause, REFUSALS, Refused};

/// Counts of one service on one worker.
#[derive(Debug, Default)]
pub struct RetryCounts {
    by_condition: [Counter; CONDITIONS.len()],
    refused: [Counter; REFUSALS.len()],
    /// Tries begun because an answer took long.
    pub hedges: Counter,
    /// Those that answered first.
    pub hedges_won: Counter,
    /// Copies that were sent.
    pub copies: Counter,
    copies_dropped: [Counter; COPIES_DROPPED.len()],
}

/// Why a request was not mirrored that was to be, or its copy came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDropped {
    /// As many copies as may be were under way.
    Concurrency,
    /// Its body was too large, or not whole when the answer began.
    Body,
    /// There was no connection, or no answer in time.
    Failed,
}

/// Values of the label `reason`, in the order of [`CopyDropped`].
pub const COPIES_DROPPED: [&str; CopyDropped::Failed as usize + 1] = ["concurrency", "body", "failed"];

impl RetryCounts {
    /// One more try, after this.
    pub fn count(&self, cause: Cause) {
        self.by_condition[cause.condition()].increment();
    }

    /// None, though it was asked for.
    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].increment();
    }

    /// No copy, or it came to nothing.
    pub fn drop_copy(&self, why: CopyDropped) {
        self.copies_dropped[why as usize].increment();
    }

    /// By [`CONDITIONS`].
    pub fn by_condition(&self) -> impl Iterator<Item = u64> {
        self.by_condition.iter().map(Counter::get)
    }

    /// By [`REFUSALS`].
    pub fn refused(&self) -> impl Iterator<Item = u64> {
        self.refused.iter().map(Counter::get)
    }

    /// By [`COPIES_DROPPED`].
    pub fn copies_dropped(&self) -> impl Iterator<Item = u64> {
        self.copies_dropped.iter().map(Counter::get)
    }

    /// Adds what `gone` counted.
    pub fn fold(&self, gone: &RetryCounts) {
        self.all().zip(gone.all()).for_each(|(mine, theirs)| mine.add(theirs.get()));
    }

    fn all(&self) -> impl Iterator<Item = &Counter> {
        let single = [&self.hedges, &self.hedges_won, &self.copies];
        let labelled = self.by_condition.iter().chain(&self.refused).chain(&self.copies_dropped);
        labelled.chain(single)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_added_to_its_like() {
        let (mine, gone) = (RetryCounts::default(), RetryCounts::default());
        gone.count(Cause::Status(503));
        gone.refuse(Refused::Budget);
        gone.drop_copy(CopyDropped::Body);
        gone.hedges.increment();
        mine.fold(&gone);
        mine.fold(&gone);
        assert_eq!(mine.by_condition().collect::<Vec<_>>(), [0, 0, 0, 0, 2, 0]);
        assert_eq!(mine.refused().sum::<u64>(), 2);
        assert_eq!((mine.copies_dropped().nth(1), mine.hedges.get()), (Some(2), 2));
    }
}
