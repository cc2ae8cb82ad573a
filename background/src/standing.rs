//! Standings: merges what checks, ejection and an operator say of endpoints, and tells the workers.
//!
//! What is said by hand counts before anything else, and ends by itself; then what checks say, then ejection. A change
//! is with the workers within [`TOLD_EVERY`] and the moment a mailbox takes, however many there are. Invariant: what is
//! not said any more is not told any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringway_engine::Handles;
use ringway_engine::balance::Address;
use ringway_engine::standing::{Stand, Standing, Standings};
use tokio::sync::Notify;

use crate::say;

/// Changes within this are told together.
pub const TOLD_EVERY: Duration = Duration::from_millis(20);
/// Orders by hand at once: as many as things may be changed by hand.
pub const ORDERS_MAX: usize = crate::overrides::OVERRIDES_MAX;
/// How long one may hold.
pub const ORDER_MAX: Duration = Duration::from_secs(24 * 3600);

/// An endpoint of a service.
pub type Key = (Arc<str>, Address);

/// What everybody says of endpoints. Cheap to clone.
#[derive(Clone, Default)]
pub struct Opinions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    said: Mutex<Said>,
    changed: Notify,
}

/// What an operator wants of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// It gets nothing.
    Eject,
    /// It gets no new exchanges while others are there.
    Drain,
    /// It is admitting, whatever checks and ejection say.
    Pin,
}

/// What an operator said of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be.
    pub what: ByHand,
    /// When it ends.
    pub until: Instant,
    /// For a person.
    pub why: Arc<str>,
}

/// An order that can't be had; for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

#[derive(Default)]
struct Said {
    /// Those that fail their checks, and why.
    unhealthy: BTreeMap<Key, Arc<str>>,
    /// Ejected and probing ones, and why.
    ejection: BTreeMap<Key, Standing>,
    by_hand: BTreeMap<Key, Order>,
}

impl Opinions {
    /// The endpoints that fail their checks, all of them, each with why.
    pub fn set_unhealthy(&self, unhealthy: BTreeMap<Key, Arc<str>>) {
        self.change(|said| said.unhealthy = unhealthy);
    }

    /// What ejection says, all of it.
    pub fn set_ejection(&self, ejection: BTreeMap<Key, Standing>) {
        self.change(|said| said.ejection = ejection);
    }

    /// Orders something by hand, in place of what was ordered for this endpoint before, for so long from now.
    ///
    /// # Errors
    /// It is for longer than [`ORDER_MAX`], or there are [`ORDERS_MAX`] already.
    pub fn order(&self, key: Key, what: ByHand, within: Duration, why: &str) -> Result<(), Refused> {
        if within > ORDER_MAX {
            let hours = ORDER_MAX.as_secs() / 3600;
            return Err(Refused(format!("an order by hand holds for {hours} hours at most")));
        }
        let order = Order { what, until: Instant::now() + within, why: why.into() };
        let mut said = self.shared.said();
        if said.by_hand.len() >= ORDERS_MAX && !said.by_hand.contains_key(&key) {
            return Err(Refused(format!("there are {ORDERS_MAX} orders by hand already; lift one")));
        }
        said.by_hand.insert(key, order);
        drop(said);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Takes back what was ordered by hand. Whether there was something.
    pub fn lift(&self, key: &Key) -> bool {
        let lifted = self.shared.said().by_hand.remove(key).is_some();
        self.shared.changed.notify_one();
        lifted
    }

    /// What was ordered by hand and still holds.
    pub fn by_hand(&self) -> BTreeMap<Key, Order> {
        let now = Instant::now();
        let said = self.shared.said();
        said.by_hand
            .iter()
            .filter(|(_, order)| order.until > now)
            .map(|(k, o)| (k.clone(), o.clone()))
            .collect()
    }

    /// How endpoints stand now; the workers hear of it in a moment.
    pub fn standings(&self) -> Standings {
        self.shared.said().merged()
    }

    /// Tells the workers of changes, those of a moment together, until the runtime ends.
    pub async fn tell(self, handles: Handles) {
        loop {
            let (standings, next) = {
                let mut said = self.shared.said();
                let next = said.expire(Instant::now());
                (said.merged(), next)
            };
            if beside(&handles, |handles| handles.set_standings(standings)).await.is_none() {
                return;
            }
            tokio::time::sleep(TOLD_EVERY).await;
            let changed = self.shared.changed.notified();
            match next {
                None => changed.await,
                Some(at) => drop(tokio::time::timeout_at(at.into(), changed).await),
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.shared.said());
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn merged(&self) -> Standings {
        let mut standings = Standings::new();
        let mut put = |(service, address): &Key, stand, why: &Arc<str>| {
            let of_service = standings.entry(service.clone()).or_default();
            of_service.insert(address.clone(), Standing { stand, why: why.clone() });
        };
        // What counts more comes later, and stays.
        for (key, standing) in &self.ejection {
            put(key, standing.stand, &standing.why);
        }
        for (key, why) in &self.unhealthy {
            put(key, Stand::Unhealthy, why);
        }
        for (key, order) in &self.by_hand {
            let stand = match order.what {
                ByHand::Eject => Stand::Barred,
                ByHand::Drain => Stand::Draining,
                ByHand::Pin => Stand::Pinned,
            };
            put(key, stand, &order.why);
        }
        standings
    }

    /// Ends orders whose time is over. When the next one ends.
    fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.by_hand.retain(|(service, address), order| {
            let holds = order.until > now;
            if !holds {
                let what = order.what.name();
                say::info(format_args!("service {service}: the order to {what} {address} has ended"));
            }
            holds
        });
        self.by_hand.values().map(|order| order.until).min()
    }
}

impl ByHand {
    /// As an operator writes it.
    pub fn name(self) -> &'static str {
        match self {
            ByHand::Eject => "eject",
            ByHand::Drain => "drain",
            ByHand::Pin => "pin",
        }
    }
}

/// Does what may have to wait for the engine beside the background thread. `None`: the runtime ends.
pub async fn beside<T: Send + 'static>(
    handles: &Handles,
    what: impl FnOnce(&Handles) -> T + Send + 'static,
) -> Option<T> {
    let handles = handles.clone();
    tokio::task::spawn_blocking(move || what(&handles)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        ("app".into(), Address::Ip(([10, 0, 0, n], 80).into()))
    }

    fn stands(opinions: &Opinions) -> Vec<(u8, Stand)> {
        let standings = opinions.standings();
        let of_app = standings.get("app").into_iter().flatten();
        let place = |address: &Address| (1..9).find(|&n| key(n).1 == *address).unwrap_or_default();
        of_app.map(|(address, standing)| (place(address), standing.stand)).collect()
    }

    #[test]
    fn what_is_said_by_hand_counts_before_checks_and_those_before_ejection() {
        let opinions = Opinions::default();
        let ejected = Standing { stand: Stand::Ejected, why: "5 failures in a row".into() };
        let probing = Standing { stand: Stand::Probing(1), why: "after 30 s".into() };
        opinions.set_ejection([(key(1), ejected.clone()), (key(2), ejected), (key(3), probing)].into());
        opinions.set_unhealthy([(key(2), "refused".into()), (key(4), "refused".into())].into());
        let hour = Duration::from_secs(3600);
        opinions.order(key(1), ByHand::Pin, hour, "it is fine").unwrap();
        opinions.order(key(4), ByHand::Drain, hour, "").unwrap();
        opinions.order(key(5), ByHand::Eject, hour, "").unwrap();
        let expected = [
            (1, Stand::Pinned),
            (2, Stand::Unhealthy),
            (3, Stand::Probing(1)),
            (4, Stand::Draining),
            (5, Stand::Barred),
        ];
        assert_eq!(stands(&opinions), expected);
        assert_eq!(&*opinions.standings()["app"][&key(2).1].why, "refused");
        assert!(opinions.lift(&key(1)) && !opinions.lift(&key(1)));
        opinions.set_unhealthy(BTreeMap::new());
        assert_eq!(stands(&opinions)[..2], [(1, Stand::Ejected), (2, Stand::Ejected)]);
    }

    #[test]
    fn orders_by_hand_end_and_are_bounded() {
        let opinions = Opinions::default();
        assert!(opinions.order(key(1), ByHand::Pin, ORDER_MAX * 2, "").is_err());
        opinions.order(key(1), ByHand::Eject, Duration::from_secs(10), "").unwrap();
        opinions.order(key(2), ByHand::Eject, Duration::from_secs(20), "").unwrap();
        let now = Instant::now();
        let next = opinions.shared.said().expire(now + Duration::from_secs(15));
        assert!(next.is_some_and(|next| next > now + Duration::from_secs(15)));
        assert_eq!(stands(&opinions), [(2, Stand::Barred)]);
        for port in 1..ORDERS_MAX as u16 {
            let key = ("app".into(), Address::Ip(([10, 0, 1, 1], port).into()));
            opinions.order(key, ByHand::Pin, Duration::from_secs(1), "").unwrap();
        }
        assert!(opinions.order(key(3), ByHand::Pin, Duration::from_secs(1), "").is_err());
        assert!(opinions.order(key(2), ByHand::Pin, Duration::from_secs(1), "").is_ok());
    }
}
