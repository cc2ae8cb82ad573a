//! What a worker keeps of one endpoint: idle connections, those that streams share, and how many there are in all.

use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Address, Nanos};

use super::admission::{EndpointPart, Limited};
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
    part: Option<Rc<EndpointPart>>,
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

    /// Takes over what all workers share about the endpoint and its service.
    pub fn share_with(&mut self, limited: &Limited, share: &Arc<EndpointShare>) {
        if let Some(part) = EndpointPart::fitting(self.part.as_deref(), limited, share) {
            self.part = Some(Rc::new(part));
        }
    }

    /// Counts one more connection, where the endpoint's limit and that of the service as a whole allow it. Where not,
    /// those who keep idle ones are asked to let go of one.
    pub fn count(&self, counters: &Arc<ServiceCounters>) -> Option<Counted> {
        let tallies = || self.part.iter().flat_map(|part| part.tallies());
        for (place, tally) in tallies().enumerate() {
            if !tally.take() {
                tally.want();
                tallies().take(place).for_each(Tally::give);
                return None;
            }
        }
        Some(Counted { part: self.part.clone(), counters: counters.clone(), state: State::Opening })
    }

    /// A connection is kept for later.
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty() || self.sharing.has_idle()
    }

    /// Another worker lacks a connection that is kept idle here. Takes the wish: whoever asks must have one to let go of.
    pub fn is_wanted(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.tallies().any(Tally::take_wish))
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
        self.part.iter().flat_map(|part| part.tallies()).for_each(Tally::give);
    }
}
