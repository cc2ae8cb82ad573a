//! What Ringway promises to cost, and whether this run shows it.

use crate::report::{Cost, Report};

/// A promise and what came of it.
pub struct Target {
    /// Of what.
    pub what: String,
    /// The promise.
    pub bound: String,
    /// What this run measured.
    pub measured: String,
    /// `met`, `NOT MET`, or why nobody can say.
    pub verdict: String,
}

/// Ringway's cost in parts of another proxy's.
const RATIOS: [(&str, Cost, &str, f64); 9] = [
    ("1k-bare", Cost::Instructions, "nginx", 0.85),
    ("1k-bare", Cost::Instructions, "haproxy", 0.68),
    ("1k-bare", Cost::Instructions, "envoy", 0.22),
    ("1k-browser", Cost::Instructions, "nginx", 0.85),
    ("1k-browser", Cost::Instructions, "haproxy", 0.68),
    ("1k-browser", Cost::Instructions, "envoy", 0.22),
    ("64k", Cost::Cycles, "haproxy", 0.90),
    ("1m", Cost::Cycles, "envoy", 0.90),
    ("1k-connection-each", Cost::Instructions, "nginx", 1.0),
];

/// Larger route tables in parts of one of ten.
const ROUTE_TABLES: [(&str, f64); 2] = [("routes-1000", 1.03), ("routes-10000", 1.03)];

const INSTRUCTIONS_USER_MAX: f64 = 10_000.0;
const RESIDENT_BYTES_MAX: f64 = 15.0 * 1024.0 * 1024.0;
const IDLE_BYTES_MAX: f64 = 2048.0;

const OURS: &str = "ringway";

/// Every target, in a fixed order.
pub fn judge(report: &Report) -> Vec<Target> {
    let mut targets: Vec<Target> = RATIOS
        .iter()
        .map(|&(scenario, cost, peer, bound)| ratio_to_peer(report, scenario, cost, peer, bound))
        .collect();
    targets.extend(ROUTE_TABLES.iter().map(|&(scenario, bound)| {
        let what = format!("{scenario} in parts of routes-10");
        ratio(report, what, Cost::Instructions, (scenario, OURS), ("routes-10", OURS), bound)
    }));
    let counted = report.median(Cost::InstructionsUser, "1k-bare", OURS);
    targets.push(absolute(
        "1k-bare, user-space instructions",
        counted.or_else(|| report.by_valgrind("1k-bare", OURS)),
        INSTRUCTIONS_USER_MAX,
        |count| format!("{count:.0}"),
    ));
    let of = |values: &[(&str, f64)]| values.iter().find(|(name, _)| *name == OURS).map(|(_, value)| *value);
    let resident: Vec<(&str, f64)> =
        report.resident.iter().map(|(name, bytes)| (*name, *bytes as f64)).collect();
    targets.push(absolute("resident after the run", of(&resident), RESIDENT_BYTES_MAX, |bytes| {
        format!("{:.1} MiB", bytes / 1048576.0)
    }));
    targets.push(absolute("resident for each idle connection", of(&report.idle), IDLE_BYTES_MAX, |bytes| {
        format!("{:.2} KiB", bytes / 1024.0)
    }));
    targets
}

fn ratio_to_peer(report: &Report, scenario: &'static str, cost: Cost, peer: &str, bound: f64) -> Target {
    ratio(report, format!("{scenario} in parts of {peer}'s"), cost, (scenario, OURS), (scenario, peer), bound)
}

fn ratio(
    report: &Report,
    what: String,
    cost: Cost,
    one: (&str, &str),
    other: (&str, &str),
    bound: f64,
) -> Target {
    let unit = if cost == Cost::Cycles { "cycles" } else { "instructions" };
    let counted = report.ratio(cost, one, other);
    let by_time = report.ratio(Cost::Cpu, one, other);
    let (measured, verdict) = match (counted, by_time) {
        (Some(ratio), _) => (format!("{ratio:.2}"), verdict(ratio <= bound).to_owned()),
        (None, Some(ratio)) => {
            let stand_in = verdict(ratio <= bound);
            (format!("{ratio:.2} of CPU time"), format!("{unit} not measurable here; by CPU time {stand_in}"))
        }
        (None, None) => ("-".into(), "not measured".into()),
    };
    Target { what: format!("{what}, {unit}"), bound: format!("{bound:.2}"), measured, verdict }
}

fn absolute(what: &str, measured: Option<f64>, bound: f64, shown: impl Fn(f64) -> String) -> Target {
    Target {
        what: what.to_owned(),
        bound: shown(bound),
        measured: measured.map_or("-".into(), &shown),
        verdict: measured.map_or("not measured", |value| verdict(value <= bound)).to_owned(),
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}
