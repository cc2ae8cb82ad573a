//! A report to look at: 20 seconds at 1000 a second with one that stalled.

use std::collections::BTreeMap;

use super::model::*;

/// See the module.
pub fn sample() -> Report {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut response, mut service, mut waiting, mut lag) = (empty(), empty(), empty(), empty());
    let mut intervals = Vec::new();
    for second in 0..20 {
        let mut slice = empty();
        for n in 0..1000u64 {
            let work = 300_000 + (-(1.0 - random.f64()).ln() * 120_000.0) as u64;
            let wait = if second == 9 { (1000 - n) * 1_000_000 } else { 0 };
            response.saturating_record(work + wait);
            slice.saturating_record(work + wait);
            service.saturating_record(work);
            waiting.saturating_record(wait);
            lag.saturating_record(2000 + random.u64(0..9000));
        }
        intervals.push(Interval {
            at_s: f64::from(second),
            length_s: 1.0,
            asked: 1000,
            ok: 1000,
            errors: u64::from(second == 9) * 12,
            lag_max_us: 11.0,
            response_time_us: Figures::from(&Latency(slice)),
        });
    }
    let named = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    Report {
        format: FORMAT.into(),
        valid: true,
        invalid_because: vec![],
        notes: vec!["a note".into()],
        partial: false,
        plan: PlanSummary {
            label: Some("<sample>".into()),
            target: "http://127.0.0.1:9000/<script>alert(1)</script>".into(),
            loop_kind: "open".into(),
            arrivals: "constant".into(),
            phases: vec![],
            rate: Some(1000.0),
            duration_s: 20.0,
            protocol: "http/1.1".into(),
            connections: 64,
            depth: 1,
            threads: 1,
            seed: 1,
        },
        environment: Environment {
            kernel: "Linux 6.18 x86_64".into(),
            cpu: "a processor".into(),
            cores: 2,
            pinned_to: vec![1],
            version: "0.1.0".into(),
            driver: "io_uring (defer_taskrun)".into(),
            command: vec!["ringway-load".into(), "run".into(), "<&\">".into()],
        },
        started_unix_ms: 1_700_000_000_000,
        seconds: 20.0,
        warmup: Warmup { seconds: 1.0, requests: 1000, errors: 0 },
        requests: 20_012,
        ok: 20_000,
        dropped: 0,
        achieved_rate: 1000.0,
        errors: named(&[
            ("connect", 0),
            ("tls", 0),
            ("timeout", 2),
            ("reset", 10),
            ("protocol", 0),
            ("status", 0),
            ("body", 0),
        ]),
        statuses: named(&[("200", 20_000)]),
        bytes: Bytes { sent: 2_000_000, received: 22_000_000 },
        response_time_us: Latency(response),
        service_time_us: Latency(service),
        waiting_us: Latency(waiting),
        generator_lag_us: Latency(lag),
        error_time_us: Latency::default(),
        connect_time_us: Latency::default(),
        handshake_time_us: Latency::default(),
        resumed: 0,
        occupancy: 0.12,
        intervals,
        parts: BTreeMap::new(),
        watched: Some(Watched {
            pid: 7,
            name: "proxy".into(),
            user_s: 0.1,
            system_s: 0.3,
            cpu_us_per_request: 20.0,
            rss_bytes: 9 << 20,
            rss_peak_bytes: 10 << 20,
            voluntary_switches: 12_000,
            involuntary_switches: 3,
            samples: (0..20)
                .map(|n| WatchSample { at_s: f64::from(n), cpu_s: 0.02 * f64::from(n), rss_bytes: 9 << 20 })
                .collect(),
        }),
        expectations: vec![Expectation { text: "p99<10ms".into(), measured: "812 ms".into(), met: false }],
    }
}
