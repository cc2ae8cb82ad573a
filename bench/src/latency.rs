//! Latency at fixed rates, by ringway-load in an open loop: what users of each proxy would wait.
//!
//! The rates are parts of what nginx can do at most in the same run. The load shares its core with the origin, so it
//! does not spin.

use std::fmt::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::front::Front;
use crate::load::ringway_load;
use crate::peers::{Kind, Peer, Running};
use crate::process::pinned;
use crate::report::{Report, median};
use crate::scenarios::{SCENARIOS, Scenario};
use crate::site::Site;

/// Connections of the load.
const CONNECTIONS: &str = "64";
/// What is measured so.
const MEASURED: [&str; 2] = ["1k-bare", "1k-browser"];

/// One proxy at one rate.
pub struct Row {
    scenario: &'static str,
    proxy: &'static str,
    percent: u32,
    rate: f64,
    samples: Vec<Value>,
}

impl Row {
    fn of(&self, path: &str) -> Option<f64> {
        let value = |sample: &Value| path.split('.').fold(sample, |value, name| &value[name]).as_f64();
        median(self.samples.iter().filter_map(value).collect())
    }

    /// For programs: the medians.
    pub fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "proxy": self.proxy, "percent": self.percent, "rate": self.rate,
            "p50_us": self.of("response_time_us.p50"), "p99_us": self.of("response_time_us.p99"),
            "p99_9_us": self.of("response_time_us.p99_9"), "cpu_us": self.of("watched.cpu_us_per_request"),
            "valid": self.samples.iter().filter(|sample| sample["valid"] == true).count(),
            "rounds": self.samples.len(),
        })
    }
}

/// Measures every proxy that starts, at each rate, round by round.
pub fn measure(site: &Site<'_>, report: &mut Report) -> Result<(), String> {
    let options = site.options;
    let place = site.place(Front::Http1);
    let mut running: Vec<(&Peer, Running)> = Vec::new();
    for peer in site.peers {
        match peer.start(&place, &[]) {
            Ok(proxy) => running.push((peer, proxy)),
            Err(why) => report.missing.push(why),
        }
    }
    let Some((_, nginx)) = running.iter().find(|(peer, _)| peer.kind == Kind::Nginx) else {
        report.missing.push("latency: its rates are parts of nginx's maximum, and nginx is not there".into());
        return Ok(());
    };
    for name in MEASURED {
        let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == name) else { continue };
        let most = load(site, scenario, nginx, &["saturate".into()])?;
        let most = most["achieved_rate"].as_f64().unwrap_or(0.0);
        eprintln!("{name}: nginx does {most:.0} requests a second at most");
        for &percent in &options.rates {
            let rate = (most * f64::from(percent) / 100.0).max(1.0);
            let mut rows: Vec<Row> = running
                .iter()
                .map(|(peer, _)| Row {
                    scenario: scenario.name,
                    proxy: peer.name,
                    percent,
                    rate,
                    samples: Vec::new(),
                })
                .collect();
            for round in 1..=options.rounds {
                for (row, (peer, proxy)) in rows.iter_mut().zip(&running) {
                    let words = ["run".to_owned(), "--rate".to_owned(), format!("{rate:.0}")];
                    row.samples.push(load(site, scenario, proxy, &words)?);
                    eprintln!("{name} at {percent}% round {round}: {}", peer.name);
                }
            }
            report.latency.append(&mut rows);
        }
    }
    Ok(())
}

fn load(site: &Site<'_>, scenario: &Scenario, proxy: &Running, words: &[String]) -> Result<Value, String> {
    let (options, file) = (site.options, site.folder.join("load.json"));
    let mut command = vec![ringway_load()?.display().to_string()];
    command.extend(words.iter().cloned());
    let url = scenario.url(proxy.port);
    let duration = format!("{}s", options.turn_s().max(2));
    let pid = proxy.process.pid().to_string();
    let out = file.display().to_string();
    let more = [
        &url,
        "--connections",
        CONNECTIONS,
        "--duration",
        &duration,
        "--warmup",
        "1s",
        "--spin",
        "off",
        "--watch-pid",
        &pid,
        "--out",
        &out,
        "--quiet",
    ];
    command.extend(more.into_iter().map(str::to_owned));
    for header in scenario.headers {
        command.extend(["-H".to_owned(), (*header).to_owned()]);
    }
    let mut load: Command = pinned(options.load_core, &command);
    let output = load.output().map_err(|error| format!("ringway-load: {error}"))?;
    // 4: it was late itself, which the table says.
    if !matches!(output.status.code(), Some(0 | 4)) {
        return Err(format!("ringway-load: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The table, in Markdown.
pub fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## Latency at fixed rates\n\nOpen loop, 64 connections; response time from the time a request was due; medians \
         of the rounds. A round is invalid where the generator itself was late.\n\n\
         | scenario | of nginx's maximum | proxy | p50 us | p99 us | p99.9 us | CPU us/request | invalid rounds |\n\
         |---|---:|---|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let shown = |path: &str| row.of(path).map_or("-".to_owned(), |value| format!("{value:.0}"));
        let invalid = row.samples.iter().filter(|sample| sample["valid"] != true).count();
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "| {} | {}%: {:.0}/s | {} | {} | {} | {} | {} | {invalid} of {} |",
            row.scenario,
            row.percent,
            row.rate,
            row.proxy,
            shown("response_time_us.p50"),
            shown("response_time_us.p99"),
            shown("response_time_us.p99_9"),
            row.of("watched.cpu_us_per_request").map_or("-".to_owned(), |value| format!("{value:.2}")),
            row.samples.len()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_over_rounds_and_invalid_ones_are_counted() {
        let sample = |p50: f64, valid: bool| json!({ "response_time_us": { "p50": p50 }, "valid": valid });
        let samples = vec![sample(1.0, true), sample(9.0, false), sample(3.0, true)];
        let row = Row { scenario: "s", proxy: "p", percent: 30, rate: 10.0, samples };
        assert_eq!(row.of("response_time_us.p50"), Some(3.0));
        assert!(table(&[row]).contains("| s | 30%: 10/s | p | 3 | - | - | - | 1 of 3 |"));
    }
}
