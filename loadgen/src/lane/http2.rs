//! HTTP/2 and gRPC on the `h2` crate: one connection, a lane for each of its streams.
//!
//! The connection's own task drives frames; each lane awaits its answer. A connection that ends takes the streams on it
//! along; the next lane with a job brings another one up, and the others wait for that.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use ringway_runtime::{Nanos, Sleep, TokioIo, now, sleep, spawn};

use super::{Dialer, Failure, REFUSED_PAUSE};
use crate::grpc;
use crate::plan::{Parts, Prepared};
use crate::run::line::Line;
use crate::run::record::{GRPC_BASE, Job, Kind, Outcome};
use crate::run::thread::connect_deadline;
use crate::target::Protocol;
use crate::transport::Transport;

/// Octets a peer may send on a stream, and on a connection, before we say that we took them.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Of a field section.
const FIELDS_BYTES_MAX: u32 = 64 << 10;
struct Shared {
    prepared: Rc<Prepared>,
    line: Rc<Line>,
    dialer: Dialer,
    state: RefCell<State>,
}

enum State {
    /// Not up; why, if it was tried.
    Down(Option<Failure>),
    Dialing(Vec<Waker>),
    Up(SendRequest<Bytes>),
}

/// Brings one connection up and starts its lanes.
pub async fn connection(prepared: Rc<Prepared>, line: Rc<Line>, dialer: Dialer, started: Rc<dyn Fn()>) {
    let plan = prepared.plan.clone();
    let shared = Rc::new(Shared { prepared, line, dialer, state: RefCell::new(State::Down(None)) });
    if !plan.new_connections {
        let _ = shared.ready(connect_deadline(&plan)).await;
    }
    started();
    for _ in 0..plan.depth {
        spawn(lane(shared.clone()));
    }
}

async fn lane(shared: Rc<Shared>) {
    let line = shared.line.clone();
    let number = line.add_lane();
    let plan = shared.prepared.plan.clone();
    let mut watch = Watch { sleep: None };
    while let Some(job) = poll_fn(|cx| line.poll_job(cx, number)).await {
        let deadline = job.sent.after(plan.timeout);
        let part = shared.prepared.part_of(&job);
        let ended = match shared.ready(deadline).await {
            Ok(send) => exchange(&shared, send, &job, part, deadline, &mut watch).await,
            Err(failure) => {
                line.recorder.borrow_mut().taken(&job, 0);
                Err(failure)
            }
        };
        if plan.new_connections {
            *shared.state.borrow_mut() = State::Down(None);
        }
        let (outcome, status) = match ended {
            Ok(status) => (Outcome::Ok, Some(status)),
            Err(failure) => (Outcome::Failed(failure.kind), failure.status),
        };
        let done = if outcome == Outcome::Ok { now().max(job.sent) } else { Nanos::precise() };
        line.recorder.borrow_mut().ended(&job, done, outcome, status, part);
        line.job_ended();
        if matches!(ended, Err(Failure { kind: Kind::Connect, .. })) {
            sleep(REFUSED_PAUSE).await;
        }
    }
}

impl Shared {
    /// The connection, brought up if it is not.
    async fn ready(self: &Rc<Shared>, deadline: Nanos) -> Result<SendRequest<Bytes>, Failure> {
        loop {
            let dials = match &mut *self.state.borrow_mut() {
                State::Up(send) => return Ok(send.clone()),
                State::Dialing(_) => false,
                down => {
                    *down = State::Dialing(Vec::new());
                    true
                }
            };
            if dials {
                let dialed = self.dial(deadline).await;
                let next = match &dialed {
                    Ok(send) => State::Up(send.clone()),
                    Err(failure) => State::Down(Some(*failure)),
                };
                let before = self.state.replace(next);
                if let State::Dialing(waiting) = before {
                    waiting.into_iter().for_each(Waker::wake);
                }
                return dialed;
            }
            // One wait: if the other one failed to connect, so have we, and as it did.
            let mut waited = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut waited, true) {
                    return Poll::Ready(());
                }
                match &mut *self.state.borrow_mut() {
                    State::Dialing(waiting) => {
                        waiting.push(cx.waker().clone());
                        Poll::Pending
                    }
                    _ => Poll::Ready(()),
                }
            })
            .await;
            if let State::Down(failed) = &*self.state.borrow() {
                return Err(failed.unwrap_or(Failure::of(Kind::Reset)));
            }
        }
    }

    async fn dial(self: &Rc<Shared>, deadline: Nanos) -> Result<SendRequest<Bytes>, Failure> {
        let transport = self.dialer.dial(&self.line, deadline).await?;
        if let Transport::Tls(tls) = &transport
            && tls.protocol() != Some(b"h2")
        {
            return Err(Failure::of(Kind::Tls));
        }
        let depth = self.prepared.plan.depth as usize;
        let (send, driven) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(FIELDS_BYTES_MAX)
            .initial_max_send_streams(depth)
            .enable_push(false)
            .handshake::<_, Bytes>(TokioIo::new(transport))
            .await
            .map_err(|error| failure_of(&error))?;
        let shared = self.clone();
        spawn(async move {
            let _ = driven.await;
            // Lanes that had it notice by their streams; the next job dials anew.
            let mut state = shared.state.borrow_mut();
            if matches!(&*state, State::Up(_)) {
                *state = State::Down(None);
            }
        });
        Ok(send)
    }
}

async fn exchange(
    shared: &Shared,
    send: SendRequest<Bytes>,
    job: &Job,
    part: usize,
    deadline: Nanos,
    watch: &mut Watch,
) -> Result<u16, Failure> {
    let prepared = &shared.prepared;
    let timed = watch.within(deadline, async {
        let mut send = send.ready().await.map_err(|error| failure_of(&error))?;
        let Parts { head, body } = prepared.http2(job, part);
        shared.line.recorder.borrow_mut().taken(job, body.len());
        let (answer, mut stream) =
            send.send_request(head, body.is_empty()).map_err(|error| failure_of(&error))?;
        if !body.is_empty() {
            write(&mut stream, body).await?;
        }
        read(shared, answer, part).await
    });
    timed.await.unwrap_or(Err(Failure::of(Kind::Timeout)))
}

/// Sends the body as the peer's window allows.
async fn write(stream: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), Failure> {
    // What fits the window goes at once; h2 keeps the rest of this one buffer and sends it as windows open.
    stream.reserve_capacity(body.len());
    while !body.is_empty() {
        let room = match stream.capacity() {
            0 => poll_fn(|cx| stream.poll_capacity(cx))
                .await
                .ok_or(Failure::of(Kind::Reset))?
                .map_err(|error| failure_of(&error))?,
            room => room,
        };
        let piece = body.split_to(room.min(body.len()));
        stream.send_data(piece, body.is_empty()).map_err(|error| failure_of(&error))?;
    }
    Ok(())
}

async fn read(shared: &Shared, answer: ResponseFuture, part: usize) -> Result<u16, Failure> {
    let prepared = &shared.prepared;
    let (head, mut body) = answer.await.map_err(|error| failure_of(&error))?.into_parts();
    let grpc = prepared.plan.target.protocol == Protocol::Grpc;
    let mut digest = prepared.digest();
    let mut messages = grpc.then(grpc::Messages::default);
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| failure_of(&error))?;
        length += data.len() as u64;
        if let Some(digest) = &mut digest {
            digest.update(&data);
        }
        if let Some(messages) = &mut messages {
            messages.read(&data).map_err(|_| Failure::of(Kind::Protocol))?;
        }
        let taken = body.flow_control().release_capacity(data.len());
        taken.map_err(|error| failure_of(&error))?;
    }
    shared.line.recorder.borrow_mut().received(length as usize);
    let status = head.status.as_u16();
    if let Some(announced) = head.headers.get(http::header::CONTENT_LENGTH)
        && !prepared.is_head(part)
        && announced.to_str().ok().and_then(|text| text.parse::<u64>().ok()) != Some(length)
    {
        return Err(Failure::of(Kind::Protocol));
    }
    let Some(messages) = messages else {
        return prepared.judge(part, status, length, digest).map(|()| status);
    };
    if status != 200 {
        return Err(Failure { kind: Kind::Status, status: Some(status) });
    }
    grpc_status(&mut body, &head.headers, messages).await
}

/// The call's end (gRPC over HTTP/2, Responses): `grpc-status` in the trailers, or in a head that is all there is.
async fn grpc_status(
    body: &mut RecvStream,
    head: &http::HeaderMap,
    messages: grpc::Messages,
) -> Result<u16, Failure> {
    let trailers = body.trailers().await.map_err(|error| failure_of(&error))?;
    let fields = trailers.as_ref().unwrap_or(head);
    let code = fields.get("grpc-status").and_then(|value| value.to_str().ok()?.parse::<u16>().ok());
    match code {
        Some(0) if messages.whole() => Ok(GRPC_BASE),
        Some(code @ 1..=99) => Err(Failure { kind: Kind::Status, status: Some(GRPC_BASE + code) }),
        _ => Err(Failure::of(Kind::Protocol)),
    }
}

fn failure_of(error: &h2::Error) -> Failure {
    if let Some(error) = error.get_io() {
        return Failure::of(super::kind_of(error));
    }
    // What the peer says is a reset; what h2 objects to in the peer's frames is a broken protocol.
    let remote = error.is_remote() || error.is_go_away();
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::REFUSED_STREAM | Reason::CANCEL) | None => Failure::of(Kind::Reset),
        Some(_) if remote => Failure::of(Kind::Reset),
        Some(_) => Failure::of(Kind::Protocol),
    }
}

/// A time limit around futures, whose timer is kept from one to the next.
struct Watch {
    sleep: Option<Sleep>,
}

impl Watch {
    /// What `future` comes to, or `None` at `deadline`.
    async fn within<F: Future>(&mut self, deadline: Nanos, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_deadline(cx, deadline).map(|()| None)
        })
        .await
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Nanos) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| sleep(Duration::ZERO));
        sleep.move_to(deadline);
        Pin::new(sleep).poll(cx)
    }
}
