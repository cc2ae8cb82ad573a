//! `services`

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{
    Balance, Balancing, Breaker, Endpoint, EndpointAddress, EndpointBreaker, HostPolicy, Http2, Pool,
    Position, RetryBudget, Service, ServiceProtocol, ServiceTimeouts,
};
use crate::tree::{Node, Value};
use crate::units::{Problem, quoted};

use super::fields::Fields;
use super::{Placed, Sink, address, balancing, breaking, health, hosts, name, protocols, retries, tls};

/// Services of one file.
const SERVICES_MAX: usize = 100_000;
/// Endpoints of one service.
const ENDPOINTS_MAX: usize = 10_000;

/// Every service that has a name, sorted by it, also where something in it is wrong: references to it hold.
pub(super) fn services(config: &Fields<'_>, sink: &mut Sink) -> Vec<Placed<Service>> {
    let mut services = Vec::new();
    for (key, entry) in config.named("services", SERVICES_MAX, sink) {
        if let Err(problem) = name(key) {
            sink.problem(&entry.key, problem);
        }
        let value = service(key, &entry.value, sink);
        services.push(Placed { value, place: entry.key.place, sound: true });
    }
    services.sort_by(|one, other| one.value.name.cmp(&other.value.name));
    services
}

fn service(name: &str, node: &Node, sink: &mut Sink) -> Service {
    let opened = Fields::open(node, &tables::SERVICE, sink);
    let Some(fields) = opened else {
        return Service {
            name: name.to_owned(),
            endpoints: Vec::new(),
            balance: Balance::default(),
            balancing: Balancing::default(),
            authority: String::new(),
            host: HostPolicy::default(),
            timeouts: ServiceTimeouts {
                connect: Default::default(),
                response_head: Default::default(),
                idle: Default::default(),
            },
            pool: Pool { idle: 0, idle_timeout: Default::default() },
            breaker: Breaker {
                connections: None,
                requests: None,
                pending: 0,
                wait: Default::default(),
                retries: None,
                endpoint: EndpointBreaker { connections: 0, requests: None },
            },
            concurrency: None,
            protocol: ServiceProtocol::default(),
            tls: None,
            http2: Http2 { streams: 0, window: 0, connection_window: 0 },
            http2_keep_alive: None,
            retry_budget: RetryBudget { share: 0, floor: 0 },
            health: None,
            eject: None,
        };
    };
    let endpoints = endpoints(name, &fields, sink);
    let authority = fields.parsed("authority", sink, |_, text| hosts::authority(text));
    let authority = authority.unwrap_or_else(|| endpoints.first().map(default_authority).unwrap_or_default());
    let protocols = [ServiceProtocol::Http1, ServiceProtocol::Http2, ServiceProtocol::Auto];
    let tls = tls::service(&fields, &authority, sink);
    let balances = [
        Balance::RoundRobin,
        Balance::LeastRequest,
        Balance::PeakEwma,
        Balance::Random,
        Balance::RingHash,
        Balance::Maglev,
    ];
    let balance = fields.chosen("balance", &balances, sink);
    let protocol = fields.chosen("protocol", &protocols, sink);
    let breaker = breaking::breaker(&fields, sink);
    let http2 = fields.object_or_default("http2", &tables::SERVICE_HTTP2, sink);
    Service {
        name: name.to_owned(),
        endpoints,
        balance,
        balancing: balancing::balancing(&fields, balance, sink),
        authority,
        host: fields.chosen("host", &[HostPolicy::Preserve, HostPolicy::Service], sink),
        timeouts: timeouts(&fields, sink),
        pool: pool(&fields, &breaker, sink),
        breaker,
        concurrency: breaking::concurrency(&fields, sink),
        protocol,
        tls,
        http2: protocols::bounds(&http2, sink),
        http2_keep_alive: http2.duration_or("keep_alive", sink),
        retry_budget: retries::budget(&fields, sink),
        health: health::health(&fields, protocol, sink),
        eject: health::eject(&fields, sink),
    }
}

fn endpoints(service: &str, fields: &Fields<'_>, sink: &mut Sink) -> Vec<Endpoint> {
    let items = fields.list("endpoints", ENDPOINTS_MAX, sink);
    if let Some(node) = fields.node("endpoints")
        && items.is_empty()
        && node.value == Value::List(Vec::new())
    {
        sink.problem(node, Problem::new("empty-list", format!("the service `{service}` has no endpoints")));
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashMap::with_capacity(items.len());
    for item in items {
        let Some((endpoint, place)) = endpoint(item, sink) else { continue };
        match seen.get(&endpoint.address) {
            Some(first) => {
                let message = format!(
                    "the endpoint {} is there twice",
                    quoted(&address::endpoint_text(&endpoint.address))
                );
                let diagnostic = Diagnostic::warning("duplicate-endpoint", place, message);
                sink.push(
                    diagnostic.related(*first, "the first is here").help("for a larger share write `weight`"),
                );
            }
            None => {
                seen.insert(endpoint.address.clone(), place);
            }
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn endpoint(item: &Node, sink: &mut Sink) -> Option<(Endpoint, crate::diagnostic::Place)> {
    if let Value::Text(text) = &item.value {
        return match address::endpoint(text) {
            Ok(address) => Some((Endpoint { address, weight: 1, position: Position::default() }, item.place)),
            Err(problem) => {
                sink.problem(item, problem);
                None
            }
        };
    }
    let fields = Fields::open(item, &tables::ENDPOINT_OBJECT, sink)?;
    let address = fields.parsed("address", sink, |_, text| address::endpoint(text));
    let weight = fields.integer("weight", sink);
    let position = balancing::position(&fields, sink);
    Some((Endpoint { address: address?, weight, position }, fields.value_place("address")))
}

/// What an HTTP/1.0 request without Host is given: the first endpoint as written, without `dns:`.
fn default_authority(endpoint: &Endpoint) -> String {
    match &endpoint.address {
        EndpointAddress::Static(crate::model::Address::Unix(_)) => "localhost".to_owned(),
        EndpointAddress::Static(address) => address::text(address),
        EndpointAddress::Dns { name, port } => format!("{name}:{port}"),
    }
}

fn timeouts(service: &Fields<'_>, sink: &mut Sink) -> ServiceTimeouts {
    let fields = service.object_or_default("timeouts", &tables::SERVICE_TIMEOUTS, sink);
    ServiceTimeouts {
        connect: fields.duration("connect", sink),
        response_head: fields.duration("response_head", sink),
        idle: fields.duration("idle", sink),
    }
}

fn pool(service: &Fields<'_>, breaker: &Breaker, sink: &mut Sink) -> Pool {
    let fields = service.object_or_default("pool", &tables::POOL, sink);
    let connections = breaker.endpoint.connections;
    let idle: u32 = fields.integer("idle", sink);
    if let Some(node) = fields.node("idle")
        && idle > connections
    {
        let message =
            format!("more idle connections ({idle}) than `breaker.endpoint.connections` ({connections})");
        sink.problem(node, Problem::new("out-of-range", message));
    }
    Pool { idle: idle.min(connections), idle_timeout: fields.duration("idle_timeout", sink) }
}
