//! Every example is right and says nothing questionable.

use std::path::Path;

use ringway_config::model::{Action, Address, Config, Role};

fn example(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    match ringway_config::load(&path, &|_| None) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{}", loaded.report());
            loaded.config
        }
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn every_example_is_checked_here() {
    let mut names: Vec<String> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "acme.yaml",
            "canary.yaml",
            "demo.yaml",
            "fleet.yaml",
            "gateway.yaml",
            "minimal.yaml",
            "protocols.yaml",
            "resilience.yaml",
            "sidecar.yaml",
            "unix.yaml"
        ]
    );
}

#[test]
fn the_one_with_acme_waits_for_its_certificate() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/acme.yaml");
    let loaded = ringway_config::load(&path, &|_| None).unwrap();
    assert_eq!(loaded.config.acme.len(), 1);
    let codes: Vec<&str> = loaded.warnings.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["certificate-pending"]);
}

#[test]
fn the_demo_has_its_three_services_and_routes() {
    let config = example("demo.yaml");
    let names: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["hello", "orders", "orders-next"]);
    assert_eq!(config.listeners[0].address, Address::Ip("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(config.listeners[0].routes.len(), config.routes.len());
    let Action::Forward(split) = &config.routes[1].action else { panic!() };
    let weights: Vec<u32> = split.split.iter().map(|part| part.weight).collect();
    assert_eq!(weights, [90, 10]);
}

#[test]
fn the_gateway_serves_two_listeners() {
    let config = example("gateway.yaml");
    assert_eq!(config.role, Role::Gateway);
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.runtime.workers, None);
}

#[test]
fn the_sidecar_has_one_unpinned_worker() {
    let config = example("sidecar.yaml");
    assert_eq!((config.runtime.workers, config.runtime.pin), (Some(1), false));
}

#[test]
fn the_canary_is_a_subset_that_users_stay_on() {
    let config = example("canary.yaml");
    let Action::Forward(forward) = &config.routes[0].action else { panic!() };
    assert_eq!(forward.split.len(), 2);
    assert_eq!(forward.split[0].service, forward.split[1].service);
    assert!(!forward.split_by.is_empty());
    assert_eq!(config.zone.as_deref(), Some("eu-1a"));
}

#[test]
fn the_small_ones_are_small() {
    assert_eq!(example("minimal.yaml").routes[0].name, "route-1");
    assert!(matches!(example("unix.yaml").listeners[0].address, Address::Unix(_)));
}

#[test]
fn the_one_of_a_fleet_counts_in_redis_and_shows_no_password() {
    let config = example("fleet.yaml");
    assert_eq!(config.rate_limits[0].fleet.as_deref(), Some("main"));
    assert_eq!(config.rate_limits[1].fleet, None);
    let shown = ringway_config::config_as_json(&config).to_string();
    assert!(shown.contains("redis://127.0.0.1:6379/0") && !shown.contains("change-me"), "{shown}");
}

#[test]
fn the_one_of_resilience_has_a_policy_of_each_kind() {
    let config = example("resilience.yaml");
    let Action::Forward(orders) = &config.routes[0].action else { panic!() };
    assert!(orders.retries.is_some() && orders.hedge.is_some() && orders.mirror.is_some());
    let judged = config.services.iter().find(|service| service.name == "orders").unwrap();
    assert!(judged.eject.is_some() && judged.health.is_some());
    assert_eq!(config.routes[1].rate_limits.len(), 2);
}
