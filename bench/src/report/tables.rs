//! Everything that was measured, for people: Markdown.

use std::fmt::Write;

use super::{Cost, Report, median};
use crate::front::Front;
use crate::identity;
use crate::idle::IDLE;
use crate::load::Sample;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::targets;

/// The report.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# Cost per request\n\n{}\n\n", report.machine);
    report.versions.iter().for_each(|(name, version)| line(&mut text, &format!("- {name}: {version}")));
    report.missing.iter().for_each(|why| line(&mut text, &format!("- skipped: {why}")));
    headers(report, &mut text);
    if !report.hardware {
        line(
            &mut text,
            "- no hardware counters on this machine: CPU time stands for instructions and cycles",
        );
    }
    costs(report, &mut text);
    sessions(report, &mut text);
    text.push_str(&crate::latency::table(&report.latency));
    text.push_str(&crate::generator::table(&report.generator));
    memory(report, &mut text);
    line(&mut text, "\n## Targets\n\n| what | at most | measured | |\n|---|---|---|---|");
    for target in targets::judge(report) {
        let (what, bound, measured, verdict) = (target.what, target.bound, target.measured, target.verdict);
        line(&mut text, &format!("| {what} | {bound} | {measured} | {verdict} |"));
    }
    text
}

/// A line for each set of headers that some proxies add before a front, with their names.
fn headers(report: &Report, text: &mut String) {
    let mut said: Vec<(Front, &[&str], Vec<&str>)> = Vec::new();
    for (front, name, added) in &report.headers {
        match said.iter_mut().find(|(f, a, _)| (*f, *a) == (*front, added.as_slice())) {
            Some((_, _, names)) => names.push(name),
            None => said.push((*front, added, vec![name])),
        }
    }
    for (front, added, names) in said.into_iter().filter(|(_, added, _)| !added.is_empty()) {
        line(text, &format!("- {}: {} add {}", front.name(), names.join(", "), added.join(", ")));
    }
}

fn costs(report: &Report, text: &mut String) {
    let measured: Vec<&Scenario> =
        SCENARIOS.iter().filter(|s| report.samples.iter().any(|(name, _, _)| *name == s.name)).collect();
    if measured.is_empty() {
        return;
    }
    text.push('\n');
    measured.iter().for_each(|scenario| line(text, &format!("- {}: {}", scenario.name, scenario.what)));
    line(
        text,
        "\n| scenario | proxy | requests/s | CPU us/request (min-max) | user | kernel | kinstructions user + kernel | kcycles | CPU in parts of Ringway's |",
    );
    line(text, "|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for (scenario, proxy, samples) in measured.iter().flat_map(|scenario| of_scenario(report, scenario.name))
    {
        cost(report, scenario, proxy, samples, text);
    }
}

fn cost(report: &Report, scenario: &'static str, proxy: &'static str, samples: &[Sample], text: &mut String) {
    let of = |cost: Cost| median(samples.iter().filter_map(|sample| cost.of(sample)).collect());
    let (cpu, user) = (of(Cost::Cpu).unwrap_or(0.0), of(Cost::CpuUser).unwrap_or(0.0));
    let each: Vec<f64> = samples.iter().filter_map(|sample| Cost::Cpu.of(sample)).collect();
    let (low, high) =
        (each.iter().copied().fold(f64::MAX, f64::min), each.iter().copied().fold(0.0, f64::max));
    let rate = median(samples.iter().map(|s| s.requests as f64 / s.seconds).collect()).unwrap_or(0.0);
    let instructions = match (of(Cost::InstructionsUser), of(Cost::Instructions)) {
        (Some(user), Some(all)) => format!("{:.1} + {:.1}", user / 1000.0, (all - user) / 1000.0),
        _ => {
            report.by_valgrind(scenario, proxy).map_or("-".into(), |user| format!("{:.1} + ?", user / 1000.0))
        }
    };
    let cycles = of(Cost::Cycles).map_or("-".into(), |cycles| format!("{:.1}", cycles / 1000.0));
    let ratio = report.ratio(Cost::Cpu, (scenario, proxy), (scenario, "ringway"));
    let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
    let errors: u64 = samples.iter().map(|sample| sample.errors).sum();
    let failed = if errors == 0 { String::new() } else { format!(" ({errors} ERRORS)") };
    line(
        text,
        &format!(
            "| {scenario} | {proxy}{failed} | {rate:.0} | {cpu:.2} ({low:.2}-{high:.2}) | {user:.2} | {:.2} | \
             {instructions} | {cycles} | {ratio} |",
            cpu - user
        ),
    );
}

fn of_scenario<'a>(
    report: &'a Report,
    name: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str, &'a Vec<Sample>)> {
    report.samples.iter().filter(move |(s, _, _)| *s == name).map(|(s, p, samples)| (*s, *p, samples))
}

/// What the TLS figures are of.
fn sessions(report: &Report, text: &mut String) {
    if report.sessions.is_empty() {
        return;
    }
    line(
        text,
        "\n## TLS as agreed on\n\nAsked of each proxy before it was measured, with what the load offers. Each gives \
         session tickets as it does by default; the load takes none, so every handshake is a full one.\n\n\
         | proxy | version | cipher suite | group | certificate | ALPN | tickets given | sessions resumed |\n\
         |---|---|---|---|---|---|---:|---:|",
    );
    for (name, agreed) in &report.sessions {
        let of_proxy = report.samples.iter().filter(|(_, proxy, _)| proxy == name);
        let resumed: u64 = of_proxy.flat_map(|(_, _, samples)| samples).map(|sample| sample.resumed).sum();
        line(
            text,
            &format!(
                "| {name} | {} | {} | {} | {} | {} | {} | {resumed} |",
                agreed.version,
                agreed.cipher,
                agreed.group,
                identity::KIND,
                agreed.protocol,
                agreed.tickets
            ),
        );
    }
}

fn memory(report: &Report, text: &mut String) {
    let mut head = "\n| proxy | resident after the run |".to_owned();
    for idle in &IDLE {
        let _ = write!(head, " each idle connection, {} ({}) |", idle.front.name(), idle.many);
    }
    line(text, &(head + " user-space instructions by valgrind: 1k-bare | 1k-browser |"));
    line(text, "|---|---:|---:|---:|---:|---:|---:|");
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    for (name, _) in &report.versions {
        let resident = report.resident.iter().find(|(n, _)| n == name);
        let mut cells =
            vec![shown(resident.map(|(_, bytes)| format!("{:.1} MiB", *bytes as f64 / 1048576.0)))];
        cells.extend(IDLE.iter().map(|idle| {
            shown(report.idle(idle.front, name).map(|bytes| format!("{:.2} KiB", bytes / 1024.0)))
        }));
        let counted = |scenario| shown(report.by_valgrind(scenario, name).map(|each| format!("{each:.0}")));
        cells.extend(["1k-bare", "1k-browser"].map(counted));
        line(text, &format!("| {name} | {} |", cells.join(" | ")));
    }
}

fn line(text: &mut String, words: &str) {
    // Writing to a string never fails.
    let _ = writeln!(text, "{words}");
}
