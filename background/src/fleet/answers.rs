//! Workers' letters: each ask is put to the fleet of its limit, and answered.
//!
//! Invariant: each ask is answered once, and nothing that waits or is remembered here grows without bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringway_config::model::FleetStore;
use ringway_engine::limits::fleet::{Ask, Left, Letter, Told, until_ns};
use ringway_engine::{FleetLimit, Handles};

use super::Fleets;
use super::line::Line;
use super::store::{Answer, Bucket, Question};

/// How long tokens may be held unspent: those of a store that takes them back, and of one that does not.
const TERM: Duration = Duration::from_millis(500);
const TERM_FOR_GOOD: Duration = Duration::from_secs(1);
/// Keys whose buckets are remembered, for letters that come after an ask, and bytes of these; twice as many at most.
const REMEMBERED_MAX: usize = 16_384;
const REMEMBERED_BYTES_MAX: usize = 8 << 20;
/// An ask about a limit or a fleet that is not there (any more) is not repeated sooner.
const NOBODY: Duration = Duration::from_millis(100);
/// When a worker whose mailbox was full is told again.
const AGAIN: Duration = Duration::from_millis(1);

/// The limits that fleets count, by number.
pub(super) type Limits = HashMap<u64, FleetLimit>;

/// Buckets of keys: of those that were asked for lately.
#[derive(Default)]
struct Remembered {
    young: HashMap<(u64, u128), Bucket>,
    old: HashMap<(u64, u128), Bucket>,
    /// Of the young.
    bytes: usize,
}

impl Remembered {
    fn keep(&mut self, limit: u64, key: u128, bucket: &Bucket) {
        if self.young.contains_key(&(limit, key)) {
            return;
        }
        let bytes = bucket.bytes();
        if self.young.len() >= REMEMBERED_MAX || self.bytes + bytes > REMEMBERED_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.young.insert((limit, key), bucket.clone());
    }

    fn of(&self, limit: u64, key: u128) -> Option<Bucket> {
        let place = (limit, key);
        self.young.get(&place).or_else(|| self.old.get(&place)).cloned()
    }
}

impl Fleets {
    /// Answers workers until the runtime ends.
    pub async fn answer(self, handles: Handles) {
        let Some(letters) = handles.take_fleet() else { return };
        let remembered = Mutex::new(Remembered::default());
        let remembered = || remembered.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match letters.recv().await {
                Letter::Ask(mut ask) => {
                    let Some((limit, line)) = self.limit_of(ask.limit, &handles) else {
                        tokio::spawn(tell(handles.clone(), ask, Told::Unavailable { for_ns: ns(NOBODY) }));
                        continue;
                    };
                    let bucket = Bucket::of(&line.fleet().store, std::mem::take(&mut ask.values));
                    remembered().keep(ask.limit, ask.key, &bucket);
                    let question = asked(&limit, bucket, &ask);
                    tokio::spawn(put(line, question, ask, handles.clone()));
                }
                Letter::GiveBack { limit, key, tokens } => {
                    let bucket = remembered().of(limit, key);
                    if let Some((line, question)) = self.later(limit, bucket, tokens, &handles) {
                        tokio::spawn(async move { line.give_back(&question).await });
                    }
                }
                Letter::Debit { limit, key, tokens } => {
                    let bucket = remembered().of(limit, key);
                    if let Some((line, question)) = self.later(limit, bucket, tokens, &handles) {
                        tokio::spawn(async move { line.ask(&question).await });
                    }
                }
            }
        }
    }

    /// What is put to the store about tokens of an earlier ask: they go back, or are taken whatever is there.
    fn later(
        &self,
        limit: u64,
        bucket: Option<Bucket>,
        tokens: u32,
        handles: &Handles,
    ) -> Option<(Arc<Line>, Question)> {
        let bucket = bucket?;
        let (limit, line) = self.limit_of(limit, handles)?;
        let fits = bucket.is_for(&line.fleet().store);
        fits.then(|| (line, question(&limit, bucket, 0, tokens)))
    }

    fn limit_of(&self, id: u64, handles: &Handles) -> Option<(FleetLimit, Arc<Line>)> {
        let mut limits = self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if !limits.contains_key(&id) {
            // A reload has brought it.
            *limits = handles.fleet_limits().into_iter().map(|limit| (limit.id, limit)).collect();
        }
        let limit = limits.get(&id)?.clone();
        let line = self.shared.lines().get(&*limit.fleet)?.clone();
        Some((limit, line))
    }
}

/// Asks the store and tells who asked.
async fn put(line: Arc<Line>, question: Question, ask: Ask, handles: Handles) {
    let term = match line.fleet().store {
        FleetStore::Redis(_) => TERM,
        FleetStore::Rls(_) => TERM_FOR_GOOD,
    };
    let told = match line.ask(&question).await {
        Ok(Answer::Granted { tokens, left }) => Told::Granted {
            tokens,
            left: Left { tokens: left, more_ns: question.interval_ns },
            until_ns: until_ns(term),
        },
        Ok(Answer::Refused { more_ns }) => Told::Refused(Left { tokens: 0, more_ns }),
        Err(pause) => Told::Unavailable { for_ns: ns(pause) },
    };
    tell(handles, ask, told).await;
}

/// Tells who asked, again and again while its mailbox is full: an ask must not be left without its answer.
async fn tell(handles: Handles, ask: Ask, told: Told) {
    while handles.tell_fleet(ask.from, ask.ticket, told).is_err() {
        tokio::time::sleep(AGAIN).await;
    }
}

/// At least one token: none is what only debits need.
fn asked(limit: &FleetLimit, bucket: Bucket, ask: &Ask) -> Question {
    let least = ask.least.max(1);
    question(limit, bucket, least, ask.want.max(least))
}

fn question(limit: &FleetLimit, bucket: Bucket, least: u32, want: u32) -> Question {
    Question {
        limit: limit.name.clone(),
        bucket,
        interval_ns: limit.rate.interval_ns(),
        burst: limit.rate.burst(),
        least,
        want,
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_in_keys_and_bytes() {
        let mut remembered = Remembered::default();
        let digest = Bucket::Digest([7; 16]);
        for key in 0..3 * REMEMBERED_MAX as u128 {
            remembered.keep(1, key, &digest);
        }
        assert_eq!(remembered.young.len() + remembered.old.len(), 2 * REMEMBERED_MAX);
        assert_eq!(remembered.of(1, 0), None);
        assert_eq!(remembered.of(1, 3 * REMEMBERED_MAX as u128 - 1), Some(digest));
        let mut remembered = Remembered::default();
        let large = Bucket::Parts(Arc::new([("header:x".to_owned(), "a".repeat(REMEMBERED_BYTES_MAX / 4))]));
        for key in 0..100 {
            remembered.keep(1, key, &large);
        }
        assert!(remembered.young.len() + remembered.old.len() <= 8);
        assert_eq!(remembered.of(1, 99), Some(large));
    }
}
