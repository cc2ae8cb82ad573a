//! What is there and serves nobody.

use std::collections::HashSet;

use crate::diagnostic::Diagnostic;
use crate::model::{Action, Listener, ListenerProtocol, Part, Route, Service};

use super::fields::Fields;
use super::{Placed, Sink, balancing, route_id, service_id};

/// The services to which a listener carries bytes or datagrams.
fn carried(listener: &Listener) -> impl Iterator<Item = &Part> {
    let tcp = listener.tcp.iter().flat_map(|tcp| &tcp.split);
    tcp.chain(listener.udp.iter().flat_map(|udp| &udp.split))
}

/// Warns of services without a route and routes without a listener. Only where nothing was wrong: else a reference
/// that failed would be told twice.
pub(super) fn check(
    config: &Fields<'_>,
    services: &[Placed<Service>],
    routes: &[Placed<Route>],
    listeners: &[Placed<Listener>],
    sink: &mut Sink,
) {
    if sink.has_errors() {
        return;
    }
    let tunnels = |listener: &Listener| {
        listener.udp.is_some() || (listener.tcp.is_some() && listener.protocol == ListenerProtocol::Http)
    };
    if routes.is_empty() && !listeners.iter().all(|listener| tunnels(&listener.value)) {
        let diagnostic = Diagnostic::warning("no-routes", config.key_place("routes"), "there are no routes");
        sink.push(diagnostic.help("every request will be answered 404"));
    }
    let forwards = || {
        routes.iter().filter_map(|route| match &route.value.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        })
    };
    let parts = forwards()
        .flat_map(|forward| &forward.split)
        .chain(listeners.iter().flat_map(|one| carried(&one.value)));
    let parts: Vec<&Part> = parts.collect();
    balancing::count_subsets(&parts, services, sink);
    let copied = forwards().filter_map(|forward| forward.mirror.as_ref()).map(|mirror| mirror.service);
    let used: HashSet<_> = parts.iter().map(|part| part.service).chain(copied).collect();
    for (index, service) in services.iter().enumerate() {
        if !used.contains(&service_id(index)) {
            let message = format!("no route leads to the service `{}`", service.value.name);
            sink.push(Diagnostic::warning("unused-service", service.place, message));
        }
    }
    let served: HashSet<_> = listeners.iter().flat_map(|listener| &listener.value.routes).collect();
    for (index, route) in routes.iter().enumerate() {
        if !served.contains(&route_id(index)) {
            let message = format!("no listener serves the route `{}`", route.value.name);
            sink.push(Diagnostic::warning("unused-route", route.place, message));
        }
    }
}
