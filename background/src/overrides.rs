//! What an operator changes by hand while the configuration stays as it is: endpoints' standings, splits, faults.
//!
//! All of it is here, with who, since when and until when, and ends by itself. Workers get it whole; endpoints' orders
//! go by [`Opinions`]. Invariant: it outlives reloads as long as what it is about is there; what a reload ends is said.

mod held;
mod wanted;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_config::model::Fault;
use ringway_config::{time, units};
use ringway_engine::balance::Address;
use ringway_engine::{Handles, RouteInfo};
use serde_json::Value;
use tokio::sync::Notify;

use crate::say;
use crate::standing::{Opinions, beside};

use held::Held;
pub use held::{KINDS, OVERRIDES_MAX, Override, What};
pub use wanted::{Change, Wanted, read};

/// Names told where one is not found.
const NAMES_MAX: usize = 8;

/// What is changed by hand. Cheap to clone.
#[derive(Clone)]
pub struct Overrides {
    shared: Arc<Shared>,
}

struct Shared {
    held: Mutex<Held>,
    /// Held while the workers are told, so that they hear of changes in their order.
    telling: Mutex<()>,
    changed: Notify,
    handles: Handles,
    opinions: Opinions,
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What it is about is not there.
    Unknown(String),
    /// It can't be done as things are.
    Impossible(String),
}

impl Overrides {
    /// None yet.
    pub fn new(handles: Handles, opinions: Opinions) -> Overrides {
        let shared = Shared {
            held: Mutex::default(),
            telling: Mutex::default(),
            changed: Notify::default(),
            handles,
            opinions,
        };
        Overrides { shared: Arc::new(shared) }
    }

    /// Makes a change. May wait for a reload.
    ///
    /// # Errors
    /// There is no such thing, or too much is changed already.
    pub fn add(&self, wanted: Wanted, peer: SocketAddr) -> Result<Override, Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now_s, ends) = (now.as_secs(), now + wanted.within);
        let until_s = ends.as_secs() + u64::from(ends.subsec_nanos() > 0);
        let what = self.resolve(wanted.change, until_s)?;
        let by = match &wanted.by {
            Some(said) => format!("{said} ({peer})"),
            None => peer.to_string(),
        };
        let added = self.shared.held().add(what, by, now_s, until_s).map_err(Refused::Impossible)?;
        let (one, replaced) = added;
        if let What::Endpoint { service, address, order } = &one.what {
            let key = (service.clone(), address.clone());
            let why = format!("by hand of {}, until {}", one.by, time::text(until_s));
            if let Err(refused) = self.shared.opinions.order(key, *order, wanted.within, &why) {
                self.shared.held().remove(one.id);
                return Err(Refused::Impossible(refused.0));
            }
        }
        self.tell();
        let instead = replaced.map_or_else(String::new, |replaced| format!(", in place of {}", replaced.id));
        say::warning(format_args!(
            "changed by hand of {}: {}, until {} (override {}{instead})",
            one.by,
            one.what.told(),
            time::text(until_s),
            one.id
        ));
        Ok(one)
    }

    /// Ends a change before its time.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn remove(&self, id: u64, peer: SocketAddr) -> Result<Override, Refused> {
        let removed = self.shared.held().remove(id);
        let one =
            removed.ok_or_else(|| Refused::Unknown(format!("there is no override {id}; it may be over")))?;
        self.lift(&one);
        self.tell();
        say::warning(format_args!("ended by hand of {peer}: {} (override {id})", one.what.told()));
        Ok(one)
    }

    /// All that hold.
    pub fn list(&self) -> Vec<Override> {
        let now_s = now_s();
        self.shared.held().list().iter().filter(|one| now_s < one.until_s).cloned().collect()
    }

    /// After a reload: ends what is about things that are gone.
    pub fn look_again(&self) {
        if self.shared.held().list().is_empty() {
            return;
        }
        let (routes, endpoints) = (self.shared.handles.routes(0), self.shared.handles.endpoints());
        let why_not = |what: &What| match what {
            What::Endpoint { service, address, .. } => match endpoints.get(service) {
                None => Some(format!("there is no service {service} any more")),
                Some(known) if !known.contains(address) => Some("the endpoint is gone".to_owned()),
                Some(_) => None,
            },
            What::Split { route, weights } => match find(&routes, route) {
                None => Some(format!("there is no route {route} any more")),
                Some(known) if !known.to.iter().map(|to| &to.0).eq(weights.iter().map(|to| &to.0)) => {
                    Some("the route goes to other services".to_owned())
                }
                Some(_) => None,
            },
            What::Fault { route, .. } => {
                find(&routes, route).is_none().then(|| format!("there is no route {route} any more"))
            }
        };
        let gone = self.shared.held().drop_gone(why_not);
        for (one, why) in &gone {
            self.lift(one);
            say::warning(format_args!("a reload ended what was changed by hand: {}: {why}", one.what.told()));
        }
        if !gone.is_empty() {
            self.tell();
        }
    }

    /// Ends each change when its time is over, until the runtime ends.
    pub async fn run(self) {
        loop {
            let changed = self.shared.changed.notified();
            let next = self.shared.held().next_end_s();
            match next.map(|until_s| until_s.saturating_sub(now_s())) {
                None => changed.await,
                Some(0) => {}
                // The wall clock may be set meanwhile: it is looked at now and then.
                Some(left) => {
                    let left = Duration::from_secs(left.min(60));
                    let _ = tokio::time::timeout(left, changed).await;
                }
            }
            let over = self.shared.held().expire(now_s());
            if over.is_empty() {
                continue;
            }
            for one in &over {
                say::info(format_args!("over: what {} changed by hand: {}", one.by, one.what.told()));
                self.lift(one);
            }
            let this = self.clone();
            if beside(&self.shared.handles, move |_| this.tell()).await.is_none() {
                return;
            }
        }
    }

    /// Appends Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        use std::fmt::Write;
        let list = self.list();
        let name = "ringway_overrides_active";
        let help = "What is changed by hand and not in the configuration, by kind.";
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for kind in KINDS {
            let count = list.iter().filter(|one| one.what.kind() == kind).count();
            let _ = writeln!(out, "{name}{{kind=\"{kind}\"}} {count}");
        }
    }

    /// A change as it is about what runs.
    fn resolve(&self, change: Change, until_s: u64) -> Result<What, Refused> {
        match change {
            Change::Endpoint { service, endpoint, order } => {
                let (service, address) = self.endpoint(&service, &endpoint)?;
                Ok(What::Endpoint { service, address, order })
            }
            Change::Split { route, weights } => {
                let route = self.route(&route)?;
                let weights = reweighted(&route, weights)?;
                Ok(What::Split { route: route.name, weights })
            }
            Change::Fault { route, fault } => {
                Ok(What::Fault { route: self.route(&route)?.name, fault: Fault { until: until_s, ..fault } })
            }
        }
    }

    fn route(&self, wanted: &str) -> Result<RouteInfo, Refused> {
        let routes = self.shared.handles.routes(0);
        let names = || routes.iter().map(|route| &*route.name);
        find(&routes, wanted).cloned().ok_or_else(|| unknown("route", wanted, names()))
    }

    fn endpoint(&self, service: &str, endpoint: &str) -> Result<(Arc<str>, Address), Refused> {
        let services = self.shared.handles.endpoints();
        let Some((name, addresses)) = services.get_key_value(service) else {
            return Err(unknown("service", service, services.keys().map(|name| &**name)));
        };
        let texts: Vec<String> = addresses.iter().map(Address::to_string).collect();
        match texts.iter().position(|text| text == endpoint) {
            Some(place) => Ok((name.clone(), addresses[place].clone())),
            None => {
                let what = format!("endpoint of service {service}");
                Err(unknown(&what, endpoint, texts.iter().map(String::as_str)))
            }
        }
    }

    fn lift(&self, one: &Override) {
        if let What::Endpoint { service, address, .. } = &one.what {
            self.shared.opinions.lift(&(service.clone(), address.clone()));
        }
    }

    /// Tells the workers. Blocks while a mailbox is full.
    fn tell(&self) {
        let telling = self.shared.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let overrides = self.shared.held().for_workers();
        self.shared.handles.set_overrides(overrides);
        drop(telling);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the admin API lists them.
pub fn as_json(list: &[Override]) -> Value {
    list.iter().map(Override::to_json).collect()
}

fn find<'r>(routes: &'r [RouteInfo], name: &str) -> Option<&'r RouteInfo> {
    routes.iter().find(|route| *route.name == *name)
}

/// Each entry of a route's `to` with its new weight: every one is to be named, so that nothing is left to guess.
fn reweighted(route: &RouteInfo, mut wanted: Vec<(String, u32)>) -> Result<Vec<(Arc<str>, u32)>, Refused> {
    if route.to.len() < 2 {
        let name = &route.name;
        let why = format!(
            "route {name} goes to {}: there is nothing to shift; list another service in its `to`, with weight 0",
            route.to.first().map_or("no service", |to| &*to.0)
        );
        return Err(Refused::Impossible(why));
    }
    let mut weights = Vec::with_capacity(route.to.len());
    for (service, _) in &route.to {
        // By its whole name; else the next of its service.
        let exact = wanted.iter().position(|(name, _)| **name == **service);
        let place = exact.or_else(|| {
            let of = service.split_once('[').map(|(service, _)| service);
            wanted.iter().position(|(name, _)| Some(&**name) == of)
        });
        let Some(place) = place else {
            let why = format!("route {} goes to {service} too: say its weight, which may be 0", route.name);
            return Err(Refused::Impossible(why));
        };
        weights.push((service.clone(), wanted.remove(place).1));
    }
    match wanted.first() {
        None => Ok(weights),
        Some((name, _)) => {
            let to = route.to.iter().map(|to| &*to.0);
            let (Refused::Unknown(why) | Refused::Impossible(why)) = unknown("service in its `to`", name, to);
            Err(Refused::Impossible(format!("{why}; list it there, with weight 0")))
        }
    }
}

fn unknown<'n>(what: &str, wanted: &str, names: impl Iterator<Item = &'n str>) -> Refused {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    let mut there = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    if more > 0 {
        there.push_str(&format!(" and {more} more"));
    }
    Refused::Unknown(format!("there is no {what} {}; known: {there}", units::quoted(wanted)))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &[&str]) -> RouteInfo {
        let to = to.iter().map(|name| (Arc::from(*name), 1)).collect();
        RouteInfo { name: "r".into(), to, faults: vec![] }
    }

    fn weights(route: &RouteInfo, wanted: &[(&str, u32)]) -> Result<Vec<u32>, String> {
        let wanted = wanted.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
        match reweighted(route, wanted) {
            Ok(weights) => Ok(weights.into_iter().map(|(_, weight)| weight).collect()),
            Err(Refused::Unknown(why) | Refused::Impossible(why)) => Err(why),
        }
    }

    #[test]
    fn every_service_of_a_split_is_named_in_any_order() {
        let two = route(&["a", "b"]);
        assert_eq!(weights(&two, &[("b", 10), ("a", 90)]), Ok(vec![90, 10]));
        assert!(weights(&two, &[("b", 10)]).unwrap_err().contains("goes to a too"));
        let why = weights(&two, &[("b", 1), ("a", 1), ("c", 1)]).unwrap_err();
        assert!(why.contains("`c`") && why.contains("weight 0"), "{why}");
        let subset = route(&["a", "a[version=v2]"]);
        assert_eq!(weights(&subset, &[("a", 95), ("a", 5)]), Ok(vec![95, 5]), "one after the other");
        assert_eq!(weights(&subset, &[("a[version=v2]", 5), ("a", 95)]), Ok(vec![95, 5]));
    }

    #[test]
    fn a_route_without_a_choice_has_no_split() {
        for to in [&[][..], &["a"]] {
            assert!(weights(&route(to), &[("a", 1)]).unwrap_err().contains("nothing to shift"));
        }
    }

    #[test]
    fn names_that_are_there_are_told_up_to_a_bound() {
        let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
        let refused = unknown("route", "x", names.iter().map(String::as_str));
        let Refused::Unknown(why) = refused else { panic!() };
        assert!(why.contains("`x`") && why.contains("n07 and 12 more") && !why.contains("n08"), "{why}");
    }
}
