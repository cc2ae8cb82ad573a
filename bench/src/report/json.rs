//! Everything that was measured, for programs.

use serde_json::{Value, json};

use super::Report;
use crate::identity;
use crate::load::Sample;
use crate::targets;

/// The report with every sample.
pub fn json(report: &Report) -> Value {
    let turns = report.samples.iter().map(|(scenario, proxy, samples)| {
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        json!({ "scenario": scenario, "proxy": proxy, "samples": samples })
    });
    let targets = targets::judge(report).into_iter().map(|target| {
        json!({ "what": target.what, "bound": target.bound, "measured": target.measured, "verdict": target.verdict })
    });
    let headers = report.headers.iter().map(|(front, name, headers)| json!([front.name(), name, headers]));
    let sessions = report.sessions.iter().map(|(name, agreed)| {
        json!({ "proxy": name, "version": agreed.version, "cipher": agreed.cipher, "group": agreed.group,
            "protocol": agreed.protocol, "tickets": agreed.tickets, "certificate": identity::KIND })
    });
    let idle = report.idle.iter().map(|(front, name, bytes)| json!([front.name(), name, bytes]));
    json!({
        "machine": report.machine,
        "hardware_counters": report.hardware,
        "versions": report.versions.iter().map(|(name, version)| json!([name, version])).collect::<Vec<_>>(),
        "missing": report.missing,
        "headers_added": headers.collect::<Vec<_>>(),
        "tls": sessions.collect::<Vec<_>>(),
        "turns": turns.collect::<Vec<_>>(),
        "latency": report.latency.iter().map(crate::latency::Row::json).collect::<Vec<_>>(),
        "generator": report.generator.iter().map(crate::generator::Row::json).collect::<Vec<_>>(),
        "resident_bytes": report.resident.iter().map(|(name, bytes)| json!([name, bytes])).collect::<Vec<_>>(),
        "idle_connection_bytes": idle.collect::<Vec<_>>(),
        "user_instructions_by_valgrind":
            report.instructions.iter().map(|(s, p, each)| json!([s, p, each])).collect::<Vec<_>>(),
        "targets": targets.collect::<Vec<_>>(),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "requests": sample.requests, "errors": sample.errors, "resumed": sample.resumed,
        "seconds": sample.seconds,
        "cpu_ns": sample.cpu.total_ns, "cpu_user_ns": sample.cpu.user_ns(),
        "instructions_user": sample.events.map(|e| e.instructions_user),
        "instructions_kernel": sample.events.map(|e| e.instructions_kernel),
        "cycles_user": sample.events.map(|e| e.cycles_user),
        "cycles_kernel": sample.events.map(|e| e.cycles_kernel),
    })
}
