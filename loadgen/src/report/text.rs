//! A report for a terminal.

use std::fmt::Write;

use super::model::{Latency, Report};
use crate::units::{show_bytes, show_rate, show_us};

/// The summary, at most a hundred columns wide but for what the user wrote; `color` for terminals.
pub fn text(report: &Report, color: bool) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    let _ = write_all(&mut out, report, Paint(color));
    out
}

/// Whether to colour.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn on(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bad(self, text: &str) -> String {
        self.on("1;31", text)
    }

    fn good(self, text: &str) -> String {
        self.on("32", text)
    }

    fn faint(self, text: &str) -> String {
        self.on("2", text)
    }
}

fn write_all(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    let plan = &report.plan;
    for why in &report.invalid_because {
        writeln!(out, "{}: {why}", paint.bad("INVALID"))?;
    }
    if report.partial {
        writeln!(
            out,
            "{}: stopped after {:.1} s of {:.1} s",
            paint.bad("PARTIAL"),
            report.seconds,
            plan.duration_s
        )?;
    }
    let label = plan.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    writeln!(out, "{}{label}", plan.target)?;
    let depth = match (plan.depth, plan.protocol.as_str()) {
        (1, _) => String::new(),
        (depth, protocol) if protocol.starts_with("http/1") => format!(", {depth} pipelined"),
        (depth, _) => format!(" x {depth} streams"),
    };
    let pace = match plan.rate {
        Some(rate) => format!("{} asked, {} arrivals", show_rate(rate), plan.arrivals),
        None => "closed loop".to_owned(),
    };
    let counted = |count: u32, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    writeln!(
        out,
        "  {}, {}{depth}, {}, {pace}",
        plan.protocol,
        counted(plan.connections, "connection"),
        counted(plan.threads, "thread")
    )?;
    if !plan.phases.is_empty() {
        writeln!(out, "  {}", plan.phases.join(", "))?;
    }
    writeln!(
        out,
        "  {} requests in {:.2} s after a warm-up of {:.1} s ({} requests, left out)",
        report.requests, report.seconds, report.warmup.seconds, report.warmup.requests
    )?;
    writeln!(out, "  {} good answers", show_rate(report.achieved_rate))?;
    writeln!(out)?;
    times(out, report, paint)?;
    failures(out, report, paint)?;
    parts(out, report, paint)?;
    rest(out, report, paint)
}

fn times(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    let names = ["mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];
    let mut head = format!("{:<14}", "");
    names.iter().try_for_each(|name| write!(head, "{name:>10}"))?;
    writeln!(out, "{}", paint.faint(&head))?;
    let closed = report.plan.loop_kind == "closed";
    let rows: [(&str, &Latency, bool); 5] = [
        ("response time", &report.response_time_us, !closed),
        ("service time", &report.service_time_us, true),
        ("waiting", &report.waiting_us, report.waiting_us.0.max() > 0),
        ("generator lag", &report.generator_lag_us, true),
        ("until failure", &report.error_time_us, true),
    ];
    for (name, latency, shown) in rows {
        if shown && latency.count() > 0 {
            writeln!(out, "{}", row(name, latency))?;
        }
    }
    if report.response_time_us.count() == 0 {
        writeln!(out, "{}", paint.bad("  no good answer came"))?;
    }
    Ok(())
}

fn row(name: &str, latency: &Latency) -> String {
    let at = |percentile| latency.percentile_us(percentile);
    let figures =
        [latency.mean_us(), at(50.0), at(90.0), at(95.0), at(99.0), at(99.9), at(99.99), latency.max_us()];
    let mut line = format!("{name:<14}");
    for figure in figures {
        let _ = write!(line, "{:>10}", show_us(figure));
    }
    line
}

fn failures(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    let failed: u64 = report.errors.values().sum();
    writeln!(out)?;
    if failed == 0 {
        writeln!(out, "no errors")?;
    } else {
        let kinds: Vec<String> = report
            .errors
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let share = failed as f64 * 100.0 / report.requests.max(1) as f64;
        writeln!(out, "{}: {}", paint.bad(&format!("{failed} errors ({share:.3}%)")), kinds.join(", "))?;
        writeln!(out, "  the times above are of good answers only; {share:.3}% of the requests had none")?;
    }
    if !report.statuses.is_empty() {
        let statuses: Vec<String> =
            report.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        writeln!(out, "statuses {}", statuses.join(", "))?;
    }
    Ok(())
}

fn parts(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    if report.parts.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let head =
        format!("{:<24}{:>12}{:>10}{:>12}{:>12}{:>12}", "request", "count", "errors", "p50", "p99", "p99.9");
    writeln!(out, "{}", paint.faint(&head))?;
    for (name, part) in &report.parts {
        let at = |percentile| show_us(part.response_time_us.percentile_us(percentile));
        writeln!(
            out,
            "{name:<24}{:>12}{:>10}{:>12}{:>12}{:>12}",
            part.requests,
            part.errors,
            at(50.0),
            at(99.0),
            at(99.9)
        )?;
    }
    Ok(())
}

fn rest(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    let bytes = report.bytes;
    writeln!(out, "bytes sent {}, received {}", show_bytes(bytes.sent), show_bytes(bytes.received))?;
    for (name, latency) in
        [("connects", &report.connect_time_us), ("TLS handshakes", &report.handshake_time_us)]
    {
        if latency.count() > 0 {
            let (p50, p99) = (show_us(latency.percentile_us(50.0)), show_us(latency.percentile_us(99.0)));
            write!(out, "{name} {}: p50 {p50}, p99 {p99}", latency.count())?;
            let resumed = name.starts_with("TLS").then(|| format!("; {} resumed", report.resumed));
            writeln!(out, "{}", resumed.unwrap_or_default())?;
        }
    }
    if let Some(watched) = &report.watched {
        writeln!(
            out,
            "{} ({}): {} CPU a request ({:.2} s user, {:.2} s kernel), {} resident (peak {}), \
             {} waits, {} preemptions",
            watched.name,
            watched.pid,
            show_us(watched.cpu_us_per_request),
            watched.user_s,
            watched.system_s,
            show_bytes(watched.rss_bytes),
            show_bytes(watched.rss_peak_bytes),
            watched.voluntary_switches,
            watched.involuntary_switches
        )?;
    }
    for expectation in &report.expectations {
        let verdict = if expectation.met { paint.good("met") } else { paint.bad("MISSED") };
        writeln!(out, "{verdict}: {} (measured: {})", expectation.text, expectation.measured)?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn the_summary_says_what_matters_and_fits_a_terminal() {
        let shown = text(&sample(), false);
        for expected in [
            "response time",
            "1000/s asked",
            "12 errors",
            "reset 10, timeout 2",
            "MISSED: p99<10ms",
            "20 us CPU a request",
            "warm-up of 1.0 s (1000 requests, left out)",
            "64 connections, 1 thread,",
        ] {
            assert!(shown.contains(expected), "{expected}:\n{shown}");
        }
        let widest = shown.lines().filter(|line| !line.starts_with("proxy")).map(str::len).max();
        assert!(widest <= Some(100), "{widest:?}\n{shown}");
    }

    #[test]
    fn an_invalid_run_begins_with_that() {
        let mut report = sample();
        report.invalid_because.push("it was late; ask for less".into());
        assert!(text(&report, false).starts_with("INVALID: it was late"));
    }
}
