//! Services of one worker: whom to ask, and connections kept to ask again.
//!
//! On the line: `balance`, `checkout upstream`, and giving back. A pooled connection's receive stays armed, so a FIN
//! or stray bytes on it are known before it is used again. Invariant: every connection lent out is counted as open
//! until its [`Lent`] is given back or dropped, and every `began` of the balancer meets its `ended` there.

mod connecting;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{Address, Lease, Nanos, now, sleep_until, spawn};

use crate::balance::{self, Balancer, Change, Outcome, Slot};
use crate::http2::client::{Peer, Waiting, wake_all};
use crate::link::Link;
use crate::local_reply::LocalReply;
use crate::observe::ServiceCounters;
use crate::reason::Reason;
use crate::snapshot::{Protocol, ServicePlan};
use crate::tls::Offer;
use crate::worker::Resolved;
use connecting::{Connected, Course, Error};

/// A service as one worker knows it.
pub(crate) struct Service {
    pub counters: Arc<ServiceCounters>,
    balancer: RefCell<Balancer>,
    /// By slot of the balancer.
    pools: RefCell<Vec<Pool>>,
    idle_timeout_ms: Cell<u64>,
    idle_max: Cell<u32>,
    random: Cell<u64>,
}

struct Pool {
    address: Address,
    /// The address as logs show it.
    text: Rc<str>,
    idle: Vec<Idle>,
    /// Connections of HTTP/2, shared by streams.
    peers: Vec<Rc<Peer>>,
    /// Connections in all, lent, shared and idle.
    open: u32,
    /// Connections of HTTP/2 being made.
    opening: u32,
    /// How many of them failed, and how the last one did.
    failed: (u64, Error),
    /// Who waits for a stream.
    waiting: Waiting,
    /// What TLS agreed on the last time, where there was a choice.
    speaks_http2: bool,
}

struct Idle {
    link: Link,
    since: Nanos,
}

/// A connection to an endpoint, or a stream on one, for one exchange. Dropping it closes it.
pub(crate) struct Lent {
    service: Rc<Service>,
    slot: Slot,
    link: Option<Link>,
    /// It has carried an exchange before; of a stream: its connection has.
    pub reused: bool,
    pub endpoint: Rc<str>,
    /// What the balancer is told at the end.
    pub outcome: Outcome,
    sent_at: Nanos,
    head_after: Duration,
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
    pub fn reconcile(&self, plan: &ServicePlan, resolved: &Resolved) {
        let addresses = plan.addresses(|name| resolved.get(name).map_or(&[][..], |ips| ips).iter().copied());
        let mut pools = self.pools.borrow_mut();
        for change in self.balancer.borrow_mut().reconcile(&addresses) {
            match change {
                Change::Added(slot, address) => {
                    let place = slot.0 as usize;
                    let pool = Pool::new(&address);
                    if place < pools.len() {
                        let open = if pools[place].address == pool.address { pools[place].open } else { 0 };
                        pools[place] = Pool { open, ..pool };
                    } else {
                        debug_assert_eq!(place, pools.len(), "slots are handed out in order");
                        pools.push(pool);
                    }
                }
                Change::Removed(slot) => {
                    let pool = &mut pools[slot.0 as usize];
                    // Their streams end as they would; nobody gets a new one.
                    pool.peers.iter().for_each(|peer| peer.retire());
                    self.forget_gone(pool);
                    let closed = std::mem::take(&mut pool.idle);
                    pool.open -= closed.len() as u32;
                    closed.iter().for_each(|_| self.counters.connections_idle.down());
                }
            }
        }
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
        let mut failed: Option<(Slot, LocalReply)> = None;
        loop {
            let but = failed.as_ref().map(|(slot, _)| *slot);
            let picked = self.balancer.borrow_mut().pick(now().0, self.random(), but);
            let Some(slot) = picked else {
                return Err(failed.map_or_else(|| self.nobody(plan), |(_, reply)| reply));
            };
            if failed.is_some() {
                self.counters.retries.increment();
            }
            let mut lent = self.lend(slot);
            *tried = Some(lent.endpoint.clone());
            let offer = offer(plan, wish);
            if self.lend_ready(slot, offer, wish, &mut lent) {
                return Ok(lent);
            }
            // Rare, and large: it lives outside of the exchange.
            match Box::pin(self.obtain(plan, slot, offer, deadline, &mut lent)).await? {
                Ok(()) => return Ok(lent),
                Err(error) => {
                    lent.outcome =
                        if matches!(error, Error::Files) { Outcome::Abandoned } else { Outcome::Refused };
                    let reply = error.reply(deadline);
                    if failed.is_some() || !error.is_refusal() {
                        return Err(reply);
                    }
                    failed = Some((slot, reply));
                }
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
        let mut failed: Option<(Slot, LocalReply)> = None;
        loop {
            let but = failed.as_ref().map(|(slot, _)| *slot);
            let picked = self.balancer.borrow_mut().pick(now().0, self.random(), but);
            let Some(slot) = picked else {
                return Err(failed.map_or_else(|| self.nobody(plan), |(_, reply)| reply));
            };
            let mut lent = self.lend(slot);
            let preface = preface.as_ref().map(|preface| preface.slice(0..preface.len()));
            match Box::pin(self.connect(plan, slot, Offer::None, deadline, preface)).await? {
                Ok(connected) => {
                    lent.link = Some(connected.link);
                    lent.outcome = Outcome::Answered;
                    self.counters.connections_active.up();
                    return Ok(lent);
                }
                Err(error) => {
                    lent.outcome =
                        if matches!(error, Error::Files) { Outcome::Abandoned } else { Outcome::Refused };
                    let reply = error.reply(deadline);
                    if failed.is_some() || !error.is_refusal() {
                        return Err(reply);
                    }
                    failed = Some((slot, reply));
                }
            }
        }
    }

    /// Gives `lent` what is at hand: a pooled connection, or a stream on one with room to spare.
    #[inline]
    fn lend_ready(&self, slot: Slot, offer: Offer, wish: Wish, lent: &mut Lent) -> bool {
        if self.shares(slot, offer) {
            let pools = self.pools.borrow();
            let peers = &pools[slot.0 as usize].peers;
            let roomiest =
                peers.iter().filter(|peer| !peer.is_nearly_full()).min_by_key(|peer| peer.active());
            let Some((stream, reused)) = roomiest.and_then(Peer::open) else { return false };
            lent.link = Some(Link::Http2(Box::new(stream)));
            lent.reused = reused;
        } else {
            let Some(link) = (if wish.fresh { None } else { self.pooled(slot) }) else { return false };
            lent.link = Some(link);
            lent.reused = true;
        }
        if lent.reused {
            self.counters.reuses.increment();
        }
        true
    }

    /// Whether exchanges with this endpoint are streams on connections that others use too.
    fn shares(&self, slot: Slot, offer: Offer) -> bool {
        match offer {
            Offer::Http2 => true,
            Offer::Both => self.pools.borrow()[slot.0 as usize].speaks_http2,
            Offer::Http1 | Offer::None => false,
        }
    }

    /// Gives `lent` a new connection to its endpoint, or a stream on a shared one. The outer error: none may be made.
    async fn obtain(
        self: &Rc<Service>,
        plan: &ServicePlan,
        slot: Slot,
        offer: Offer,
        deadline: Nanos,
        lent: &mut Lent,
    ) -> Result<Result<(), Error>, LocalReply> {
        if self.shares(slot, offer) {
            return self.share(plan, slot, offer, deadline, lent).await;
        }
        let connected = match self.connect(plan, slot, offer, deadline, None).await? {
            Ok(connected) => connected,
            Err(error) => return Ok(Err(error)),
        };
        self.counters.connections_active.up();
        if !connected.http2 {
            lent.link = Some(connected.link);
            return Ok(Ok(()));
        }
        self.pools.borrow_mut()[slot.0 as usize].speaks_http2 = true;
        let course = self.course(plan, slot, offer);
        if let Err(error) = self.begin_http2(slot, &course, connected.link).await {
            return Ok(Err(error));
        }
        self.share(plan, slot, offer, deadline, lent).await
    }

    /// Gives `lent` a stream on a connection that others use too. A further one is opened before those there are full,
    /// and waited for where they are.
    async fn share(
        self: &Rc<Service>,
        plan: &ServicePlan,
        slot: Slot,
        offer: Offer,
        deadline: Nanos,
        lent: &mut Lent,
    ) -> Result<Result<(), Error>, LocalReply> {
        let failures = self.pools.borrow()[slot.0 as usize].failed.0;
        let mut patience = sleep_until(now().after(Duration::from_millis(plan.connect_ms)).min(deadline));
        loop {
            {
                let mut pools = self.pools.borrow_mut();
                let pool = &mut pools[slot.0 as usize];
                self.forget_gone(pool);
                let roomiest =
                    pool.peers.iter().filter(|peer| peer.has_room()).min_by_key(|peer| peer.active());
                let wanting = roomiest.is_none_or(|peer| peer.is_nearly_full());
                let opened = roomiest.and_then(Peer::open);
                let full = pool.open >= plan.pool.connections_max;
                if wanting && pool.opening == 0 && !full {
                    pool.opening += 1;
                    pool.open += 1;
                    spawn(self.clone().open(slot, self.course_of(pool, plan, offer)));
                }
                if let Some((stream, reused)) = opened {
                    if reused {
                        self.counters.reuses.increment();
                    }
                    lent.link = Some(Link::Http2(Box::new(stream)));
                    lent.reused = reused;
                    return Ok(Ok(()));
                }
                if pool.failed.0 != failures {
                    return Ok(Err(pool.failed.1));
                }
                if full && pool.peers.is_empty() && pool.opening == 0 {
                    return Err(Reason::PoolFull.into());
                }
            }
            let waiting = self.pools.borrow()[slot.0 as usize].waiting.clone();
            let mut told = false;
            let late = poll_fn(|cx| {
                if Pin::new(&mut patience).poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                if told {
                    return Poll::Ready(false);
                }
                told = true;
                waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            })
            .await;
            if late {
                return match now() >= deadline {
                    true => Err(Reason::ExchangeTimeout.into()),
                    false => Err(Reason::PoolFull.into()),
                };
            }
        }
    }

    /// Opens a connection of HTTP/2 that is counted already, for whoever waits for one.
    async fn open(self: Rc<Service>, slot: Slot, course: Course) {
        self.counters.connects.increment();
        let opened = match course.connect(Nanos::NEVER, None).await {
            Ok(connected) if connected.http2 => {
                self.counters.connections_active.up();
                self.begin_http2(slot, &course, connected.link).await
            }
            // It speaks HTTP/1.1 after all; whoever waits asks anew.
            Ok(connected) => {
                if let Some(pool) = self.pools.borrow_mut().get_mut(slot.0 as usize) {
                    pool.speaks_http2 = false;
                }
                drop(connected);
                Err(Error::Tls)
            }
            Err(error) => Err(error),
        };
        let mut pools = self.pools.borrow_mut();
        let Some(pool) = pools.get_mut(slot.0 as usize).filter(|pool| pool.address == course.address) else {
            return;
        };
        pool.opening = pool.opening.saturating_sub(1);
        if let Err(error) = opened {
            self.counters.connect_failures.increment();
            pool.open = pool.open.saturating_sub(1);
            pool.failed = (pool.failed.0 + 1, error);
        }
        wake_all(&pool.waiting);
    }

    /// Begins HTTP/2 on a connection that is counted already, and shares it.
    async fn begin_http2(&self, slot: Slot, course: &Course, link: Link) -> Result<(), Error> {
        let waiting = self.pools.borrow()[slot.0 as usize].waiting.clone();
        let begun = Peer::begin(link, &course.http2, waiting, now().after(course.within)).await;
        let mut pools = self.pools.borrow_mut();
        let pool = pools.get_mut(slot.0 as usize).filter(|pool| pool.address == course.address);
        match (begun, pool) {
            (Ok(peer), Some(pool)) => {
                pool.peers.push(peer);
                Ok(())
            }
            _ => {
                self.counters.connections_active.down();
                Err(Error::Other)
            }
        }
    }

    /// Connections of HTTP/2 that have ended are no longer counted.
    fn forget_gone(&self, pool: &mut Pool) {
        let before = pool.peers.len();
        pool.peers.retain(|peer| !peer.is_gone());
        for _ in pool.peers.len()..before {
            pool.open = pool.open.saturating_sub(1);
            self.counters.connections_active.down();
        }
    }

    fn course(&self, plan: &ServicePlan, slot: Slot, offer: Offer) -> Course {
        self.course_of(&self.pools.borrow()[slot.0 as usize], plan, offer)
    }

    fn course_of(&self, pool: &Pool, plan: &ServicePlan, offer: Offer) -> Course {
        Course::new(plan, pool.address.clone(), offer)
    }

    /// A new connection to an endpoint, counted as open. The outer error: none may be made.
    async fn connect(
        &self,
        plan: &ServicePlan,
        slot: Slot,
        offer: Offer,
        deadline: Nanos,
        preface: Option<Lease>,
    ) -> Result<Result<Connected, Error>, LocalReply> {
        let course = {
            let mut pools = self.pools.borrow_mut();
            let pool = &mut pools[slot.0 as usize];
            if pool.open >= plan.pool.connections_max {
                return Err(Reason::PoolFull.into());
            }
            pool.open += 1;
            Course::new(plan, pool.address.clone(), offer)
        };
        self.counters.connects.increment();
        let connected = course.connect(deadline, preface).await;
        if connected.is_err() {
            self.closed(slot, &course.address);
            self.counters.connect_failures.increment();
        }
        Ok(connected)
    }

    fn lend(self: &Rc<Service>, slot: Slot) -> Lent {
        self.balancer.borrow_mut().began(slot);
        self.counters.active.up();
        let endpoint = self.pools.borrow()[slot.0 as usize].text.clone();
        Lent {
            service: self.clone(),
            slot,
            link: None,
            reused: false,
            endpoint,
            outcome: Outcome::Abandoned,
            sent_at: Nanos::NEVER,
            head_after: Duration::ZERO,
        }
    }

    /// The most recently used connection that is still good.
    fn pooled(&self, slot: Slot) -> Option<Link> {
        let mut pools = self.pools.borrow_mut();
        let pool = &mut pools[slot.0 as usize];
        while let Some(idle) = pool.idle.pop() {
            self.counters.connections_idle.down();
            if idle.link.is_quiet() {
                self.counters.connections_active.up();
                return Some(idle.link);
            }
            pool.open -= 1;
        }
        None
    }

    fn nobody(&self, plan: &ServicePlan) -> LocalReply {
        let balancer = self.balancer.borrow();
        if balancer.slots().next().is_none() && plan.names().next().is_some() {
            return Reason::Unresolved.into();
        }
        let wait_ns = balancer.usable_at_ns(now().0).map_or(0, |at| at.saturating_sub(now().0));
        LocalReply::from(Reason::NoEndpoint).retry_after((wait_ns.div_ceil(1_000_000_000)).max(1) as u32)
    }

    /// A connection counted as open is no more.
    fn closed(&self, slot: Slot, address: &Address) {
        if let Some(pool) = self.pools.borrow_mut().get_mut(slot.0 as usize)
            && pool.address == *address
        {
            pool.open = pool.open.saturating_sub(1);
        }
    }

    /// Closes idle connections that have ended or are too old.
    pub fn sweep(&self, now: Nanos) {
        let timeout = Duration::from_millis(self.idle_timeout_ms.get());
        for pool in self.pools.borrow_mut().iter_mut() {
            let before = pool.idle.len();
            pool.idle.retain(|idle| idle.link.is_quiet() && now.since(idle.since) < timeout);
            let gone = before - pool.idle.len();
            pool.open -= gone as u32;
            (0..gone).for_each(|_| self.counters.connections_idle.down());
            for peer in &pool.peers {
                if peer.active() == 0 && now.since(peer.idle_since()) >= timeout {
                    peer.retire();
                }
            }
            self.forget_gone(pool);
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

impl Pool {
    fn new(address: &balance::Address) -> Pool {
        let (address, text) = match address {
            balance::Address::Ip(ip) => (Address::Ip(*ip), ip.to_string()),
            balance::Address::Unix(path) => {
                (Address::Unix(path.to_path_buf()), format!("unix:{}", path.display()))
            }
        };
        Pool {
            address,
            text: text.into(),
            idle: Vec::new(),
            peers: Vec::new(),
            open: 0,
            opening: 0,
            failed: (0, Error::Other),
            waiting: Waiting::default(),
            speaks_http2: false,
        }
    }
}

impl Lent {
    /// The connection or stream.
    #[inline]
    pub fn link(&self) -> &Link {
        match &self.link {
            Some(link) => link,
            None => unreachable!("a connection is lent out connected"),
        }
    }

    /// The request begins to be sent.
    pub fn sending(&mut self, now: Nanos) {
        self.sent_at = now;
        self.service.counters.requests.increment();
    }

    /// The response's head was read; returns how long it took.
    pub fn answered(&mut self, now: Nanos) -> Duration {
        self.outcome = Outcome::Answered;
        self.head_after = now.since(self.sent_at);
        self.service.counters.response_head.record(self.head_after.as_micros() as u64);
        self.head_after
    }

    /// The exchange is complete and the connection may carry another.
    pub fn give_back(mut self) {
        if self.link().is_stream() {
            return;
        }
        let Some(link) = self.link.take() else { return };
        let service = self.service.clone();
        service.counters.connections_active.down();
        let mut pools = service.pools.borrow_mut();
        let pool = &mut pools[self.slot.0 as usize];
        let live = service.balancer.borrow().address(self.slot).is_some();
        if !live
            || pool.idle.len() >= service.idle_max.get() as usize
            || !link.is_quiet()
            || link.unsent() > 0
        {
            pool.open = pool.open.saturating_sub(1);
            return;
        }
        link.set_deadline(Nanos::NEVER);
        link.watch();
        pool.idle.push(Idle { link, since: now() });
        service.counters.connections_idle.up();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let service = &self.service;
        service.counters.active.down();
        if let Some(link) = self.link.take().filter(|link| !link.is_stream()) {
            service.counters.connections_active.down();
            let pools = service.pools.borrow();
            let address = pools.get(self.slot.0 as usize).map(|pool| pool.address.clone());
            drop(pools);
            if let Some(address) = address {
                service.closed(self.slot, &address);
            }
            drop(link);
        }
        let latency = self.head_after.as_nanos() as u64;
        let (now, random) = (now(), service.random());
        service.balancer.borrow_mut().ended(self.slot, now.0, latency, self.outcome, random);
    }
}
