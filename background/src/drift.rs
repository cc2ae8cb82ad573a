//! What differs between what runs and the file: what is changed by hand, and a file that is not, or not wholly, what
//! runs.

use std::path::Path;

use ringway_config::model::Config;
use ringway_config::{Loaded, Report, diff};
use serde_json::{Value, json};

use crate::overrides::{Override, as_json};
use crate::say;
use crate::status::Failure;

/// Compares. `file` is what the file holds now, `failure` why the last reload failed.
pub fn drift(
    path: &Path,
    running: &Config,
    file: Result<Loaded, Report>,
    failure: Option<Failure>,
    overrides: &[Override],
) -> Value {
    let mut told = match file {
        Err(report) => json!({ "state": "refused", "diagnostics": report.render() }),
        Ok(loaded) => {
            let differs = diff(running, &loaded.config);
            let needs = json!(differs.restart);
            let state = match () {
                () if differs.is_empty() => "runs",
                () if ringway_config::Diff { restart: vec![], ..differs.clone() }.is_empty() => "restart",
                () => "differs",
            };
            let summary = if state == "runs" { String::new() } else { differs.to_string() };
            json!({ "state": state, "restart": needs, "differs": summary })
        }
    };
    if let Some(failure) = failure {
        told["reload_failed"] = json!({ "at": say::utc(failure.at), "diagnostics": failure.text });
    }
    told["path"] = json!(path.display().to_string());
    let drifts = !overrides.is_empty() || told["state"] != "runs" || told.get("reload_failed").is_some();
    json!({ "drift": drifts, "overrides": as_json(overrides), "file": told })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ringway_config::load_str;

    use super::*;

    const TEXT: &str = "listeners: [ { name: a, address: 127.0.0.1:0 } ]\nroutes: [ { name: r, respond: { status: 204 } } ]\n";

    fn load(text: &str) -> Result<Loaded, Report> {
        load_str("gateway.yaml", text, &|_| None)
    }

    fn told(text: &str, failure: Option<Failure>) -> Value {
        let running = load(TEXT).unwrap().config;
        drift(Path::new("gateway.yaml"), &running, load(text), failure, &[])
    }

    #[test]
    fn a_file_that_runs_is_no_drift() {
        let value = told(&format!("# a comment\n{TEXT}"), None);
        assert_eq!((&value["drift"], &value["file"]["state"]), (&json!(false), &json!("runs")));
    }

    #[test]
    fn what_differs_is_told_and_what_needs_a_restart_apart() {
        let value = told(&TEXT.replace("204", "205"), None);
        assert_eq!(value["file"]["state"], "differs");
        assert!(value["file"]["differs"].as_str().unwrap().contains("respond.status: 204 -> 205"), "{value}");
        let value = told(&format!("runtime: {{ workers: 3 }}\n{TEXT}"), None);
        assert_eq!((&value["drift"], &value["file"]["state"]), (&json!(true), &json!("restart")));
        assert_eq!(value["file"]["restart"][0]["field"], "runtime.workers");
    }

    #[test]
    fn a_file_that_can_not_run_is_told_with_its_diagnostics() {
        let failure = Failure { at: SystemTime::UNIX_EPOCH, text: "no".into() };
        let value = told("listeners: []\n", Some(failure));
        assert_eq!(value["file"]["state"], "refused");
        assert!(value["file"]["diagnostics"].as_str().unwrap().contains("gateway.yaml:"), "{value}");
        assert_eq!(value["file"]["reload_failed"]["at"], "1970-01-01T00:00:00Z");
    }
}
