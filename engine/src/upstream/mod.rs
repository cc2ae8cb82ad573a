//! Services of one worker: whom to ask, and connections kept to ask again.
//!
//! On the line: `balance`, `checkout upstream`, and giving back. A pooled connection's receive stays armed, so a FIN
//! or stray bytes on it are known before it is used again. Invariant: a connection is counted from before it is made
//! until it is really over, and every `began` of the balancer meets its `ended` as its [`Lent`] is dropped.

mod connecting;
mod lent;
mod pool;
mod reporting;
mod sharing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, now};

use crate::balance::{self, Balancer, Change, Slot};
use crate::local_reply::LocalReply;
use crate::observe::ServiceCounters;
use crate::reason::Reason;
use crate::snapshot::{Protocol, ServicePlan};
use crate::standing::{Stand, Standing, Standings};
use crate::tls::Offer;
use crate::worker::Resolved;
use connecting::{Course, Error};
pub(crate) use lent::Lent;
use pool::{Counted, Pool};
use reporting::Reported;
use sharing::Sharing;

/// A service as one worker knows it.
pub(crate) struct Service {
    pub counters: Arc<ServiceCounters>,
    balancer: RefCell<Balancer>,
    /// By slot of the balancer.
    pools: RefCell<Vec<Pool>>,
    /// Where endpoints are judged, by slot; else empty.
    reported: RefCell<Vec<Option<Reported>>>,
    idle_timeout_ms: Cell<u64>,
    idle_max: Cell<u32>,
    random: Cell<u64>,
}

/// How an exchange wants to be carried.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish {
    /// Only a connection made now: a pooled one has just failed.
    pub fresh: bool,
    /// The request came by HTTP/2, which `auto` follows where nothing else decides.
    pub http2: bool,
    /// It is to become a tunnel: where there is a choice, by HTTP/1.1.
    pub tunnel: bool,
}

impl Service {
    pub fn new(plan: &ServicePlan, counters: Arc<ServiceCounters>, seed: u64) -> Service {
        Service {
            counters,
            balancer: RefCell::new(Balancer::new(plan.policy, seed)),
            pools: RefCell::default(),
            reported: RefCell::default(),
            idle_timeout_ms: Cell::new(plan.pool.idle_timeout_ms),
            idle_max: Cell::new(plan.pool.idle_max),
            random: Cell::new(seed | 1),
        }
    }

    /// Takes over what a new snapshot says; endpoints come by [`Service::reconcile`].
    pub fn set_plan(&self, plan: &ServicePlan) {
        self.balancer.borrow_mut().set_policy(plan.policy);
        self.idle_timeout_ms.set(plan.pool.idle_timeout_ms);
        self.idle_max.set(plan.pool.idle_max);
    }

    /// Makes the plan's endpoints, names resolved, the ones that are asked. Those that stay keep their connections.
    pub fn reconcile(&self, plan: &ServicePlan, resolved: &Resolved, standings: &Standings) {
        let addresses = plan.addresses(|name| resolved.get(name).map_or(&[][..], |ips| ips).iter().copied());
        let mut pools = self.pools.borrow_mut();
        for change in self.balancer.borrow_mut().reconcile(&addresses) {
            match change {
                Change::Added(slot, address) => {
                    let place = slot.0 as usize;
                    let pool = Pool::new(&address);
                    match pools.get_mut(place) {
                        // It was away for a while: what is still open of it counts on.
                        Some(known) if known.address == pool.address => {}
                        Some(other) => *other = pool,
                        None => {
                            debug_assert_eq!(place, pools.len(), "slots are handed out in order");
                            pools.push(pool);
                        }
                    }
                }
                Change::Removed(slot) => pools[slot.0 as usize].retire(),
            }
        }
        drop(pools);
        self.heed(standings.get(&plan.name));
    }

    /// How its endpoints stand now; those that are not told of are admitting.
    pub fn heed(&self, standings: Option<&BTreeMap<balance::Address, Standing>>) {
        let standing = |address: &_| standings.and_then(|standings| standings.get(address));
        let stand_of = |address: &_| standing(address).map_or(Stand::Admitting, |standing| standing.stand);
        self.balancer.borrow_mut().set_standings(stand_of);
    }

    /// The endpoint with the lowest score by address and weight, for datagrams: nothing is connected.
    pub fn lend_by_score(
        self: &Rc<Service>,
        score: impl Fn(SocketAddr, u32) -> f64,
    ) -> Option<(SocketAddr, Lent)> {
        let ip = |address: &balance::Address| match address {
            balance::Address::Ip(ip) => Some(*ip),
            balance::Address::Unix(_) => None,
        };
        let balancer = self.balancer.borrow();
        let slot = balancer.pick_lowest(now().0, |address, weight| Some(score(ip(address)?, weight)))?;
        let address = balancer.address(slot).and_then(ip)?;
        drop(balancer);
        Some((address, self.lend(slot)))
    }

    /// A connection to one of the endpoints, pooled or new. Where an endpoint refuses, another one is asked, once:
    /// nothing has been sent yet. `tried` becomes the last one asked, however it ends.
    pub async fn checkout(
        self: &Rc<Service>,
        plan: &ServicePlan,
        wish: Wish,
        deadline: Nanos,
        tried: &mut Option<Rc<str>>,
    ) -> Result<Lent, LocalReply> {
        let mut failed = None;
        loop {
            let mut lent = self.next(plan, failed)?;
            let offer = offer(plan, wish);
            *tried = Some(lent.endpoint.clone());
            if self.lend_ready(offer, wish, &mut lent) {
                return Ok(lent);
            }
            // Rare, and large: it lives outside of the exchange.
            match Box::pin(self.obtain(plan, offer, deadline, &mut lent)).await {
                Ok(()) => return Ok(lent),
                Err(error) => failed = Some(lent.failed(error, deadline, failed.is_some())?),
            }
        }
    }

    /// A connection of one's own to one of the endpoints, for bytes that are not HTTP; `preface` goes first. Where an
    /// endpoint refuses, another one is asked, once.
    pub async fn tunnel(
        self: &Rc<Service>,
        plan: &ServicePlan,
        deadline: Nanos,
        preface: Option<Lease>,
    ) -> Result<Lent, LocalReply> {
        let mut failed = None;
        loop {
            let mut lent = self.next(plan, failed)?;
            let preface = preface.as_ref().map(|preface| preface.slice(0..preface.len()));
            match Box::pin(self.connect(plan, Offer::None, deadline, preface, &mut lent)).await {
                Ok(()) => {
                    lent.taken();
                    return Ok(lent);
                }
                Err(error) => failed = Some(lent.failed(error, deadline, failed.is_some())?),
            }
        }
    }

    /// The endpoint that is asked next, where one has `failed` already another one.
    fn next(
        self: &Rc<Service>,
        plan: &ServicePlan,
        failed: Option<(Slot, LocalReply)>,
    ) -> Result<Lent, LocalReply> {
        let but = failed.map(|(slot, _)| slot);
        let picked = self.balancer.borrow_mut().pick(now().0, self.random(), but);
        let Some(slot) = picked else {
            return Err(failed.map_or_else(|| self.nobody(plan), |(_, reply)| reply));
        };
        if failed.is_some() {
            self.counters.retries.increment();
        }
        Ok(self.lend(slot))
    }

    fn lend(self: &Rc<Service>, slot: Slot) -> Lent {
        self.balancer.borrow_mut().began(slot);
        let endpoint = self.pools.borrow()[slot.0 as usize].text.clone();
        Lent::begin(self, slot, endpoint)
    }

    /// Gives `lent` what is at hand: a pooled connection, or a stream on one with room to spare.
    #[inline]
    fn lend_ready(&self, offer: Offer, wish: Wish, lent: &mut Lent) -> bool {
        let mut pools = self.pools.borrow_mut();
        let pool = &mut pools[lent.slot.0 as usize];
        if pool.sharing.is_for(offer) {
            pool.sharing.spare_stream().map(|stream| lent.stream(stream)).is_some()
        } else {
            !wish.fresh && pool.pooled().map(|pooled| lent.pooled(pooled)).is_some()
        }
    }

    /// Gives `lent` a new connection to its endpoint, or a stream on a shared one.
    async fn obtain(
        &self,
        plan: &ServicePlan,
        offer: Offer,
        deadline: Nanos,
        lent: &mut Lent,
    ) -> Result<(), Error> {
        if self.share(plan, offer, deadline, lent).await? {
            return Ok(());
        }
        self.connect(plan, offer, deadline, None, lent).await
    }

    /// Gives `lent` a stream on a connection that others use too, where the endpoint is asked so.
    async fn share(
        &self,
        plan: &ServicePlan,
        offer: Offer,
        deadline: Nanos,
        lent: &mut Lent,
    ) -> Result<bool, Error> {
        let (sharing, course) = self.course(plan, offer, lent.slot);
        let count = || self.count(plan, lent.slot);
        let stream = sharing.stream(&course, offer, deadline, count).await?;
        Ok(stream.map(|stream| lent.stream(stream)).is_some())
    }

    /// Gives `lent` a connection that is made now, or a stream on it if HTTP/2 came of it.
    async fn connect(
        &self,
        plan: &ServicePlan,
        offer: Offer,
        deadline: Nanos,
        preface: Option<Lease>,
        lent: &mut Lent,
    ) -> Result<(), Error> {
        let (sharing, course) = self.course(plan, offer, lent.slot);
        let counted = self.count(plan, lent.slot).ok_or(Error::Full)?;
        let connected = course.connect(counted, deadline, preface).await?;
        if !connected.http2 {
            lent.connected(connected);
            return Ok(());
        }
        let peer = sharing.begin(connected, &course, deadline).await?;
        lent.stream(peer.open().ok_or(Error::Full)?);
        Ok(())
    }

    fn course(&self, plan: &ServicePlan, offer: Offer, slot: Slot) -> (Rc<Sharing>, Course) {
        let pools = self.pools.borrow();
        let pool = &pools[slot.0 as usize];
        (pool.sharing.clone(), Course::new(plan, pool.address.clone(), offer, &self.counters))
    }

    fn count(&self, plan: &ServicePlan, slot: Slot) -> Option<Counted> {
        self.pools.borrow()[slot.0 as usize].count(&self.counters, plan.pool.connections_max)
    }

    fn nobody(&self, plan: &ServicePlan) -> LocalReply {
        let balancer = self.balancer.borrow();
        if balancer.slots().next().is_none() && plan.names().next().is_some() {
            return Reason::Unresolved.into();
        }
        let wait_ns = balancer.usable_at_ns(now().0).map_or(0, |at| at.saturating_sub(now().0));
        LocalReply::from(Reason::NoEndpoint).retry_after((wait_ns.div_ceil(1_000_000_000)).max(1) as u32)
    }

    /// Closes idle connections that have ended or are too old.
    pub fn sweep(&self, now: Nanos) {
        let timeout = Duration::from_millis(self.idle_timeout_ms.get());
        for pool in self.pools.borrow_mut().iter_mut() {
            pool.idle.retain(|idle| idle.link.is_quiet() && now.since(idle.since) < timeout);
            pool.sharing.sweep(now, timeout);
        }
    }

    /// Evenly spread numbers, good enough for choices (a Weyl sequence, mixed).
    fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 31)
    }
}

/// What a connection for this exchange offers its endpoint.
fn offer(plan: &ServicePlan, wish: Wish) -> Offer {
    match plan.protocol {
        Protocol::Http1 => Offer::Http1,
        Protocol::Http2 => Offer::Http2,
        Protocol::Auto if wish.tunnel => Offer::Http1,
        Protocol::Auto if plan.tls.is_some() => Offer::Both,
        Protocol::Auto if wish.http2 => Offer::Http2,
        Protocol::Auto => Offer::Http1,
    }
}
