//! The wait for a response's head, the request's body being sent meanwhile and the client being watched for a reset.

use std::io::ErrorKind;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, now};

use super::failed::Failed;
use super::forward::{Answer, Course};
use super::upload::Upload;
use super::{Exchange, Stop, drafted};
use crate::http1::{self, Progress, Response, ResponseHead, Version};
use crate::http2::UNPROCESSED;
use crate::local_reply::LocalReply;
use crate::outgoing::{Announced, Connection, ResponseOut};
use crate::reason::Reason;
use crate::snapshot::HeaderPlan;
use crate::upstream::Lent;

/// Interim responses to one request. They go to the client without waiting for it to take them.
const INTERIMS_MAX: u32 = 64;

/// The wait for a response's head.
pub(super) struct Waiting {
    /// When the exchange must be over.
    deadline: Nanos,
    head_ms: u64,
    /// `u64::MAX`: no bound of its own.
    try_ms: u64,
    /// When another endpoint is asked too, and after how long; never where that is `u64::MAX`.
    hedge_us: u64,
    hedge_at: Nanos,
    /// When the head must have come.
    head_at: Nanos,
    try_at: Nanos,
    /// Something of the response has come.
    begun: bool,
    /// Heads of 1xx so far.
    interims: u32,
    /// They are not passed on.
    pub quiet: bool,
    /// What has come of a head.
    bytes: Option<Lease>,
}

impl Waiting {
    /// Begins as the request is sent. `try_at` bounds this try until its body, if there is one, has been sent.
    pub fn begin(lent: &Lent, course: &Course<'_>, try_at: Nanos, hedge_us: u64) -> Waiting {
        let mut waiting = Waiting {
            deadline: course.deadline,
            head_ms: course.service.response_head_ms,
            try_ms: course.to.retries.as_ref().and_then(|retries| retries.per_try_ms).unwrap_or(u64::MAX),
            hedge_us,
            hedge_at: Nanos::NEVER,
            head_at: Nanos::NEVER,
            try_at,
            begun: false,
            interims: 0,
            quiet: false,
            bytes: None,
        };
        waiting.arm(lent);
        waiting
    }

    /// The wait is for the endpoint alone from now on.
    fn arm(&mut self, lent: &Lent) {
        let now = now();
        self.head_at = now.after(Duration::from_millis(self.head_ms));
        if self.hedge_us != u64::MAX {
            self.hedge_at = now.after(Duration::from_micros(self.hedge_us));
        }
        self.set_deadline(lent);
    }

    fn set_deadline(&self, lent: &Lent) {
        let first = self.head_at.min(self.try_at).min(self.hedge_at);
        lent.link().set_deadline(first.min(self.deadline));
    }

    /// Reads heads until one is final; interim ones are passed on.
    pub fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        x: &mut Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
        response: &mut ResponseHead,
    ) -> Poll<Result<Answer, Failed>> {
        loop {
            let more = std::task::ready!(self.poll_receive(cx, x, lent, upload))?;
            self.begun = true;
            let mut lease = match self.bytes.take() {
                None => more,
                Some(before) => before.joined(&more),
            };
            loop {
                match response.parse(&lease, x.request.method, &http1::Limits::default()) {
                    Ok(Progress::Partial) => break,
                    Ok(Progress::Complete(len)) if response.status >= 200 || response.status == 101 => {
                        return Poll::Ready(Ok(Answer { bytes: lease, len }));
                    }
                    Ok(Progress::Complete(_)) if self.interims == INTERIMS_MAX => {
                        return Poll::Ready(Err(Stop::from(Reason::UpstreamBadResponse).into()));
                    }
                    Ok(Progress::Complete(len)) => {
                        self.interims += 1;
                        if !self.quiet {
                            pass_interim(x, response, &lease);
                        }
                        lease.advance(len);
                        if lease.is_empty() {
                            break;
                        }
                    }
                    Err(refusal) => return Poll::Ready(Err(Stop::Reply(broken(refusal)).into())),
                }
            }
            self.bytes = (!lease.is_empty()).then_some(lease);
        }
    }

    /// The next bytes of the upstream.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        x: &Exchange<'_>,
        lent: &Lent,
        upload: &mut Option<Upload>,
    ) -> Poll<Result<Lease, Failed>> {
        match upload {
            Some(upload) if upload.is_going() => {
                if let Poll::Ready(ended) = upload.poll(cx, x.client, lent.link()) {
                    ended?;
                    if self.try_ms != u64::MAX {
                        self.try_at = now().after(Duration::from_millis(self.try_ms));
                    }
                    self.arm(lent);
                }
            }
            _ => {
                if x.client.poll_broken(cx).is_ready() {
                    return Poll::Ready(Err(Stop::Cut(Reason::ClientGone).into()));
                }
            }
        }
        loop {
            return Poll::Ready(match lent.link().poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(lease)) if !lease.is_end() => Ok(lease),
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::TimedOut => match upload {
                    Some(upload) if upload.is_going() => match upload.upstream_late(lent.link()) {
                        Some(failed) => Err(failed),
                        None => continue,
                    },
                    _ => match self.late(lent) {
                        Some(failed) => Err(failed),
                        None => continue,
                    },
                },
                Poll::Ready(Err(error)) if error.kind() == UNPROCESSED && !self.begun => {
                    Err(Failed::Unprocessed)
                }
                Poll::Ready(_) if lent.reused && !self.begun => Err(Failed::Stale),
                Poll::Ready(Ok(_)) => Err(Failed::Upstream(Reason::UpstreamClosed)),
                Poll::Ready(Err(_)) => Err(Failed::Upstream(Reason::UpstreamReset)),
            });
        }
    }

    /// One of the times has passed; `None`: not yet, after all.
    #[cold]
    fn late(&mut self, lent: &Lent) -> Option<Failed> {
        let now = now();
        if now >= self.deadline {
            lent.suspect();
            return Some(Stop::from(Reason::ExchangeTimeout).into());
        }
        if now >= self.try_at || now >= self.head_at {
            lent.suspect();
            let of_try = self.try_at < self.head_at;
            return Some(Failed::Upstream(match of_try {
                true => Reason::UpstreamTryTimeout,
                false => Reason::UpstreamHeadTimeout,
            }));
        }
        let slow = now >= self.hedge_at;
        if slow {
            (self.hedge_at, self.hedge_us) = (Nanos::NEVER, u64::MAX);
        }
        self.set_deadline(lent);
        (slow && !self.begun).then_some(Failed::Slow)
    }
}

fn broken(refusal: http1::Refusal) -> LocalReply {
    match refusal {
        http1::Refusal::HeadTooLarge | http1::Refusal::TooManyFields => Reason::UpstreamHeadTooLarge.into(),
        _ => LocalReply { detail: refusal.detail(), ..Reason::UpstreamBadResponse.into() },
    }
}

/// Passes on a 1xx head: to HTTP/1.1 clients only, and 100 only to those that asked (RFC 9110 §15.2).
fn pass_interim(x: &mut Exchange<'_>, response: &ResponseHead, bytes: &Lease) {
    let wanted = response.status != 100 || x.request.expect_continue;
    if x.request.version == Version::Http10 || !wanted {
        return;
    }
    let (current, unchanged) = (x.current.clone(), HeaderPlan::default());
    let out = ResponseOut {
        response: Response { bytes, head: response },
        announced: Announced::Nothing,
        connection: Connection::Implied,
        plan: x.seen.route.map_or(&unchanged, |route| &current.snapshot.route(route).response_headers),
        date: b"",
        told: None,
        lines: b"",
    };
    let head = drafted(x.client.draft(), |writer| out.write(writer));
    x.seen.sent(head.len() as u64);
    x.client.send_head(head, false);
}
