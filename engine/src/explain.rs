//! Why a request goes where it goes: the decision of a snapshot about one request, or a connection, told in full.
//!
//! Not on the request path, but of it: the routes come from the same walk of the same [`crate::routing::Router`] that
//! serves traffic, so what is explained is what happens.

mod breaking;
mod calls;
mod connection;
mod health;
mod picking;
mod rates;
mod reasons;
mod render;
mod request;
mod services;
mod tries;

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::routing::{Candidate, Matched, NoMatch, RouteId, RouteQuery};
use crate::snapshot::{ActionPlan, ForwardPlan, ListenerPlan, Origin, RoutePlan, Snapshot};

use picking::Asking;
use reasons::{failures, why_after, why_not_even};
use render::{bytes, duration};

pub use request::{ParseError, Request, Scheme};

/// Makes a path canonical: the raw path (without query), whether `//` becomes `/`, and where the result is appended.
/// The error is the reason for refusing it, in words.
pub type Canonical<'a> = &'a dyn Fn(&[u8], bool, &mut Vec<u8>) -> Result<(), String>;

/// The decision about one request. `Display` tells it in lines; [`Explanation::to_json`] for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// `GET http://api.example.com/v1/orders/7`
    pub request: String,
    /// The listener it comes to.
    pub listener: String,
    /// Why that one.
    pub listener_why: String,
    /// What is spoken there before what is explained, where that is more than HTTP.
    pub speaks: Vec<String>,
    /// The path that is matched and forwarded; empty if it was refused.
    pub path: String,
    /// What comes of it.
    pub outcome: Outcome,
    /// The route that won.
    pub route: Option<Contender>,
    /// Routes whose host and path fit too, in the order in which they would have been tried.
    pub runners_up: Vec<Contender>,
    /// Where none won and none fits by host and path: those that come closest.
    pub closest: Vec<Contender>,
    /// What is done to the request and the response, in order.
    pub policies: Vec<String>,
    /// Where it may go.
    pub services: Vec<ServiceShare>,
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes to a service.
    Forward,
    /// The route answers.
    Respond {
        /// Status code.
        status: u16,
    },
    /// The route leads elsewhere.
    Redirect {
        /// Status code.
        status: u16,
        /// Value of Location.
        location: String,
    },
    /// A local reply.
    Refuse {
        /// Status code.
        status: u16,
        /// In words.
        reason: String,
    },
    /// Bytes or datagrams go to a service.
    Carry,
    /// Of a connection: requests come by it, each of which is a decision of its own.
    Requests,
    /// Of a connection: it is closed.
    Close {
        /// In words.
        reason: String,
    },
}

/// A route and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// What it asks for, in one line.
    pub pattern: String,
    /// Why it won, lost or came close.
    pub why: String,
}

/// A service with its share of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceShare {
    /// Its name.
    pub name: String,
    /// Of this route's exchanges.
    pub percent: f64,
    /// As written in a configuration.
    pub balance: &'static str,
    /// Those that may be picked.
    pub endpoints: Vec<EndpointShare>,
    /// How, beyond the balance.
    pub picks: Vec<String>,
    /// What is spoken with them, in words.
    pub speaks: String,
    /// In words; empty where there are none.
    pub timeouts: String,
    /// How much it may be asked at once, in words; empty where nothing is set.
    pub limits: String,
    /// How its endpoints are checked and judged, a line for each.
    pub judged: Vec<String>,
}

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointShare {
    /// As written.
    pub address: String,
    /// Its share among its siblings.
    pub weight: u16,
    /// Lower ones are asked first.
    pub level: u8,
    /// Where it is.
    pub zone: Option<String>,
    /// That is where this node is.
    pub is_near: bool,
}

/// Decides about `request` as a worker would.
pub fn explain(snapshot: &Snapshot, request: &Request, canonical: Canonical<'_>) -> Explanation {
    let (listener, listener_why) = connection::choose(snapshot, request, canonical);
    let mut explanation = Explanation {
        request: request.to_string(),
        listener: listener.map_or_else(String::new, |listener| listener.name.to_string()),
        listener_why,
        speaks: vec![],
        path: String::new(),
        outcome: Outcome::Refuse { status: 404, reason: "there is no listener".into() },
        route: None,
        runners_up: vec![],
        closest: vec![],
        policies: vec![],
        services: vec![],
    };
    let Some(listener) = listener else { return explanation };
    explanation.speaks = connection::speaks(listener, request);
    match connection::outcome(&mut explanation, snapshot, listener, request) {
        Some(outcome) => explanation.outcome = outcome,
        None => match canonical_path(listener, request, canonical) {
            Ok(path) => decide(&mut explanation, snapshot, listener, request, &path, canonical),
            Err(reason) => explanation.outcome = Outcome::Refuse { status: 400, reason },
        },
    }
    explanation
}

fn canonical_path(
    listener: &ListenerPlan,
    request: &Request,
    canonical: Canonical<'_>,
) -> Result<Vec<u8>, String> {
    let mut path = Vec::new();
    if request.path.starts_with('/') {
        canonical(request.path.as_bytes(), listener.merge_slashes, &mut path)?;
    } else {
        path.extend_from_slice(request.path.as_bytes());
    }
    Ok(path)
}

fn query<'a>(request: &'a Request, path: &'a [u8]) -> RouteQuery<'a> {
    RouteQuery {
        host: request.authority.as_bytes(),
        path,
        query: request.query.as_bytes(),
        method: request.method.as_bytes(),
    }
}

fn decide(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    listener: &ListenerPlan,
    request: &Request,
    path: &[u8],
    canonical: Canonical<'_>,
) {
    explanation.path = String::from_utf8_lossy(path).into_owned();
    if explanation.path != request.path {
        explanation.policies.push(format!("canonical path: {} becomes {}", request.path, explanation.path));
    }
    let query = query(request, path);
    let candidates = listener.router.candidates(&query);
    match listener.router.route(&query, &request.headers[..]) {
        Ok(matched) => {
            tell_contest(explanation, snapshot, &candidates, matched.route, request, &query);
            let route = snapshot.route(matched.route);
            tell_policies(explanation, snapshot, listener, route, request, path);
            let again = |path: &[u8]| {
                let mut out = Vec::new();
                canonical(path, listener.merge_slashes, &mut out).map(|()| out)
            };
            explanation.outcome = outcome(explanation, snapshot, route, matched, request, path, again);
        }
        Err(no_match) => {
            let (status, reason) = match no_match {
                NoMatch::NotFound => (404, "no route matches".to_owned()),
                NoMatch::MethodNotAllowed { allow } => {
                    (405, format!("routes match in all but the method; Allow: {allow}"))
                }
            };
            explanation.outcome = Outcome::Refuse { status, reason };
            explanation.runners_up = distinct(&candidates, None)
                .map(|c| contender(snapshot, c.admission.route, failures(c, &query, &request.headers)))
                .collect();
            if candidates.is_empty() {
                explanation.closest = closest(snapshot, listener, &query);
            }
        }
    }
}

fn tell_contest(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    candidates: &[Candidate<'_>],
    winner: RouteId,
    request: &Request,
    query: &RouteQuery<'_>,
) {
    let admits = |c: &Candidate<'_>| c.admission.failures(query, &request.headers[..]).is_empty();
    let Some(won) = candidates.iter().position(|c| c.admission.route == winner && admits(c)) else { return };
    let before = distinct(&candidates[..won], Some(winner)).count();
    let why = match (before, candidates.len()) {
        (0, 1) => "no other route fits by host and path".to_owned(),
        (0, _) => "it is the most specific of those that fit by host and path".to_owned(),
        (1, _) => "it is the most specific that matches; one more specific does not".to_owned(),
        (n, _) => format!("it is the most specific that matches; {n} more specific ones do not"),
    };
    explanation.route = Some(contender(snapshot, winner, why));
    let tell = |c: &Candidate<'_>| {
        let place = candidates.iter().position(|other| other.admission.route == c.admission.route);
        let failed = failures(c, query, &request.headers);
        let why = match place {
            Some(place) if place < won => format!("more specific, but {failed}"),
            _ => {
                let less = why_after(snapshot, &candidates[won], c);
                if failed.is_empty() { less } else { format!("{less}; also {failed}") }
            }
        };
        contender(snapshot, c.admission.route, why)
    };
    explanation.runners_up = distinct(candidates, Some(winner)).map(tell).collect();
}

/// Each route once, where it stands first.
fn distinct<'c, 'r>(
    candidates: &'c [Candidate<'r>],
    but: Option<RouteId>,
) -> impl Iterator<Item = &'c Candidate<'r>> {
    candidates.iter().enumerate().filter_map(move |(place, candidate)| {
        let route = candidate.admission.route;
        let seen = candidates[..place].iter().any(|earlier| earlier.admission.route == route);
        (!seen && Some(route) != but).then_some(candidate)
    })
}

fn contender(snapshot: &Snapshot, id: RouteId, why: String) -> Contender {
    let route = snapshot.route(id);
    Contender { name: route.name.to_string(), pattern: reasons::pattern(&route.rule), why }
}

/// Routes that fit by path on another host; else those that share most of the path.
fn closest(snapshot: &Snapshot, listener: &ListenerPlan, query: &RouteQuery<'_>) -> Vec<Contender> {
    const TOLD_MAX: usize = 3;
    let elsewhere = listener.router.candidates_on_any_host(query.path);
    if !elsewhere.is_empty() {
        let told = distinct(&elsewhere, None).take(TOLD_MAX);
        let why = "its path fits, its host does not".to_owned();
        return told.map(|c| contender(snapshot, c.admission.route, why.clone())).collect();
    }
    let mut near: Vec<(usize, RouteId)> = listener
        .routes
        .iter()
        .map(|&id| (reasons::shared_segments(&snapshot.route(id).rule.path, query.path), id))
        .filter(|(shared, _)| *shared > 0)
        .collect();
    near.sort_by_key(|(shared, id)| (std::cmp::Reverse(*shared), *id));
    let told = near.into_iter().take(TOLD_MAX);
    told.map(|(shared, id)| contender(snapshot, id, why_not_even(shared, query.path))).collect()
}

fn tell_policies(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    listener: &ListenerPlan,
    route: &RoutePlan,
    request: &Request,
    path: &[u8],
) {
    let policies = &mut explanation.policies;
    policies.extend(breaking::priority(route.priority));
    if has_encoded_slash(path) && route.allow_encoded_slashes {
        policies.push("encoded slashes: pass as they are".into());
    }
    #[expect(clippy::disallowed_methods, reason = "not on a worker: whoever asks is told by the wall clock")]
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for fault in &route.faults {
        let over = if fault.holds(now_s) { "" } else { " (over: it has no effect)" };
        policies.push(format!("fault: {}{over}", fault.told));
    }
    let limit = match route.body_bytes_max(listener) {
        u64::MAX => "any size".to_owned(),
        most => format!("at most {}, else 413", bytes(most)),
    };
    policies.push(format!("request body: {limit}"));
    policies.extend(rates::policies(snapshot, route, request, path));
    policies.extend(render::header_ops("request headers", &route.request_headers));
    let ActionPlan::Forward(forward) = &route.action else { return };
    if let Some(host) = &forward.rewrite_host {
        policies.push(format!("rewrite: host becomes {}", String::from_utf8_lossy(host)));
    }
    if let Some(asked) = request.header("upgrade") {
        let mut protocols = asked.split(',').map(str::trim);
        let taken = protocols.find(|protocol| listener.allows_upgrade(protocol.as_bytes()));
        policies.push(match taken {
            Some(protocol) => format!(
                "upgrade: {protocol} is asked for; once agreed, bytes both ways until nothing has moved for {}",
                duration(listener.timeouts.tunnel_idle_ms)
            ),
            None => format!("upgrade: {asked} is not among the listener's upgrades, so it is not asked for"),
        });
    }
}

fn has_encoded_slash(path: &[u8]) -> bool {
    path.windows(3).any(|three| three.eq_ignore_ascii_case(b"%2f"))
}

fn outcome(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    route: &RoutePlan,
    matched: Matched,
    request: &Request,
    path: &[u8],
    canonical_again: impl Fn(&[u8]) -> Result<Vec<u8>, String>,
) -> Outcome {
    if has_encoded_slash(path) && !route.allow_encoded_slashes {
        let reason = "the path has an encoded slash and the route does not allow it".to_owned();
        return Outcome::Refuse { status: 400, reason };
    }
    let outcome = match &route.action {
        ActionPlan::Forward(forward) => {
            if let Some(outcome) = calls::outcome(explanation, forward, request, path) {
                return outcome;
            }
            if let Some(fill) = &forward.rewrite_path {
                let mut filled = Vec::new();
                fill.fill(matched, path, &mut filled);
                let rewritten = match canonical_again(&filled) {
                    Ok(path) => path,
                    Err(reason) => {
                        return Outcome::Refuse {
                            status: 400,
                            reason: format!("the rewritten path: {reason}"),
                        };
                    }
                };
                explanation
                    .policies
                    .push(format!("rewrite: path becomes {}", String::from_utf8_lossy(&rewritten)));
            }
            tell_services(explanation, snapshot, forward, Asking { request, path });
            explanation.policies.extend(tries::tell(snapshot, forward, request));
            Outcome::Forward
        }
        ActionPlan::Respond(respond) => Outcome::Respond { status: respond.status },
        ActionPlan::Redirect(redirect) => {
            let mut location = Vec::new();
            let from = Origin { https: request.scheme.is_tls(), authority: request.authority.as_bytes() };
            redirect.location(from, matched, path, request.query.as_bytes(), &mut location);
            let location = String::from_utf8_lossy(&location).into_owned();
            Outcome::Redirect { status: redirect.status, location }
        }
    };
    explanation.policies.extend(render::header_ops("response headers", &route.response_headers));
    outcome
}

fn tell_services(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    forward: &ForwardPlan,
    asking: Asking<'_>,
) {
    if let Some(ms) = forward.timeout_ms {
        explanation.policies.push(format!("timeout: the exchange within {}, else 504", duration(ms)));
    }
    for (part, _) in forward.split.weights() {
        let service = snapshot.service(part.service);
        if service.authority_as_host && forward.rewrite_host.is_none() {
            let authority = String::from_utf8_lossy(&service.authority);
            explanation.policies.push(format!("host sent to {}: {authority}", service.name));
        }
    }
    explanation.services =
        services::shares(snapshot, &forward.split, services::Carries::Requests, Some(asking));
    explanation.policies.extend(picking::split_by(snapshot, forward, asking));
}
