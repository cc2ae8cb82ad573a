//! Workers' letters: each ask is put to the fleet of its limit, and answered.
//!
//! Invariant: each ask is answered once, and nothing that waits or is remembered here grows without bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringway_config::model::FleetStore;
use ringway_engine::limits::fleet::{Ask, Left, Letter, Told, Values, until_ns};
use ringway_engine::{FleetLimit, Handles};

use super::Fleets;
use super::line::Line;
use super::store::{Answer, Question};

/// How long tokens may be held unspent: those of a store that takes them back, and of one that does not.
const TERM: Duration = Duration::from_millis(500);
const TERM_FOR_GOOD: Duration = Duration::from_secs(1);
/// Keys whose values are remembered, for letters that come after an ask; twice as many at most.
const REMEMBERED_MAX: usize = 16_384;
/// An ask about a limit or a fleet that is not there (any more) is not repeated sooner.
const NOBODY: Duration = Duration::from_millis(100);
/// When a worker whose mailbox was full is told again.
const AGAIN: Duration = Duration::from_millis(1);

/// The limits that fleets count, by number.
pub(super) type Limits = HashMap<u64, FleetLimit>;

/// Values of keys: of those that were asked for lately.
#[derive(Default)]
pub(super) struct Remembered {
    young: HashMap<(u64, u128), Values>,
    old: HashMap<(u64, u128), Values>,
}

impl Remembered {
    fn keep(&mut self, limit: u64, key: u128, values: &Values) {
        if self.young.contains_key(&(limit, key)) {
            return;
        }
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((limit, key), values.clone());
    }

    fn of(&self, limit: u64, key: u128) -> Option<Values> {
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
                Letter::Ask(ask) => {
                    let Some((limit, line)) = self.limit_of(ask.limit, &handles) else {
                        tokio::spawn(tell(handles.clone(), ask, Told::Unavailable { for_ns: ns(NOBODY) }));
                        continue;
                    };
                    if let FleetStore::Redis(_) = line.fleet().store {
                        remembered().keep(ask.limit, ask.key, &ask.values);
                    }
                    tokio::spawn(put(line, limit, ask, handles.clone()));
                }
                Letter::GiveBack { limit, key, tokens } => {
                    let values = remembered().of(limit, key);
                    if let Some((values, (limit, line))) = values.zip(self.limit_of(limit, &handles)) {
                        let question = Question { want: tokens, ..question(&limit, values) };
                        tokio::spawn(async move { line.give_back(&question).await });
                    }
                }
                Letter::Debit { limit, key, tokens } => {
                    let values = remembered().of(limit, key);
                    if let Some((values, (limit, line))) = values.zip(self.limit_of(limit, &handles)) {
                        // Whatever is there.
                        let question = Question { least: 0, want: tokens, ..question(&limit, values) };
                        tokio::spawn(async move { line.ask(&question).await });
                    }
                }
            }
        }
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
async fn put(line: Arc<Line>, limit: FleetLimit, ask: Ask, handles: Handles) {
    let question = Question { least: ask.least, want: ask.want, ..question(&limit, ask.values.clone()) };
    let term = match line.fleet().store {
        FleetStore::Redis(_) => TERM,
        FleetStore::Rls(_) => TERM_FOR_GOOD,
    };
    let told = match line.ask(&question).await {
        Ok(Answer::Granted { tokens, left }) => Told::Granted {
            tokens,
            left: Left { tokens: left, more_ns: limit.rate.interval_ns() },
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

fn question(limit: &FleetLimit, parts: Values) -> Question {
    Question {
        limit: limit.name.clone(),
        parts,
        interval_ns: limit.rate.interval_ns(),
        burst: limit.rate.burst(),
        least: 1,
        want: 1,
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
