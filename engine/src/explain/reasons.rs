//! Why one route comes after another, and what a request lacks for a route, in words.

use std::cmp::Ordering;

use crate::routing::{
    Candidate, Condition, Failure, HostRank, PathKind, PathRule, RouteQuery, RouteRule, Segment,
};
use crate::snapshot::Snapshot;

/// `GET,POST api.example.com/v1/orders/** with header x-tenant: acme`
pub(super) fn pattern(rule: &RouteRule) -> String {
    let methods =
        if rule.methods.is_empty() { String::new() } else { format!("{} ", rule.methods.join(",")) };
    let hosts: Vec<String> = rule.hosts.iter().map(ToString::to_string).collect();
    let hosts = match &hosts[..] {
        [one] => one.clone(),
        many if many.len() > 1 => format!("({})", many.join(", ")),
        _ => String::new(),
    };
    let headers = rule.headers.iter().map(|c| format!("header {}", header(c)));
    let query = rule.query.iter().map(|c| format!("query {}", parameter(c)));
    let conditions: Vec<String> = headers.chain(query).collect();
    let with = if conditions.is_empty() { String::new() } else { format!(" with {}", conditions.join(", ")) };
    format!("{methods}{hosts}{}{with}", rule.path)
}

fn header(condition: &Condition) -> String {
    format!("{}: {}", condition.name, condition.value.as_deref().unwrap_or("*"))
}

fn parameter(condition: &Condition) -> String {
    format!("{}={}", condition.name, condition.value.as_deref().unwrap_or("*"))
}

/// What the request fails in; empty if in nothing.
pub(super) fn failures(
    candidate: &Candidate<'_>,
    query: &RouteQuery<'_>,
    headers: &[(String, String)],
) -> String {
    let found = |name: &str| {
        headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    };
    let tell = |failure: &Failure| match failure {
        Failure::Method(methods) => format!("the method is not {}", methods.join(" or ")),
        Failure::Header(c) => match found(&c.name) {
            None => format!("header {} is missing", c.name),
            Some(value) => {
                format!("header {} is `{value}`, not `{}`", c.name, c.value.as_deref().unwrap_or("*"))
            }
        },
        Failure::Query(c) => match &c.value {
            None => format!("query parameter {} is missing", c.name),
            Some(_) => format!("the query has no {}", parameter(c)),
        },
    };
    let all = candidate.admission.failures(query, headers);
    all.iter().map(tell).collect::<Vec<_>>().join(" and ")
}

/// Why `loser` is tried only after `winner`: the first difference in the precedence.
pub(super) fn why_after(snapshot: &Snapshot, winner: &Candidate<'_>, loser: &Candidate<'_>) -> String {
    if winner.host != loser.host {
        return match (winner.host, loser.host) {
            (HostRank::Suffix { .. }, HostRank::Suffix { .. }) => "its host suffix is shorter",
            (_, HostRank::Any) => "it is for any host",
            _ => "its host is a wildcard",
        }
        .to_owned();
    }
    match (winner.path, loser.path) {
        (PathKind::Exact, PathKind::Template) => return "a template comes after an exact path".into(),
        (PathKind::Exact, PathKind::Prefix) => return "a prefix comes after an exact path".into(),
        (PathKind::Template, PathKind::Prefix) => return "a prefix comes after a template".into(),
        _ => {}
    }
    let (won, lost) =
        (&snapshot.route(winner.admission.route).rule, &snapshot.route(loser.admission.route).rule);
    if let Some(why) = path_difference(&won.path, &lost.path) {
        return why.into();
    }
    if won.methods.is_empty() != lost.methods.is_empty() {
        return "it takes any method".into();
    }
    let weight = |conditions: &[Condition]| {
        (conditions.len(), conditions.iter().filter(|c| c.value.is_some()).count())
    };
    match (weight(&won.headers).cmp(&weight(&lost.headers)), weight(&won.query).cmp(&weight(&lost.query))) {
        (Ordering::Greater, _) => "it asks less of headers".into(),
        (Ordering::Equal, Ordering::Greater) => "it asks less of the query".into(),
        _ => "it was written later".into(),
    }
}

fn path_difference(won: &PathRule, lost: &PathRule) -> Option<&'static str> {
    let (PathRule::Segments(won), PathRule::Segments(lost)) = (won, lost) else { return None };
    for (w, l) in won.iter().zip(lost) {
        match (w, l) {
            (_, Segment::Rest) if *w != Segment::Rest => return Some("its prefix is shorter"),
            (Segment::Literal(_), Segment::Parameter(_)) => {
                return Some("it has a parameter where the winner has a literal");
            }
            _ => {}
        }
    }
    None
}

/// Leading segments of `path` that a route's path has too.
pub(super) fn shared_segments(rule: &PathRule, path: &[u8]) -> usize {
    let text = rule.to_string();
    let asked = text.split('/').skip(1);
    let there = path.split(|&b| b == b'/').skip(1);
    asked
        .zip(there)
        .take_while(|(asked, there)| {
            asked.as_bytes() == *there || (asked.starts_with('{') && !there.is_empty())
        })
        .count()
}

/// Why a route whose path does not fit was still worth naming.
pub(super) fn why_not_even(shared: usize, path: &[u8]) -> String {
    let pieces: Vec<_> =
        path.split(|&b| b == b'/').skip(1).take(shared).map(String::from_utf8_lossy).collect();
    format!("its path shares /{} with the request, not more", pieces.join("/"))
}
