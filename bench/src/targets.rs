//! What Ringway promises to cost, and whether this run shows it.

use crate::front::Front;
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

/// Ringway's cost in parts of another proxy's, or of the cheapest one's.
const RATIOS: [(&str, Cost, &str, f64); 18] = [
    ("1k-bare", Cost::Instructions, "nginx", 0.85),
    ("1k-bare", Cost::Instructions, "haproxy", 0.68),
    ("1k-bare", Cost::Instructions, "envoy", 0.22),
    ("1k-browser", Cost::Instructions, "nginx", 0.85),
    ("1k-browser", Cost::Instructions, "haproxy", 0.68),
    ("1k-browser", Cost::Instructions, "envoy", 0.22),
    ("64k", Cost::Cycles, "haproxy", 0.90),
    ("1m", Cost::Cycles, "envoy", 0.90),
    ("1k-connection-each", Cost::Instructions, "nginx", 1.0),
    ("tls-1k", Cost::Instructions, "nginx", 0.85),
    ("tls-1k-connection-each", Cost::Instructions, "nginx", 0.70),
    ("tls-1k-connection-each", Cost::Instructions, "envoy", 1.0),
    ("tls-64k", Cost::Cycles, CHEAPEST, 0.95),
    ("h2-1k", Cost::Instructions, "nginx", 1.10),
    ("grpc-unary", Cost::Instructions, "envoy", 0.50),
    ("tcp-pingpong", Cost::Instructions, "nginx", 1.10),
    ("tcp-64k", Cost::Cycles, "envoy", 1.0),
    ("tcp-64k", Cost::Cycles, "haproxy", 1.0),
];

const CHEAPEST: &str = "the cheapest";
/// Who can be that.
const OTHERS: [&str; 3] = ["nginx", "haproxy", "envoy"];

/// Larger route tables in parts of one of ten.
const ROUTE_TABLES: [(&str, f64); 2] = [("routes-1000", 1.03), ("routes-10000", 1.03)];

const INSTRUCTIONS_USER_MAX: f64 = 10_000.0;
const RESIDENT_BYTES_MAX: f64 = 15.0 * 1024.0 * 1024.0;
/// For each idle connection.
const IDLE_BYTES_MAX: [(Front, f64); 3] =
    [(Front::Http1, 2048.0), (Front::Tls, 24.0 * 1024.0), (Front::Http2, 32.0 * 1024.0)];

/// Timeout, retries, ejection, breaker and rate limit together.
const POLICIES_INSTRUCTIONS_MAX: f64 = 1_500.0;

const OURS: &str = "ringway";
const OURS_WITH_POLICIES: &str = "ringway-policies";

/// Every target, in a fixed order.
pub fn judge(report: &Report) -> Vec<Target> {
    let mut targets: Vec<Target> = RATIOS
        .iter()
        .map(|&(scenario, cost, peer, bound)| ratio_to_peer(report, scenario, cost, peer, bound))
        .collect();
    targets.extend(ROUTE_TABLES.iter().map(|&(scenario, bound)| {
        let what = format!("{scenario} in parts of routes-10");
        let of = |cost| report.ratio(cost, (scenario, OURS), ("routes-10", OURS));
        ratio(what, Cost::Instructions, of, bound)
    }));
    let counted = |proxy| {
        let counted = report.median(Cost::InstructionsUser, "1k-bare", proxy);
        counted.or_else(|| report.by_valgrind("1k-bare", proxy))
    };
    targets.push(absolute(
        "1k-bare, user-space instructions",
        counted(OURS),
        INSTRUCTIONS_USER_MAX,
        |count| format!("{count:.0}"),
    ));
    targets.push(absolute(
        "1k-bare, user-space instructions of policies beyond none",
        counted(OURS_WITH_POLICIES).zip(counted(OURS)).map(|(with, without)| with - without),
        POLICIES_INSTRUCTIONS_MAX,
        |count| format!("{count:.0}"),
    ));
    let resident = report.resident.iter().find(|(name, _)| *name == OURS).map(|(_, bytes)| *bytes as f64);
    targets.push(absolute("resident after the run", resident, RESIDENT_BYTES_MAX, |bytes| {
        format!("{:.1} MiB", bytes / 1048576.0)
    }));
    targets.extend(IDLE_BYTES_MAX.iter().map(|&(front, bound)| {
        let what = format!("resident for each idle connection, {}", front.name());
        absolute(&what, report.idle(front, OURS), bound, |bytes| format!("{:.2} KiB", bytes / 1024.0))
    }));
    targets
}

fn ratio_to_peer(report: &Report, scenario: &'static str, cost: Cost, peer: &str, bound: f64) -> Target {
    let what = format!("{scenario} in parts of {peer}'s");
    let peers = if peer == CHEAPEST { OTHERS.as_slice() } else { &[peer] };
    // In parts of the cheapest one's it is the most.
    let most = |cost| {
        let ratios = peers.iter().filter_map(|peer| report.ratio(cost, (scenario, OURS), (scenario, peer)));
        ratios.max_by(f64::total_cmp)
    };
    ratio(what, cost, most, bound)
}

/// `of` says what came out, by a measure of cost.
fn ratio(what: String, cost: Cost, of: impl Fn(Cost) -> Option<f64>, bound: f64) -> Target {
    let unit = if cost == Cost::Cycles { "cycles" } else { "instructions" };
    let (measured, verdict) = match (of(cost), of(Cost::Cpu)) {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::counters::{CpuTime, Events};
    use crate::load::Sample;

    #[test]
    fn in_parts_of_the_cheapest_ones_the_cheapest_counts_and_nobody_else() {
        let options = crate::Options::parse_from(["compare"]);
        let mut report = Report::begin(&options, &[], Vec::new(), true);
        let costs = [("ringway", 96), ("nginx", 200), ("haproxy", 100), ("envoy", 400), ("baseline", 1)];
        for (proxy, cycles_user) in costs {
            let events =
                Events { instructions_user: 0, instructions_kernel: 0, cycles_user, cycles_kernel: 0 };
            let (cpu, events) = (CpuTime::default(), Some(events));
            let sample = Sample { requests: 1, errors: 0, resumed: 0, seconds: 1.0, cpu, events };
            report.add("tls-64k", proxy, sample);
        }
        let targets = judge(&report);
        let target = targets.iter().find(|target| target.what.starts_with("tls-64k")).unwrap();
        assert_eq!((target.measured.as_str(), target.verdict.as_str()), ("0.96", "NOT MET"));
    }
}
