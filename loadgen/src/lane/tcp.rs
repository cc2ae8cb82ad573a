//! Bytes over TCP: a payload out, an answer of known length back.

use std::future::poll_fn;
use std::rc::Rc;

use ringway_runtime::{Nanos, SendList, Wire, now, sleep};

use super::{Dialer, Failure, REFUSED_PAUSE, kind_of};
use crate::plan::Prepared;
use crate::run::line::Line;
use crate::run::record::{Job, Kind, Outcome};
use crate::transport::Transport;

/// Carries payloads until there are no more jobs.
pub async fn lane(prepared: Rc<Prepared>, line: Rc<Line>, dialer: Dialer, started: Rc<dyn Fn()>) {
    let number = line.add_lane();
    let plan = prepared.plan.clone();
    let mut transport = dialer.ahead(&line).await;
    started();
    while let Some(job) = poll_fn(|cx| line.poll_job(cx, number)).await {
        let deadline = job.sent.after(plan.timeout);
        let mut up = match transport.take() {
            Some(up) => Ok(up),
            None => dialer.dial(&line, deadline).await,
        };
        let ended = match &mut up {
            Ok(up) => exchange(&prepared, &line, up, &job).await,
            Err(failure) => {
                line.recorder.borrow_mut().taken(&job, 0);
                Err(*failure)
            }
        };
        let outcome = ended.map_or_else(|failure| Outcome::Failed(failure.kind), |()| Outcome::Ok);
        let done = if outcome == Outcome::Ok { now().max(job.sent) } else { Nanos::precise() };
        line.recorder.borrow_mut().ended(&job, done, outcome, None, 0);
        line.job_ended();
        match ended {
            Ok(()) if !plan.new_connections => transport = up.ok(),
            Err(Failure { kind: Kind::Connect, .. }) => sleep(REFUSED_PAUSE).await,
            _ => {}
        }
    }
}

async fn exchange(
    prepared: &Prepared,
    line: &Line,
    transport: &mut Transport,
    job: &Job,
) -> Result<(), Failure> {
    let payload = prepared.http1(job, 0);
    line.recorder.borrow_mut().taken(job, payload.bytes().len());
    transport.set_deadline(job.sent.after(prepared.plan.timeout));
    transport.send(SendList::from(payload));
    let expect = &prepared.plan.expect;
    let sent = prepared.http1(job, 0);
    let wanted = match (expect.echo, expect.length) {
        (true, _) => sent.bytes().len() as u64,
        (false, Some(length)) => length,
        (false, None) => 1,
    };
    let mut digest = prepared.digest();
    let mut received = 0;
    while received < wanted {
        let lease = poll_fn(|cx| transport.poll_recv(cx)).await;
        let lease = lease.map_err(|error| Failure::of(kind_of(&error)))?;
        if lease.is_end() {
            return Err(Failure::of(Kind::Reset));
        }
        line.recorder.borrow_mut().received(lease.len());
        let known_length = expect.echo || expect.length.is_some();
        if known_length && received + lease.len() as u64 > wanted {
            return Err(Failure::of(Kind::Body));
        }
        if expect.echo && sent.bytes()[received as usize..][..lease.len()] != *lease {
            return Err(Failure::of(Kind::Body));
        }
        if let Some(digest) = &mut digest {
            digest.update(&lease);
        }
        received += lease.len() as u64;
    }
    prepared.judge_bytes(digest)
}
