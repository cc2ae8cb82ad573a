//! How a service's endpoints are picked, in words, and where a request's own key and cookie lead.

use std::collections::BTreeMap;

use super::Request;
use super::render::duration;
use crate::balance::{Asked, Balancer, Policy, Rules};
use crate::http1::{self, Limits, RequestHead};
use crate::key::{KeyInput, KeyPlan, STABLE, Seed};
use crate::snapshot::{EndpointPlan, EndpointTarget, ForwardPlan, SPLIT_SEED, ServicePlan, Snapshot};

/// What one request has to say about who gets it.
#[derive(Clone, Copy)]
pub(super) struct Asking<'r> {
    pub request: &'r Request,
    /// Canonical.
    pub path: &'r [u8],
}

impl Asking<'_> {
    /// The request's key, as far as it is known here: of the client nothing is.
    pub fn hash(&self, key: &KeyPlan, seed: &Seed) -> Option<u64> {
        let request = self.request;
        let target = match request.query.as_str() {
            "" => request.path.clone(),
            query => format!("{}?{query}", request.path),
        };
        let mut text = format!("{} {target} HTTP/1.1\r\n", request.method);
        let names_host = |(name, _): &&(String, String)| !name.eq_ignore_ascii_case("host");
        let host = ("host".to_owned(), request.authority.clone());
        for (name, value) in request.headers.iter().filter(names_host).chain([&host]) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut head = RequestHead::default();
        head.parse(text.as_bytes(), &Limits::default()).ok()?;
        let request = http1::Request { bytes: text.as_bytes(), head: &head };
        key.hash(&KeyInput { request, path: self.path, client: None }, seed).map(|hash| hash as u64)
    }
}

/// What a split goes by, and where that leads.
pub(super) fn split_by(snapshot: &Snapshot, forward: &ForwardPlan, asking: Asking<'_>) -> Option<String> {
    if forward.split_by.is_empty() || !forward.split.is_split() {
        return None;
    }
    let key = forward.split_by.text();
    let Some(hash) = asking.hash(&forward.split_by, &SPLIT_SEED) else {
        return Some(format!("split: by {key}; not known of this request: by chance where it is absent"));
    };
    let part = forward.split.pick_by(hash);
    let service = snapshot.service(part.service);
    let subset = match service.balancing.views.get(part.view as usize).map(String::as_str) {
        None | Some("") => String::new(),
        Some(subset) => format!(", {subset}"),
    };
    Some(format!("split: by {key}; this request's leads to {}{subset}", service.name))
}

/// The balance as it is written, with what it goes by.
pub(super) fn balance(policy: Policy) -> &'static str {
    match policy {
        Policy::RoundRobin => "round_robin",
        Policy::LeastRequest => "least_request",
        Policy::PeakEwma => "peak_ewma",
        Policy::Random => "random",
        Policy::RingHash => "ring_hash",
        Policy::Maglev => "maglev",
    }
}

/// What there is to be said beyond that, of a view of the service.
pub(super) fn lines(service: &ServicePlan, view: u32, asking: Option<Asking<'_>>) -> Vec<String> {
    let (rules, balancing) = (&service.rules, &service.balancing);
    let endpoints: Vec<&EndpointPlan> = seen(service, view).collect();
    let mut lines = Vec::new();
    if let Some(subset) = balancing.views.get(view as usize).filter(|subset| !subset.is_empty()) {
        let all = service.endpoints.len();
        lines.push(format!("subset: {subset}, {} of {all} endpoints", endpoints.len()));
    }
    if rules.policy.is_hashed() {
        lines.push(key(service, view, asking));
    }
    if let Some(sticky) = &balancing.sticky {
        let cookie = String::from_utf8_lossy(&sticky.cookie);
        let kept = sticky.ttl_s.map_or("its session".to_owned(), |seconds| duration(seconds * 1000));
        lines.push(format!("sticky: cookie {cookie}, for {kept}, before all else"));
    }
    lines.extend(levels(&endpoints));
    if rules.slow_start_ns > 0 {
        let within = duration(rules.slow_start_ns / 1_000_000);
        lines.push(format!("slow start: from a tenth of its weight to the whole within {within}"));
    }
    if rules.panic != Rules::from(rules.policy).panic {
        let percent = f64::from(rules.panic) / 10_000.0;
        lines.push(format!("panic: with less than {percent}% of endpoints usable"));
    }
    lines
}

fn key(service: &ServicePlan, view: u32, asking: Option<Asking<'_>>) -> String {
    let key = &service.balancing.hash_by;
    let load = match service.rules.hash_load {
        0 => "whatever load its endpoint has".to_owned(),
        percent => format!("past who has {percent}% of its share of what is under way"),
    };
    let leads = match asking.map(|asking| asking.hash(key, &STABLE)) {
        None => "least_request where it is absent".to_owned(),
        Some(None) => "not known of this request: least_request where it is absent".to_owned(),
        Some(Some(hash)) => match led(service, view, hash) {
            Some(address) => format!("this request's leads to {address}"),
            None => "where it leads hangs on names that are not looked up here".to_owned(),
        },
    };
    format!("key: {}, {load}; {leads}", key.text())
}

/// Whom a key leads to while all are well, if that can be told.
fn led(service: &ServicePlan, view: u32, hash: u64) -> Option<String> {
    if service.names().next().is_some() {
        return None;
    }
    let mut balancer = Balancer::new(service.rules, 0);
    balancer.set_rules(service.rules);
    balancer.reconcile(&service.resolved(|_| []), 0);
    let picked = balancer.pick_for(&Asked { view, hash: Some(hash), stick: None }, 0, 0, &[])?;
    balancer.address(picked.slot).map(ToString::to_string)
}

/// The endpoints of a view, in the order written.
pub(super) fn seen(service: &ServicePlan, view: u32) -> impl Iterator<Item = &EndpointPlan> {
    service.endpoints.iter().filter(move |endpoint| endpoint.views & (1 << view) != 0)
}

/// Who is asked first, where there is an order.
fn levels(endpoints: &[&EndpointPlan]) -> Option<String> {
    let mut counts: BTreeMap<(u8, bool), (usize, bool)> = BTreeMap::new();
    for endpoint in endpoints {
        let count = counts.entry((endpoint.priority, !endpoint.is_near)).or_default();
        count.0 += 1;
        count.1 |= matches!(endpoint.target, EndpointTarget::Dns { .. });
    }
    let is_zoned = endpoints.iter().any(|endpoint| endpoint.is_near);
    let told = |((priority, far), (count, named)): (&(u8, bool), &(usize, bool))| {
        let place = match (is_zoned, far) {
            (false, _) => "",
            (true, false) => " in this zone",
            (true, true) => " elsewhere",
        };
        let names = if *named { ", names counted once" } else { "" };
        format!("level {priority}{place} ({count}{names})")
    };
    let told: Vec<String> = counts.iter().map(told).collect();
    (told.len() > 1)
        .then(|| format!("order: {}; each takes 1.4 times its usable share, at most all", told.join(", ")))
}
