//! Connections that carry bytes: to an endpoint of the listener's service, both ways, until both sides have ended.

use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Lease, Nanos};

use super::establish::Bytes;
use super::{Downstream, plan_of};
use crate::balance::Asked;
use crate::key::STABLE;
use crate::link::Link;
use crate::proxy_protocol;
use crate::snapshot::Part;
use crate::tunnel::{self, Tunnel};
use crate::worker::Worker;

/// Carries one connection to its end. `rest` has arrived already.
pub(super) async fn carry(
    worker: &Rc<Worker>,
    connection: &Downstream,
    bytes: Box<Bytes>,
    rest: Option<Lease>,
) {
    let Bytes { to, ends, mut seen } = *bytes;
    let current = worker.current_of(&connection.open);
    let random = if to.split.is_split() { worker.random.borrow_mut().u32(..) } else { 0 };
    let Part { service: id, view } = to.split.pick(random);
    let plan = plan_of(&current, connection);
    let idle = Duration::from_millis(plan.timeouts.tunnel_idle_ms);
    let preface = to
        .proxy_protocol
        .map(|form| Lease::copy_of(&proxy_protocol::header(form, ends.source.zip(ends.destination))));
    let service = current.services[id.0 as usize].clone();
    seen.goes_to(&current.snapshot.service(id).name);
    if let Link::Tls(session) = connection.link() {
        seen.asked_for(|| session.server_name());
        seen.shown(|| session.client().map(|client| client.name().to_owned()));
    }
    connection.link().set_deadline(Nanos::NEVER);
    let service_plan = current.snapshot.service(id);
    let client = ends.source.map(|source| source.ip()).or(connection.peer.get());
    let hash = service_plan.balancing.hash_by.hash_of_client(client, &STABLE);
    let asked = Asked { view, hash: hash.map(|hash| hash as u64), stick: None };
    let lent = service.tunnel(service_plan, &asked, Nanos::NEVER, preface).await;
    drop(current);
    match lent {
        Ok(upstream) => {
            seen.taken_by(|| upstream.endpoint.clone());
            let tunnel = Tunnel {
                upstream,
                to_upstream: rest,
                to_downstream: None,
                idle,
                is_websocket: false,
                permits: Vec::new(),
                seen,
            };
            tunnel::run(worker, connection.link(), tunnel).await;
        }
        Err(reply) => {
            worker.stats.cut.count(reply.reason, reply.status);
            seen.ended(reply.reason);
            connection.link().reset_on_close();
        }
    }
}
