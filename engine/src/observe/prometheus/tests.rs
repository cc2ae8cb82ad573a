use super::*;
use crate::observe::registry::{NO_ROUTE, Names};
use crate::reason::Reason;
use std::collections::{BTreeMap, HashSet};

type Series = BTreeMap<(String, Vec<(String, String)>), f64>;

/// Reads the text back as strictly as the format is written, or panics.
fn parsed(text: &str) -> Series {
    let (mut series, mut families) = (Series::new(), HashSet::new());
    let mut family = (String::new(), String::new());
    assert!(text.ends_with('\n'));
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty());
            let typed = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (same, kind) = typed.split_once(' ').unwrap();
            assert_eq!(name, same);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(families.insert(name.to_string()), "{name} twice");
            family = (name.to_string(), kind.to_string());
            continue;
        }
        let (name, labels, value) = sample(line);
        let suffixes: &[&str] = if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(
            suffixes.iter().any(|suffix| name == format!("{}{suffix}", family.0)),
            "{line} after {family:?}"
        );
        assert!(series.insert((name, labels), value).is_none(), "{line} twice");
    }
    series
}

fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{name}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(label), "{label}");
            let (mut value, mut characters) = (String::new(), after.chars());
            loop {
                match characters.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match characters.next().unwrap() {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("escaped {other}"),
                    }),
                    character => value.push(character),
                }
            }
            labels.push((label.to_string(), value));
            rest = characters.as_str();
            match rest.split_at(1) {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (name.to_string(), labels, rest.strip_prefix(' ').unwrap().parse().unwrap())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn key(name: &str, labels: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    (name.to_string(), labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect())
}

fn rendered(registry: &Registry) -> Series {
    let mut out = String::new();
    render(registry, "1.2.3", &mut out);
    parsed(&out)
}

#[test]
fn what_workers_count_is_summed_and_reads_back_strictly() {
    let registry = Registry::new(2);
    let counted = registry.adopt(Names {
        limits: &[],
        routes: &[("orders", "a\"b\\c\nd"), (NO_ROUTE, "")],
        services: &["orders"],
        listeners: &["web"],
    });
    for one in &counted {
        one.routes[0].record(200, 700, 5, 1024);
        one.routes[0].record(503, 61_000_000, 0, 10);
        one.services[0].connections_idle.set(4);
        one.services[0].response_head.record(2_500);
        one.listeners[0].active.up();
        one.worker.local_replies.count(Reason::NoEndpoint.name(), 503);
        one.worker.access_log_dropped.add(3);
        one.worker.loop_lag.record(30);
    }
    counted[1].worker.cut.count(Reason::ClientGone.name(), 499);
    counted[1].worker.buffers_in_use.set(9);

    let series = rendered(&registry);
    let route = [("route", "orders"), ("service", "a\"b\\c\nd")];
    let with = |label: (&'static str, &'static str)| [route[0], route[1], label];
    for (name, labels, value) in [
        ("ringway_build_info", &[("version", "1.2.3")][..], 1.0),
        ("ringway_http_requests_total", &with(("code_class", "2xx")), 2.0),
        ("ringway_http_requests_total", &with(("code_class", "5xx")), 2.0),
        ("ringway_http_response_bytes_total", &route, 2068.0),
        ("ringway_http_request_duration_seconds_bucket", &with(("le", "0.0005")), 0.0),
        ("ringway_http_request_duration_seconds_bucket", &with(("le", "0.001")), 2.0),
        ("ringway_http_request_duration_seconds_bucket", &with(("le", "60")), 2.0),
        ("ringway_http_request_duration_seconds_bucket", &with(("le", "+Inf")), 4.0),
        ("ringway_http_request_duration_seconds_count", &route, 4.0),
        ("ringway_http_request_duration_seconds_sum", &route, 122.0014),
        ("ringway_upstream_connections_idle", &[("service", "orders")], 8.0),
        ("ringway_upstream_response_head_seconds_bucket", &[("service", "orders"), ("le", "0.0025")], 2.0),
        ("ringway_connections_active", &[("listener", "web")], 2.0),
        ("ringway_local_replies_total", &[("reason", "no_endpoint"), ("code", "503")], 2.0),
        ("ringway_exchanges_cut_total", &[("reason", "client_gone"), ("code", "499")], 1.0),
        ("ringway_access_log_dropped_total", &[], 6.0),
        ("ringway_worker_buffers_in_use", &[("worker", "1")], 9.0),
        ("ringway_worker_loop_lag_seconds_bucket", &[("worker", "0"), ("le", "0.00005")], 1.0),
    ] {
        assert_eq!(series.get(&key(name, labels)), Some(&value), "{name} {labels:?}");
    }
}

#[test]
fn every_histogram_grows_to_its_count() {
    let registry = Registry::new(1);
    let counted = registry.adopt(Names { services: &["a", "b"], ..Names::default() });
    for us in [1, 499, 500, 7_000, 90_000_000] {
        counted[0].services[1].response_head.record(us);
    }
    let series = rendered(&registry);
    let mut last: BTreeMap<Vec<(String, String)>, f64> = BTreeMap::new();
    let mut bounds: Vec<_> = series
        .iter()
        .filter(|((name, _), _)| name == "ringway_upstream_response_head_seconds_bucket")
        .map(|((_, labels), count)| (labels[..1].to_vec(), labels[1].1.parse::<f64>().unwrap(), *count))
        .collect();
    bounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (labels, bound, count) in bounds {
        let before = last.insert(labels.clone(), count).unwrap_or(0.0);
        assert!(before <= count, "{labels:?} {bound}");
        if bound.is_infinite() {
            let total = series[&("ringway_upstream_response_head_seconds_count".to_string(), labels)];
            assert_eq!(count, total);
        }
    }
}

#[test]
fn routes_that_had_no_request_take_no_room() {
    let registry = Registry::new(1);
    let names: Vec<String> = (0..1000).map(|number| format!("route-{number}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "s")).collect();
    let counted = registry.adopt(Names { routes: &pairs, ..Names::default() });
    counted[0].routes[7].record(200, 1, 0, 0);
    let series = rendered(&registry);
    let routes: HashSet<_> =
        series.keys().flat_map(|(_, labels)| labels).filter(|(name, _)| name == "route").collect();
    assert_eq!(routes.len(), 1);
}

#[test]
fn an_engine_without_names_still_reads_back() {
    assert!(rendered(&Registry::new(1)).contains_key(&key("ringway_build_info", &[("version", "1.2.3")])));
}

#[test]
fn a_number_of_others_reads_back_too() {
    let mut out = String::new();
    render_one(&mut out, "ringway_config_generation", "gauge", "Configurations applied.", 7);
    assert_eq!(parsed(&out)[&key("ringway_config_generation", &[])], 7.0);
}
