//! One fleet's store: a connection that is kept, asks over it, and what is counted of them.
//!
//! Invariant: an ask is answered within the fleet's `timeout`, or at once while the store is ejected or too many wait.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringway_config::model::Fleet;
use tokio::sync::Notify;

use super::standing::{Standing, State};
use super::store::{self, Answer, Connection, Question};
use crate::say;

/// Asks under way at once.
const ASKS_MAX: u64 = 1024;
/// A store that is asked is probed all the same.
const PROBED_EVERY: Duration = Duration::from_secs(1);
/// The log is told no more often that a store is down.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Upper ends of the latency's buckets, in microseconds.
pub const LATENCIES_US: [u64; 9] = [250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000];

/// A fleet as it is asked.
pub struct Line {
    fleet: Fleet,
    began: Instant,
    known: Mutex<Known>,
    /// The store was ejected.
    failed: Notify,
    /// Kept over reloads by the fleet's name.
    pub counts: Arc<Counts>,
}

#[derive(Default)]
struct Known {
    standing: Standing,
    connection: Option<Connection>,
    /// Of the connection: what an earlier one failed in says nothing of this one.
    number: u64,
    /// When the log was last told that it is down.
    told: Option<Duration>,
    /// The log says that it is down.
    is_told_down: bool,
}

/// What is counted of a fleet.
#[derive(Debug, Default)]
pub struct Counts {
    /// Asks by result: granted, refused, unavailable.
    pub asks: [AtomicU64; 3],
    /// Of those unavailable: late or failed, so that somebody waited for them.
    pub failed: AtomicU64,
    /// Tokens granted.
    pub tokens: AtomicU64,
    /// Tokens given back.
    pub given_back: AtomicU64,
    /// Asks under way.
    pub under_way: AtomicU64,
    /// Answered asks by latency, the last beyond all bounds; and their sum in microseconds.
    pub latencies: [AtomicU64; LATENCIES_US.len() + 1],
    /// In microseconds.
    pub latency_sum: AtomicU64,
    /// 1: it is asked.
    pub up: AtomicU64,
}

impl Line {
    /// For a fleet; `counts` of an earlier one of that name go on.
    pub fn new(fleet: Fleet, counts: Arc<Counts>) -> Line {
        counts.up.store(0, Relaxed);
        Line { fleet, began: Instant::now(), known: Mutex::default(), failed: Notify::new(), counts }
    }

    /// As configured.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Keeps a connection, until the runtime ends or nobody wants the fleet any more.
    pub async fn keep(self: Arc<Self>) {
        loop {
            match Connection::open(&self.fleet.store, self.fleet.timeout).await {
                Ok(connection) => {
                    self.admit(connection);
                    while tokio::time::timeout(PROBED_EVERY, self.failed.notified()).await.is_err() {
                        self.probe().await;
                    }
                }
                Err(why) => {
                    self.known().standing.fail(self.began.elapsed(), fastrand::f64());
                    self.tell_down(&why);
                }
            }
            let state = self.known().standing.state();
            if let State::Ejected { until } = state {
                tokio::time::sleep(until.saturating_sub(self.began.elapsed())).await;
            }
            self.known().standing.probe();
        }
    }

    /// Looks whether the store still answers, so that no request has to find out.
    async fn probe(&self) {
        let Ok((mut connection, number)) = self.connection() else { return };
        let ask = async { connection.ask(&store::probe(), self.fleet.timeout).await };
        match tokio::time::timeout(self.fleet.timeout, ask).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => self.eject(number, &why),
            Err(_) => self.eject(number, &self.late()),
        }
    }

    /// Asks. `Err`: nobody needs to ask for so long.
    pub async fn ask(&self, question: &Question) -> Result<Answer, Duration> {
        let answer = self.try_ask(question).await;
        let (place, tokens) = match answer {
            Ok(Answer::Granted { tokens, .. }) => (0, tokens),
            Ok(Answer::Refused { .. }) => (1, 0),
            Err(_) => (2, 0),
        };
        self.counts.asks[place].fetch_add(1, Relaxed);
        self.counts.tokens.fetch_add(u64::from(tokens), Relaxed);
        answer
    }

    /// Tokens were not spent. Lost where the store can't be told: it counts them as spent.
    pub async fn give_back(&self, question: &Question) {
        let Some((mut connection, _)) = self.connection().ok().filter(|_| self.has_room()) else { return };
        let _under_way = UnderWay::new(&self.counts);
        let told = tokio::time::timeout(self.fleet.timeout, connection.give_back(question)).await;
        if let Ok(Ok(tokens)) = told {
            self.counts.given_back.fetch_add(u64::from(tokens), Relaxed);
        }
    }

    async fn try_ask(&self, question: &Question) -> Result<Answer, Duration> {
        let (mut connection, number) = self.connection()?;
        if !self.has_room() {
            return Err(self.fleet.timeout);
        }
        let (began, _under_way) = (Instant::now(), UnderWay::new(&self.counts));
        let ask = connection.ask(question, self.fleet.timeout);
        let why = match tokio::time::timeout(self.fleet.timeout, ask).await {
            Ok(Ok(answer)) => {
                self.counts.took(began.elapsed());
                self.known().standing.answered();
                return Ok(answer);
            }
            Ok(Err(why)) => why,
            Err(_) => self.late(),
        };
        self.counts.failed.fetch_add(1, Relaxed);
        self.eject(number, &why);
        let standing = self.known().standing;
        Err(standing.leaves_alone(self.began.elapsed()).unwrap_or_default())
    }

    fn admit(&self, connection: Connection) {
        let mut known = self.known();
        known.standing.admit();
        known.connection = Some(connection);
        known.number += 1;
        self.counts.up.store(1, Relaxed);
        if std::mem::take(&mut known.is_told_down) {
            say::info(format_args!("fleet {}: its store answers again", self.fleet.name));
        }
    }

    /// The connection of this number failed.
    fn eject(&self, number: u64, why: &str) {
        {
            let mut known = self.known();
            if known.number != number || known.connection.take().is_none() {
                return;
            }
            known.standing.fail(self.began.elapsed(), fastrand::f64());
            self.counts.up.store(0, Relaxed);
        }
        self.tell_down(why);
        self.failed.notify_one();
    }

    fn connection(&self) -> Result<(Connection, u64), Duration> {
        let known = self.known();
        match (known.standing.leaves_alone(self.began.elapsed()), &known.connection) {
            (None, Some(connection)) => Ok((connection.clone(), known.number)),
            (pause, _) => Err(pause.unwrap_or_default()),
        }
    }

    fn late(&self) -> String {
        format!("no answer within {} ms", self.fleet.timeout.as_millis())
    }

    fn has_room(&self) -> bool {
        self.counts.under_way.load(Relaxed) < ASKS_MAX
    }

    /// Tells the log, now and then.
    fn tell_down(&self, why: &str) {
        let (now, mut known) = (self.began.elapsed(), self.known());
        if known.is_told_down || known.told.is_some_and(|told| now < told + TOLD_EVERY) {
            return;
        }
        (known.is_told_down, known.told) = (true, Some(now));
        let name = &self.fleet.name;
        say::warning(format_args!(
            "fleet {name}: its store does not answer ({why}); each gateway holds its limits by itself meanwhile"
        ));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn took(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let place = LATENCIES_US.iter().position(|end| us <= *end).unwrap_or(LATENCIES_US.len());
        self.latencies[place].fetch_add(1, Relaxed);
        self.latency_sum.fetch_add(us, Relaxed);
    }
}

/// Counts an ask as long as it is under way, also one that is dropped.
struct UnderWay<'a>(&'a Counts);

impl<'a> UnderWay<'a> {
    fn new(counts: &'a Counts) -> UnderWay<'a> {
        counts.under_way.fetch_add(1, Relaxed);
        UnderWay(counts)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}
