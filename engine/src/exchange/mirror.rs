//! Copies of requests for another service, whose answers nobody gets.
//!
//! A copy is made of bytes of its own and sent by a task of its own, within bounds of its own: whatever becomes of it, the
//! request that it is a copy of neither waits for it nor fails by it. It is made where the request has been sent whole: at
//! once where there is no body, else when the answer begins.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Draft, Lease, Nanos, SendList, now, spawn};

use super::failed::Failed;
use super::forward::{Answer, Forwarding};
use super::upload::Upload;
use super::{Exchange, balancing};
use crate::balance::{Asked, Outcome};
use crate::body::{Broken, Incoming, Outgoing};
use crate::grpc;
use crate::http1::{BodyFraming, Limits, Method, Progress, Response, ResponseFraming, ResponseHead};
use crate::http2::UNPROCESSED;
use crate::observe::retries::CopyDropped;
use crate::reason::Reason;
use crate::snapshot::{MirrorPlan, ServiceId};
use crate::upstream::{By, Lent, Service, Wish};
use crate::worker::{Current, Scratch};

/// How long a copy may take, connecting and its whole answer included.
const COPY_WITHIN: Duration = Duration::from_secs(30);
/// Of an answer; beyond it the connection is closed.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What the host of copies ends in.
const SUFFIX: &[u8] = b"-shadow";
/// As a head usually is, with what is added.
const HEAD_BYTES_USUAL: usize = 1024;

/// Whether this request is among those that are mirrored.
pub(super) fn is_due(x: &Exchange<'_>, plan: &MirrorPlan) -> bool {
    plan.share_ppm >= 1_000_000 || x.worker.random.borrow_mut().u32(..1_000_000) < plan.share_ppm
}

/// A copy on its way.
struct Mirrored {
    current: Rc<Current>,
    service: ServiceId,
    wish: Wish,
    asked: Asked,
    method: Method,
    head: Lease,
    /// `None`: there is none.
    body: Option<Lease>,
    is_chunked: bool,
    is_call: bool,
    _under_way: UnderWay,
}

/// Counts a copy as long as it is under way.
struct UnderWay(Rc<Service>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

/// Sends a copy of the request, or counts why there is none.
pub(super) fn copy(call: &Forwarding<'_>, x: &Exchange<'_>, scratch: &Scratch, plan: &MirrorPlan) {
    let service = &x.current.services[plan.service.0 as usize];
    if service.copies.get() >= x.worker.part_of(plan.concurrency) {
        return service.counters.retries.drop_copy(CopyDropped::Concurrency);
    }
    let body = match &call.upload {
        None if call.has_body(x) => return service.counters.retries.drop_copy(CopyDropped::Body),
        None => None,
        Some(upload) => match whole(upload, call.first.as_ref(), plan.body_bytes_max) {
            Some(body) => Some(body),
            None => return service.counters.retries.drop_copy(CopyDropped::Body),
        },
    };
    let host = shadow(call.course.host(x));
    service.copies.set(service.copies.get() + 1);
    spawn(send(Mirrored {
        current: x.current.clone(),
        service: plan.service,
        wish: Wish { http2: call.wish.http2, ..Wish::default() },
        asked: balancing::ask(x, scratch, service, x.current.snapshot.service(plan.service), 0),
        method: x.request.method,
        head: call.request_head(x, scratch, Draft::sized(HEAD_BYTES_USUAL), 1, Some(&host)),
        body,
        is_chunked: call.guise.is_some()
            || matches!(x.request.framing, BodyFraming::Chunked | BodyFraming::UntilEnd),
        is_call: x.seen.grpc || call.guise.is_some(),
        _under_way: UnderWay(service.clone()),
    }));
}

/// The whole body, in memory of its own; `None`: it is not whole, too large, or has gone by.
fn whole(upload: &Upload, first: Option<&Lease>, bytes_max: u32) -> Option<Lease> {
    if !upload.is_done() || upload.received() > u64::from(bytes_max) || !upload.is_replayable(first) {
        return None;
    }
    let mut bytes = Vec::with_capacity(upload.received() as usize);
    upload.again(first, Outgoing::Plain).iter().for_each(|piece| bytes.extend_from_slice(piece));
    Some(Lease::copy_of(&bytes))
}

/// `api.example.com:8080` becomes `api.example.com-shadow:8080`; an address in brackets has no such name.
fn shadow(host: &[u8]) -> Vec<u8> {
    if host.starts_with(b"[") {
        return host.to_vec();
    }
    let (name, port) = host.split_at(memchr::memchr(b':', host).unwrap_or(host.len()));
    [name, SUFFIX, port].concat()
}

async fn send(copy: Mirrored) {
    let service = copy.current.services[copy.service.0 as usize].clone();
    if deliver(&service, copy).await.is_none() {
        service.counters.retries.drop_copy(CopyDropped::Failed);
    }
}

/// Sends the copy and throws the answer away. `None`: there was none.
async fn deliver(service: &Rc<Service>, copy: Mirrored) -> Option<()> {
    let plan = copy.current.snapshot.service(copy.service);
    let deadline = now().after(COPY_WITHIN);
    let by = By { deadline, try_at: Nanos::NEVER, client: None };
    let mut lent = service.checkout(plan, &copy.asked, copy.wish, &[], by, &mut None).await.ok()?;
    service.counters.retries.copies.increment();
    lent.sending(now());
    lent.link().set_deadline(now().after(Duration::from_millis(plan.response_head_ms)).min(deadline));
    lent.link().send_head(copy.head, copy.body.is_none());
    if let Some(body) = copy.body {
        let is_chunked = copy.is_chunked && !lent.link().is_stream();
        let outgoing = if is_chunked { Outgoing::Chunked } else { Outgoing::Plain };
        let mut list = SendList::new();
        if !body.is_empty() {
            outgoing.push(&mut list, body);
        }
        outgoing.finish(&mut list, None);
        lent.link().send(list);
        lent.link().end(None);
    }
    let mut head = ResponseHead::default();
    let Answer { mut bytes, len } = match read_head(&lent, copy.method, &mut head).await {
        Ok(answer) => answer,
        Err(failed) => {
            // That its time is over is our doing; that a connection had ended while idle says nothing of the endpoint.
            if now() < deadline && !matches!(failed, Failed::Stale | Failed::Unprocessed) {
                lent.outcome = Outcome::Failed;
            }
            return None;
        }
    };
    lent.answered(now(), head.status, copy.is_call);
    let code = Response { bytes: &bytes, head: &head }.get(b"grpc-status").and_then(grpc::code);
    bytes.advance(len);
    let mut body = Incoming::of_response(head.framing, Some(bytes), lent.link());
    while body.received <= ANSWER_BYTES_MAX {
        lent.link().set_deadline(now().after(Duration::from_millis(plan.idle_ms)).min(deadline));
        match poll_fn(|cx| body.poll_next(cx, lent.link())).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                if copy.is_call {
                    lent.call_ended(code_at_end(&body, code));
                }
                let reusable = head.keep_alive && head.framing != ResponseFraming::UntilClose;
                if reusable && body.rest().is_none() {
                    lent.give_back();
                }
                return Some(());
            }
            Err(broken) => {
                if now() < deadline {
                    lent.broke_off(why(&broken));
                }
                return None;
            }
        }
    }
    Some(())
}

/// Reads heads until one is final.
async fn read_head(lent: &Lent, method: Method, head: &mut ResponseHead) -> Result<Answer, Failed> {
    let mut bytes = receive(lent, false).await?;
    loop {
        match head.parse(&bytes, method, &Limits::default()) {
            Ok(Progress::Complete(len)) if head.status >= 200 => return Ok(Answer { bytes, len }),
            Ok(Progress::Complete(len)) => bytes.advance(len),
            Ok(Progress::Partial) => {
                let more = receive(lent, true).await?;
                bytes = bytes.joined(&more);
            }
            Err(_) => return Err(Failed::Upstream(Reason::UpstreamBadResponse)),
        }
    }
}

/// The next bytes of the answer; `begun`: they are not the first.
async fn receive(lent: &Lent, begun: bool) -> Result<Lease, Failed> {
    Err(match lent.link().recv().await {
        Ok(lease) if !lease.is_end() => return Ok(lease),
        Err(error) if error.kind() == ErrorKind::TimedOut => Failed::Upstream(Reason::UpstreamHeadTimeout),
        Err(error) if error.kind() == UNPROCESSED && !begun => Failed::Unprocessed,
        _ if lent.reused && !begun => Failed::Stale,
        Ok(_) => Failed::Upstream(Reason::UpstreamClosed),
        Err(_) => Failed::Upstream(Reason::UpstreamReset),
    })
}

/// How a call says that it went: in its trailers, else in its head.
fn code_at_end(body: &Incoming, in_head: Option<u8>) -> Option<u8> {
    let mut trailers = body.trailers().into_iter().flat_map(|trailers| trailers.iter());
    let late = trailers.find(|(name, _)| name.eq_ignore_ascii_case(b"grpc-status"));
    late.map_or(in_head, |(_, value)| grpc::code(value))
}

fn why(broken: &Broken) -> Reason {
    match broken {
        Broken::TimedOut => Reason::UpstreamIdleTimeout,
        Broken::Ended => Reason::UpstreamClosed,
        Broken::Reset => Reason::UpstreamReset,
        Broken::Refused(_) => Reason::UpstreamBadResponse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_copy_says_what_it_is() {
        assert_eq!(shadow(b"api.example.com"), b"api.example.com-shadow");
        assert_eq!(shadow(b"api.example.com:8080"), b"api.example.com-shadow:8080");
        assert_eq!(shadow(b"[::1]:8080"), b"[::1]:8080");
        assert_eq!(shadow(b"127.0.0.1"), b"127.0.0.1-shadow");
    }
}
