//! What a reload is said to touch.

use ringway_config::diff::{ListenerTouch, RouteTouch, ServiceTouch, diff};
use ringway_config::model::{Action, ClientCertificates, Config, ListenerCertificate, Secret, Tls};

const OLD: &str = "
listeners:
  - { name: same, address: 127.0.0.1:1, routes: all }
  - { name: moved, address: 127.0.0.1:2, routes: [ kept ] }
  - { name: tuned, address: 127.0.0.1:3, routes: [ kept ] }
  - { name: gone, address: 127.0.0.1:4, routes: [ kept ] }
services:
  a: { endpoints: [ 127.0.0.1:11, 127.0.0.1:12, 127.0.0.1:13 ] }
  b: { endpoints: [ 127.0.0.1:21 ] }
  c: { endpoints: [ 127.0.0.1:31 ] }
routes:
  - { name: kept, path: /kept, to: a }
  - { name: tuned, path: /tuned, to: b, timeout: 5s }
  - { name: hushed, path: /hushed, to: b, request_headers: { set: { authorization: hush1 } } }
  - { name: gone, path: /gone, to: c }
";

const NEW: &str = "
runtime: { workers: 2 }
drain_timeout: 1m
listeners:
  - { name: same, address: 127.0.0.1:1, routes: [ kept, tuned, hushed, gone ] }
  - { name: moved, address: 127.0.0.1:5, routes: [ kept ] }
  - { name: tuned, address: 127.0.0.1:3, routes: [ kept ], limits: { head: 64KiB } }
  - { name: new, address: 127.0.0.1:4, routes: [ kept ] }
services:
  a: { endpoints: [ { address: 127.0.0.1:12, zone: z }, { address: 127.0.0.1:13, weight: 2 }, 127.0.0.1:14 ], pool: { idle: 1 } }
  b: { endpoints: [ 127.0.0.1:21 ] }
  d: { endpoints: [ 127.0.0.1:41 ] }
routes:
  - { name: kept, path: /kept, to: a }
  - { name: hushed, path: /hushed, to: b, request_headers: { set: { authorization: hush2 } } }
  - { name: tuned, path: /tuned, to: b, timeout: 6s }
  - { name: gone, path: /gone, to: d }
";

fn config(text: &str) -> Config {
    ringway_config::load_str("test.yaml", text, &|_| None).unwrap().config
}

#[test]
fn a_configuration_does_not_differ_from_itself() {
    let config = config(OLD);
    let diff = diff(&config, &config);
    assert!(diff.is_empty());
    assert_eq!(diff.to_string(), "nothing changes\nnot touched: 4 listeners, 3 services, 4 routes\n");
}

#[test]
fn each_change_is_told_for_what_it_is() {
    let diff = diff(&config(OLD), &config(NEW));
    let restart: Vec<&str> = diff.restart.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(restart, ["runtime.workers"]);
    assert_eq!(diff.settings[0].to_string(), "drain_timeout: 30s -> 1m");
    let listeners: Vec<_> = diff.listeners.iter().map(|one| (one.name.as_str(), &one.change)).collect();
    assert!(matches!(listeners[0], ("gone", ListenerTouch::Closed { .. })));
    assert!(matches!(listeners[1], ("moved", ListenerTouch::Rebound { .. })));
    assert!(
        matches!(listeners[2], ("tuned", ListenerTouch::InPlace { fields }) if fields[0].field == "limits.head")
    );
    assert!(matches!(listeners[3], ("new", ListenerTouch::Opened { .. })));
    assert_eq!(diff.untouched.listeners, 1);

    let services: Vec<_> = diff.services.iter().map(|one| (one.name.as_str(), &one.change)).collect();
    assert!(matches!(services[0], ("c", ServiceTouch::Removed { .. })));
    let (
        "a",
        ServiceTouch::Changed {
            endpoints_added,
            endpoints_removed,
            endpoints_reweighted,
            endpoints_moved,
            pools_kept,
            fields,
        },
    ) = services[1]
    else {
        panic!("{services:?}")
    };
    assert_eq!(*endpoints_added, ["127.0.0.1:14"]);
    assert_eq!(*endpoints_removed, ["127.0.0.1:11"]);
    assert_eq!(*endpoints_reweighted, ["127.0.0.1:13"]);
    assert_eq!(*endpoints_moved, ["127.0.0.1:12"]);
    assert_eq!(*pools_kept, 2);
    assert!(fields.iter().any(|change| change.field == "pool.idle"));
    assert!(matches!(services[2], ("d", ServiceTouch::Added { .. })));
    assert_eq!(diff.untouched.services, 1);

    assert!(diff.routes_reordered);
    let changed = |name: &str| diff.routes.iter().find(|one| one.name == name).map(|one| &one.change);
    assert!(
        matches!(changed("tuned"), Some(RouteTouch::Changed { fields }) if fields[0].to_string() == "timeout: 5s -> 6s")
    );
    assert!(matches!(changed("gone"), Some(RouteTouch::Changed { fields }) if fields[0].field == "to"));
    assert!(changed("kept").is_none());
}

#[test]
fn a_changed_credential_is_told_but_not_shown() {
    let diff = diff(&config(OLD), &config(NEW));
    let text = format!("{diff}{}", serde_json::to_string(&diff).unwrap());
    assert!(text.contains("route hushed: changed"), "{text}");
    assert!(!text.contains("hush1") && !text.contains("hush2"), "{text}");
}

#[test]
fn the_machine_readable_form_names_each_change() {
    let json = serde_json::to_value(diff(&config(OLD), &config(NEW))).unwrap();
    assert_eq!(json["listeners"][0]["change"], "closed");
    assert_eq!(json["services"][1]["pools_kept"], 2);
}

const FILES: &str = "
listeners:
  - { name: web, address: 127.0.0.1:1, tls: { certificates: [ { cert: tls/site.crt, key: tls/site.key } ], clients: { verify: required, ca: tls/ca.crt } } }
services:
  a: { endpoints: [ 127.0.0.1:11 ], tls: { ca: tls/ca.crt, name: a.example }, protocol: http2 }
routes:
  - { name: json, path: /**, to: a, grpc_json: { descriptor: shop.proto, services: [ shop.Shop ] } }
";

fn with_files(text: &str) -> Config {
    let loaded = ringway_config::load_str("tests/files.yaml", text, &|_| None);
    loaded.unwrap_or_else(|report| panic!("{}", report.render())).config
}

/// As if the files held something else: what a reload sees when they change under their paths.
fn renewed() -> Config {
    let mut config = with_files(FILES);
    let Some(Tls::Terminate(tls)) = &mut config.listeners[0].tls else { panic!("no TLS") };
    let ClientCertificates::Required(ca) = &mut tls.clients else { panic!("no authorities") };
    let ListenerCertificate::Files(certificate) = &mut tls.certificates[0] else { panic!("no file") };
    certificate.chain = ca.certificates.clone();
    certificate.names = vec!["new.example".into()];
    ca.certificates.push(ca.certificates[0].clone());
    let Action::Forward(forward) = &mut config.routes[0].action else { panic!("no route") };
    forward.grpc_json.as_mut().unwrap().descriptor_set.push(0);
    config
}

#[test]
fn files_that_hold_something_else_are_named_with_what_they_hold() {
    let (old, new) = (with_files(FILES), renewed());
    let told = diff(&old, &new).to_string();
    let expected = "\
listener web: changed in place; its sockets stay
route json: changed
certificate of listener web, tests/tls/site.crt: site.example, *.wild.example until 2126-11-03 -> new.example until 2126-11-03
authorities of listener web, tests/tls/ca.crt: 1 certificate -> 2 certificates
descriptor of route json, tests/shop.proto: changed
not touched: 0 listeners, 1 services, 0 routes
";
    assert_eq!(told, expected);
    assert!(diff(&new, &new).is_empty());
    // A key alone is told as well, and not shown.
    let mut rekeyed = old.clone();
    let Some(Tls::Terminate(tls)) = &mut rekeyed.listeners[0].tls else { panic!("no TLS") };
    let ListenerCertificate::Files(certificate) = &mut tls.certificates[0] else { panic!("no file") };
    certificate.key_der = Secret::new(b"SESAME".to_vec());
    let rekeyed = diff(&old, &rekeyed);
    let text = rekeyed.files[0].to_string();
    assert!(text.ends_with(": renewed (site.example, *.wild.example until 2126-11-03)"), "{text}");
    assert!(!serde_json::to_string(&rekeyed).unwrap().contains("SESAME"));
}

#[test]
fn the_same_content_in_another_file_is_no_other_certificate() {
    let folder = tempfile::tempdir().unwrap();
    for end in ["crt", "key"] {
        std::fs::copy(format!("tests/tls/site.{end}"), folder.path().join(format!("next.{end}"))).unwrap();
    }
    let next = folder.path().join("next").display().to_string();
    let text =
        FILES.replace("cert: tls/site.crt, key: tls/site.key", &format!("cert: {next}.crt, key: {next}.key"));
    let diff = diff(&with_files(FILES), &with_files(&text));
    assert_eq!(diff.files, []);
    assert!(
        matches!(&diff.listeners[0].change, ListenerTouch::InPlace { fields } if fields[0].field == "tls.certificates")
    );
}

#[test]
fn another_password_is_a_change_that_is_not_shown() {
    let text = |word: &str| {
        config(&format!(
            "listeners: [ {{ name: a, address: 127.0.0.1:1 }} ]\nfleets: {{ m: {{ redis: 'redis://:{word}@h' }} }}\n"
        ))
    };
    let change = diff(&text("one"), &text("two"));
    let [field] = &change.settings[..] else { panic!("{change:?}") };
    assert_eq!(field.field, "fleets");
    assert!(!format!("{change}").contains("two") && !change.is_empty(), "{change}");
    assert!(diff(&text("one"), &text("one")).is_empty());
}
