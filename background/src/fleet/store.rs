//! What is asked of a store, what it answers, and a connection to one of either kind.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use ringway_config::model::FleetStore;

use super::{redis, rls};

/// How long connecting may take; nobody waits for it.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A refusal never holds for longer than that, whatever a store says: it may change its mind.
pub const REFUSED_NS_MAX: u64 = 60 * 1_000_000_000;
/// Of a digest so many bytes name a bucket.
const DIGEST_BYTES: usize = 16;

/// What is asked: how many requests may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name: gateways that share a limit call it alike.
    pub limit: Arc<str>,
    /// Which of its buckets.
    pub bucket: Bucket,
    /// From one token to the next.
    pub interval_ns: u64,
    /// Tokens at most.
    pub burst: u32,
    /// Tokens that are needed now.
    pub least: u32,
    /// Tokens that would be used soon.
    pub want: u32,
}

/// A bucket of a limit: as much of what it is counted by as its store is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// A digest: for a Redis.
    Digest([u8; DIGEST_BYTES]),
    /// The parts of a key with their values: for a rate limit service.
    Parts(Arc<[(String, String)]>),
}

impl Bucket {
    /// As this store is told.
    pub fn of(store: &FleetStore, parts: Vec<(String, String)>) -> Bucket {
        match store {
            FleetStore::Redis(_) => Bucket::Digest(digest_of(&parts)),
            FleetStore::Rls(_) => Bucket::Parts(parts.into()),
        }
    }

    /// It is told as this store has it: not of another kind that the fleet had before a reload.
    pub fn is_for(&self, store: &FleetStore) -> bool {
        matches!(
            (self, store),
            (Bucket::Digest(_), FleetStore::Redis(_)) | (Bucket::Parts(_), FleetStore::Rls(_))
        )
    }

    /// The digest that names it.
    pub fn digest(&self) -> [u8; DIGEST_BYTES] {
        match self {
            Bucket::Digest(digest) => *digest,
            Bucket::Parts(parts) => digest_of(parts),
        }
    }

    /// The parts, where they are told.
    pub fn parts(&self) -> &[(String, String)] {
        match self {
            Bucket::Digest(_) => &[],
            Bucket::Parts(parts) => parts,
        }
    }

    /// Bytes of its text.
    pub fn bytes(&self) -> usize {
        match self {
            Bucket::Digest(digest) => digest.len(),
            Bucket::Parts(parts) => parts.iter().map(|(name, value)| name.len() + value.len()).sum(),
        }
    }
}

fn digest_of(parts: &[(String, String)]) -> [u8; DIGEST_BYTES] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut out = [0; DIGEST_BYTES];
    out.copy_from_slice(&hash.finish().as_ref()[..DIGEST_BYTES]);
    out
}

/// Two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
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

/// A bucket that is nobody's, since no limit is called so; by asking for its token it is known that the store may be
/// written.
pub fn probe() -> Question {
    let bucket = Bucket::Parts(Arc::default());
    Question { limit: "#probe".into(), bucket, interval_ns: 1000, burst: 1000, least: 1, want: 1 }
}
