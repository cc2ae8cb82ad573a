//! What a worker keeps of one endpoint: idle connections, those that streams share, and how many there are in all.

use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Address, Nanos};

use super::admission::EndpointPart;
use super::sharing::Sharing;
use crate::balance;
use crate::breaker::{EndpointShare, Tally};
use crate::link::Link;
use crate::observe::ServiceCounters;

pub(super) struct Pool {
    pub address: Address,
    /// The address as logs show it.
    pub text: Rc<str>,
    pub idle: Vec<Idle>,
    pub sharing: Rc<Sharing>,
    /// What all workers may have at this endpoint.
    pub part: Option<Rc<EndpointPart>>,
    /// As the balancer knows it.
    pub balanced: Option<balance::Address>,
}

/// A connection that waits for its next exchange.
pub(super) struct Idle {
    pub link: Link,
    pub since: Nanos,
    pub counted: Counted,
}

/// A connection's part in what is counted, until it is dropped.
pub(super) struct Counted {
    /// The endpoint's, and the service's.
    tallies: [Option<Arc<Tally>>; 2],
    counters: Arc<ServiceCounters>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    /// Lent out, or shared by streams.
    Active,
    Idle,
}

impl Pool {
    pub fn new(balanced: &balance::Address) -> Pool {
        let (address, text) = match balanced {
            balance::Address::Ip(ip) => (Address::Ip(*ip), ip.to_string()),
            balance::Address::Unix(path) => {
                (Address::Unix(path.to_path_buf()), format!("unix:{}", path.display()))
            }
        };
        Pool {
            address,
            text: text.into(),
            idle: Vec::new(),
            sharing: Rc::default(),
            part: None,
            balanced: Some(balanced.clone()),
        }
    }

    /// No more exchanges: those under way end as they would.
    pub fn retire(&mut self) {
        self.idle.clear();
        std::mem::take(&mut self.sharing).retire();
    }

    /// Takes over what all workers share about the endpoint.
    pub fn share_with(&mut self, worker: usize, share: &Arc<EndpointShare>) {
        if !self.part.as_ref().is_some_and(|part| Arc::ptr_eq(&part.share, share)) {
            self.part = Some(Rc::new(EndpointPart { worker, share: share.clone() }));
        }
    }

    /// Counts one more connection, where the endpoint's limit and that of the service as a whole allow it. Where not,
    /// those who keep idle ones are asked to let go of one.
    pub fn count(&self, counters: &Arc<ServiceCounters>, whole: Option<&Arc<Tally>>) -> Option<Counted> {
        let own = self.part.as_ref().map(|part| &part.share.connections);
        let tallies = [own, whole];
        for (place, tally) in tallies.into_iter().enumerate() {
            if let Some(tally) = tally
                && !tally.take()
            {
                tally.want();
                tallies[..place].iter().flatten().for_each(|taken| taken.give());
                return None;
            }
        }
        let tallies = tallies.map(|tally| tally.cloned());
        Some(Counted { tallies, counters: counters.clone(), state: State::Opening })
    }

    /// Another worker lacks a connection that is kept idle here.
    pub fn is_wanted(&self, whole: Option<&Tally>) -> bool {
        let own = self.part.as_ref().is_some_and(|part| part.share.connections.take_wish());
        own || whole.is_some_and(Tally::take_wish)
    }

    /// The most recently used connection that is still good.
    pub fn pooled(&mut self) -> Option<(Link, Counted)> {
        while let Some(Idle { link, mut counted, .. }) = self.idle.pop() {
            if link.is_quiet() {
                counted.becomes(State::Active);
                return Some((link, counted));
            }
        }
        None
    }
}

impl Counted {
    pub fn becomes(&mut self, state: State) {
        match self.state {
            State::Opening => {}
            State::Active => self.counters.connections_active.down(),
            State::Idle => self.counters.connections_idle.down(),
        }
        self.state = state;
        match state {
            State::Opening => {}
            State::Active => self.counters.connections_active.up(),
            State::Idle => self.counters.connections_idle.up(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.becomes(State::Opening);
        self.tallies.iter().flatten().for_each(|tally| tally.give());
    }
}
