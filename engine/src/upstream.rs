//! Services of one worker: whom to ask, and connections kept to ask again.
//!
//! On the line: `balance`, `checkout upstream`, and giving back. A pooled connection's receive stays armed, so a FIN
//! or stray bytes on it are known before it is used again. Invariant: every connection lent out is counted as open
//! until its [`Lent`] is given back or dropped, and every `began` of the balancer meets its `ended` there.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Address, Nanos, Stream, now};

use crate::balance::{self, Balancer, Change, Outcome, Slot};
use crate::local_reply::LocalReply;
use crate::observe::ServiceCounters;
use crate::reason::Reason;
use crate::snapshot::ServicePlan;
use crate::worker::Resolved;

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
    /// Connections in all, lent and idle.
    open: u32,
}

struct Idle {
    stream: Stream,
    since: Nanos,
}

/// A connection to an endpoint for one exchange. Dropping it closes the connection.
pub(crate) struct Lent {
    service: Rc<Service>,
    slot: Slot,
    stream: Option<Stream>,
    /// It has carried an exchange before.
    pub reused: bool,
    pub endpoint: Rc<str>,
    /// What the balancer is told at the end.
    pub outcome: Outcome,
    sent_at: Nanos,
    head_after: Duration,
}

/// Whom not to ask, and how.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish {
    /// Only a connection made now: a pooled one has just failed.
    pub fresh: bool,
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
                    let closed = std::mem::take(&mut pool.idle);
                    pool.open -= closed.len() as u32;
                    closed.iter().for_each(|_| self.counters.connections_idle.down());
                }
            }
        }
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
            if !wish.fresh
                && let Some(stream) = self.pooled(slot)
            {
                lent.stream = Some(stream);
                lent.reused = true;
                self.counters.reuses.increment();
                return Ok(lent);
            }
            match self.connect(plan, slot, deadline).await? {
                Ok(stream) => {
                    lent.stream = Some(stream);
                    self.counters.connections_active.up();
                    return Ok(lent);
                }
                Err(error) => {
                    let reply = lent.connect_failed(&error, deadline);
                    if failed.is_some() || !is_refusal(&error) {
                        return Err(reply);
                    }
                    failed = Some((slot, reply));
                }
            }
        }
    }

    /// A new connection to an endpoint, counted as open. The outer error: none may be made.
    async fn connect(
        &self,
        plan: &ServicePlan,
        slot: Slot,
        deadline: Nanos,
    ) -> Result<std::io::Result<Stream>, LocalReply> {
        let address = {
            let mut pools = self.pools.borrow_mut();
            let pool = &mut pools[slot.0 as usize];
            if pool.open >= plan.pool.connections_max {
                return Err(Reason::PoolFull.into());
            }
            pool.open += 1;
            pool.address.clone()
        };
        self.counters.connects.increment();
        let connect_deadline = now().after(Duration::from_millis(plan.connect_ms)).min(deadline);
        let connected = Stream::connect(&address, connect_deadline).await;
        if connected.is_err() {
            self.closed(slot, &address);
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
            stream: None,
            reused: false,
            endpoint,
            outcome: Outcome::Abandoned,
            sent_at: Nanos::NEVER,
            head_after: Duration::ZERO,
        }
    }

    /// The most recently used connection that is still good.
    fn pooled(&self, slot: Slot) -> Option<Stream> {
        let mut pools = self.pools.borrow_mut();
        let pool = &mut pools[slot.0 as usize];
        while let Some(idle) = pool.idle.pop() {
            self.counters.connections_idle.down();
            if idle.stream.is_quiet() {
                self.counters.connections_active.up();
                return Some(idle.stream);
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
            pool.idle.retain(|idle| idle.stream.is_quiet() && now.since(idle.since) < timeout);
            let gone = before - pool.idle.len();
            pool.open -= gone as u32;
            (0..gone).for_each(|_| self.counters.connections_idle.down());
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

/// Told at once, so that another endpoint can be asked without the client noticing.
fn is_refusal(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    )
}

impl Pool {
    fn new(address: &balance::Address) -> Pool {
        let (address, text) = match address {
            balance::Address::Ip(ip) => (Address::Ip(*ip), ip.to_string()),
            balance::Address::Unix(path) => {
                (Address::Unix(path.to_path_buf()), format!("unix:{}", path.display()))
            }
        };
        Pool { address, text: text.into(), idle: Vec::new(), open: 0 }
    }
}

impl Lent {
    /// The connection.
    pub fn stream(&self) -> &Stream {
        match &self.stream {
            Some(stream) => stream,
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
        let Some(stream) = self.stream.take() else { return };
        let service = self.service.clone();
        service.counters.connections_active.down();
        let mut pools = service.pools.borrow_mut();
        let pool = &mut pools[self.slot.0 as usize];
        let live = service.balancer.borrow().address(self.slot).is_some();
        if !live
            || pool.idle.len() >= service.idle_max.get() as usize
            || !stream.is_quiet()
            || stream.unsent() > 0
        {
            pool.open = pool.open.saturating_sub(1);
            return;
        }
        stream.set_deadline(Nanos::NEVER);
        stream.watch();
        pool.idle.push(Idle { stream, since: now() });
        service.counters.connections_idle.up();
    }

    fn connect_failed(&mut self, error: &std::io::Error, deadline: Nanos) -> LocalReply {
        self.outcome = Outcome::Refused;
        match error.kind() {
            ErrorKind::ConnectionRefused => Reason::UpstreamConnectRefused.into(),
            ErrorKind::TimedOut if now() >= deadline => Reason::ExchangeTimeout.into(),
            ErrorKind::TimedOut => Reason::UpstreamConnectTimeout.into(),
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
                self.outcome = Outcome::Abandoned;
                Reason::FdLimit.into()
            }
            _ => Reason::UpstreamConnectFailed.into(),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let service = &self.service;
        service.counters.active.down();
        if let Some(stream) = self.stream.take() {
            service.counters.connections_active.down();
            let pools = service.pools.borrow();
            let address = pools.get(self.slot.0 as usize).map(|pool| pool.address.clone());
            drop(pools);
            if let Some(address) = address {
                service.closed(self.slot, &address);
            }
            drop(stream);
        }
        let latency = self.head_after.as_nanos() as u64;
        let (now, random) = (now(), service.random());
        service.balancer.borrow_mut().ended(self.slot, now.0, latency, self.outcome, random);
    }
}
