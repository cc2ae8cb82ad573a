//! The command line from outside: what is printed where, and exit codes. Nothing here listens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GOOD: &str = "\
listeners:
  - { name: web, address: 127.0.0.1:8080 }
services:
  orders: { endpoints: [ 127.0.0.1:9001 ] }
  hello: { endpoints: [ 127.0.0.1:9002 ] }
routes:
  - { name: orders, path: /v1/orders/**, to: orders, timeout: 5s }
  - { name: acme, path: /v1/orders/**, headers: { x-tenant: acme }, to: hello }
  - { name: rest, to: hello }
";

/// Two problems, far apart.
const BAD: &str = "\
listeners:
  - { name: web, adress: 127.0.0.1:8080 }
services:
  orders: { endpoints: [ 127.0.0.1:9001 ] }
routes:
  - { path: /v1/orders/**, to: ordres }
";

/// A folder of the test's own.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn ringway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).args(args).output().expect("the binary runs")
}

/// Stdout of a run that must end with this code.
#[track_caller]
fn out(args: &[&str], code: i32) -> String {
    let output = ringway(args);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    stdout
}

/// Stderr of a run that must end with this code.
#[track_caller]
fn err(args: &[&str], code: i32) -> String {
    let output = ringway(args);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    stderr
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_says_ok_for_a_good_file() {
    let folder = folder("good");
    let good = write(&folder, "good.yaml", GOOD);
    assert_eq!(out(&["check", &good], 0), format!("{good}: ok\n"));
}

#[test]
fn check_prints_every_problem_of_every_file_with_place_line_caret_and_suggestion() {
    let folder = folder("bad");
    let (good, bad) = (write(&folder, "good.yaml", GOOD), write(&folder, "bad.yaml", BAD));
    let text = out(&["check", &bad, &good], 78);
    assert!(text.contains(&format!("{bad}:2:18: error: ")), "{text}");
    assert!(text.contains("did you mean `address`?"), "{text}");
    assert!(text.contains("  2 |   - { name: web, adress: 127.0.0.1:8080 }\n"), "{text}");
    assert!(text.contains("^^^^^^"), "{text}");
    assert!(text.contains(&format!("{bad}:6:32: error: ")), "{text}");
    assert!(text.contains("did you mean `orders`?"), "{text}");
    assert!(text.ends_with(&format!("{good}: ok\n")), "{text}");
}

#[test]
fn check_reports_a_missing_file_as_a_problem() {
    let text = out(&["check", "/nonexistent/gateway.yaml"], 78);
    assert!(text.starts_with("/nonexistent/gateway.yaml: error: "), "{text}");
}

#[test]
fn check_json_is_a_list_of_files_with_their_problems() {
    let folder = folder("json");
    let (good, bad) = (write(&folder, "good.yaml", GOOD), write(&folder, "bad.yaml", BAD));
    let value: serde_json::Value =
        serde_json::from_str(&out(&["check", "--json", &bad, &good], 78)).expect("JSON");
    assert_eq!(value[0]["file"], bad);
    assert_eq!(value[0]["ok"], false);
    assert_eq!(value[0]["diagnostics"][0]["line"], 2);
    assert_eq!(value[1]["ok"], true);
}

#[test]
fn warnings_are_shown_and_are_no_failure() {
    let folder = folder("warning");
    // Nothing leads to `spare`.
    let text = GOOD.replace("routes:", "  spare: { endpoints: [ 127.0.0.1:9003 ] }\nroutes:");
    let file = write(&folder, "warning.yaml", &text);
    let text = out(&["check", &file], 0);
    assert!(text.contains(": warning: ") && text.contains(": ok, 1 warning\n"), "{text}");
}

#[test]
fn run_refuses_a_bad_file_before_anything_starts() {
    let folder = folder("run");
    let bad = write(&folder, "bad.yaml", BAD);
    let text = err(&["run", "--config", &bad], 78);
    assert!(text.contains(":2:18: error: ") && text.ends_with(" errors\n"), "{text}");
}

#[test]
fn wrong_usage_is_exit_code_2_with_a_hint() {
    assert!(err(&["chekc"], 2).contains("check"));
    assert!(err(&[], 2).contains("Usage: ringway"));
    err(&["run"], 2);
    err(&["demo", "--for", "10"], 2);
    err(&["check"], 2);
}

#[test]
fn explain_tells_the_winner_and_the_runner_up() {
    let folder = folder("explain");
    let good = write(&folder, "good.yaml", GOOD);
    let request = "GET http://api.example.com/v1/orders/7";
    let text = out(&["explain", "-c", &good, "-H", "x-tenant: acme", request], 0);
    assert!(text.contains("acme") && text.contains("hello") && text.contains("orders"), "{text}");
    let json = out(&["explain", "-c", &good, "--json", request], 0);
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    let text = out(&["explain", "-c", &good, "tcp://a.example:8080"], 0);
    assert!(text.starts_with("tcp://a.example:8080\n  listener  ") && text.contains("requests"), "{text}");
}

#[test]
fn explain_refuses_what_is_no_request() {
    let folder = folder("explain-bad");
    let good = write(&folder, "good.yaml", GOOD);
    err(&["explain", "-c", &good, "GET nowhere"], 2);
    err(&["explain", "-c", &good, "-H", "no colon", "GET http://a/"], 2);
}

#[test]
fn diff_tells_what_a_reload_would_touch() {
    let folder = folder("diff");
    let old = write(&folder, "old.yaml", GOOD);
    let new = write(&folder, "new.yaml", &GOOD.replace("timeout: 5s", "timeout: 6s"));
    let text = out(&["diff", &old, &new], 0);
    assert!(text.contains("orders") && text.contains("6s"), "{text}");
    assert!(out(&["diff", &old, &old], 0).contains("nothing changes"));
    let json: serde_json::Value =
        serde_json::from_str(&out(&["diff", "--json", &old, &new], 0)).expect("JSON");
    assert_eq!(json["routes"][0]["name"], "orders");
}

#[test]
fn schema_is_json_that_knows_the_fields() {
    let schema: serde_json::Value = serde_json::from_str(&out(&["schema"], 0)).expect("JSON");
    assert!(schema["properties"]["listeners"].is_object(), "{schema:#}");
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&["completions", shell], 0).contains("explain"), "{shell}");
    }
    assert!(out(&["man"], 0).starts_with(".ie"), "roff");
    let folder = folder("man");
    out(&["man", "--out", &folder.display().to_string()], 0);
    for page in ["ringway.1", "ringway-run.1", "ringway-explain.1"] {
        let text = fs::read_to_string(folder.join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}

#[test]
fn version_is_the_packages() {
    let version = concat!("ringway ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(out(&["version"], 0), version);
    assert_eq!(out(&["--version"], 0), version);
}

#[test]
fn every_command_explains_itself() {
    for command in
        ["run", "check", "explain", "diff", "ctl", "schema", "completions", "man", "demo", "version"]
    {
        let help = out(&[command, "--help"], 0);
        assert!(help.contains(&format!("Usage: ringway {command}")), "{help}");
    }
}

#[test]
fn ctl_says_when_nobody_listens_and_where_it_looked() {
    // Port 1 of this host is nobody's.
    let text = err(&["ctl", "--admin", "127.0.0.1:1", "services"], 69);
    assert!(text.contains("nothing listens on 127.0.0.1:1") && text.contains("--admin"), "{text}");
    let folder = folder("ctl-config");
    let file = write(&folder, "gateway.yaml", &format!("admin: {{ address: \"127.0.0.1:1\" }}\n{GOOD}"));
    assert!(err(&["ctl", "-c", &file, "drift"], 69).contains("127.0.0.1:1"));
    assert!(err(&["ctl", "drift", "-c", "/nonexistent/gateway.yaml"], 78).contains("can't be read"));
    assert!(err(&["ctl", "--admin", "nowhere", "drift"], 2).contains("`nowhere`"));
    assert!(err(&["ctl", "--admin", "127.0.0.1:1", "endpoints", "a b"], 2).contains("no name"));
}

#[test]
fn ctl_writes_into_the_file_what_can_be_written_there() {
    let folder = folder("ctl-write");
    let split =
        GOOD.replace("to: orders,", "to: [ orders, { service: hello, weight: 0 } ], # shifted\n     ");
    let file = write(&folder, "gateway.yaml", &split);
    let read = || fs::read_to_string(&file).expect("the file");
    let said = out(&["ctl", "-c", &file, "split", "orders", "orders=9", "hello=1", "--write"], 0);
    assert!(said.contains("is changed"), "{said}");
    let wanted = split.replace(
        "[ orders, { service: hello, weight: 0 } ]",
        "[ { service: orders, weight: 9 }, { service: hello, weight: 1 } ]",
    );
    assert_eq!(read(), wanted);
    assert!(
        out(&["ctl", "-c", &file, "split", "orders", "hello=1", "orders=9", "--write"], 0)
            .contains("already")
    );
    out(&["ctl", "-c", &file, "fault", "start", "rest", "--delay", "1s", "--for", "1h", "--write"], 0);
    assert!(read().contains("name: rest, faults: [ { delay: 1s, until: 2"), "{}", read());
    assert!(out(&["check", &file], 0).contains(": ok"));
    let before = read();
    assert!(err(&["ctl", "-c", &file, "split", "rest", "hello=1", "--write"], 65).contains("stays as it is"));
    assert!(err(&["ctl", "split", "orders", "hello=1", "--write"], 2).contains("-c FILE"));
    assert!(err(&["ctl", "eject", "orders", "127.0.0.1:9001", "--write"], 2).contains("`endpoints`"));
    assert_eq!(read(), before);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    out(&["ctl", "-c", &file, "fault", "stop", "rest", "--write"], 0);
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "nothing else is left there");
}

#[test]
fn a_reader_that_left_is_no_failure() {
    let script =
        format!("{} schema | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_ringway"));
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    assert_eq!(texts(&output).0, "0\n");
}
