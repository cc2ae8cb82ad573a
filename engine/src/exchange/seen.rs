//! What is seen of an exchange, and told once when it ends.

use ringway_runtime::{Nanos, now};
use smallvec::SmallVec;

use super::Exchange;
use crate::forwarded::PeerText;
use crate::grpc;
use crate::http1::{Known, Version};
use crate::observe::Record;
use crate::reason::Reason;
use crate::routing::RouteId;
use crate::snapshot::{LimitId, ServiceId};

/// Facts about one exchange.
pub(super) struct Seen {
    pub started: Nanos,
    /// The request's head was read whole.
    pub parsed: bool,
    /// 0 until something was answered.
    pub status: u16,
    pub reason: &'static str,
    pub route: Option<RouteId>,
    pub service: Option<ServiceId>,
    pub endpoint: Option<std::rc::Rc<str>>,
    pub request_id: SmallVec<[u8; 32]>,
    /// Whom policies go by, where that is not the peer.
    pub client: Option<std::net::IpAddr>,
    /// What the answer says beside what it is: Allow of a 405, what policies tell. Whole lines with their CRLF.
    pub lines: Vec<u8>,
    pub head_in: u64,
    pub body_in: u64,
    pub body_out: u64,
    pub bytes_out: u64,
    pub upstream_head_us: Option<u64>,
    pub retries: u32,
    /// It is a call of gRPC, or becomes one.
    pub grpc: bool,
    /// The content type in which a caller by gRPC-Web is answered, and what else it is told.
    pub web: Option<Box<Web>>,
    /// The limit that refused, or would have if it were not `dry_run`.
    pub limit: LimitSeen,
    /// How the call ended, once that was said.
    pub grpc_status: Option<u8>,
    /// It was told.
    observed: bool,
}

/// A limit, or none: its place and one. Every exchange has room for it, so it is kept small.
#[derive(Clone, Copy, Default)]
pub(super) struct LimitSeen(u32);

impl LimitSeen {
    pub fn new(limit: LimitId) -> LimitSeen {
        LimitSeen(limit.0 + 1)
    }

    fn get(self) -> Option<LimitId> {
        self.0.checked_sub(1).map(LimitId)
    }
}

/// How a caller by gRPC-Web is answered.
pub(super) struct Web {
    pub content_type: String,
    /// Whole lines with their CRLF (CORS).
    pub fields: String,
}

impl Seen {
    pub fn begun(started: Nanos) -> Seen {
        Seen {
            started,
            parsed: false,
            status: 0,
            reason: "",
            route: None,
            service: None,
            endpoint: None,
            request_id: SmallVec::new(),
            client: None,
            lines: Vec::new(),
            head_in: 0,
            body_in: 0,
            body_out: 0,
            bytes_out: 0,
            upstream_head_us: None,
            retries: 0,
            grpc: false,
            web: None,
            limit: LimitSeen::default(),
            grpc_status: None,
            observed: false,
        }
    }

    /// How a call of gRPC ended: as was said, or as its end looks to the caller.
    pub fn grpc_code(&self) -> u8 {
        self.grpc_status.unwrap_or(match self.status {
            200 => grpc::UNKNOWN,
            status => grpc::code_of(status, self.reason),
        })
    }

    /// 405 must tell which methods would do, even if none does (RFC 9110 §15.5.6).
    pub fn allows(&mut self, methods: &str) {
        for part in ["Allow: ", methods, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
    }

    /// Bytes of a response were handed over.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.observe();
    }
}

impl Exchange<'_> {
    /// Tells what was seen, once: at the exchange's end, or from its drop where it has none.
    #[inline]
    pub(super) fn observe(&mut self) {
        if std::mem::replace(&mut self.seen.observed, true) {
            return;
        }
        if self.seen.status == 0 {
            // The task itself was dropped: the time to drain had run out.
            self.seen.status = Reason::DrainCut.status();
            self.seen.reason = Reason::DrainCut.name();
            self.worker.stats.cut.count(Reason::DrainCut.name(), Reason::DrainCut.status());
        }
        let (seen, stats) = (&self.seen, &self.worker.stats);
        // What is answered here begins and ends in one turn of the loop, whose clock stands still meanwhile.
        let ended = if seen.reason.is_empty() { now() } else { Nanos::precise() };
        let duration_us = ended.since(seen.started).as_micros() as u64;
        stats.exchanges_ended.increment();
        stats.downstream_received.add(seen.head_in + seen.body_in);
        stats.downstream_sent.add(seen.bytes_out);
        self.connection.open.counters.borrow().requests.increment();
        let counters = self.current.route_counters(seen.route, seen.service);
        counters.record(seen.status, duration_us, seen.body_in, seen.body_out);
        if seen.grpc {
            counters.record_grpc(seen.grpc_code());
        }
        if self.worker.log.borrow().is_some() {
            self.log(duration_us);
        }
    }

    #[cold]
    fn log(&self, duration_us: u64) {
        let (seen, request) = (&self.seen, self.request());
        let snapshot = &self.current.snapshot;
        let client = seen.client.map(|ip| PeerText::new(Some(ip)));
        let record = Record {
            at_us: self.worker.unix_micros(seen.started),
            listener: &self.plan().name,
            client: client.as_ref().unwrap_or(&self.hop.text).as_bytes(),
            peer: self.hop.text.as_bytes(),
            method: if seen.parsed { request.method() } else { b"" },
            target: if seen.parsed { request.target() } else { b"" },
            protocol: match (seen.parsed, self.request.version) {
                (false, _) => "",
                (true, Version::Http10) => "HTTP/1.0",
                (true, Version::Http11) => "HTTP/1.1",
                (true, Version::Http2) => "HTTP/2.0",
            },
            host: if seen.parsed { request.authority() } else { b"" },
            status: seen.status,
            reason: seen.reason,
            route: seen.route.map_or("", |id| &snapshot.route(id).name),
            service: seen.service.map_or("", |id| &snapshot.service(id).name),
            endpoint: seen.endpoint.as_ref().map_or(b"", |text| text.as_bytes()),
            request_id: &seen.request_id,
            bytes_in: seen.head_in + seen.body_in,
            bytes_out: seen.bytes_out,
            body_out: seen.body_out,
            duration_us,
            upstream_head_us: seen.upstream_head_us,
            retries: seen.retries,
            limit: seen.limit.get().map_or("", |id| &snapshot.limits[id.0 as usize].name),
            grpc_status: seen.grpc.then(|| seen.grpc_code()),
            referer: if seen.parsed { request.known(Known::Referer).unwrap_or_default() } else { b"" },
            client_cert: self.hop.client.as_ref().map_or(b"", |client| client.identity.name().as_bytes()),
            user_agent: if seen.parsed { request.known(Known::UserAgent).unwrap_or_default() } else { b"" },
        };
        if let Some(log) = &mut *self.worker.log.borrow_mut() {
            log.log(&record, &self.worker.stats);
        }
    }
}
