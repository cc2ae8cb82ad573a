//! What is to be done with a request: method rules, the canonical path, the route, its limits. Decides, does no I/O.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Exchange, Stop};
use crate::forwarded::{self, Claims, TrustedHops, claim};
use crate::http1::{BodyFraming, Known, Method, Refusal, Request, TargetForm};
use crate::local_reply::LocalReply;
use crate::path::{self, Canonical, PathOptions};
use crate::reason::Reason;
use crate::routing::{Headers, Matched, NoMatch, RouteQuery};
use crate::snapshot::ListenerPlan;
use crate::worker::Scratch;

/// Where the line goes on.
pub(super) enum Decision {
    /// With this route.
    Route(Matched),
    /// OPTIONS or TRACE that ends here.
    Answer(Reason),
    /// With this proof, for which an authority asks.
    Prove(Arc<str>),
}

impl Headers for Request<'_> {
    fn any_value(&self, name: &str, mut holds: impl FnMut(&[u8]) -> bool) -> bool {
        self.fields().any(|(n, value, _)| n.eq_ignore_ascii_case(name.as_bytes()) && holds(value))
    }
}

/// Goes through everything that can be said of a head alone.
pub(super) fn decide(
    x: &mut Exchange<'_>,
    plan: &ListenerPlan,
    scratch: &mut Scratch,
) -> Result<Decision, Stop> {
    name_request(x, plan);
    let request = Request { bytes: &x.head, head: &x.request };
    if let Some(challenges) = x.worker.challenges()
        && matches!(request.head.method, Method::Get | Method::Head)
        && !x.connection.link().is_tls()
        && let Some(answer) = challenges.answer(request.host(), request.path())
    {
        return Ok(Decision::Prove(answer));
    }
    match request.head.method {
        Method::Connect if !plan.allow_connect => return Err(Reason::ConnectNotAllowed.into()),
        // It has no content (RFC 9110 §9.3.6): what is announced as such would go into the tunnel.
        Method::Connect if !matches!(request.head.framing, BodyFraming::None | BodyFraming::Length(0)) => {
            return Err(Refusal::FramingForbidden.into());
        }
        Method::Trace if !plan.allow_trace => return Err(Reason::TraceNotAllowed.into()),
        Method::Trace if request.head.max_forwards == Some(0) => {
            return Ok(Decision::Answer(Reason::TraceAnswered));
        }
        Method::Options
            if request.head.form == TargetForm::Asterisk || request.head.max_forwards == Some(0) =>
        {
            return Ok(Decision::Answer(Reason::OptionsAnswered));
        }
        _ => {}
    }
    if request.known(Known::Via).is_some() && loops(&request) {
        return Err(Reason::LoopDetected.into());
    }
    canonical(&request, plan, scratch)?;
    let path = path_of(&request, scratch);
    let query = RouteQuery {
        host: request.authority(),
        path,
        query: request.query().unwrap_or_default(),
        method: request.method(),
    };
    let matched = match plan.router.route(&query, &request) {
        Ok(matched) => matched,
        Err(NoMatch::NotFound) => return Err(Reason::RouteNotFound.into()),
        Err(NoMatch::MethodNotAllowed { allow }) => {
            x.seen.allows(&allow);
            return Err(Reason::MethodNotAllowed.into());
        }
    };
    x.seen.route = Some(matched.route);
    let route = x.current.snapshot.route(matched.route);
    if !route.allow_encoded_slashes && has_encoded_slash(path) {
        return Err(Reason::EncodedSlash.into());
    }
    if let BodyFraming::Length(bytes) = request.head.framing
        && bytes > route.body_bytes_max(plan)
    {
        return Err(Reason::BodyTooLarge.into());
    }
    Ok(Decision::Route(matched))
}

/// The request's id and whom it comes from: a trusted hop is believed, anybody else is not.
fn name_request(x: &mut Exchange<'_>, plan: &ListenerPlan) {
    let peer = x.connection.peer.get();
    let believed = claims(&x.request(), peer, plan).map(|claims| {
        let client = peer.map(|peer| {
            let trusted = TrustedHops::new(plan.trusted_hops.iter().copied());
            forwarded::client_address(peer, &claims, &trusted)
        });
        (client, claims.request_id().map(SmallVec::from_slice))
    });
    let (client, kept) = believed.unwrap_or_default();
    x.seen.client = client;
    x.seen.request_id = kept.unwrap_or_else(|| SmallVec::from_buf(x.worker.ids.borrow_mut().make()));
}

/// What the peer says about the hops before it, if it is trusted to.
pub(super) fn claims<'a>(
    request: &Request<'a>,
    peer: Option<std::net::IpAddr>,
    plan: &ListenerPlan,
) -> Option<Claims<'a>> {
    if plan.trusted_hops.is_empty() || !peer.is_some_and(|peer| plan.trusts(peer)) {
        return None;
    }
    let mut claims = Claims::default();
    for (name, value, _) in request.fields() {
        if let Some(claim) = claim(name) {
            claims.note(claim, value);
        }
    }
    Some(claims)
}

fn loops(request: &Request<'_>) -> bool {
    let vias = request.fields().filter(|(_, _, field)| field.known == Known::Via);
    vias.map(|(_, value, _)| forwarded::passes(value)).sum::<usize>() > forwarded::PASSES_MAX
}

/// Makes the path canonical; afterwards [`path_of`] is that path.
fn canonical(request: &Request<'_>, plan: &ListenerPlan, scratch: &mut Scratch) -> Result<(), Stop> {
    scratch.path.clear();
    if matches!(request.head.form, TargetForm::Authority | TargetForm::Asterisk) {
        return Ok(());
    }
    // Encoded slashes pass here and are judged by the route.
    let options = PathOptions { merge_slashes: plan.merge_slashes, encoded_slashes: true };
    match path::canonical(request.path(), options, &mut scratch.path) {
        Ok(Canonical::AsGiven) => scratch.path.clear(),
        Ok(Canonical::Rewritten) => {}
        Err(refusal) => {
            let reply = LocalReply::from_parts(refusal.status(), refusal.reason(), refusal.detail());
            return Err(Stop::Reply(reply.keeping()));
        }
    }
    Ok(())
}

/// The canonical path: the one in `scratch` if there is one, else as it came.
pub(super) fn path_of<'a>(request: &Request<'a>, scratch: &'a Scratch) -> &'a [u8] {
    if scratch.path.is_empty() { request.path() } else { &scratch.path }
}

fn has_encoded_slash(path: &[u8]) -> bool {
    memchr::memchr(b'%', path).is_some() && path.windows(3).any(|w| w == b"%2F")
}

/// What TRACE answers: the request as it came, without credentials (RFC 9110 §9.3.8).
pub(super) fn echo(request: &Request<'_>, out: &mut Vec<u8>) {
    out.clear();
    for part in [request.method(), b" ", request.target(), b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    for (name, value, field) in request.fields() {
        if matches!(field.known, Known::Authorization | Known::Cookie | Known::ProxyAuthorization) {
            continue;
        }
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}
