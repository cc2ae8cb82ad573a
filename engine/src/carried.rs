//! What is seen of bytes that are no exchange: of a connection that is carried, or of a session of datagrams.
//!
//! On the line this is `observe` for both. Invariant: where there is an access log it gets one line for each, whatever
//! became of it, also when its task is dropped. Where there is none, nothing is kept.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Nanos, now};

use crate::accept::OpenListener;
use crate::forwarded::PeerText;
use crate::observe::CarriedRecord;
use crate::reason::Reason;
use crate::worker::Worker;

/// Told when dropped. The default is not told at all: exchanges that become tunnels have told of themselves.
#[derive(Default)]
pub(crate) struct Carried(Option<Box<Facts>>);

struct Facts {
    worker: Rc<Worker>,
    open: Rc<OpenListener>,
    protocol: &'static str,
    client: Option<IpAddr>,
    began: Nanos,
    server_name: Box<str>,
    client_cert: Box<str>,
    service: Option<Arc<str>>,
    endpoint: Option<Rc<str>>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// `None`: it has not ended.
    reason: Cell<Option<&'static str>>,
}

impl Carried {
    /// Begins to look at what came by a listener, `TCP` or `UDP`.
    pub fn begun(
        worker: &Rc<Worker>,
        open: &Rc<OpenListener>,
        protocol: &'static str,
        client: Option<IpAddr>,
        began: Nanos,
    ) -> Carried {
        if worker.log.borrow().is_none() {
            return Carried(None);
        }
        Carried(Some(Box::new(Facts {
            worker: worker.clone(),
            open: open.clone(),
            protocol,
            client,
            began,
            server_name: Box::default(),
            client_cert: Box::default(),
            service: None,
            endpoint: None,
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            reason: Cell::new(None),
        })))
    }

    /// The name that the client's TLS asked for.
    pub fn asked_for(&mut self, server_name: impl FnOnce() -> Option<String>) {
        if let Some(facts) = &mut self.0 {
            facts.server_name = server_name().unwrap_or_default().into();
        }
    }

    /// Whom the client's verified certificate names.
    pub fn shown(&mut self, client_cert: impl FnOnce() -> Option<String>) {
        if let Some(facts) = &mut self.0 {
            facts.client_cert = client_cert().unwrap_or_default().into();
        }
    }

    /// The service it goes to.
    pub fn goes_to(&mut self, service: &Arc<str>) {
        if let Some(facts) = &mut self.0 {
            facts.service = Some(service.clone());
        }
    }

    /// The endpoint that takes it.
    pub fn taken_by(&mut self, endpoint: impl FnOnce() -> Rc<str>) {
        if let Some(facts) = &mut self.0 {
            facts.endpoint = Some(endpoint());
        }
    }

    /// Bytes went from the client to the endpoint, and back.
    #[inline]
    pub fn count(&self, bytes_in: u64, bytes_out: u64) {
        if let Some(facts) = &self.0 {
            facts.bytes_in.set(facts.bytes_in.get() + bytes_in);
            facts.bytes_out.set(facts.bytes_out.get() + bytes_out);
        }
    }

    /// It is over; `reason` says why, where neither side simply ended it.
    pub fn ended(&self, reason: &'static str) {
        if let Some(facts) = &self.0 {
            facts.reason.set(Some(reason));
        }
    }
}

impl Drop for Facts {
    fn drop(&mut self) {
        let client = PeerText::new(self.client);
        let record = CarriedRecord {
            at_us: self.worker.unix_micros(self.began),
            listener: &self.open.name,
            client: client.as_bytes(),
            peer: client.as_bytes(),
            protocol: self.protocol,
            server_name: self.server_name.as_bytes(),
            reason: self.reason.get().unwrap_or(Reason::DrainCut.name()),
            service: self.service.as_deref().unwrap_or_default(),
            endpoint: self.endpoint.as_deref().unwrap_or_default().as_bytes(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            duration_us: now().since(self.began).as_micros() as u64,
            client_cert: self.client_cert.as_bytes(),
        };
        if let Some(log) = &mut *self.worker.log.borrow_mut() {
            log.log_carried(&record, &self.worker.stats);
        }
    }
}
