//! Certificates from authorities, by ACME (RFC 8555): asked for where there is none, renewed at two thirds of their life.
//!
//! Each certificate has a task on the background thread. What comes is a file, and a changed file is a reload like any
//! other, so nothing here touches what is served: a failure leaves it as it is, is told, and is tried again, later and
//! later. Invariant: a file is replaced only by a certificate that can be used, whole.
//!
//! ```text
//! waiting --two thirds of life, or nothing held--> asking --issued--> stored --> waiting
//!    ^                                                |
//!    '---------- after `retry`, doubled --------------' failed
//! ```

mod https;
mod order;
mod pending;
mod store;
mod wanted;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_config::model::{AcmeAccount, Config};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::dns::jitter;
use crate::say;
use order::Authority;
use pending::Pending;
pub(crate) use pending::Tell;
use wanted::Wanted;

/// A task looks at the clock this often at least: clocks are set, and machines sleep.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// How often the wait after a failure is doubled.
const DOUBLINGS_MAX: u32 = 6;

/// The certificates and what is known about them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Acme {
    wanted: Arc<watch::Sender<Vec<Wanted>>>,
    known: Arc<Known>,
}

struct Known {
    pending: Arc<Pending>,
    told: Mutex<Told>,
}

/// What is told of.
#[derive(Default)]
struct Told {
    /// By file.
    certificates: BTreeMap<PathBuf, State>,
    /// By account: orders that were issued, and that failed.
    orders: BTreeMap<String, (u64, u64)>,
}

struct State {
    account: String,
    name: String,
    /// The end of what is served, seconds since 1970.
    until: Option<i64>,
    trouble: Option<Trouble>,
}

#[derive(Clone)]
struct Trouble {
    failures: u32,
    at: SystemTime,
    why: String,
    next: SystemTime,
}

impl Acme {
    /// Nothing is asked before [`Acme::run`]. `tell` hands challenges to the workers.
    pub fn new(tell: Tell) -> Acme {
        let known = Known { pending: Arc::new(Pending::new(tell)), told: Mutex::default() };
        Acme { wanted: Arc::new(watch::Sender::new(Vec::new())), known: Arc::new(known) }
    }

    /// From now on the certificates of this configuration, which runs, are kept, and no others. Their folders are made at
    /// once, so that they can be watched.
    pub fn want(&self, config: &Config) {
        let wanted = wanted::of(config);
        for account in &config.acme {
            if let Err(error) = store::make(&account.store()) {
                say::error(format_args!("acme `{}`: {error}", account.name));
            }
        }
        let mut told = self.known.told();
        told.certificates.retain(|file, _| wanted.iter().any(|one| one.file == *file));
        for one in &wanted {
            let until = one.held.as_ref().map(|held| held.until);
            let state = told.certificates.entry(one.file.clone()).or_insert_with(|| State {
                account: one.account.name.clone(),
                name: one.name().to_owned(),
                until,
                trouble: None,
            });
            state.until = until;
        }
        drop(told);
        self.wanted.send_replace(wanted);
    }

    /// Keeps one task for each certificate until the runtime ends.
    pub async fn run(self) {
        let mut wanted = self.wanted.subscribe();
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<PathBuf, (Wanted, AbortHandle)> = BTreeMap::new();
        let mut authorities: Vec<(AcmeAccount, Arc<Authority>)> = Vec::new();
        loop {
            let certificates = wanted.borrow_and_update().clone();
            // One that holds something else than it did waits for another time.
            running.retain(|_, (one, task)| {
                certificates.contains(one) || {
                    task.abort();
                    false
                }
            });
            authorities.retain(|(account, _)| certificates.iter().any(|one| one.account == *account));
            for one in certificates {
                if running.contains_key(&one.file) {
                    continue;
                }
                let authority = match authorities.iter().find(|(account, _)| *account == one.account) {
                    Some((_, authority)) => authority.clone(),
                    None => {
                        let authority = Arc::new(Authority::new(one.account.clone()));
                        authorities.push((one.account.clone(), authority.clone()));
                        authority
                    }
                };
                let task = tasks.spawn(keep(one.clone(), authority, self.known.clone()));
                running.insert(one.file.clone(), (one, task));
            }
            while tasks.try_join_next().is_some() {}
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// Appends to the body of `/readyz` what has not come yet and what fails.
    pub fn describe(&self, out: &mut String) {
        for state in self.known.told().certificates.values() {
            let now = seconds(SystemTime::now());
            let served = match state.until {
                None => "has not come yet",
                Some(until) if (until as f64) < now => "has ended",
                Some(_) if state.trouble.is_some() => "is served and could not be renewed",
                Some(_) => continue,
            };
            let _ = write!(out, "\ncertificate {} of acme {} {served}", state.name, state.account);
            match &state.trouble {
                None => out.push_str(": it is being asked for\n"),
                Some(trouble) => {
                    let (at, next) = (say::utc(trouble.at), say::utc(trouble.next));
                    let (failures, why) = (trouble.failures, &trouble.why);
                    let _ = writeln!(out, ": try {failures} failed at {at}, the next is at {next}:\n  {why}");
                }
            }
        }
    }

    /// Appends what is known as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        let told = self.known.told();
        if !told.certificates.is_empty() {
            out.push_str(
                "# HELP ringway_acme_certificate_expiry_timestamp_seconds When the certificate that is served ends; 0: \
                 none has come yet.\n# TYPE ringway_acme_certificate_expiry_timestamp_seconds gauge\n",
            );
            for State { account, name, until, .. } in told.certificates.values() {
                let until = until.unwrap_or(0);
                let _ = writeln!(
                    out,
                    "ringway_acme_certificate_expiry_timestamp_seconds{{account=\"{account}\",certificate=\"{name}\"}} {until}"
                );
            }
        }
        if !told.orders.is_empty() {
            out.push_str(
                "# HELP ringway_acme_orders_total Certificates asked for, by how that ended.\n\
                 # TYPE ringway_acme_orders_total counter\n",
            );
            for (account, (issued, failed)) in &told.orders {
                for (result, count) in [("issued", issued), ("failed", failed)] {
                    let _ = writeln!(
                        out,
                        "ringway_acme_orders_total{{account=\"{account}\",result=\"{result}\"}} {count}"
                    );
                }
            }
        }
    }
}

impl Known {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, account: &str, issued: bool) {
        let mut told = self.told();
        let (good, bad) = told.orders.entry(account.to_owned()).or_default();
        *if issued { good } else { bad } += 1;
    }

    fn set_trouble(&self, file: &Path, trouble: Option<Trouble>) {
        if let Some(state) = self.told().certificates.get_mut(file) {
            state.trouble = trouble;
        }
    }
}

/// Keeps one certificate, for ever.
async fn keep(wanted: Wanted, authority: Arc<Authority>, known: Arc<Known>) {
    let (name, account) = (wanted.name(), wanted.account.name.as_str());
    let mut held = wanted.held.clone();
    let mut failures = 0u32;
    loop {
        if let Some(held) = &held {
            wait_until(held.renewed_at(&wanted.names, jitter())).await;
        }
        say::info(format_args!("certificate {name}: asking acme {account} for it"));
        match authority.issue(&wanted, &known.pending).await {
            Ok(issued) => {
                failures = 0;
                known.count(account, true);
                known.set_trouble(&wanted.file, None);
                say::info(format_args!(
                    "certificate {name}: acme {account} issued one that ends at {}",
                    say::utc(UNIX_EPOCH + Duration::from_secs(issued.until.max(0) as u64))
                ));
                held = Some(issued);
            }
            Err(why) => {
                failures = failures.saturating_add(1);
                let pause = backoff(wanted.account.retry, failures, jitter());
                let now = SystemTime::now();
                known.count(account, false);
                say::error(format_args!(
                    "certificate {name}: acme {account} did not issue it, what is served stays; next try in {} s: {why}",
                    pause.as_secs()
                ));
                let trouble = Trouble { failures, at: now, why, next: now + pause };
                known.set_trouble(&wanted.file, Some(trouble));
                tokio::time::sleep(pause).await;
                // What is held may last longer than the pause; it is due all the same.
                held = None;
            }
        }
    }
}

/// By the wall clock, whatever becomes of it meanwhile.
async fn wait_until(time: Duration) {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(left) = time.checked_sub(now).filter(|left| !left.is_zero()) else { return };
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// `jitter` from 0 to 1: made up to half longer, so that several don't try in step.
fn backoff(retry: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = retry.saturating_mul(1 << failures.saturating_sub(1).min(DOUBLINGS_MAX));
    doubled.mul_f64(1.0 + jitter / 2.0)
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |past| past.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_after_failures_double_up_to_a_bound() {
        let minutes = |failures| backoff(Duration::from_secs(60), failures, 0.0).as_secs() / 60;
        assert_eq!([1, 2, 3, 7, 8, 1000].map(minutes), [1, 2, 4, 64, 64, 64]);
        assert_eq!(backoff(Duration::from_secs(60), 1, 1.0), Duration::from_secs(90));
    }
}
