//! What is asked of a store, what it answers, and a connection to one of either kind.

use std::sync::Arc;
use std::time::Duration;

use ringway_config::model::FleetStore;

use super::{redis, rls};

/// How long connecting may take; nobody waits for it.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// What is asked: how many requests may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name: gateways that share a limit call it alike.
    pub limit: Arc<str>,
    /// What it is counted by, and the values for this bucket.
    pub parts: Vec<(String, String)>,
    /// From one token to the next.
    pub interval_ns: u64,
    /// Tokens at most.
    pub burst: u32,
    /// Tokens that are needed now.
    pub least: u32,
    /// Tokens that would be used soon.
    pub want: u32,
}

/// What a store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many tokens are the asker's, and so many are left.
    Granted {
        /// At least as many as are needed.
        tokens: u32,
        /// For all others.
        left: u32,
    },
    /// Not now.
    Refused {
        /// Until as many as are needed are there.
        more_ns: u64,
    },
}

/// A connection that has answered. Cheap to clone.
#[derive(Clone)]
pub enum Connection {
    /// To Redis.
    Redis(redis::Connection),
    /// To a rate limit service.
    Rls(rls::Connection),
}

impl Connection {
    /// Connects to a store and probes it.
    ///
    /// # Errors
    /// It is not there, or doesn't answer a probe within `timeout`; for a person.
    pub async fn open(store: &FleetStore, timeout: Duration) -> Result<Connection, String> {
        let late = |bound: Duration| move |_| format!("no answer within {} ms", bound.as_millis());
        let open = async {
            let mut connection = match store {
                FleetStore::Redis(redis) => {
                    Connection::Redis(redis::Connection::open(redis, CONNECT_MAX).await?)
                }
                FleetStore::Rls(rls) => Connection::Rls(rls::Connection::open(rls).await?),
            };
            // The first ask may have to tell the store what is asked of it; what follows is measured.
            connection.ask(&probe(), timeout).await?;
            Ok::<_, String>(connection)
        };
        let mut connection = tokio::time::timeout(CONNECT_MAX, open).await.map_err(late(CONNECT_MAX))??;
        let ask = async { connection.ask(&probe(), timeout).await };
        tokio::time::timeout(timeout, ask).await.map_err(late(timeout))??;
        Ok(connection)
    }

    /// Asks, as long as it takes.
    ///
    /// # Errors
    /// No answer; for a person.
    pub async fn ask(&mut self, question: &Question, timeout: Duration) -> Result<Answer, String> {
        match self {
            Connection::Redis(redis) => redis.ask(question).await,
            Connection::Rls(rls) => rls.ask(question, timeout).await,
        }
    }

    /// Tells that so many tokens as were `want`ed are given back. How many the store took.
    ///
    /// # Errors
    /// No answer; for a person.
    pub async fn give_back(&mut self, question: &Question) -> Result<u32, String> {
        match self {
            Connection::Redis(redis) => redis.give_back(question).await,
            // There is no way to say so.
            Connection::Rls(_) => Ok(0),
        }
    }
}

/// A bucket that is nobody's; by asking for its token it is known that the store may be written.
pub fn probe() -> Question {
    Question { limit: "probe".into(), parts: Vec::new(), interval_ns: 1000, burst: 1000, least: 1, want: 1 }
}
