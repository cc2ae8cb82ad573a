//! Leaving the line for a tunnel: 101 and CONNECT.

use std::time::Duration;

use ringway_runtime::Lease;

use super::forward::{Answer, Course};
use super::{Exchange, Next, Permit, Stop, drafted};
use crate::carried::Carried;
use crate::http1::{self, BodyFraming, Response, Version};
use crate::outgoing::{Announced, Connection, ResponseOut};
use crate::reason::Reason;
use crate::snapshot::ListenerPlan;
use crate::tunnel::Tunnel;
use crate::upstream::Lent;
use crate::websocket;
use crate::worker::Scratch;

/// The first protocol asked for that is allowed. A body and an upgrade don't go together here: which of the bytes
/// that follow would be the body's is a question smugglers like.
pub(super) fn upgrade<'a>(request: &http1::Request<'a>, plan: &ListenerPlan) -> Option<&'a [u8]> {
    let bodyless = matches!(request.head.framing, BodyFraming::None | BodyFraming::Length(0));
    if request.head.upgrade.is_none() || request.head.version == Version::Http10 || !bodyless {
        return None;
    }
    request.upgrades().find(|protocol| plan.allows_upgrade(protocol))
}

/// 101: passes the head on and leaves the line for a tunnel.
pub(super) fn switch(
    x: &mut Exchange<'_>,
    scratch: &mut Scratch,
    course: &Course<'_>,
    lent: Lent,
    answer: Answer,
    rest: &mut Option<Lease>,
) -> Result<Next, Stop> {
    let response = Response { bytes: &answer.bytes, head: &scratch.response };
    let is_websocket = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"websocket");
    let asked = upgrade(&x.request(), course.listener);
    let switched = scratch.response.upgrade.map(|span| span.of(&answer.bytes));
    let agreed =
        matches!((asked, switched), (Some(asked), Some(switched)) if asked.eq_ignore_ascii_case(switched));
    // A client of HTTP/2 did not make the key, so nobody else would notice a wrong answer to it.
    let proven = x.request.version != Version::Http2
        || !asked.is_some_and(is_websocket)
        || response.get(b"sec-websocket-accept")
            == Some(websocket::accept_of(websocket::key_in(&x.head)).as_bytes());
    if !(agreed && proven) {
        // `rest` stays: it begins the next request, and what follows it must not be read without it.
        return Err(Reason::UpstreamBadUpgrade.into());
    }
    let out = ResponseOut {
        response,
        announced: Announced::Nothing,
        connection: Connection::Upgrade,
        plan: &course.route.response_headers,
        date: b"",
        told: None,
        lines: &x.seen.lines,
    };
    let head = drafted(x.client.draft(), |writer| out.write(writer));
    let is_websocket = asked.is_some_and(is_websocket);
    x.seen.sent(head.len() as u64);
    x.seen.status = 101;
    x.client.send_head(head, false);
    let early = (answer.bytes.len() > answer.len).then(|| answer.bytes.slice(answer.len..answer.bytes.len()));
    Ok(Next::Tunnel(Box::new(Tunnel {
        upstream: lent,
        to_upstream: rest.take(),
        to_downstream: early,
        idle: Duration::from_millis(course.listener.timeouts.tunnel_idle_ms),
        is_websocket,
        permits: std::mem::take(&mut scratch.permits),
        seen: Carried::default(),
    })))
}

/// CONNECT, where a listener allows it: the endpoint is the other end of a tunnel (RFC 9110 §9.3.6).
pub(super) fn connect(
    x: &mut Exchange<'_>,
    plan: &ListenerPlan,
    lent: Lent,
    rest: Option<Lease>,
    permits: Vec<Permit>,
) -> Result<Next, Stop> {
    x.client.send_head(Lease::copy_of(b"HTTP/1.1 200 OK\r\n\r\n"), false);
    x.seen.status = 200;
    Ok(Next::Tunnel(Box::new(Tunnel {
        upstream: lent,
        to_upstream: rest,
        to_downstream: None,
        idle: Duration::from_millis(plan.timeouts.tunnel_idle_ms),
        is_websocket: false,
        permits,
        seen: Carried::default(),
    })))
}
