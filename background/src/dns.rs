//! `dns:` names, resolved again and again, each on a task of its own on the background thread.
//!
//! Invariant: a failure, an empty answer and a name that is gone all leave the last good answer in place; only a
//! good answer replaces it. A and AAAA are asked for apart, so that one family's failure doesn't take the other's
//! addresses away. When to ask again follows the shortest TTL within bounds, and backs off with jitter on failure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use ringway_config::model::{Config, EndpointAddress};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::say;
use crate::status::metric;

/// Bounds on how soon a good answer is asked for again.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(300);
/// Waits after failures: the first, doubled up to the last, each made up to half longer at random.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// One question, retries included, takes no longer.
const QUESTION_MAX: Duration = Duration::from_secs(10);

/// Where answers go: the name as configured, its addresses. Called again after each change and each reload.
pub type Sink = Arc<dyn Fn(&str, &[IpAddr]) + Send + Sync>;

/// The names and what is known about them. Cheap to clone.
#[derive(Clone)]
pub struct Dns {
    wanted: Arc<watch::Sender<BTreeSet<String>>>,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    names: Mutex<BTreeMap<String, Answer>>,
    /// A name was tried.
    tried: Condvar,
    /// Held from looking up an answer to having told it, so that an older one never arrives after a newer.
    telling: Mutex<()>,
    failures: AtomicU64,
}

/// What is known about one name.
#[derive(Clone, Debug, Default)]
struct Answer {
    tried: bool,
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl Answer {
    fn addresses(&self) -> Vec<IpAddr> {
        [self.v4.as_slice(), self.v6.as_slice()].concat()
    }
}

/// The names a configuration asks for.
pub fn names(config: &Config) -> BTreeSet<String> {
    let endpoints = config.services.iter().flat_map(|service| &service.endpoints);
    let dns = endpoints.filter_map(|endpoint| match &endpoint.address {
        EndpointAddress::Dns { name, .. } => Some(name.clone()),
        EndpointAddress::Static(_) => None,
    });
    dns.collect()
}

impl Dns {
    /// Nothing is asked before [`Dns::run`].
    pub fn new() -> Dns {
        Dns { wanted: Arc::new(watch::Sender::new(BTreeSet::new())), known: Arc::default() }
    }

    /// From now on these names are kept resolved, and no others.
    pub fn want(&self, names: BTreeSet<String>) {
        self.wanted.send_replace(names);
    }

    /// Blocks until each of these wanted names was tried once or patience ends. Returns those without an address.
    pub fn wait(&self, names: &BTreeSet<String>, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut known = self.known.names();
        let untried = |known: &BTreeMap<String, Answer>| {
            names.iter().any(|name| !known.get(name).is_some_and(|answer| answer.tried))
        };
        while untried(&known) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            let waited = self.known.tried.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let missing = |name: &&String| known.get(*name).is_none_or(|answer| answer.addresses().is_empty());
        names.iter().filter(missing).cloned().collect()
    }

    /// Tells the sink every good answer once more: a new snapshot may ask for names it did not know before.
    pub fn tell_all(&self, sink: &Sink) {
        let _telling = self.known.telling();
        let known = self.known.names().clone();
        for (name, answer) in known {
            let addresses = answer.addresses();
            if !addresses.is_empty() {
                sink(&name, &addresses);
            }
        }
    }

    /// Appends what is counted as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        let (names, resolved) = {
            let known = self.known.names();
            (known.len(), known.values().filter(|answer| !answer.addresses().is_empty()).count())
        };
        let failures = self.known.failures.load(Relaxed);
        metric(out, "ringway_dns_names", "gauge", "Names kept resolved.", names as f64);
        metric(out, "ringway_dns_names_resolved", "gauge", "Those with an address.", resolved as f64);
        metric(out, "ringway_dns_failures_total", "counter", "Questions that failed.", failures as f64);
    }

    /// Keeps one task for each wanted name until the runtime ends. `resolver` makes the resolver when the first name
    /// is wanted.
    pub async fn run(self, resolver: impl Fn() -> Result<TokioResolver, NetError>, sink: Sink) {
        let mut wanted = self.wanted.subscribe();
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut shared = None;
        loop {
            let names = wanted.borrow_and_update().clone();
            running.retain(|name, task| {
                names.contains(name) || {
                    task.abort();
                    false
                }
            });
            self.known.names().retain(|name, _| names.contains(name));
            if shared.is_none() && !names.is_empty() {
                shared = resolver().inspect_err(|error| say::error(format_args!("DNS: {error}"))).ok();
            }
            if let Some(resolver) = &shared {
                for name in
                    names.iter().filter(|name| !running.contains_key(*name)).cloned().collect::<Vec<_>>()
                {
                    let keep =
                        keep(name.clone(), resolver.clone(), Arc::clone(&self.known), Arc::clone(&sink));
                    running.insert(name, tasks.spawn(keep));
                }
            }
            while tasks.try_join_next().is_some() {}
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Default for Dns {
    fn default() -> Dns {
        Dns::new()
    }
}

impl Known {
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Answer>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one round for one name and tells the sink if that changed anything.
    fn learn(&self, name: &str, round: &Round, sink: &Sink) {
        let _telling = self.telling();
        let (before, after) = {
            let mut names = self.names();
            let answer = names.entry(name.to_owned()).or_default();
            let before = answer.addresses();
            round.update(answer);
            (before, answer.addresses())
        };
        if before != after {
            sink(name, &after);
        }
        if let Some(answer) = self.names().get_mut(name) {
            answer.tried = true;
        }
        self.tried.notify_all();
    }
}

/// The system's: `/etc/resolv.conf` and `/etc/hosts`; where the former is missing, a server on this host, as the C
/// library does.
pub fn system_resolver() -> Result<TokioResolver, NetError> {
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let local = NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]));
        let config = ResolverConfig::from_name_servers(vec![local]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    uncached(builder)
}

/// TTLs are kept here, where the last good answer is; a cache below would answer in the network's place.
fn uncached(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    builder.options_mut().cache_size = 0;
    builder.build()
}

/// Keeps one name resolved, for ever.
async fn keep(name: String, resolver: TokioResolver, known: Arc<Known>, sink: Sink) {
    let mut failures = 0u32;
    loop {
        let (v4, v6) =
            tokio::join!(ask(&resolver, &name, RecordType::A), ask(&resolver, &name, RecordType::AAAA));
        let round = Round { v4, v6 };
        known.learn(&name, &round, &sink);
        let pause = match round.verdict() {
            Ok(ttl) => {
                if failures > 0 {
                    say::info(format_args!("{name} resolves again"));
                }
                failures = 0;
                ttl.clamp(TTL_MIN, TTL_MAX)
            }
            Err(reason) => {
                known.failures.fetch_add(1, Relaxed);
                if failures == 0 {
                    say::warning(format_args!(
                        "{name} does not resolve, the last good answer stays: {reason}"
                    ));
                }
                failures = failures.saturating_add(1);
                backoff(failures, jitter())
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What one question brought.
#[derive(Clone, Debug)]
enum Reply {
    Addresses(Vec<IpAddr>, Duration),
    /// There are none, says one who knows.
    Nothing,
    Failed(String),
}

async fn ask(resolver: &TokioResolver, name: &str, kind: RecordType) -> Reply {
    let lookup = match tokio::time::timeout(QUESTION_MAX, resolver.lookup(name, kind)).await {
        Err(_) => return Reply::Failed("no answer in time".to_owned()),
        Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => return Reply::Nothing,
        Ok(Err(error)) => return Reply::Failed(error.to_string()),
        Ok(Ok(lookup)) => lookup,
    };
    let mut addresses: Vec<IpAddr> =
        lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    // Servers rotate them; the order means nothing and must not look like a change.
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Reply::Nothing;
    }
    Reply::Addresses(addresses, lookup.valid_until().saturating_duration_since(Instant::now()))
}

/// Both families' replies.
struct Round {
    v4: Reply,
    v6: Reply,
}

impl Round {
    /// The next look's distance, or why the round counts as failed.
    fn verdict(&self) -> Result<Duration, String> {
        match (&self.v4, &self.v6) {
            (Reply::Addresses(_, a), Reply::Addresses(_, b)) => Ok(*a.min(b)),
            (Reply::Addresses(_, ttl), Reply::Nothing) | (Reply::Nothing, Reply::Addresses(_, ttl)) => {
                Ok(*ttl)
            }
            (Reply::Nothing, Reply::Nothing) => Err("it has no addresses".to_owned()),
            (Reply::Failed(reason), _) | (_, Reply::Failed(reason)) => Err(reason.clone()),
        }
    }

    /// A family that has none gives its addresses up only where the other has some.
    fn update(&self, answer: &mut Answer) {
        let some = matches!(self.v4, Reply::Addresses(..)) || matches!(self.v6, Reply::Addresses(..));
        for (reply, family) in [(&self.v4, &mut answer.v4), (&self.v6, &mut answer.v6)] {
            match reply {
                Reply::Addresses(addresses, _) => family.clone_from(addresses),
                Reply::Nothing if some => family.clear(),
                Reply::Nothing | Reply::Failed(_) => {}
            }
        }
    }
}

/// `jitter` from 0 to 1.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(BACKOFF_MAX).mul_f64(1.0 + jitter / 2.0)
}

/// Good enough to keep names and instances from asking in step: the randomness of the standard library's hash seeds.
pub(crate) fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(Instant::now());
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
