//! HTTP/1.1: one connection, with up to `--pipeline` requests on their way.
//!
//! One task and one poll function; no allocation for a request. Invariant: answers belong to requests in order; after
//! anything that leaves the order in doubt, the connection is given up and every request on it counted as failed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_runtime::{Lease, Nanos, SendList, Wire, now, sleep};

use super::answer::{self, Body, Head};
use super::{Dialer, Failure, REFUSED_PAUSE, kind_of};
use crate::plan::{Digest, Prepared};
use crate::run::line::Line;
use crate::run::record::{Job, Kind, Outcome};
use crate::transport::Transport;

struct Lane {
    prepared: Rc<Prepared>,
    line: Rc<Line>,
    number: u32,
    transport: Transport,
    under_way: VecDeque<UnderWay>,
    /// The head of the answer being read.
    head: Option<Head>,
    /// Body bytes of it.
    body_bytes: u64,
    digest: Option<Digest>,
    /// The begin of a head that is not whole.
    partial: Option<Lease>,
    /// No request goes out on it any more.
    closing: bool,
}

struct UnderWay {
    job: Job,
    part: usize,
}

/// Why a connection is done with.
enum Left {
    /// There are no more jobs.
    Over,
    /// Another one is needed.
    Lost,
}

/// Carries requests until there are no more.
pub async fn lane(prepared: Rc<Prepared>, line: Rc<Line>, dialer: Dialer, started: Rc<dyn Fn()>) {
    let number = line.add_lane();
    let plan = prepared.plan.clone();
    let mut transport = dialer.ahead(&line).await;
    started();
    loop {
        let mut first = None;
        if transport.is_none() {
            let Some(job) = poll_fn(|cx| line.poll_job(cx, number)).await else { return };
            let part = prepared.part_of(&job);
            match dialer.dial(&line, job.sent.after(plan.timeout)).await {
                Ok(dialed) => transport = Some(dialed),
                Err(failure) => {
                    line.recorder.borrow_mut().taken(&job, 0);
                    end(&line, &UnderWay { job, part }, Nanos::precise(), Err(failure));
                    if failure.kind == Kind::Connect {
                        sleep(REFUSED_PAUSE).await;
                    }
                    continue;
                }
            }
            first = Some(job);
        }
        let Some(dialed) = transport.take() else { continue };
        let mut lane = Lane {
            prepared: prepared.clone(),
            line: line.clone(),
            number,
            transport: dialed,
            under_way: VecDeque::with_capacity(plan.depth as usize),
            head: None,
            body_bytes: 0,
            digest: None,
            partial: None,
            closing: false,
        };
        if let Some(job) = first {
            lane.send(job);
        }
        if let Left::Over = poll_fn(|cx| lane.poll(cx)).await {
            return;
        }
    }
}

fn end(line: &Line, request: &UnderWay, done: Nanos, ended: Result<u16, Failure>) {
    let (outcome, status) = match ended {
        Ok(status) => (Outcome::Ok, Some(status)),
        Err(failure) => (Outcome::Failed(failure.kind), failure.status),
    };
    line.recorder.borrow_mut().ended(&request.job, done, outcome, status, request.part);
    line.job_ended();
}

impl Lane {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Left> {
        let mut over = false;
        loop {
            while !self.closing && !over && self.under_way.len() < self.prepared.plan.depth as usize {
                match self.line.poll_job(cx, self.number) {
                    Poll::Ready(Some(job)) => self.send(job),
                    Poll::Ready(None) => over = true,
                    Poll::Pending => break,
                }
            }
            if self.under_way.is_empty() && (over || self.closing) {
                return Poll::Ready(if over { Left::Over } else { Left::Lost });
            }
            let received = match self.transport.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(lease)) if lease.is_end() => self.ended(),
                Poll::Ready(Ok(lease)) => self.received(lease),
                Poll::Ready(Err(error)) => Err(Failure::of(kind_of(&error))),
            };
            if let Err(failure) = received {
                return Poll::Ready(self.give_up(failure));
            }
        }
    }

    #[inline]
    fn send(&mut self, job: Job) {
        let part = self.prepared.part_of(&job);
        let bytes = self.prepared.http1(&job, part);
        self.line.recorder.borrow_mut().taken(&job, bytes.bytes().len());
        if self.under_way.is_empty() {
            self.transport.set_deadline(job.sent.after(self.prepared.plan.timeout));
        }
        self.transport.send(SendList::from(bytes));
        self.under_way.push_back(UnderWay { job, part });
        self.closing = self.prepared.plan.new_connections;
    }

    fn received(&mut self, mut lease: Lease) -> Result<(), Failure> {
        self.line.recorder.borrow_mut().received(lease.len());
        if let Some(partial) = self.partial.take() {
            lease = partial.joined(&lease);
        }
        while !lease.is_end() {
            let Some(first) = self.under_way.front() else {
                // Nobody asked for this.
                return Err(Failure::of(Kind::Protocol));
            };
            if self.head.is_none() {
                let to_head = self.prepared.is_head(first.part);
                let read = answer::head(&lease, to_head).map_err(|_| Failure::of(Kind::Protocol))?;
                let Some(head) = read else {
                    self.partial = Some(lease);
                    return Ok(());
                };
                lease.advance(head.len);
                if head.status == 101 {
                    return Err(Failure::of(Kind::Protocol));
                }
                if head.status < 200 {
                    continue;
                }
                self.body_bytes = 0;
                self.digest = self.prepared.digest();
                self.head = Some(head);
            }
            let taken = self.body(&lease)?;
            lease.advance(taken);
        }
        Ok(())
    }

    /// Reads on in the body; ends the request if that is whole. Returns how many bytes belong to it.
    #[inline]
    fn body(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let Some(head) = &mut self.head else { return Ok(0) };
        let (digest, count) = (&mut self.digest, &mut self.body_bytes);
        let mut see = |data: &[u8]| {
            *count += data.len() as u64;
            if let Some(digest) = digest {
                digest.update(data);
            }
        };
        let (taken, whole) = match &mut head.body {
            Body::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                see(&bytes[..taken]);
                *left -= taken as u64;
                (taken, *left == 0)
            }
            Body::Chunked(chunks) => chunks.read(bytes, see).map_err(|_| Failure::of(Kind::Protocol))?,
            Body::UntilEnd => {
                see(bytes);
                (bytes.len(), false)
            }
        };
        if whole {
            self.answered();
        }
        Ok(taken)
    }

    /// The answer to the first request is whole.
    fn answered(&mut self) {
        let (Some(head), Some(first)) = (self.head.take(), self.under_way.pop_front()) else { return };
        self.closing |= !head.keeps_alive;
        let judged = self.prepared.judge(first.part, head.status, self.body_bytes, self.digest.take());
        end(&self.line, &first, now().max(first.job.sent), judged.map(|()| head.status));
        let next = self
            .under_way
            .front()
            .map_or(Nanos::NEVER, |next| next.job.sent.after(self.prepared.plan.timeout));
        self.transport.set_deadline(next);
    }

    /// The peer has ended the connection.
    fn ended(&mut self) -> Result<(), Failure> {
        self.closing = true;
        if matches!(&self.head, Some(Head { body: Body::UntilEnd, .. })) {
            self.answered();
        }
        if self.under_way.is_empty() && self.partial.is_none() {
            return Ok(());
        }
        Err(Failure::of(Kind::Reset))
    }

    /// Counts every request on the connection as failed.
    fn give_up(&mut self, failure: Failure) -> Left {
        let done = Nanos::precise();
        // A pipelined answer can be late only once; those behind it were lost with the connection.
        let mut kind = failure.kind;
        for request in self.under_way.drain(..) {
            end(&self.line, &request, done, Err(Failure { kind, status: failure.status }));
            kind = Kind::Reset;
        }
        Left::Lost
    }
}
