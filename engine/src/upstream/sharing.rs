//! Connections of HTTP/2 to one endpoint, shared by the streams of one worker.
//!
//! A further connection is opened before those there are full, by a task of its own: what it gains is everybody's, and
//! an exchange that gives up takes nothing with it. Where an endpoint goes away, whoever waits still has its turn here,
//! and nobody new comes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Nanos, now, spawn};

use super::connecting::{Connected, Course, Error};
use super::pool::Counted;
use crate::http2::Stream;
use crate::http2::client::Peer;
use crate::tls::Offer;
use crate::waiters::Waiters;

#[derive(Default)]
pub(super) struct Sharing {
    peers: RefCell<Vec<Rc<Peer>>>,
    /// A connection is being made for whoever waits.
    opening: Cell<bool>,
    /// How many such failed, and how the last one did.
    failed: Cell<(u64, Option<Error>)>,
    /// Who waits for a stream.
    waiting: Rc<Waiters>,
    /// What TLS agreed on the last time, where there was a choice.
    speaks_http2: Cell<bool>,
}

impl Sharing {
    /// Whether exchanges with this endpoint are streams on connections that others use too.
    pub fn is_for(&self, offer: Offer) -> bool {
        match offer {
            Offer::Http2 => true,
            Offer::Both => self.speaks_http2.get(),
            Offer::Http1 | Offer::None => false,
        }
    }

    /// A stream on the connection with the most room, where that is not nearly full. Whether the connection has
    /// carried any before.
    pub fn spare_stream(&self) -> Option<(Stream, bool)> {
        let peers = self.peers.borrow();
        let roomiest = peers.iter().filter(|peer| !peer.is_nearly_full()).min_by_key(|peer| peer.active());
        roomiest.and_then(Peer::open)
    }

    /// A stream, waited for where every one is taken. A further connection is opened before those there are full, where
    /// `count` allows one. `None`: the endpoint speaks HTTP/1.1 now.
    pub async fn stream(
        self: &Rc<Sharing>,
        course: &Course,
        offer: Offer,
        deadline: Nanos,
        count: impl Fn() -> Option<Counted>,
    ) -> Result<Option<(Stream, bool)>, Error> {
        let failures = self.failed.get().0;
        let patience = now().after(course.within).min(deadline);
        while self.is_for(offer) {
            let stream = self.any_stream();
            if let (failed, Some(error)) = self.failed.get()
                && stream.is_none()
                && failed != failures
            {
                return Err(error);
            }
            let wanting = self.peers.borrow().iter().all(|peer| peer.is_nearly_full());
            if wanting && !self.opening.get() {
                match count() {
                    Some(counted) => {
                        self.opening.set(true);
                        spawn(self.clone().open(course.clone(), counted));
                    }
                    None if self.peers.borrow().is_empty() => return Err(Error::Full),
                    None => {}
                }
            }
            if stream.is_some() {
                return Ok(stream);
            }
            if !self.waiting.wait(patience).await {
                return Err(if self.opening.get() { Error::TimedOut } else { Error::Full });
            }
        }
        Ok(None)
    }

    fn any_stream(&self) -> Option<(Stream, bool)> {
        let mut peers = self.peers.borrow_mut();
        peers.retain(|peer| !peer.is_gone());
        peers.iter().filter(|peer| peer.has_room()).min_by_key(|peer| peer.active()).and_then(Peer::open)
    }

    /// Makes a connection for whoever waits for one.
    async fn open(self: Rc<Sharing>, course: Course, counted: Counted) {
        let opened = match course.connect(counted, Nanos::NEVER, None).await {
            Ok(connected) if connected.http2 => self.begin(connected, &course, Nanos::NEVER).await.err(),
            // Whoever waits asks anew, as this endpoint wants it.
            Ok(_) => {
                self.speaks_http2.set(false);
                None
            }
            Err(error) => Some(error),
        };
        self.opening.set(false);
        if opened.is_some() {
            self.failed.set((self.failed.get().0 + 1, opened));
        }
        self.waiting.wake_all();
    }

    /// Begins HTTP/2 on a connection, and shares it.
    pub async fn begin(
        &self,
        connected: Connected,
        course: &Course,
        deadline: Nanos,
    ) -> Result<Rc<Peer>, Error> {
        self.speaks_http2.set(true);
        let Connected { link, counted, .. } = connected;
        let deadline = now().after(course.within).min(deadline);
        let begun = Peer::begin(
            link,
            &course.http2,
            course.counters.clone(),
            self.waiting.clone(),
            deadline,
            counted,
        )
        .await;
        let peer = begun.map_err(|error| course.failed(error.into()))?;
        self.peers.borrow_mut().push(peer.clone());
        Ok(peer)
    }

    /// A connection without a stream is kept for later.
    pub fn has_idle(&self) -> bool {
        self.peers.borrow().iter().any(|peer| peer.active() == 0)
    }

    /// No more streams: those under way end as they would.
    pub fn retire(&self) {
        self.peers.take().iter().for_each(|peer| peer.retire());
    }

    /// Lets go of connections that have ended or had no stream for too long.
    pub fn sweep(&self, now: Nanos, timeout: Duration) {
        let mut peers = self.peers.borrow_mut();
        for peer in peers.iter() {
            if peer.active() == 0 && now.since(peer.idle_since()) >= timeout {
                peer.retire();
            }
        }
        peers.retain(|peer| !peer.is_gone());
    }
}
