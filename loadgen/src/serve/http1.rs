//! HTTP/1.1 on one connection: request, body, answer, in this order, one after the other.
//!
//! A connection's requests are served as by a server that has one thread for it: what is pipelined behind a request
//! arrives, as far as delays go, when the answer before it has left. Without delays nothing is allocated and nobody is
//! woken for a request: bytes in, parse, a prebuilt answer out.
//!
//! Invariant: at most 64 KiB of a head and [`UNSENT_MAX`] of unread answers wait for a client.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Lease, Segment, SendList, Stream, now};

use super::behaviour::{Failure, Plan, Wish};
use super::origin::Origin;
use super::request::{self, Body, Chunks, HEAD_MAX, Head, Refusal};
use super::response::{Answer, Response, Rest};

/// Serves the connection until either side has enough. `first` is what has arrived already.
pub async fn serve(stream: Stream, origin: Rc<Origin>, first: Lease) {
    let mut talk = Talk { stream, origin, input: Some(first), out: SendList::new() };
    match talk.converse().await {
        Ok(()) => talk.close().await,
        Err(Stop::Lost) => {}
        Err(Stop::Refused(refusal)) => {
            talk.out.push(Segment::Local(Response::refusing(&refusal)));
            talk.close().await;
        }
        Err(Stop::Reset) => talk.stream.reset_on_close(),
    }
}

struct Talk {
    stream: Stream,
    origin: Rc<Origin>,
    /// Arrived and not looked at.
    input: Option<Lease>,
    /// Answers that were not sent yet, so that those to pipelined requests leave together.
    out: SendList,
}

/// Why a connection ends other than in good order.
enum Stop {
    /// The peer is gone.
    Lost,
    /// The request is not answered as asked.
    Refused(Refusal),
    /// On purpose.
    Reset,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Stop {
        Stop::Lost
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl Talk {
    async fn converse(&mut self) -> Result<(), Stop> {
        while let Some((head, wish)) = self.head().await? {
            if head.body != Body::Length(0) {
                self.pass_body(&head).await?;
            }
            self.origin.tally.requests.add(1);
            match wish {
                None if self.origin.is_plain => {
                    let rest = self.origin.ready.get(&head, false).begin(&mut self.out);
                    if !rest.is_empty() {
                        self.send_rest(rest).await?;
                    }
                }
                wish => self.answer(&head, &wish.unwrap_or_default()).await?,
            }
            if self.out.runs() >= RUNS_MAX {
                self.send().await?;
            }
            if !head.persistence.is_kept() {
                break;
            }
        }
        Ok(())
    }

    /// The next request's head, taken off the input, and what its query asks for. `None`: the client is done.
    async fn head(&mut self) -> Result<Option<(Head, Option<Wish>)>, Stop> {
        loop {
            if let Some(bytes) = &mut self.input {
                // Blank lines before a request are to be ignored.
                bytes.advance(bytes.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count());
                if bytes.is_empty() {
                    self.input = None;
                } else if let Some(head) = request::read(bytes)? {
                    let wish = head.query.clone().map(|query| wished(&bytes[query])).transpose()?;
                    bytes.advance(head.length);
                    return Ok(Some((head, wish)));
                }
            }
            // A head that comes in crumbs is looked at again only where a line has ended, so that its cost stays in
            // proportion.
            loop {
                let more = self.receive().await?;
                if more.is_end() {
                    return Ok(None);
                }
                let ended = memchr::memchr(b'\n', &more).is_some();
                let bytes = match self.input.take() {
                    None => more,
                    Some(bytes) => bytes.joined(&more),
                };
                let ready = ended || bytes.len() >= HEAD_MAX;
                self.input = Some(bytes);
                if ready {
                    break;
                }
            }
        }
    }

    /// Takes the body off the input and forgets it.
    async fn pass_body(&mut self, head: &Head) -> Result<(), Stop> {
        if head.awaits_continue && self.input.as_ref().is_none_or(|bytes| bytes.is_empty()) {
            self.out.push(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]);
        }
        let mut left = match head.body {
            Body::Length(length) => length,
            Body::Chunked => u64::MAX,
        };
        let mut chunks = Chunks::default();
        loop {
            if let Some(bytes) = &mut self.input {
                let passed = match head.body {
                    Body::Length(_) => left.min(bytes.len() as u64) as usize,
                    Body::Chunked => chunks.pass(bytes)?,
                };
                left -= passed as u64;
                bytes.advance(passed);
                if bytes.is_empty() {
                    self.input = None;
                }
                if left == 0 || chunks.is_done() {
                    return Ok(());
                }
            }
            let more = self.receive().await?;
            if more.is_end() {
                return Err(Stop::Lost);
            }
            self.input = Some(more);
        }
    }

    /// Answers as the behaviour and the request's wish have it.
    async fn answer(&mut self, head: &Head, wish: &Wish) -> Result<(), Stop> {
        let (plan, due) = self.origin.plan(wish);
        if let Some(due) = due {
            self.send().await?;
            self.origin.clock.until(due).await;
        }
        let response = self.response(head, &plan);
        let Some(failure) = plan.failure else {
            let rest = response.begin(&mut self.out);
            return self.send_rest(rest).await;
        };
        self.origin.tally.failed.add(1);
        match failure {
            Failure::Status(_) => {
                let rest = response.begin(&mut self.out);
                self.send_rest(rest).await
            }
            Failure::Truncate => {
                let rest = response.truncated().begin(&mut self.out);
                self.send_rest(rest).await?;
                self.send().await?;
                self.stream.flushed().await?;
                Err(Stop::Lost)
            }
            Failure::Reset => {
                self.send().await?;
                self.stream.flushed().await?;
                Err(Stop::Reset)
            }
            Failure::Hang => {
                self.send().await?;
                while !self.stream.recv().await?.is_end() {}
                Err(Stop::Lost)
            }
        }
    }

    fn response(&self, head: &Head, plan: &Plan) -> Response {
        let status = match plan.failure {
            Some(Failure::Status(status)) => status,
            _ => plan.status,
        };
        if let Some(ready) = self.origin.ready.find(head, status, plan.size) {
            return ready.clone();
        }
        Response::new(&Answer {
            status,
            size: plan.size,
            is_head: head.is_head,
            persistence: head.persistence,
            chunked: self.origin.chunked,
        })
    }

    /// Sends a long body a megabyte at a time, as fast as the client takes it.
    async fn send_rest(&mut self, mut rest: Rest) -> Result<(), Stop> {
        while !rest.is_empty() {
            rest.take(|run| self.out.push(run));
            self.send().await?;
        }
        Ok(())
    }

    /// More input; what waits to be sent leaves first.
    async fn receive(&mut self) -> Result<Lease, Stop> {
        self.send().await?;
        Ok(self.stream.recv().await?)
    }

    /// Sends what waits; then waits itself, for a client that does not read.
    async fn send(&mut self) -> Result<(), Stop> {
        if !self.out.is_empty() {
            self.stream.send(std::mem::take(&mut self.out));
            if self.stream.is_behind(UNSENT_MAX, UNSENT_RUNS_MAX) {
                self.stream.flushed_to(UNSENT_MAX / 2).await?;
            }
        }
        Ok(())
    }

    /// Says that no more will come, then waits a moment for the client to read that: closing with bytes unread would
    /// reset the connection, and the last answer with it.
    async fn close(mut self) {
        if self.send().await.is_err() || self.stream.flushed().await.is_err() {
            return;
        }
        self.stream.shutdown_write();
        self.stream.set_deadline(now().after(LINGER));
        let mut left = LINGER_BYTES_MAX;
        while let Ok(lease) = self.stream.recv().await
            && !lease.is_end()
            && left > lease.len()
        {
            left -= lease.len();
        }
    }
}

fn wished(query: &[u8]) -> Result<Wish, Refusal> {
    let refused = Refusal { status: 400, why: "the query's delay, size or status is not one, or too much" };
    std::str::from_utf8(query).ok().and_then(|query| Wish::read(query).ok()).ok_or(refused)
}

/// Answers that wait to leave together.
const RUNS_MAX: usize = 4;
/// Bytes, and runs of bytes, that may wait for a client to read.
const UNSENT_MAX: usize = 512 << 10;
const UNSENT_RUNS_MAX: usize = 256;
/// How long, and for how much, a closing connection still listens.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 << 20;
