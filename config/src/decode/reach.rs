//! Routes that never get a request because another one always gets it first, judged for each listener.
//!
//! Two routes meet where host and path are the same (parameter names aside). With the same methods, headers and query
//! they are duplicates; where the methods of the later are among those of the earlier, the later never comes up.
//! Anything else is told apart by precedence.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::Diagnostic;
use crate::model::{HostPattern, Listener, PathPattern, Route, Segment, ValueMatch};

use super::{Placed, Sink, paths};

/// What two routes must share to meet.
#[derive(PartialEq, Eq, Hash)]
struct Spot<'r> {
    host: Option<&'r HostPattern>,
    path: String,
    headers: Vec<&'r ValueMatch>,
    query: Vec<&'r ValueMatch>,
}

/// Reports every pair once, however many listeners serve both.
pub(super) fn check(listeners: &[Placed<Listener>], routes: &[Placed<Route>], sink: &mut Sink) {
    let mut reported = HashSet::new();
    for listener in listeners {
        let mut spots: HashMap<Spot<'_>, Vec<usize>> = HashMap::new();
        for id in &listener.value.routes {
            let later = id.0 as usize;
            let Some(route) = routes.get(later).filter(|route| route.sound) else { continue };
            for spot in spots_of(&route.value) {
                let host = spot.host;
                let there = spots.entry(spot).or_default();
                let met =
                    there.iter().copied().find(|earlier| takes_all(&routes[*earlier].value, &route.value));
                match met {
                    Some(earlier) => {
                        if reported.insert((earlier, later)) {
                            sink.push(shadowed(&listener.value, &routes[earlier], route, host));
                        }
                    }
                    None => there.push(later),
                }
            }
        }
    }
}

fn spots_of(route: &Route) -> Vec<Spot<'_>> {
    let sorted = |conditions: &'_ [ValueMatch]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..conditions.len()).collect();
        order.sort_by(|one, other| conditions[*one].name.cmp(&conditions[*other].name));
        order
    };
    let spot = |host| Spot {
        host,
        path: shape(&route.path),
        headers: sorted(&route.headers).into_iter().map(|index| &route.headers[index]).collect(),
        query: sorted(&route.query).into_iter().map(|index| &route.query[index]).collect(),
    };
    if route.hosts.is_empty() {
        return vec![spot(None)];
    }
    route.hosts.iter().map(|host| spot(Some(host))).collect()
}

/// The path with its parameters unnamed.
fn shape(path: &PathPattern) -> String {
    match path {
        PathPattern::Template(segments) => {
            let unnamed: Vec<Segment> = segments
                .iter()
                .map(|segment| match segment {
                    Segment::Parameter(_) => Segment::Parameter(String::new()),
                    other => other.clone(),
                })
                .collect();
            paths::text(&unnamed)
        }
        other => paths::pattern_text(other),
    }
}

/// Whether, on the same spot, `earlier` gets every request that `later` could. A route that names methods wins over
/// one that does not.
fn takes_all(earlier: &Route, later: &Route) -> bool {
    if earlier.methods.is_empty() || later.methods.is_empty() {
        return earlier.methods.is_empty() && later.methods.is_empty();
    }
    later.methods.iter().all(|method| earlier.methods.contains(method))
}

fn shadowed(
    listener: &Listener,
    earlier: &Placed<Route>,
    later: &Placed<Route>,
    host: Option<&HostPattern>,
) -> Diagnostic {
    let (first, second) = (&earlier.value, &later.value);
    let on = match host {
        Some(HostPattern::Exact(host)) if second.hosts.len() > 1 => format!(" for `{host}`"),
        Some(HostPattern::Suffix(host)) if second.hosts.len() > 1 => format!(" for `*.{host}`"),
        _ => String::new(),
    };
    let same_methods = first.methods.len() == second.methods.len();
    let diagnostic = if same_methods {
        let message = format!(
            "the route `{}` matches the same as `{}`{on} on the listener `{}`",
            second.name, first.name, listener.name
        );
        let diagnostic = Diagnostic::error("duplicate-route", later.place, message);
        if first.path != second.path {
            diagnostic.help("names of parameters do not tell paths apart")
        } else {
            diagnostic
        }
    } else {
        let message = format!(
            "the route `{}` is never reached{on} on the listener `{}`: `{}` has its methods too",
            second.name, listener.name, first.name
        );
        Diagnostic::warning("unreachable-route", later.place, message)
    };
    diagnostic.related(earlier.place, format!("`{}` is here", first.name))
}
