//! The list of what is changed by hand. Pure: `now` in seconds since 1970, no clock, no engine.

use std::sync::Arc;

use ringway_config::model::Fault;
use ringway_config::time;
use ringway_engine::balance::Address;
use ringway_engine::overrides::{Overrides, RouteOverride, SplitOverride};
use ringway_engine::snapshot::fault_plan;
use serde_json::{Map, Value, json};

use crate::standing::ByHand;

/// Overrides at once.
pub const OVERRIDES_MAX: usize = 1000;
/// Faults by hand of one route at once.
pub const FAULTS_MAX: usize = 16;

/// Something that is changed by hand, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Never given twice by one process.
    pub id: u64,
    /// What is changed.
    pub what: What,
    /// Who did it: the peer's address, and who it says it is.
    pub by: String,
    /// Seconds since 1970.
    pub since_s: u64,
    /// Seconds since 1970.
    pub until_s: u64,
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// How an endpoint stands.
    Endpoint {
        /// Of this service.
        service: Arc<str>,
        /// Where it answers.
        address: Address,
        /// What was ordered.
        order: ByHand,
    },
    /// The weights of a route's services, in the order of its `to`.
    Split {
        /// Which route.
        route: Arc<str>,
        /// By the service's name.
        weights: Vec<(Arc<str>, u32)>,
    },
    /// A fault more on a route.
    Fault {
        /// Which route.
        route: Arc<str>,
        /// What it does.
        fault: Fault,
    },
}

/// Kinds of overrides, as they are counted.
pub const KINDS: [&str; 3] = ["endpoint", "split", "fault"];

impl What {
    /// One of [`KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            What::Endpoint { .. } => KINDS[0],
            What::Split { .. } => KINDS[1],
            What::Fault { .. } => KINDS[2],
        }
    }

    /// In a line, for a person.
    pub fn told(&self) -> String {
        match self {
            What::Endpoint { service, address, order } => {
                format!("{} of the endpoint {address} of service {service}", order.name())
            }
            What::Split { route, weights } => {
                let weights: Vec<String> =
                    weights.iter().map(|(service, weight)| format!("{service}={weight}")).collect();
                format!("split of route {route}: {}", weights.join(" "))
            }
            What::Fault { route, fault } => format!("fault of route {route}: {}", fault_plan(fault).told),
        }
    }

    /// Both are about the same, and only one of them can hold.
    fn replaces(&self, other: &What) -> bool {
        match (self, other) {
            (What::Endpoint { service, address, .. }, What::Endpoint { service: of, address: other, .. }) => {
                service == of && address == other
            }
            (What::Split { route, .. }, What::Split { route: other, .. }) => route == other,
            _ => false,
        }
    }
}

impl Override {
    /// As the admin API shows it.
    pub fn to_json(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("id".into(), json!(self.id));
        shown.insert("kind".into(), json!(self.what.kind()));
        match &self.what {
            What::Endpoint { service, address, order } => {
                shown.insert("service".into(), json!(&**service));
                shown.insert("endpoint".into(), json!(address.to_string()));
                shown.insert("order".into(), json!(order.name()));
            }
            What::Split { route, weights } => {
                let entry =
                    |(service, weight): &(Arc<str>, u32)| json!({ "service": &**service, "weight": weight });
                shown.insert("route".into(), json!(&**route));
                shown.insert("weights".into(), weights.iter().map(entry).collect());
            }
            What::Fault { route, .. } => {
                shown.insert("route".into(), json!(&**route));
            }
        }
        shown.insert("what".into(), json!(self.what.told()));
        shown.insert("by".into(), json!(self.by));
        shown.insert("since".into(), json!(time::text(self.since_s)));
        shown.insert("until".into(), json!(time::text(self.until_s)));
        Value::Object(shown)
    }
}

/// All of them, in the order in which they came.
#[derive(Default)]
pub(super) struct Held {
    last_id: u64,
    list: Vec<Override>,
}

impl Held {
    /// Takes one in, in place of one about the same. Also returned: the one it replaces.
    pub fn add(
        &mut self,
        what: What,
        by: String,
        now_s: u64,
        until_s: u64,
    ) -> Result<(Override, Option<Override>), String> {
        let replaced = self.list.iter().position(|one| what.replaces(&one.what));
        if replaced.is_none() && self.list.len() >= OVERRIDES_MAX {
            return Err(format!("{OVERRIDES_MAX} things are changed by hand already; end some"));
        }
        if let What::Fault { route, .. } = &what
            && self.faults_of(route) >= FAULTS_MAX
        {
            return Err(format!("route {route} has {FAULTS_MAX} faults by hand already; stop some"));
        }
        let replaced = replaced.map(|place| self.list.remove(place));
        self.last_id += 1;
        let one = Override { id: self.last_id, what, by, since_s: now_s, until_s };
        self.list.push(one.clone());
        Ok((one, replaced))
    }

    fn faults_of(&self, wanted: &str) -> usize {
        let of_route = |one: &&Override| matches!(&one.what, What::Fault { route, .. } if **route == *wanted);
        self.list.iter().filter(of_route).count()
    }

    /// Ends one before its time.
    pub fn remove(&mut self, id: u64) -> Option<Override> {
        let place = self.list.iter().position(|one| one.id == id)?;
        Some(self.list.remove(place))
    }

    /// Ends those whose time is over.
    pub fn expire(&mut self, now_s: u64) -> Vec<Override> {
        self.list.extract_if(.., |one| one.until_s <= now_s).collect()
    }

    /// Ends those about what is not there any more, as `why_not` says.
    pub fn drop_gone(&mut self, why_not: impl Fn(&What) -> Option<String>) -> Vec<(Override, String)> {
        let mut gone = Vec::new();
        self.list.retain(|one| match why_not(&one.what) {
            Some(why) => {
                gone.push((one.clone(), why));
                false
            }
            None => true,
        });
        gone
    }

    /// When the next one ends.
    pub fn next_end_s(&self) -> Option<u64> {
        self.list.iter().map(|one| one.until_s).min()
    }

    pub fn list(&self) -> &[Override] {
        &self.list
    }

    /// What of it is for the workers. Endpoints are told otherwise.
    pub fn for_workers(&self) -> Overrides {
        let mut overrides = Overrides::new();
        for one in &self.list {
            match &one.what {
                What::Endpoint { .. } => {}
                What::Split { route, weights } => {
                    let split = SplitOverride { weights: weights.clone().into(), until_s: one.until_s };
                    let change: &mut RouteOverride = overrides.entry(route.clone()).or_default();
                    change.split = Some(split);
                }
                What::Fault { route, fault } => {
                    overrides.entry(route.clone()).or_default().faults.push(fault_plan(fault));
                }
            }
        }
        overrides
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drain(n: u8) -> What {
        let address = Address::Ip(([10, 0, 0, n], 80).into());
        What::Endpoint { service: "app".into(), address, order: ByHand::Drain }
    }

    fn split(route: &str, weight: u32) -> What {
        What::Split { route: route.into(), weights: vec![("a".into(), weight), ("b".into(), 1)] }
    }

    fn fault(route: &str, until: u64) -> What {
        let fault =
            Fault { delay: Some(Duration::from_secs(1)), abort: None, share: 5_000, headers: vec![], until };
        What::Fault { route: route.into(), fault }
    }

    fn add(held: &mut Held, what: What, until_s: u64) -> u64 {
        held.add(what, "me".into(), 0, until_s).unwrap().0.id
    }

    #[test]
    fn what_is_about_the_same_is_replaced_and_faults_add_up() {
        let mut held = Held::default();
        add(&mut held, drain(1), 10);
        add(&mut held, drain(2), 10);
        add(&mut held, split("r", 1), 10);
        add(&mut held, fault("r", 10), 10);
        add(&mut held, fault("r", 10), 10);
        let (_, replaced) = held.add(drain(1), "me".into(), 0, 20).unwrap();
        assert_eq!(replaced.map(|one| one.id), Some(1));
        let (_, replaced) = held.add(split("r", 2), "me".into(), 0, 20).unwrap();
        assert_eq!(replaced.map(|one| one.id), Some(3));
        assert_eq!(held.list().len(), 5);
        let for_workers = held.for_workers();
        assert_eq!(for_workers["r"].faults.len(), 2);
        assert_eq!(for_workers["r"].split.as_ref().unwrap().weights[0].1, 2);
        assert_eq!(for_workers["r"].split.as_ref().unwrap().until_s, 20);
    }

    #[test]
    fn each_ends_on_time_and_the_next_end_is_known() {
        let mut held = Held::default();
        add(&mut held, drain(1), 10);
        let second = add(&mut held, split("r", 1), 20);
        assert_eq!(held.next_end_s(), Some(10));
        assert!(held.expire(9).is_empty());
        assert_eq!(held.expire(10).len(), 1);
        assert_eq!(held.next_end_s(), Some(20));
        assert!(held.remove(second).is_some() && held.remove(second).is_none());
        assert_eq!(held.next_end_s(), None);
        assert!(held.for_workers().is_empty());
    }

    #[test]
    fn both_bounds_hold() {
        let mut held = Held::default();
        for _ in 0..FAULTS_MAX {
            add(&mut held, fault("r", 10), 10);
        }
        assert!(held.add(fault("r", 10), String::new(), 0, 10).is_err());
        for n in FAULTS_MAX..OVERRIDES_MAX {
            add(&mut held, split(&format!("r{n}"), 1), 10);
        }
        assert!(held.add(split("another", 1), String::new(), 0, 10).is_err());
        assert!(held.add(split("r20", 7), String::new(), 0, 10).is_ok(), "replacing needs no room");
        assert_eq!(held.list().len(), OVERRIDES_MAX);
    }

    #[test]
    fn what_is_gone_ends_with_the_reason() {
        let mut held = Held::default();
        add(&mut held, split("gone", 1), 10);
        add(&mut held, split("stays", 1), 10);
        let gone = held.drop_gone(|what| match what {
            What::Split { route, .. } if **route == *"gone" => Some("no such route".into()),
            _ => None,
        });
        assert_eq!((gone.len(), held.list().len()), (1, 1));
        assert_eq!(gone[0].1, "no such route");
    }
}
