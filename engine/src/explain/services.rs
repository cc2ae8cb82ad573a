//! Services with their shares: endpoints, what is spoken with them, timeouts.

use super::picking::{self, Asking};
use super::render::duration;
use super::{EndpointShare, ServiceShare, health};
use crate::balance::Address;
use crate::snapshot::{EndpointPlan, EndpointTarget, Part, Protocol, ServicePlan, Snapshot, Split};

/// What goes to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    Requests,
    Bytes,
    Datagrams,
}

/// Each part of a split.
pub(super) fn shares(
    snapshot: &Snapshot,
    split: &Split,
    carries: Carries,
    asking: Option<Asking<'_>>,
) -> Vec<ServiceShare> {
    let total: u64 = split.weights().map(|(_, weight)| weight).sum();
    let share = |(Part { service, view }, weight): (Part, u64)| {
        let service: &ServicePlan = snapshot.service(service);
        ServiceShare {
            name: service.name.to_string(),
            percent: weight as f64 * 100.0 / total as f64,
            balance: match carries {
                Carries::Datagrams => "by hash of the client's address",
                _ => picking::balance(service.rules.policy),
            },
            endpoints: picking::seen(service, view).map(endpoint_told).collect(),
            picks: picking::lines(service, view, asking),
            speaks: speaks(service, carries),
            timeouts: match carries {
                Carries::Requests => format!(
                    "connect {}, response head {}, silence in the body {}",
                    duration(service.connect_ms),
                    duration(service.response_head_ms),
                    duration(service.idle_ms)
                ),
                Carries::Bytes => format!("connect {}", duration(service.connect_ms)),
                Carries::Datagrams => String::new(),
            },
            limits: super::breaking::of(service, carries),
            judged: health::told(service),
        }
    };
    split.weights().map(share).collect()
}

fn endpoint_told(plan: &EndpointPlan) -> EndpointShare {
    EndpointShare {
        address: endpoint(&plan.target),
        weight: plan.weight,
        level: plan.priority,
        zone: plan.zone.as_deref().map(str::to_owned),
        is_near: plan.is_near,
    }
}

fn endpoint(target: &EndpointTarget) -> String {
    match target {
        EndpointTarget::Known(Address::Ip(address)) => address.to_string(),
        EndpointTarget::Known(Address::Unix(path)) => format!("unix:{}", path.display()),
        EndpointTarget::Dns { name, port } => format!("dns:{name}:{port}"),
    }
}

fn speaks(service: &ServicePlan, carries: Carries) -> String {
    let protocol = match (carries, service.protocol, &service.tls) {
        (Carries::Datagrams, _, _) => return "datagrams".to_owned(),
        (Carries::Bytes, _, _) => "bytes",
        (Carries::Requests, Protocol::Http1, _) => "HTTP/1.1",
        (Carries::Requests, Protocol::Http2, None) => "HTTP/2 with prior knowledge",
        (Carries::Requests, Protocol::Http2, Some(_)) => "HTTP/2 by ALPN",
        (Carries::Requests, Protocol::Auto, None) => "HTTP/2 or HTTP/1.1, as the request came",
        (Carries::Requests, Protocol::Auto, Some(_)) => "HTTP/2 or HTTP/1.1 by ALPN",
    };
    match &service.tls {
        None => protocol.to_owned(),
        Some(tls) => format!("{protocol}, {}", tls.told()),
    }
}
