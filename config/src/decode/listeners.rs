//! `listeners`

use std::collections::HashMap;

use ipnet::IpNet;

use crate::describe::tables;
use crate::diagnostic::{Diagnostic, Place};
use crate::model::{
    Address, ErrorFormat, Listener, ListenerLimits, ListenerProtocol, ListenerTimeouts, Route, RouteId,
    Service, SocketOptions,
};
use crate::tree::Value;
use crate::units::{Problem, quoted};

use super::acme::Accounts;
use super::fields::{Fields, text_of};
use super::near::nearest;
use super::{Placed, Sink, address, arrivals, headers, name, protocols, route_id, tls};

/// Listeners of one file.
const LISTENERS_MAX: usize = 1000;

/// Every listener with a good address. Its place is that of the address.
pub(super) fn listeners(
    config: &Fields<'_>,
    services: &[Placed<Service>],
    routes: &[Placed<Route>],
    accounts: &mut Accounts,
    sink: &mut Sink,
) -> Vec<Placed<Listener>> {
    let nodes = config.list("listeners", LISTENERS_MAX, sink);
    if let Some(node) = config.node("listeners")
        && node.value == Value::List(Vec::new())
    {
        let problem = Problem::new("empty-list", "there are no listeners");
        sink.problem(node, problem.help("add one: `- { name: web, address: 127.0.0.1:8080 }`"));
    }
    let mut ids: HashMap<&str, RouteId> = HashMap::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        ids.entry(&route.value.name).or_insert_with(|| route_id(index));
    }
    let mut names: HashMap<String, Place> = HashMap::new();
    let serving = nodes.iter().filter(|node| protocols::is_http_node(node)).count();
    let mut listeners = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(fields) = Fields::open(node, &tables::LISTENER, sink) else { continue };
        let name = fields.parsed("name", sink, |_, text| name(text)).unwrap_or_default();
        let place = fields.value_place("name");
        if let Some(first) = names.get(&name).filter(|_| !name.is_empty()) {
            let diagnostic =
                Diagnostic::error("duplicate-name", place, format!("two listeners are named `{name}`"));
            sink.push(diagnostic.related(*first, "the first is here"));
        }
        names.entry(name.clone()).or_insert(place);
        let served = match protocols::is_http(&fields) {
            true => served(&fields, &ids, routes, serving, sink),
            false => Vec::new(),
        };
        if let Some(value) = listener(name, served, &fields, (services, routes, accounts), sink) {
            listeners.push(Placed { value, place: fields.value_place("address"), sound: true });
        }
    }
    listeners
}

fn listener(
    name: String,
    routes: Vec<RouteId>,
    fields: &Fields<'_>,
    (services, all_routes, accounts): (&[Placed<Service>], &[Placed<Route>], &mut Accounts),
    sink: &mut Sink,
) -> Option<Listener> {
    let address = fields.parsed("address", sink, |_, text| address::listen(text));
    let tls = tls::listener(fields, accounts, sink);
    let protocol = fields.chosen("protocol", &[ListenerProtocol::Http, ListenerProtocol::Auto], sink);
    let tcp = protocols::tcp(fields, services, sink);
    let udp = protocols::udp(fields, services, sink);
    let detect = protocols::detect(fields, sink);
    let http2 = protocols::listener_http2(fields, sink);
    protocols::check(fields, protocol, &tls, &tcp, &routes, all_routes, sink);
    if udp.is_some() && matches!(address, Some(Address::Unix(_))) {
        let message = "datagrams are carried over IP only";
        sink.push(Diagnostic::error("conflict", fields.value_place("address"), message));
    }
    let proxy_protocol = networks(fields, "proxy_protocol", sink);
    if matches!(address, Some(Address::Unix(_))) && !proxy_protocol.is_empty() {
        let message = "peers on a Unix socket have no address that could be trusted";
        sink.push(Diagnostic::error("conflict", fields.key_place("proxy_protocol"), message));
    }
    let trusted_hops = networks(fields, "trusted_hops", sink);
    let limits = limits(fields, sink);
    if limits.client_rate.is_some() && matches!(address, Some(Address::Unix(_))) && proxy_protocol.is_empty()
    {
        let message = "clients on a Unix socket have no address, and so no `client_rate`";
        sink.push(Diagnostic::error("conflict", fields.key_place("limits"), message));
    }
    let timeouts = timeouts(fields, sink);
    let socket = socket(fields, sink);
    let upgrades = upgrades(fields, sink);
    let underscores = fields.boolean("underscores", sink);
    let merge_slashes = fields.boolean("merge_slashes", sink);
    let connect = fields.boolean("connect", sink);
    let trace = fields.boolean("trace", sink);
    let errors = fields.chosen("errors", &[ErrorFormat::Problem, ErrorFormat::Text], sink);
    Some(Listener {
        name,
        address: address?,
        routes,
        tls,
        protocol,
        tcp,
        udp,
        detect,
        http2,
        proxy_protocol,
        trusted_hops,
        limits,
        timeouts,
        socket,
        upgrades,
        underscores,
        merge_slashes,
        connect,
        trace,
        errors,
    })
}

/// The routes it serves, in the order of `routes`.
fn served(
    fields: &Fields<'_>,
    ids: &HashMap<&str, RouteId>,
    routes: &[Placed<Route>],
    listeners: usize,
    sink: &mut Sink,
) -> Vec<RouteId> {
    let all = || (0..routes.len()).map(route_id).collect();
    let Some(node) = fields.node("routes") else {
        if listeners > 1 {
            let message = "with several listeners for HTTP each says which routes it serves";
            let diagnostic = Diagnostic::error("missing-field", fields.place, message);
            sink.push(diagnostic.help("write `routes: [ names ]` or `routes: all`"));
            return Vec::new();
        }
        return all();
    };
    let items = match &node.value {
        Value::Text(text) if text == "all" => return all(),
        Value::List(items) => items,
        Value::Text(text) => {
            let problem = Problem::new("wrong-type", format!("{} is neither `all` nor a list", quoted(text)));
            sink.problem(node, problem.help(format!("did you mean `[ {text} ]`?")));
            return Vec::new();
        }
        _ => {
            text_of(node, "`all` or a list of routes", sink);
            return Vec::new();
        }
    };
    let mut served = Vec::with_capacity(items.len());
    for item in items {
        let Some(text) = text_of(item, "a route's name", sink) else { continue };
        match ids.get(text) {
            Some(id) => served.push(*id),
            None => {
                let problem = Problem::new("unknown-route", format!("there is no route {}", quoted(text)));
                let near = if sink.is_full() {
                    None
                } else {
                    nearest(text, routes.iter().map(|r| r.value.name.as_str()))
                };
                sink.problem(
                    item,
                    match near {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem,
                    },
                );
            }
        }
    }
    let count = served.len();
    served.sort_unstable();
    served.dedup();
    if served.len() < count {
        sink.push(Diagnostic::warning("repeated", node.place, "a route is in this list twice"));
    }
    served
}

fn networks(fields: &Fields<'_>, field: &str, sink: &mut Sink) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (text, node) in fields.texts(field, sink) {
        match address::network(text) {
            Ok(network) => networks.push(network),
            Err(problem) => sink.problem(node, problem),
        }
    }
    networks
}

fn upgrades(fields: &Fields<'_>, sink: &mut Sink) -> Vec<String> {
    if !fields.has("upgrades") {
        return vec!["websocket".to_owned()];
    }
    let mut upgrades = Vec::new();
    for (text, node) in fields.texts("upgrades", sink) {
        let lower = text.to_ascii_lowercase();
        if lower == "h2c" {
            sink.problem(node, Problem::new("bad-choice", "`h2c` is never upgraded to"));
        } else if !headers::is_token(text) {
            sink.problem(
                node,
                Problem::new("bad-choice", format!("{} is not a protocol's name", quoted(text))),
            );
        } else if !upgrades.contains(&lower) {
            upgrades.push(lower);
        }
    }
    upgrades
}

fn limits(listener: &Fields<'_>, sink: &mut Sink) -> ListenerLimits {
    let fields = listener.object_or_default("limits", &tables::LIMITS, sink);
    let head = fields.size("head", sink);
    let target = fields.size("target", sink);
    if let Some(node) = fields.node("target")
        && target > head
    {
        sink.problem(
            node,
            Problem::new("out-of-range", "the target is part of the head and can't be larger"),
        );
    }
    ListenerLimits {
        connections: fields.integer("connections", sink),
        connection_rate: fields.rate_or("connection_rate", sink),
        client_rate: arrivals::client_rate(&fields, sink),
        head,
        headers: fields.integer("headers", sink),
        target: target.min(head),
        body: fields.size_or("body", sink),
        requests: fields.integer_or("requests", sink).and_then(|requests| u32::try_from(requests).ok()),
    }
}

fn timeouts(listener: &Fields<'_>, sink: &mut Sink) -> ListenerTimeouts {
    let fields = listener.object_or_default("timeouts", &tables::LISTENER_TIMEOUTS, sink);
    ListenerTimeouts {
        head: fields.duration("head", sink),
        idle: fields.duration("idle", sink),
        min_rate: fields.rate_or("min_rate", sink).unwrap_or(0),
        handshake: fields.duration("handshake", sink),
        tunnel_idle: fields.duration("tunnel_idle", sink),
        linger: fields.duration("linger", sink),
    }
}

fn socket(listener: &Fields<'_>, sink: &mut Sink) -> SocketOptions {
    let fields = listener.object_or_default("socket", &tables::SOCKET, sink);
    let bytes = |size: Option<u64>| size.and_then(|size| u32::try_from(size).ok());
    SocketOptions {
        backlog: fields.integer("backlog", sink),
        receive_buffer: bytes(fields.size_or("receive_buffer", sink)),
        send_buffer: bytes(fields.size_or("send_buffer", sink)),
    }
}
