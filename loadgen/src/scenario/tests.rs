//! Tests of scenarios: what is read, what is refused, what is sent.

use std::collections::HashMap;

use super::*;

const MIX: &str = r#"
target: http://127.0.0.1:8080
connections: 64
rate: 2k
duration: 30s
arrivals: poisson
headers: { user-agent: ringway-load, x-a: shared }
variables:
  users: { csv: users.csv, order: sequential }
  any: { csv: users.csv, order: random }
  n: { range: 1 to 1000, order: random }
requests:
  - { name: read, weight: 9, path: "/orders/${users.id}/${users.name}", expect: { status: [200, 404] } }
  - name: write
    method: POST
    path: /orders
    headers: { X-A: "own ${any.id}" }
    body: '{"user": ${users.id}, "n": ${n}, "any": "${any.id} ${any.name}", "text": "$${n} $5"}'
    expect: { status: 201 }
"#;
const USERS: &str = "id,name\n1,Ada\n2,\"Lin, /Wei\"\n3,Zoë\n";

/// Reads a scenario with files of memory.
fn read(text: &str, files: &[(&str, &str)]) -> Result<Scenario, String> {
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    let mut file = |name: &str, limit: u64| {
        let text = files.get(name).ok_or_else(|| format!("can't open {name}"))?;
        if text.len() as u64 > limit { Err("too long".to_owned()) } else { Ok(text.as_bytes().to_vec()) }
    };
    Scenario::read(text, &mut file).map_err(|problems| problems.join("\n"))
}

fn mix() -> Scenario {
    read(MIX, &[("users.csv", USERS)]).unwrap()
}

fn rendered(text: &Text, values: &Values<'_>) -> String {
    let mut out = Vec::new();
    text.render(values, &mut out);
    String::from_utf8(out).unwrap()
}

/// A scenario of one request, with more lines before it.
fn one(lines: &str, request: &str) -> String {
    format!("target: http://h\nrate: 1\nduration: 1s\n{lines}requests: [{{ {request} }}]\n")
}

#[test]
fn a_scenario_is_read_with_its_defaults() {
    let mix = mix();
    assert_eq!((mix.target.as_str(), mix.connections), ("http://127.0.0.1:8080", Some(64)));
    assert_eq!(mix.arrivals, Arrivals::Poisson);
    let duration = Duration::from_secs(30);
    let steady = Phase { kind: PhaseKind::Steady, from_rate: 2000.0, to_rate: 2000.0, duration };
    assert_eq!(mix.phases, [steady]);
    assert_eq!(mix.phases.iter().map(|phase| phase.from_rate).collect::<Vec<_>>(), [2000.0]);
    let [read, write] = &mix.requests[..] else { panic!("{:?}", mix.requests) };
    assert_eq!((read.method.as_str(), read.weight, write.weight), ("GET", 9.0, 1.0));
    assert_eq!(read.statuses, Some(vec![200, 404]));
    assert_eq!(write.statuses, Some(vec![201]));
    assert!(read.body.is_constant() && !read.path.is_constant());
    assert!(write.path.is_constant() && !write.body.is_constant());
}

#[test]
fn a_requests_own_header_takes_the_place_of_the_one_for_all() {
    let mix = mix();
    let headers = |at: usize| -> Vec<(String, String)> {
        let values = mix.values(1, 0);
        let shown = |(name, text): &(String, Text)| (name.clone(), rendered(text, &values));
        mix.requests[at].headers.iter().map(shown).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers(0), [pair("user-agent", "ringway-load"), pair("x-a", "shared")]);
    assert_eq!(headers(1)[0], pair("user-agent", "ringway-load"));
    assert!(headers(1)[1].1.starts_with("own "), "{:?}", headers(1));
    assert_eq!(headers(1).len(), 2);
}

#[test]
fn values_in_a_path_are_percent_encoded_and_of_one_row() {
    let mix = mix();
    let paths: Vec<String> =
        (0..4).map(|index| rendered(&mix.requests[0].path, &mix.values(7, index))).collect();
    assert_eq!(paths, ["/orders/1/Ada", "/orders/2/Lin%2C%20%2FWei", "/orders/3/Zo%C3%AB", "/orders/1/Ada"]);
}

#[test]
fn a_body_has_its_values_as_they_are() {
    let mix = mix();
    let rows = ["1 Ada", "2 Lin, /Wei", "3 Zoë"];
    for index in 0..200 {
        let body = rendered(&mix.requests[1].body, &mix.values(7, index));
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["user"], index % 3 + 1);
        assert!((1..=1000).contains(&json["n"].as_u64().unwrap()));
        assert!(rows.contains(&json["any"].as_str().unwrap()), "columns of two rows: {body}");
        assert_eq!(json["text"], "${n} $5");
    }
}

#[test]
fn templates_are_picked_by_their_weights() {
    let mix = mix();
    for seed in [0, 1, u64::MAX] {
        let writes = (0..100_000).filter(|&index| mix.pick(seed, index) == 1).count();
        // Five standard deviations of a binomial distribution: sqrt(n p q) is 95.
        assert!((9_525..=10_475).contains(&writes), "{writes} of 100000");
    }
}

#[test]
fn the_seed_and_the_index_decide_all() {
    let (first, second) = (mix(), mix());
    let of = |mix: &Scenario, seed, index| {
        let picked = mix.pick(seed, index);
        (picked, rendered(&mix.requests[1].body, &mix.values(seed, index)))
    };
    let all = |mix: &Scenario, seed| (0..100).map(|index| of(mix, seed, index)).collect::<Vec<_>>();
    assert_eq!(all(&first, 5), all(&second, 5));
    assert_ne!(all(&first, 5), all(&first, 6));
}

#[test]
fn random_rows_are_spread_evenly_and_apart_from_the_pick() {
    let text = one(
        "variables: { n: { range: 0 to 9, order: random }, m: { range: 0 to 9, order: random } }\n",
        "path: '/${n}${m}'",
    );
    let scenario = read(&text, &[]).unwrap();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for index in 0..100_000 {
        *seen.entry(rendered(&scenario.requests[0].path, &scenario.values(3, index))).or_default() += 1;
    }
    assert_eq!(seen.len(), 100, "two variables that go together");
    assert!(seen.values().all(|count| (800..1200).contains(count)), "{seen:?}");
}

fn requests(phase: &Phase) -> f64 {
    (phase.from_rate + phase.to_rate) / 2.0 * phase.duration.as_secs_f64()
}

#[test]
fn phases_are_read_under_their_names() {
    let text = "target: http://h\nphases:\n  - { ramp: 0 to 2k, for: 10s }\n  - { steady: 600/min, for: 1m }\n  \
                - { spike: 10k, for: 500ms }\nrequests: [{ path: / }]\n";
    let scenario = read(text, &[]).unwrap();
    let shown: Vec<_> =
        scenario.phases.iter().map(|phase| (phase.kind.name(), phase.from_rate, phase.to_rate)).collect();
    assert_eq!(shown, [("ramp", 0.0, 2000.0), ("steady", 10.0, 10.0), ("spike", 10_000.0, 10_000.0)]);
    assert_eq!(
        scenario.phases.iter().map(|phase| phase.duration).sum::<Duration>(),
        Duration::from_millis(70_500)
    );
    assert_eq!(scenario.phases.iter().map(requests).sum::<f64>(), 10_000.0 + 600.0 + 5000.0);
    assert_eq!(scenario.requests[0].name, "GET /");
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let text = r#"
target: 127.0.0.1
connections: 0
rate: fast
duration: 10
arrivals: sometimes
headers: { content-length: "5", "a b": x }
variables:
  u: { csv: missing.csv }
  r: { range: 9 to 1, order: up }
  both: { csv: x, range: 1 to 2 }
requests:
  - { name: a, weight: 0, method: get, path: "orders/${u.id}" }
  - { name: a, path: "/x y", body: "${nobody}", expect: { status: [99] } }
  - { headers: { x: "${r" }, body: a, body_file: b }
"#;
    let problems = read(text, &[]).unwrap_err();
    for expected in [
        "2:9: `target` is not a URL",
        "3:14: `connections` is a whole number from 1",
        "4:7: `fast` is not a rate",
        "5:11: `10` has no unit",
        "6:11: `arrivals` is `constant` or `poisson`",
        "7:12: `content-length` is set by the generator",
        "7:33: `a b` is not the name of a header",
        "9:13: can't open missing.csv",
        "10:15: `9 to 1` goes down: write 1 to 9",
        "10:30: `order` is",
        "11:9: a variable is one of",
        "13:24: `weight` is a number above 0",
        "13:35: methods are told apart by case: write GET",
        "13:46: a path begins with `/`",
        "14:13: two requests are called `a`",
        "14:22: a path can't hold the byte 0x20: write %20",
        "14:36: there is no variable `nobody`; known are u, r, both",
        "14:67: `status` is from 200 to 599",
        "15:5: a request has no `path`",
        "15:21: a `${` has no `}`",
        "15:50: `body_file` stands beside `body`",
    ] {
        assert!(problems.lines().any(|line| line.starts_with(expected)), "no `{expected}` in\n{problems}");
    }
    assert_eq!(problems.lines().count(), 21, "{problems}");
}

#[test]
fn what_is_missing_is_told() {
    let problems = read("{}", &[]).unwrap_err();
    for field in ["`target`", "`rate` and `duration`", "`requests`"] {
        assert!(problems.contains(field), "{problems}");
    }
    let twice = read("target: http://h/a\nrate: 1\nphases: []\nrequests: []\n", &[]).unwrap_err();
    assert_eq!(twice.lines().count(), 4, "{twice}");
    assert!(twice.contains("1:9: `target` has a path"), "{twice}");
}

#[test]
fn what_is_no_yaml_or_no_field_has_its_place() {
    for (text, place, word) in [
        ("target: http://h\nrates: 5\n", "2:1: ", "rates"),
        ("target: [", "1:", ""),
        ("target: http://h\nrequests: many\n", "2:11: ", "sequence"),
        ("target: a\ntarget: b\n", "2:1: ", "target"),
        ("a: &a [*a]\n", "1:", ""),
    ] {
        let problem = read(text, &[]).unwrap_err();
        assert!(problem.starts_with(place) && problem.contains(word), "{text:?}: {problem}");
    }
}

#[test]
fn a_phase_says_what_it_lacks() {
    for (phase, expected) in [
        ("{ ramp: 0 to 0, for: 1s }", "nothing would be sent"),
        ("{ ramp: 2k, for: 1s }", "write 0 to 2k"),
        ("{ steady: 1k }", "has no `for`"),
        ("{ steady: 1k, spike: 2k, for: 1s }", "a phase is one of"),
        ("{ steady: 1k, for: 0s }", "no time at all"),
        ("{ steady: 0, for: 1s }", "above 0"),
        ("{ steady: 1, for: 24h }, { steady: 1, for: 1s }", "longer than a day"),
    ] {
        let text = format!("target: http://h\nphases: [{phase}]\nrequests: [{{ path: / }}]\n");
        let problem = read(&text, &[]).unwrap_err();
        assert!(problem.contains(expected) && problem.lines().count() == 1, "{phase}: {problem}");
    }
}

#[test]
fn a_csv_that_can_not_be_meant_is_refused_with_its_line() {
    let text = one("variables: { u: { csv: u.csv } }\n", "path: '/${u.a}'");
    for (csv, expected) in [
        ("", "its first row names the columns"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", "line 3: 1 values where the first row names 2"),
        ("a,a\n1,2\n", "two columns are called `a`"),
        ("a,\n1,2\n", "column 2 has no name"),
        ("b\n1\n", "`u` has no column `a`; known are b"),
    ] {
        let problem = read(&text, &[("u.csv", csv)]).unwrap_err();
        assert!(problem.contains(expected), "{csv:?}: {problem}");
    }
    let many = format!("a\n{}", "1\n".repeat(variables::ROWS_MAX + 1));
    assert!(read(&text, &[("u.csv", &many)]).unwrap_err().contains("at most 1000000 rows"));
    let byte_order_mark = read(&text, &[("u.csv", "\u{feff}a\r\n\"x\"\"y\"\r\n")]).unwrap();
    assert_eq!(rendered(&byte_order_mark.requests[0].path, &byte_order_mark.values(0, 0)), "/x%22y");
}

#[test]
fn a_value_can_not_begin_another_header() {
    let users = "id,bad\n1,fine\n2,\"a\r\nx-evil: 1\"\n";
    let text = |column: &str| {
        one("variables: { u: { csv: u.csv } }\n", &format!("path: /, headers: {{ x: \"${{u.{column}}}\" }}"))
    };
    assert!(read(&text("id"), &[("u.csv", users)]).is_ok());
    let problem = read(&text("bad"), &[("u.csv", users)]).unwrap_err();
    assert!(problem.contains("${u.bad} can't stand in a header") && problem.contains("line 3"), "{problem}");
    let literal = one("", "path: /, headers: { x: \"a\\r\\nb: c\" }");
    assert!(read(&literal, &[]).unwrap_err().contains("0x0d"));
    // In a path and in a body the same value does no harm.
    let body = one("variables: { u: { csv: u.csv } }\n", "path: '/${u.bad}', body: '${u.bad}'");
    let body = read(&body, &[("u.csv", users)]).unwrap();
    let values = body.values(0, 1);
    assert_eq!(rendered(&body.requests[0].path, &values), "/a%0D%0Ax-evil%3A%201");
    assert_eq!(rendered(&body.requests[0].body, &values), "a\r\nx-evil: 1");
}

#[test]
fn what_would_become_too_long_is_refused() {
    let long = format!("a\n{}\n", "x".repeat(30_000));
    let text = |request: &str| one("variables: { u: { csv: u.csv } }\n", request);
    let files = [("u.csv", long.as_str())];
    assert!(read(&text("path: /, headers: { x: '${u.a}' }, body: '${u.a}'"), &files).is_ok());
    let problem = read(&text("path: '/${u.a}'"), &files).unwrap_err();
    assert!(problem.contains("90001 bytes long: at most 65536"), "{problem}");
    let body = "b".repeat((16 << 20) + 1);
    let file = one("", "path: /, body_file: body");
    assert!(read(&file, &[("body", &body)]).unwrap_err().contains("too long"));
}

#[test]
fn a_body_file_is_sent_as_it_is() {
    let scenario = read(&one("", "path: /, body_file: body.bin"), &[("body.bin", "${n} $${")]).unwrap();
    assert!(scenario.requests[0].body.is_constant());
    assert_eq!(rendered(&scenario.requests[0].body, &scenario.values(0, 0)), "${n} $${");
}

#[test]
fn numbers_and_statuses_that_are_none_say_what_would_be_right() {
    let text = one("connections: many\n", "path: /, weight: .nan, expect: { status: 2xx }");
    let problems = read(&text, &[]).unwrap_err();
    assert_eq!(problems.lines().count(), 3, "{problems}");
    for request in
        ["path: /, expect: { status: [] }", "path: /, expect: { status: -200 }", "path: /, weight: inf"]
    {
        assert!(read(&one("", request), &[]).is_err(), "{request}");
    }
    assert!(read(&one("", "path: /, weight: 0.5, expect: { status: 204 }"), &[]).is_ok());
}

#[test]
fn there_are_bounds_on_lists() {
    let requests = "  - { path: / }\n".repeat(1001);
    let text = format!("target: http://h\nrate: 1\nduration: 1s\nrequests:\n{requests}");
    let problems = read(&text, &[]).unwrap_err();
    assert!(problems.contains("a list of 1 to 1000") && problems.contains("more problems are not shown"));
    assert!(problems.lines().count() <= 101);
}

#[test]
fn the_examples_of_the_documentation_load() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios");
    let orders = Scenario::load(&docs.join("orders.yaml")).unwrap();
    assert_eq!(orders.requests.len(), 2);
    let spike = Scenario::load(&docs.join("spike.yaml")).unwrap();
    assert_eq!(spike.phases[2].kind, PhaseKind::Spike);
    let missing = Scenario::load(&docs.join("none.yaml")).unwrap_err();
    assert!(missing.contains("none.yaml: can't open"), "{missing}");
}

#[test]
fn problems_of_a_file_begin_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mix.yaml");
    std::fs::write(&path, one("variables: { u: { csv: u.csv } }\n", "path: '/${u.a}'")).unwrap();
    let problem = Scenario::load(&path).unwrap_err();
    assert!(problem.starts_with(&format!("{}:4:24: can't open ", path.display())), "{problem}");
    std::fs::write(directory.path().join("u.csv"), "a\n1\n").unwrap();
    assert!(Scenario::load(&path).is_ok());
}
