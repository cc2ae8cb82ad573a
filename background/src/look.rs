//! Services and endpoints as the admin API tells of them: what workers see, how each stands and why.

use ringway_config::time;
use ringway_engine::standing::{Stand, Standings};
use ringway_engine::{EndpointInfo, ServiceInfo};
use serde_json::{Value, json};

use crate::overrides::{Override, What};

/// Every service with its endpoints. `config` is the running configuration as it is shown.
pub fn services(
    services: &[ServiceInfo],
    standings: &Standings,
    overrides: &[Override],
    config: &Value,
) -> Vec<Value> {
    let one = |service: &ServiceInfo| {
        let of = |endpoint: &EndpointInfo| endpoint_as_json(service, endpoint, standings, overrides);
        let endpoints: Vec<Value> = service.endpoints.iter().map(of).collect();
        let admitted = endpoints.iter().filter(|one| one["admitted"] == true).count();
        let active: u64 = service.endpoints.iter().map(|one| one.active).sum();
        let shown = &config["services"][&*service.name];
        json!({
            "name": &*service.name,
            "balance": shown["balance"],
            "protocol": shown["protocol"],
            "admitted": admitted,
            "active": active,
            "endpoints": endpoints,
        })
    };
    services.iter().map(one).collect()
}

fn endpoint_as_json(
    service: &ServiceInfo,
    endpoint: &EndpointInfo,
    standings: &Standings,
    overrides: &[Override],
) -> Value {
    let standing = standings.get(&service.name).and_then(|standings| standings.get(&endpoint.address));
    let stand = standing.map_or(Stand::Admitting, |standing| standing.stand);
    let by_hand = overrides.iter().find(|one| {
        matches!(&one.what, What::Endpoint { service: of, address, .. }
            if *of == service.name && *address == endpoint.address)
    });
    let mut whys: Vec<String> = standing.iter().map(|standing| standing.why.to_string()).collect();
    if endpoint.refused_by > 0 {
        whys.push(format!("it refused connections of {} workers", endpoint.refused_by));
    }
    let refused = stand == Stand::Admitting && endpoint.refused_by > 0;
    json!({
        "address": endpoint.address.to_string(),
        "weight": endpoint.weight,
        "active": endpoint.active,
        "state": if refused { "refusing" } else { stand.name() },
        "admitted": stand.is_admitted(),
        "refused_by": endpoint.refused_by,
        "rank": endpoint.rank,
        "why": whys.join("; "),
        "until": by_hand.map(|one| time::text(one.until_s)),
        "override": by_hand.map(|one| one.id),
    })
}
