use std::path::Path;

use super::*;

fn parsed(text: &str) -> Result<Scenario, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.csv"), "id,name\n1,Ann\n2,\"a/b c\"\n3,\"x\r\ny: z\"\n")
        .unwrap();
    read::parse(text, folder.path())
}

const MIX: &str = r#"
target: http://127.0.0.1:1
connections: 8
phases: [ { ramp: 0 to 2k, for: 10s }, { steady: 2000, for: 3s }, { spike: 10k, for: 500ms } ]
headers: { user-agent: us }
variables:
  users: { csv: users.csv }
  n: { range: 5 to 7, order: random }
requests:
  - { name: read, weight: 9, path: "/u/${users.id}/${users.name}?n=${n}", expect: { status: [200, 404] } }
  - { name: write, method: POST, path: /w, headers: { x-n: "${n}" }, body: '{"u": "${users.name}", "$${x}": 1}' }
"#;

#[test]
fn requests_are_made_of_one_row_for_each_variable() {
    let mix = parsed(MIX).unwrap();
    assert_eq!(mix.phases[0], Phase { kind: "ramp", from: 0.0, to: 2000.0, length: Duration::from_secs(10) });
    assert_eq!((mix.phases[2].kind, mix.connections), ("spike", Some(8)));
    let path = mix.render(0, 1, 1).path;
    assert!(path.starts_with("/u/2/a%2Fb%20c?n="), "{path}");
    assert!(mix.render(0, 1, 2).path.starts_with("/u/3/x%0D%0Ay%3A%20z?n="));
    let write = mix.render(1, 1, 0);
    assert_eq!(write.body, br#"{"u": "Ann", "${x}": 1}"#);
    assert_eq!(write.headers[0], ("user-agent".into(), "us".into()));
    assert_eq!(write, mix.render(1, 1, 0));
    assert!(!mix.is_constant(0));
}

#[test]
fn weights_hold_in_the_long_run() {
    let mix = parsed(MIX).unwrap();
    let reads = (0..100_000).filter(|&index| mix.pick(7, index) == 0).count();
    assert!((89_500..90_500).contains(&reads), "{reads}");
    let random: std::collections::HashSet<String> =
        (0..100).map(|n| mix.render(1, 7, n).headers[1].1.clone()).collect();
    assert_eq!(random.len(), 3);
}

#[test]
fn every_problem_is_told_at_once() {
    let bad = r#"
target: http://127.0.0.1:1
rate: 0
duration: 5
arrivals: bursty
variables: { users: { csv: none.csv }, n: { range: 5 } }
requests:
  - { name: a, weight: 0, path: "a b", method: "G T" }
  - { name: a, path: "/${nobody}", headers: { content-length: "5", "b d": x }, body: a, body_file: b }
"#;
    let problems = parsed(bad).unwrap_err().join("\n");
    for expected in [
        "has no unit",
        "bursty",
        "none.csv",
        "`5` is no range",
        "weight",
        "G T",
        "a b",
        "no such variable",
        "sets it itself",
        "`b d`",
        "either `body`",
        "another request",
    ] {
        assert!(
            problems.contains(expected)
                || expected == "no such variable" && problems.contains("no variables"),
            "{expected}:\n{problems}"
        );
    }
}

#[test]
fn a_value_that_breaks_a_header_is_refused_before_any_load() {
    let bad = MIX.replace("x-n: \"${n}\"", "x-n: \"${users.name}\"");
    assert!(parsed(&bad).unwrap_err()[0].contains("no header may hold"));
}

#[test]
fn unknown_fields_are_problems_with_a_place() {
    let problem = parsed("target: a\nrequest: []\n").unwrap_err();
    assert!(problem[0].contains("request"), "{problem:?}");
    assert!(read(Path::new("/no/such/file.yaml")).unwrap_err().contains("/no/such/file.yaml"));
}
