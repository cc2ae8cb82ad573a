//! What a worker keeps of one endpoint: idle connections, those that streams share, and how many there are in all.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Address, Nanos};

use super::sharing::Sharing;
use crate::balance;
use crate::link::Link;
use crate::observe::ServiceCounters;

pub(super) struct Pool {
    pub address: Address,
    /// The address as logs show it.
    pub text: Rc<str>,
    pub idle: Vec<Idle>,
    pub sharing: Rc<Sharing>,
    /// Connections in all, those being made among them.
    open: Rc<Cell<u32>>,
}

/// A connection that waits for its next exchange.
pub(super) struct Idle {
    pub link: Link,
    pub since: Nanos,
    pub counted: Counted,
}

/// A connection's part in what is counted, until it is dropped.
pub(super) struct Counted {
    open: Rc<Cell<u32>>,
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
    pub fn new(address: &balance::Address) -> Pool {
        let (address, text) = match address {
            balance::Address::Ip(ip) => (Address::Ip(*ip), ip.to_string()),
            balance::Address::Unix(path) => {
                (Address::Unix(path.to_path_buf()), format!("unix:{}", path.display()))
            }
        };
        Pool { address, text: text.into(), idle: Vec::new(), sharing: Rc::default(), open: Rc::default() }
    }

    /// No more exchanges: those under way end as they would.
    pub fn retire(&mut self) {
        self.idle.clear();
        std::mem::take(&mut self.sharing).retire();
    }

    /// Counts one more connection, where the limit allows it.
    pub fn count(&self, counters: &Arc<ServiceCounters>, connections_max: u32) -> Option<Counted> {
        if self.open.get() >= connections_max {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(Counted { open: self.open.clone(), counters: counters.clone(), state: State::Opening })
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
        self.open.set(self.open.get() - 1);
    }
}
