//! Who gets a request: keys, cookies, levels and zones, subsets, splits that hold still, slow start.

use std::collections::{BTreeMap, BTreeSet};

use ringway_tests::client::{Client, Response, To};
use ringway_tests::origins::parts;
use ringway_tests::{Gateway, Origin, ports, wait};

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// Origins that say their names.
fn origins() -> Vec<Origin> {
    NAMES.into_iter().map(|name| Origin::start(parts::says(name))).collect()
}

/// With `{{one}}` to `{{four}}` for where they are.
fn start(text: &str, origins: &[Origin]) -> Gateway {
    let values: Vec<(&str, String)> = NAMES.into_iter().zip(origins.iter().map(Origin::endpoint)).collect();
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Gateway::start_with(text, &values)
}

/// One service `app` with these fields, and the four origins as its endpoints unless they say otherwise.
fn one_service(fields: &str) -> String {
    let endpoints = "endpoints: [ \"{{one}}\", \"{{two}}\", \"{{three}}\", \"{{four}}\" ], ";
    let endpoints = if fields.contains("endpoints:") { "" } else { endpoints };
    format!(
        "listeners:\n  - {{ name: web, address: \"127.0.0.1:{{{{web}}}}\", routes: all }}\n\
         services:\n  app: {{ {endpoints}{fields} }}\n\
         routes:\n  - {{ name: all, path: /**, to: app }}\n"
    )
}

fn get(client: &mut Client, fields: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")).try_response(To::Get).unwrap()
}

/// Who answers requests of these users, each by a connection of its own.
fn places(gateway: &Gateway, users: std::ops::Range<u32>) -> BTreeMap<u32, String> {
    let place = |user| {
        let response = get(&mut gateway.connect(), &format!("X-User: u{user}\r\n")).expect(200);
        (user, response.text())
    };
    users.map(place).collect()
}

/// Who answers so many requests on one connection.
fn counts(gateway: &Gateway, requests: usize) -> BTreeMap<String, usize> {
    counts_by(&mut gateway.connect(), requests)
}

fn counts_by(client: &mut Client, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(get(client, "").expect(200).text()).or_default() += 1;
    }
    counts
}

#[test]
fn a_key_has_its_endpoint_on_every_worker_and_after_a_restart() {
    let mut origins = origins();
    for balance in ["ring_hash", "maglev"] {
        let text = one_service(&format!("balance: {balance}, hash_by: \"header:x-user\""));
        let gateway = start(&text, &origins);
        let before = places(&gateway, 0..60);
        assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 4, "{before:?}");
        assert_eq!(places(&gateway, 0..60), before);
        let metrics = gateway.metrics();
        assert_eq!(metrics.sum("ringway_balance_keyless_total", &[]), 0.0);
        drop(gateway);
        // Another node has the same view, whatever the order in which its file lists them.
        let text = text.replace("\"{{one}}\", \"{{two}}\"", "\"{{two}}\", \"{{one}}\"");
        let gateway = start(&text, &origins);
        assert_eq!(places(&gateway, 0..60), before, "{balance}");
        get(&mut gateway.connect(), "").expect(200);
        assert_eq!(gateway.metrics().sum("ringway_balance_keyless_total", &[("service", "app")]), 1.0);

        let two = origins.remove(1);
        let address = two.address();
        drop(two);
        // Until its socket is closed the kernel takes connections that nobody will accept.
        wait::until_true("two to be gone", || Client::try_connect(address).is_err());
        let without = places(&gateway, 0..60);
        for (user, was) in &before {
            let is = &without[user];
            assert!(
                if was == "two" { is != "two" } else { is == was },
                "{balance}: {user} from {was} to {is}"
            );
        }
        let again = Origin::start_at(address, parts::says("two"));
        origins.insert(1, again);
        wait::until_true("keys to come home", || places(&gateway, 0..60) == before);
    }
}

#[test]
fn a_clients_address_has_its_endpoint_at_tcp_listeners_too() {
    let origins = origins();
    // Without a bound of load: the connection before may still count.
    let text = |balance: &str, key: &str| {
        format!(
            "runtime: {{ workers: 4, backend: {{{{backend}}}}, pin: false }}\n\
             listeners:\n  - {{ name: web, address: \"127.0.0.1:{{{{web}}}}\", routes: all }}\n  \
             - {{ name: raw, address: \"127.0.0.1:{{{{raw}}}}\", tcp: {{ to: app }} }}\n\
             services:\n  app: {{ balance: {balance}, hash_by: {key}, hash_load: none, endpoints: \
             [ \"{{{{one}}}}\", \"{{{{two}}}}\", \"{{{{three}}}}\", \"{{{{four}}}}\" ] }}\n\
             routes:\n  - {{ name: all, path: /**, to: app }}\n"
        )
    };
    let place = |gateway: &Gateway, listener: &str, client: [u8; 4]| {
        let mut client = Client::connect_from(client.into(), gateway.address(listener));
        get(&mut client, "").expect(200).text()
    };
    let all = |gateway: &Gateway, listener: &str| -> Vec<String> {
        (1..=40).map(|n| place(gateway, listener, [127, 0, n, 1])).collect()
    };
    for balance in ["maglev", "ring_hash"] {
        let gateway = start(&text(balance, "client_ip"), &origins);
        let first = all(&gateway, "raw");
        assert!(first.iter().collect::<BTreeSet<_>>().len() > 1, "{balance}: {first:?}");
        for _ in 0..3 {
            assert_eq!(all(&gateway, "raw"), first, "{balance}");
        }
        assert_eq!(all(&gateway, "web"), first, "{balance}: as requests of that client");
        assert_eq!(gateway.metrics().sum("ringway_balance_keyless_total", &[]), 0.0);
        // By networks: their addresses are one.
        let gateway = start(&text(balance, "client_ip/24/56"), &origins);
        let first = all(&gateway, "raw");
        assert!(first.iter().collect::<BTreeSet<_>>().len() > 1, "{balance}: {first:?}");
        for (n, first) in (1..).zip(&first) {
            assert_eq!(&place(&gateway, "raw", [127, 0, n, 77]), first, "{balance}");
        }
        // A connection has no fields: it is balanced by load, and counted.
        let gateway = start(&text(balance, "[ client_ip, \"header:x-user\" ]"), &origins);
        all(&gateway, "raw");
        assert_eq!(gateway.metrics().sum("ringway_balance_keyless_total", &[("service", "app")]), 40.0);
    }
}

/// The cookie that a response sets, and its whole field.
fn cookie(response: &Response) -> Option<(String, String)> {
    let field = response.header("set-cookie")?;
    let value = field.split(';').next()?.to_owned();
    Some((value, field))
}

#[test]
fn a_cookie_leads_back_until_its_endpoint_is_gone() {
    let mut origins = origins();
    let gateway = start(&one_service("balance: random, sticky: { cookie: to, ttl: 1h }"), &origins);
    let first = gateway.get("/").expect(200);
    let (pair, field) = cookie(&first).unwrap();
    assert!(field.ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"), "{field}");
    let value = pair.strip_prefix("to=").unwrap();
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    for _ in 0..20 {
        let response = get(&mut gateway.connect(), &format!("Cookie: a=b; {pair}; c=d\r\n")).expect(200);
        assert_eq!(response.text(), first.text());
        assert_eq!(response.header("set-cookie"), None, "it has it already");
    }
    let hits = |gateway: &Gateway| gateway.metrics().sum("ringway_sticky_hits_total", &[("service", "app")]);
    let misses =
        |gateway: &Gateway| gateway.metrics().sum("ringway_sticky_misses_total", &[("service", "app")]);
    assert_eq!((hits(&gateway), misses(&gateway)), (20.0, 0.0));
    // Others are spread: nobody is stuck without a cookie.
    let others: BTreeSet<String> = (0..40).map(|_| gateway.get("/").expect(200).text()).collect();
    assert!(others.len() > 1, "{others:?}");

    let gone = NAMES.iter().position(|name| *name == first.text()).unwrap();
    let address = origins[gone].address();
    drop(origins.remove(gone));
    wait::until_true("it to be gone", || Client::try_connect(address).is_err());
    let response = get(&mut gateway.connect(), &format!("Cookie: {pair}\r\n")).expect(200);
    assert_ne!(response.text(), first.text());
    let (again, _) = cookie(&response).unwrap();
    assert_ne!(again, pair);
    for _ in 0..10 {
        let more = get(&mut gateway.connect(), &format!("Cookie: {again}\r\n")).expect(200);
        assert_eq!((more.text(), more.header("set-cookie")), (response.text(), None));
    }
    // One that nobody made leads nowhere, and is replaced.
    let before = misses(&gateway);
    let response = get(&mut gateway.connect(), "Cookie: to=0123456789abcdef\r\n").expect(200);
    assert!(cookie(&response).is_some());
    assert_eq!(misses(&gateway), before + 1.0);
}

#[test]
fn levels_and_zones_overflow_without_checks_or_ejection() {
    let origins = origins();
    let nobody = [ports::free(), ports::free()].map(|port| format!("127.0.0.1:{port}"));
    let text = format!(
        "zone: a\nlisteners:\n  - {{ name: web, address: \"127.0.0.1:{{{{web}}}}\", routes: all }}\n\
         services:\n  app:\n    balance: round_robin\n    endpoints:\n\
         {}{}{}{}\
         routes:\n  - {{ name: all, path: /**, to: app }}\n",
        "      - { address: \"{{one}}\", zone: a }\n",
        "      - { address: \"{{two}}\", zone: b }\n",
        "      - { address: \"{{three}}\", priority: 1, zone: a }\n",
        "      - { address: \"{{four}}\", priority: 1 }\n",
    );
    let gateway = start(&text, &origins);
    assert_eq!(counts(&gateway, 40), BTreeMap::from([("one".into(), 40)]));
    assert_eq!(gateway.metrics().sum("ringway_balance_overflow_picks_total", &[]), 0.0);
    drop(gateway);
    let named = |gone: &[&str]| {
        let mut text = text.clone();
        gone.iter().zip(&nobody).for_each(|(name, nobody)| {
            text = text.replace(&format!("{{{{{name}}}}}"), nobody);
        });
        start(&text, &origins)
    };
    // Refusals alone tell, from the first request on, and no client notices.
    let gateway = named(&["one"]);
    assert_eq!(counts(&gateway, 40), BTreeMap::from([("two".into(), 40)]));
    assert!(gateway.metrics().sum("ringway_balance_overflow_picks_total", &[("service", "app")]) >= 39.0);
    drop(gateway);
    let gateway = named(&["one", "two"]);
    // A worker's first request meets both of them; more than one retry is not for the balance to say.
    let mut client = gateway.connect();
    while get(&mut client, "").status != 200 {}
    assert_eq!(counts_by(&mut client, 40).keys().collect::<Vec<_>>(), ["three"]);
}

const VERSIONS: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app:
    endpoints:
      - { address: "{{one}}", labels: { version: v1 } }
      - { address: "{{two}}", labels: { version: v1 } }
      - { address: "{{three}}", labels: { version: v2, track: canary } }
      - { address: "dns:nowhere.invalid:80", labels: { version: v3 } }
routes:
  - { name: canary, path: /canary/**, to: { service: app, subset: { track: canary } } }
  - { name: none, path: /none, to: { service: app, subset: { version: v3 } } }
  - name: all
    path: /**
    to: [ { service: app, weight: 95, subset: { version: v1 } }, { service: app, weight: 5, subset: { version: v2 } } ]
    split_by: cookie:user
"#;

#[test]
fn a_subset_is_asked_alone_and_an_empty_one_says_so() {
    let origins = origins();
    let gateway = start(VERSIONS, &origins);
    for _ in 0..10 {
        assert_eq!(gateway.get("/canary/x").expect(200).text(), "three");
    }
    let refused = gateway.get("/none").expect(503);
    assert_eq!(refused.reason(), "empty_subset");
    assert!(refused.header("retry-after").is_some());
}

/// Four deviations of a binomial distribution.
#[track_caller]
fn assert_share(count: usize, of: usize, share: f64) {
    let (count, of) = (count as f64, of as f64);
    let deviation = (of * share * (1.0 - share)).sqrt();
    assert!((count - of * share).abs() < 4.0 * deviation, "{count} of {of}, should be {share}");
}

#[test]
fn a_split_by_key_is_its_weights_and_users_stay() {
    const USERS: u32 = 100_000;
    /// Requests that are sent before their answers are read.
    const AT_ONCE: usize = 100;
    let origins = origins();
    let mut gateway = start(VERSIONS, &origins);
    let versions = |gateway: &Gateway, users: std::ops::Range<u32>| -> Vec<bool> {
        let mut client = gateway.connect();
        let users: Vec<u32> = users.collect();
        let mut canary = Vec::new();
        for users in users.chunks(AT_ONCE) {
            let request = |user| format!("GET / HTTP/1.1\r\nHost: a.example\r\nCookie: user=u{user}\r\n\r\n");
            client.send(users.iter().map(request).collect::<String>());
            canary.extend(users.iter().map(|_| client.response().expect(200).text() == "three"));
        }
        canary
    };
    let before = versions(&gateway, 0..USERS);
    assert_share(before.iter().filter(|is| **is).count(), USERS as usize, 0.05);
    assert_eq!(versions(&gateway, 0..400), before[..400], "users stay");
    // By chance without a key: on average the same.
    let chance = counts(&gateway, 2000);
    assert_share(chance.get("three").copied().unwrap_or_default(), 2000, 0.05);
    assert!(chance["one"] > 800 && chance["two"] > 800, "{chance:?}");

    gateway.reload(&VERSIONS.replace("weight: 95", "weight: 80").replace("weight: 5,", "weight: 20,"));
    let after = versions(&gateway, 0..USERS / 10);
    assert_share(after.iter().filter(|is| **is).count(), after.len(), 0.2);
    assert!(before.iter().zip(&after).all(|(was, is)| !was || *is), "a canary one stays one");
}

#[test]
fn a_new_endpoint_begins_with_little() {
    let origins = origins();
    let two = one_service("balance: random, slow_start: 1h, endpoints: [ \"{{one}}\", \"{{two}}\" ]");
    let mut gateway = start(&two, &origins);
    let first = counts(&gateway, 400);
    assert!(first["one"] > 100 && first["two"] > 100, "the first ones don't warm up: {first:?}");
    gateway.reload(&two.replace("\"{{two}}\" ]", "\"{{two}}\", \"{{three}}\" ]"));
    let more = counts(&gateway, 1000);
    // A tenth of the others' weight: 1 of 21.
    let new = more.get("three").copied().unwrap_or_default();
    assert!((15..100).contains(&new), "{more:?}");
}
