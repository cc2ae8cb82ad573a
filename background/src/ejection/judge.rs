//! Judges the endpoints of one service beside each other. Pure.
//!
//! *Consecutive* is meant over all workers and by the clock: failures later than the last answer that any worker got
//! (and than the endpoint's last return) are in a row, whoever saw them. Workers share a clock, so that is exact but for
//! what ends within one turn of a loop: at the same time, an answer counts as the later one. Success and latency are
//! looked at once for each interval.
//!
//! Invariant: of `n` endpoints at most `share * n` are out (rounded down, but one may always be), those probing among
//! them; and with whoever is out for another reason none is added beyond that.

use std::collections::BTreeMap;

use super::endpoint::{Endpoint, State};
use super::{Kind, Terms};

/// An endpoint that is slower by less than this is not slow.
const SLOWER_BY_MIN_US: u64 = 1000;

/// What workers have seen of an endpoint, all of them together.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Exchanges that were answered well since the last look.
    pub answered: u64,
    /// Those that failed.
    pub failed: u64,
    /// Sum over `answered`: from sent to response head.
    pub latency_us: u64,
    /// When any worker was last answered well.
    pub answered_at_ns: u64,
    /// When the last failures ended, in no order: of each worker as many as [`Terms::consecutive`].
    pub failed_at_ns: Vec<u64>,
}

/// What became of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// It is out for so long.
    Ejected(K, Kind, u64),
    /// It would be, but too many are out already.
    Kept(K, Kind),
    /// A few requests are let through.
    Probing(K),
    /// It is asked again.
    Admitted(K),
}

/// The endpoints of one service.
#[derive(Clone, Debug)]
pub struct Judge<K> {
    terms: Terms,
    members: BTreeMap<K, Member>,
    interval_ends_ns: u64,
}

#[derive(Clone, Debug)]
struct Member {
    endpoint: Endpoint,
    /// Of the interval, or since probing began.
    answered: u64,
    failed: u64,
    latency_us: u64,
    /// Why it was ejected last.
    kind: Option<Kind>,
    /// That it was kept has been told.
    kept: bool,
}

impl<K: Ord + Clone> Judge<K> {
    /// Without endpoints yet.
    pub fn new(terms: Terms, now_ns: u64) -> Judge<K> {
        Judge { terms, members: BTreeMap::new(), interval_ends_ns: now_ns + terms.interval_ns }
    }

    /// By other terms from now on, over other endpoints; verdicts on those that stay, stay.
    pub fn change(&mut self, terms: Terms, endpoints: impl IntoIterator<Item = K>, now_ns: u64) {
        self.terms = terms;
        self.interval_ends_ns = self.interval_ends_ns.min(now_ns + terms.interval_ns);
        let mut before = std::mem::take(&mut self.members);
        for key in endpoints {
            let member = before.remove(&key).unwrap_or_else(|| Member::new(now_ns));
            self.members.insert(key, member);
        }
    }

    /// Takes in what was seen since the last look, and decides. `is_out` tells who gets nothing for another reason.
    pub fn look(
        &mut self,
        now_ns: u64,
        mut seen: impl FnMut(&K) -> Seen,
        is_out: impl Fn(&K) -> bool,
    ) -> Vec<Event<K>> {
        let mut events = Vec::new();
        let mut found: Vec<(K, Kind)> = Vec::new();
        for (key, member) in &mut self.members {
            if member.endpoint.pass(now_ns, &self.terms) {
                member.forget();
                events.push(Event::Probing(key.clone()));
            }
            let seen = seen(key);
            match member.endpoint.state() {
                State::Admitting { since_ns } => {
                    member.add(&seen);
                    let run = seen.run(since_ns);
                    if self.terms.consecutive > 0 && run >= self.terms.consecutive {
                        found.push((key.clone(), Kind::Consecutive(run)));
                    }
                }
                State::Ejected { .. } => {}
                State::Probing { since_ns, .. } => {
                    member.add(&seen);
                    if let Some(event) = member.probed(key, &seen, since_ns, now_ns, &self.terms) {
                        events.push(event);
                    }
                }
            }
        }
        found.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.weight()));
        if now_ns >= self.interval_ends_ns {
            let mut compared = self.compare();
            compared.retain(|(key, _)| found.iter().all(|(known, _)| known != key));
            found.extend(compared);
            self.begin_interval(now_ns, &found);
        }
        self.eject(now_ns, found, is_out, &mut events);
        self.give_back_too_many(now_ns, &mut events);
        events
    }

    /// Where each endpoint is.
    pub fn states(&self) -> impl Iterator<Item = (&K, State, Option<Kind>)> {
        self.members.iter().map(|(key, member)| (key, member.endpoint.state(), member.kind))
    }

    /// When it is to be looked at again, whatever happens.
    pub fn due_ns(&self) -> u64 {
        let due = self.members.values().filter_map(|member| member.endpoint.due_ns());
        due.min().unwrap_or(u64::MAX).min(self.interval_ends_ns)
    }

    /// How many may be out.
    pub fn allowed(&self) -> usize {
        let share = self.members.len() as u64 * u64::from(self.terms.share_ppm) / 1_000_000;
        share.max(1) as usize
    }

    fn out(&self) -> usize {
        self.members.values().filter(|member| member.endpoint.is_out()).count()
    }

    /// Those that succeed less or answer later than their siblings, the worst first.
    fn compare(&self) -> Vec<(K, Kind)> {
        let admitting = || self.members.iter().filter(|(_, member)| !member.endpoint.is_out());
        let enough = |requests: u64| requests >= u64::from(self.terms.requests.max(1));
        let (mut answered, mut all) = (0, 0);
        for (_, member) in admitting() {
            answered += member.answered;
            all += member.requests();
        }
        let means: Vec<(&K, u64)> = admitting()
            .filter(|(_, member)| enough(member.answered))
            .map(|(key, member)| (key, member.latency_us / member.answered))
            .collect();
        let mut found = Vec::new();
        for (key, member) in admitting() {
            let ppm = success_ppm(member.answered, member.requests());
            let rest = all - member.requests();
            // Where the others fail as well, it is not this endpoint's fault.
            if enough(member.requests())
                && ppm < self.terms.success_ppm
                && enough(rest)
                && success_ppm(answered - member.answered, rest) >= self.terms.success_ppm
            {
                found.push((key.clone(), Kind::Success(ppm)));
                continue;
            }
            let Some(percent) = self.terms.latency_percent else { continue };
            let Some(&(_, mean)) = means.iter().find(|(of, _)| *of == key) else { continue };
            let siblings = means.iter().filter(|(of, _)| *of != key).map(|(_, mean)| *mean).collect();
            let Some(median) = median(siblings) else { continue };
            let limit_us = (median.saturating_mul(u64::from(percent)) / 100).max(median + SLOWER_BY_MIN_US);
            if mean > limit_us {
                found.push((key.clone(), Kind::Latency { mean_us: mean, limit_us }));
            }
        }
        found.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.weight()));
        found
    }

    /// The next interval; whoever was found failing keeps that this was told.
    fn begin_interval(&mut self, now_ns: u64, found: &[(K, Kind)]) {
        self.interval_ends_ns = now_ns + self.terms.interval_ns;
        for (key, member) in &mut self.members {
            if !member.endpoint.is_out() {
                member.forget();
                member.kept &= found.iter().any(|(known, _)| known == key);
            }
        }
    }

    fn eject(
        &mut self,
        now_ns: u64,
        found: Vec<(K, Kind)>,
        is_out: impl Fn(&K) -> bool,
        events: &mut Vec<Event<K>>,
    ) {
        if found.is_empty() {
            return;
        }
        let otherwise =
            self.members.iter().filter(|(key, member)| !member.endpoint.is_out() && is_out(key)).count();
        let mut room = self.allowed().saturating_sub(self.out() + otherwise);
        for (key, kind) in found {
            // Who gets nothing already has nothing more to lose.
            let Some(member) = self.members.get_mut(&key).filter(|_| !is_out(&key)) else { continue };
            if room == 0 {
                if !std::mem::replace(&mut member.kept, true) {
                    events.push(Event::Kept(key, kind));
                }
                continue;
            }
            room -= 1;
            let for_ns = member.eject(now_ns, kind, &self.terms);
            events.push(Event::Ejected(key, kind, for_ns));
        }
    }

    /// Where endpoints left, those that are out may be too many.
    fn give_back_too_many(&mut self, now_ns: u64, events: &mut Vec<Event<K>>) {
        while self.out() > self.allowed() {
            let out = self.members.iter_mut().filter(|(_, member)| member.endpoint.is_out());
            let Some((key, first)) = out.min_by_key(|(_, member)| member.endpoint.due_ns()) else { return };
            first.admit(now_ns);
            events.push(Event::Admitted(key.clone()));
        }
    }
}

impl Member {
    fn new(now_ns: u64) -> Member {
        let endpoint = Endpoint::new(now_ns);
        Member { endpoint, answered: 0, failed: 0, latency_us: 0, kind: None, kept: false }
    }

    fn requests(&self) -> u64 {
        self.answered + self.failed
    }

    fn add(&mut self, seen: &Seen) {
        self.answered += seen.answered;
        self.failed += seen.failed;
        self.latency_us += seen.latency_us;
    }

    fn forget(&mut self) {
        (self.answered, self.failed, self.latency_us) = (0, 0, 0);
    }

    fn eject(&mut self, now_ns: u64, kind: Kind, terms: &Terms) -> u64 {
        self.kind = Some(kind);
        self.kept = false;
        self.endpoint.eject(now_ns, terms)
    }

    fn admit(&mut self, now_ns: u64) {
        self.endpoint.admit(now_ns);
        (self.kind, self.kept) = (None, false);
        self.forget();
    }

    /// What came of letting a few through, if something did.
    fn probed<K: Clone>(
        &mut self,
        key: &K,
        seen: &Seen,
        since_ns: u64,
        now_ns: u64,
        terms: &Terms,
    ) -> Option<Event<K>> {
        let failed = seen.failed_at_ns.iter().filter(|&&at| at > since_ns).count() as u32;
        if failed > 0 {
            let kind = Kind::Probe(failed);
            return Some(Event::Ejected(key.clone(), kind, self.eject(now_ns, kind, terms)));
        }
        if seen.answered_at_ns <= since_ns {
            return None;
        }
        // Who was too slow must have become faster.
        let mean_us = self.latency_us / self.answered.max(1);
        if let Some(Kind::Latency { limit_us, .. }) = self.kind
            && mean_us > limit_us
        {
            let kind = Kind::Latency { mean_us, limit_us };
            return Some(Event::Ejected(key.clone(), kind, self.eject(now_ns, kind, terms)));
        }
        self.admit(now_ns);
        Some(Event::Admitted(key.clone()))
    }
}

impl Seen {
    /// Failures in a row, of those after `since_ns`.
    fn run(&self, since_ns: u64) -> u32 {
        let after = since_ns.max(self.answered_at_ns);
        self.failed_at_ns.iter().filter(|&&at| at > after).count() as u32
    }
}

fn success_ppm(answered: u64, requests: u64) -> u32 {
    match requests {
        0 => 1_000_000,
        _ => (answered.saturating_mul(1_000_000) / requests) as u32,
    }
}

/// Of an even number, between the two in the middle.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[half]),
        _ => Some(values[half - 1].midpoint(values[half])),
    }
}
