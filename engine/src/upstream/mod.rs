//! Services of one worker: whom to ask, and connections kept to ask again.
//!
//! On the line: `balance`, `checkout upstream`, and giving back. A pooled connection's receive stays armed, so a FIN
//! or stray bytes on it are known before it is used again. Invariant: a connection is counted from before it is made
//! until it is really over, and every `began` of the balancer meets its `ended` as its [`Lent`] is dropped.

mod admission;
mod connecting;
mod lent;
mod pool;
mod reporting;
mod sharing;
mod sticky;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, now};
use smallvec::SmallVec;

use crate::balance::{self, Asked, Balancer, Change, EndpointSeen, How, Picked, Slot};
use crate::breaker::Shares;
use crate::link::Link;
use crate::local_reply::LocalReply;
use crate::observe::ServiceCounters;
use crate::reason::Reason;
use crate::retry::{self, Budget, Cause, Floor, Latencies, Taken};
use crate::snapshot::{Protocol, ServicePlan};
use crate::standing::{Stand, Standing, Standings};
use crate::tls::Offer;
use crate::worker::Resolved;
use admission::{Admission, FULL_MAX, Limited, Refused, RetryPlace};
use connecting::{Course, Error};
pub(crate) use lent::{Lent, Unreached};
use pool::{Counted, Pool};
use reporting::Reported;
pub(crate) use reporting::{is_failing, is_failure};
use sharing::Sharing;
use sticky::Sticky;

/// A service as one worker knows it.
pub(crate) struct Service {
    pub counters: Arc<ServiceCounters>,
    balancer: RefCell<Balancer>,
    /// By slot of the balancer.
    pools: RefCell<Vec<Pool>>,
    /// Where clients are led back by a cookie.
    sticky: RefCell<Option<Sticky>>,
    /// Where endpoints are judged, by slot; else empty.
    reported: RefCell<Vec<Option<Reported>>>,
    idle_timeout_ms: Cell<u64>,
    idle_max: Cell<u32>,
    random: Cell<u64>,
    limited: RefCell<Limited>,
    /// This worker's part of what may be retries.
    budget: Budget,
    floor: RefCell<Arc<Floor>>,
    /// How long answers took, where somebody wants to know.
    pub latencies: RefCell<Latencies>,
    /// Mirrored copies under way.
    pub copies: Cell<u32>,
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
    /// A connection of its own, for bytes that are not HTTP.
    pub connect: bool,
    /// Only another endpoint than those that were tried.
    pub elsewhere: bool,
}

/// Until when there must be a connection.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    /// Of the exchange.
    pub deadline: Nanos,
    /// Of this try.
    pub try_at: Nanos,
    /// Who waits for it: where the service has as much as it may the try waits too, for as long as this one is there.
    pub client: Option<&'a Link>,
}

/// What is asked of a checkout.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    plan: &'a ServicePlan,
    asked: &'a Asked,
    wish: Wish,
    /// Endpoints that were asked before.
    tried: &'a [Slot],
}

/// Room for one more try in a service's budget, until dropped.
pub(crate) struct Permit {
    service: Rc<Service>,
    taken: Taken,
    _place: RetryPlace,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.service.budget.give_back(self.taken);
    }
}

impl Service {
    pub fn new(plan: &ServicePlan, counters: Arc<ServiceCounters>, seed: u64) -> Service {
        Service {
            counters,
            balancer: RefCell::new(Balancer::new(plan.rules, seed)),
            pools: RefCell::default(),
            sticky: RefCell::default(),
            reported: RefCell::default(),
            idle_timeout_ms: Cell::new(plan.pool.idle_timeout_ms),
            idle_max: Cell::new(plan.pool.idle_max),
            random: Cell::new(seed | 1),
            limited: RefCell::default(),
            budget: Budget::default(),
            floor: RefCell::default(),
            latencies: RefCell::default(),
            copies: Cell::new(0),
        }
    }

    /// An exchange begins: it counts among those of which a share may be retries, until its [`Service::end`].
    #[inline]
    pub fn begin(&self) {
        self.budget.began();
    }

    /// It ended.
    #[inline]
    pub fn end(&self) {
        self.budget.ended();
    }

    /// Room for one more try, where the service's budget and its breaker have any.
    pub fn permit(self: &Rc<Service>, plan: &ServicePlan) -> Result<Permit, retry::Refused> {
        let place = self.retry_place().ok_or(retry::Refused::Breaker)?;
        let taken = self.budget.take(&plan.retry_budget, &self.floor.borrow(), now().0);
        let taken = taken.ok_or(retry::Refused::Budget)?;
        Ok(Permit { service: self.clone(), taken, _place: place })
    }

    /// Takes over what a new snapshot says; endpoints come by [`Service::reconcile`].
    pub fn set_plan(&self, plan: &ServicePlan, floor: &Arc<Floor>) {
        self.floor.replace(floor.clone());
        self.balancer.borrow_mut().set_rules(plan.rules);
        self.idle_timeout_ms.set(plan.pool.idle_timeout_ms);
        self.idle_max.set(plan.pool.idle_max);
    }

    /// Makes the plan's endpoints, names resolved, the ones that are asked. Those that stay keep their connections.
    pub fn reconcile(
        &self,
        plan: &ServicePlan,
        resolved: &Resolved,
        standings: &Standings,
        (worker, shares): (usize, &Shares),
    ) {
        self.limited.borrow_mut().set(worker, shares.service(&plan.name));
        let endpoints = plan.resolved(|name| resolved.get(name).map_or(&[][..], |ips| ips).iter().copied());
        let mut pools = self.pools.borrow_mut();
        for change in self.balancer.borrow_mut().reconcile(&endpoints, now().0) {
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
        let limited = self.limited.borrow();
        for pool in pools.iter_mut() {
            let share = pool.balanced.as_ref().and_then(|address| shares.endpoint(&plan.name, address));
            if let Some(share) = share {
                pool.share_with(&limited, share);
            }
        }
        drop((pools, limited));
        self.make_sticky(plan);
        self.heed(standings.get(&plan.name));
    }

    /// How its endpoints stand now; those that are not told of are admitting.
    pub fn heed(&self, standings: Option<&BTreeMap<balance::Address, Standing>>) {
        let standing = |address: &_| standings.and_then(|standings| standings.get(address));
        let stand_of = |address: &_| standing(address).map_or(Stand::Admitting, |standing| standing.stand);
        self.balancer.borrow_mut().set_standings(now().0, stand_of);
    }

    fn make_sticky(&self, plan: &ServicePlan) {
        let balancer = self.balancer.borrow();
        let endpoints = balancer.slots().filter_map(|slot| Some((slot, balancer.address(slot)?)));
        let sticky = plan.balancing.sticky.as_ref().map(|plan| Sticky::new(plan, endpoints));
        self.sticky.replace(sticky);
    }

    /// The endpoint that a cookie's value leads to.
    pub fn stick(&self, value: &[u8]) -> Option<Slot> {
        let slot = self.sticky.borrow().as_ref()?.slot(value);
        if slot.is_none() {
            self.counters.picks.sticky_misses.increment();
        }
        slot
    }

    /// Writes the field that leads a client back to `slot`.
    pub fn put_cookie(&self, slot: Slot, secure: bool, out: &mut Vec<u8>) {
        if let Some(sticky) = &*self.sticky.borrow() {
            sticky.put(slot, secure, out);
        }
    }

    /// The endpoint with the lowest score by address and weight, for datagrams: nothing is connected.
    pub fn lend_by_score(
        self: &Rc<Service>,
        asked: &Asked,
        score: impl Fn(SocketAddr, u32) -> f64,
    ) -> Option<(SocketAddr, Lent)> {
        let ip = |address: &balance::Address| match address {
            balance::Address::Ip(ip) => Some(*ip),
            balance::Address::Unix(_) => None,
        };
        let mut balancer = self.balancer.borrow_mut();
        let score = |address: &_, weight| Some(score(ip(address)?, weight));
        let picked = balancer.pick_lowest(asked, now().0, score)?;
        let address = balancer.address(picked.slot).and_then(ip)?;
        drop(balancer);
        Some((address, self.lend(picked, None)))
    }

    /// A connection to one of the endpoints, pooled or new; not to one of `tried` while others remain. Whether another
    /// is asked where there is none is for the exchange to say. `asked` becomes the one that was, however it ends.
    pub async fn checkout(
        self: &Rc<Service>,
        plan: &ServicePlan,
        asked: &Asked,
        wish: Wish,
        tried: &[Slot],
        by: By<'_>,
        endpoint: &mut Option<Rc<str>>,
    ) -> Result<Lent, Unreached> {
        let wanted = Wanted { plan, asked, wish, tried };
        let admitted = match self.admit(wanted, false) {
            Ok(mut lent) => {
                *endpoint = Some(lent.endpoint.clone());
                if self.lend_ready(offer(plan, wish), wish, &mut lent) {
                    return Ok(lent);
                }
                Ok(lent)
            }
            Err(refused) => Err(refused),
        };
        // Rare, and large: it lives outside of the exchange.
        Box::pin(self.reach(wanted, by, endpoint, admitted)).await
    }

    /// The rest of a checkout that finds nothing at hand: waiting for room, and connecting.
    async fn reach(
        self: &Rc<Service>,
        wanted: Wanted<'_>,
        by: By<'_>,
        endpoint: &mut Option<Rc<str>>,
        mut admitted: Result<Lent, Refused>,
    ) -> Result<Lent, Unreached> {
        let Wanted { plan, wish, .. } = wanted;
        let mut since = None;
        // Who was tried, and who has as many connections as there may be.
        let mut passed_over: SmallVec<[Slot; 8]> = SmallVec::from_slice(wanted.tried);
        loop {
            let mut lent = match admitted {
                Ok(lent) => lent,
                Err(refused) => self.wait_for_room(wanted, refused, by, &mut since).await?,
            };
            let offer = offer(plan, wish);
            *endpoint = Some(lent.endpoint.clone());
            if self.lend_ready(offer, wish, &mut lent) {
                return Ok(lent);
            }
            match self.obtain(plan, offer, by.deadline.min(by.try_at), &mut lent).await {
                Ok(()) => return Ok(lent),
                Err(Error::Full) if self.has_another(wanted.asked, lent.slot, &mut passed_over) => {}
                Err(error) if self.may_wait_on(error, by, &mut since) => {
                    drop(lent);
                    self.step_aside(by).await?;
                    passed_over.truncate(wanted.tried.len());
                }
                Err(error) => return Err(lent.unreached(error, by)),
            }
            admitted = self.admit(Wanted { tried: &passed_over, ..wanted }, false);
        }
    }

    /// A connection for one of a client's that carries bytes, with no request; `preface` goes first. Another endpoint is
    /// asked where one has as many as it may, and once where one refuses.
    pub async fn tunnel(
        self: &Rc<Service>,
        plan: &ServicePlan,
        asked: &Asked,
        deadline: Nanos,
        preface: Option<Lease>,
    ) -> Result<Lent, LocalReply> {
        let mut passed_over: SmallVec<[Slot; 8]> = SmallVec::new();
        let mut was_refused = false;
        let mut reply = None;
        loop {
            let Some(picked) = self.pick(asked, &passed_over) else {
                return Err(reply.unwrap_or_else(|| self.nobody(plan, asked)));
            };
            let mut lent = self.lend(picked, None);
            let preface = preface.as_ref().map(|preface| preface.slice(0..preface.len()));
            let error = match Box::pin(self.connect(plan, Offer::None, deadline, preface, &mut lent)).await {
                Ok(()) => {
                    lent.taken();
                    return Ok(lent);
                }
                Err(error) => error,
            };
            let by = By { deadline, try_at: Nanos::NEVER, client: None };
            let unreached = lent.unreached(error, by);
            match unreached.cause {
                None if matches!(error, Error::Full) && self.may_look_on(&passed_over) => {}
                Some(Cause::Refused) if !was_refused => {
                    was_refused = true;
                    self.counters.retries.count(Cause::Refused);
                }
                _ => return Err(unreached.reply),
            }
            passed_over.push(picked.slot);
            reply = Some(unreached.reply);
        }
    }

    /// One more is passed over; whether there is anybody else.
    fn has_another(&self, asked: &Asked, slot: Slot, passed_over: &mut SmallVec<[Slot; 8]>) -> bool {
        passed_over.push(slot);
        self.may_look_on(passed_over) && self.pick(asked, passed_over).is_some()
    }

    /// Whether it is worth looking at more endpoints than these for a connection: not where the service has all it may.
    fn may_look_on(&self, passed_over: &[Slot]) -> bool {
        let limited = self.limited.borrow();
        passed_over.len() < FULL_MAX && limited.connections().is_none_or(|all| all.taken() < all.max())
    }

    /// One that may be asked; of those that were tried only where no other is left and that is not insisted on.
    fn choose(&self, wanted: Wanted<'_>) -> Result<Picked, Unreached> {
        let Wanted { plan, asked, wish, tried } = wanted;
        if let Some(picked) = self.pick(asked, tried) {
            return Ok(picked);
        }
        if !tried.is_empty() && wish.elsewhere {
            return Err(Unreached::nobody_else(self.nobody(plan, asked)));
        }
        let again = if tried.is_empty() { None } else { self.pick(asked, &[]) };
        again.ok_or_else(|| Unreached::nobody(self.nobody(plan, asked)))
    }

    /// One that may be asked and is not among `tried`.
    fn pick(&self, asked: &Asked, tried: &[Slot]) -> Option<Picked> {
        self.balancer.borrow_mut().pick_for(asked, now().0, self.random(), tried)
    }

    /// Begins a try with whom was picked.
    fn lend(self: &Rc<Service>, Picked { slot, how }: Picked, admission: Option<Admission>) -> Lent {
        if !how.is_plain() {
            self.tell(how);
        }
        self.balancer.borrow_mut().began(slot);
        let endpoint = self.pools.borrow()[slot.0 as usize].text.clone();
        Lent::begin(self, slot, endpoint, admission)
    }

    #[cold]
    fn tell(&self, how: How) {
        self.counters.picks.count(how);
    }

    /// Gives `lent` what is at hand: a pooled connection, or a stream on one with room to spare.
    #[inline]
    fn lend_ready(&self, offer: Offer, wish: Wish, lent: &mut Lent) -> bool {
        let mut pools = self.pools.borrow_mut();
        let pool = &mut pools[lent.slot.0 as usize];
        if pool.sharing.is_for(offer) {
            pool.sharing.spare_stream().map(|stream| lent.stream(stream)).is_some()
        } else {
            !wish.fresh && !wish.connect && pool.pooled().map(|pooled| lent.pooled(pooled)).is_some()
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
        let count = || self.count(lent.slot);
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
        let counted = self.count(lent.slot).ok_or(Error::Full)?;
        lent.connecting(now());
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

    /// Counts a connection, where the limits allow one. Where it is the service's that doesn't, an idle connection of
    /// this worker to another endpoint goes in its place.
    fn count(&self, slot: Slot) -> Option<Counted> {
        let limited = self.limited.borrow();
        let mut pools = self.pools.borrow_mut();
        let counted = pools[slot.0 as usize].count(&self.counters);
        if counted.is_some() || limited.connections().is_none_or(|all| all.taken() < all.max()) {
            return counted;
        }
        let idle = pools.iter_mut().filter(|pool| !pool.idle.is_empty());
        let oldest = idle.min_by_key(|pool| pool.idle.first().map(|idle| idle.since))?;
        drop(oldest.idle.remove(0));
        pools[slot.0 as usize].count(&self.counters)
    }

    fn nobody(&self, plan: &ServicePlan, asked: &Asked) -> LocalReply {
        let mut balancer = self.balancer.borrow_mut();
        if balancer.slots().next().is_none() && plan.names().next().is_some() {
            return Reason::Unresolved.into();
        }
        if balancer.is_empty(asked.view) && asked.view > 0 {
            return Reason::EmptySubset.into();
        }
        let wait_ns = balancer.usable_at_ns(asked.view, now().0).map_or(0, |at| at.saturating_sub(now().0));
        LocalReply::from(Reason::NoEndpoint).retry_after((wait_ns.div_ceil(1_000_000_000)).max(1) as u32)
    }

    /// What is known of its endpoints.
    pub fn seen(&self, now: Nanos) -> Vec<EndpointSeen> {
        self.balancer.borrow().seen(now.0).collect()
    }

    /// Closes idle connections that have ended or are too old.
    pub fn sweep(&self, now: Nanos) {
        let timeout = Duration::from_millis(self.idle_timeout_ms.get());
        for pool in self.pools.borrow_mut().iter_mut() {
            // Where a limit is reached elsewhere, nothing is kept for later.
            let timeout = if pool.has_idle() && pool.is_wanted() { Duration::ZERO } else { timeout };
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
        _ if wish.connect => Offer::None,
        Protocol::Http1 => Offer::Http1,
        Protocol::Http2 => Offer::Http2,
        Protocol::Auto if wish.tunnel => Offer::Http1,
        Protocol::Auto if plan.tls.is_some() => Offer::Both,
        Protocol::Auto if wish.http2 => Offer::Http2,
        Protocol::Auto => Offer::Http1,
    }
}
