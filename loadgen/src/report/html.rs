//! A report as one page that needs nothing else: no network, no script.

use std::fmt::Write;

use super::model::{Latency, Report};
use super::plot::{Axis, Curve, escape, nines, plot};
use crate::units::{show_bytes, show_rate, show_us};

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut body = String::new();
    // Writing to a string never fails.
    let _ = head(&mut body, report);
    let _ = latency(&mut body, report);
    let _ = over_time(&mut body, report);
    let _ = outcome(&mut body, report);
    let _ = watched(&mut body, report);
    let _ = environment(&mut body, report);
    document(&format!("ringway-load: {}", report.plan.target), &body)
}

/// A page with the common style around `body`.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\n<style>\n{}</style></head>\n\
         <body><main>\n{body}</main></body></html>\n",
        escape(title),
        include_str!("page.css")
    )
}

fn head(out: &mut String, report: &Report) -> std::fmt::Result {
    let plan = &report.plan;
    let (class, word) = match (report.valid, report.partial) {
        (false, _) => ("bad", "INVALID"),
        (true, true) => ("bad", "PARTIAL"),
        (true, false) => ("good", "valid"),
    };
    writeln!(out, "<span class=\"verdict {class}\">{word}</span>")?;
    let label = plan.label.as_ref().map(|label| format!("{}: ", escape(label))).unwrap_or_default();
    writeln!(out, "<h1>{label}{}</h1>", escape(&plan.target))?;
    let pace = match plan.rate {
        Some(rate) => format!("{} asked, {} arrivals", show_rate(rate), plan.arrivals),
        None => "closed loop: as fast as answers come".to_owned(),
    };
    writeln!(
        out,
        "<p class=\"soft\">{}, {} connections{}, {} thread{}, {}. {:.1} s measured after a warm-up of {:.1} s \
         ({} requests, left out).</p>",
        escape(&plan.protocol),
        plan.connections,
        if plan.depth > 1 { format!(" with {} requests at once on each", plan.depth) } else { String::new() },
        plan.threads,
        if plan.threads == 1 { "" } else { "s" },
        escape(&pace),
        report.seconds,
        report.warmup.seconds,
        report.warmup.requests
    )?;
    if !plan.phases.is_empty() {
        writeln!(out, "<p class=\"soft\">{}.</p>", escape(&plan.phases.join(", ")))?;
    }
    for why in &report.invalid_because {
        writeln!(out, "<p class=\"bad\">{}</p>", escape(why))?;
    }
    for note in &report.notes {
        writeln!(out, "<p class=\"soft\">{}</p>", escape(note))?;
    }
    let failed: u64 = report.errors.values().sum();
    let at = |percentile| show_us(report.response_time_us.percentile_us(percentile));
    let mut tiles = vec![
        (show_rate(report.achieved_rate), "good answers"),
        (at(50.0), "p50"),
        (at(99.0), "p99"),
        (at(99.9), "p99.9"),
        (show_us(report.response_time_us.max_us()), "max"),
        (format!("{:.3}%", failed as f64 * 100.0 / report.requests.max(1) as f64), "errors"),
    ];
    if let Some(watched) = &report.watched {
        tiles.push((show_us(watched.cpu_us_per_request), "CPU a request"));
    }
    writeln!(out, "<div class=\"tiles\">")?;
    for (figure, name) in tiles {
        writeln!(out, "<div class=\"tile\"><b>{figure}</b><span>{name}</span></div>")?;
    }
    writeln!(out, "</div>")
}

fn latency(out: &mut String, report: &Report) -> std::fmt::Result {
    let closed = report.plan.loop_kind == "closed";
    let mut curves = Vec::new();
    if !closed {
        curves.push(percentile_curve("response time", "c1", &report.response_time_us));
    }
    curves.push(percentile_curve("service time", "c2", &report.service_time_us));
    if !closed {
        curves.push(percentile_curve("generator lag", "c3", &report.generator_lag_us));
    }
    curves.retain(|curve| !curve.points.is_empty());
    writeln!(
        out,
        "<h2>Time by percentile</h2><div class=\"card\">{}</div>",
        percentiles(&curves, report.ok)
    )?;
    writeln!(out, "<h2>Figures</h2><div class=\"card\"><table><tr><th></th>")?;
    for name in ["mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"] {
        write!(out, "<th class=\"n\">{name}</th>")?;
    }
    writeln!(out, "</tr>")?;
    for (name, latency) in [
        ("response time", &report.response_time_us),
        ("service time", &report.service_time_us),
        ("waiting for a connection", &report.waiting_us),
        ("generator lag", &report.generator_lag_us),
        ("until a failure showed", &report.error_time_us),
        ("connect", &report.connect_time_us),
        ("TLS handshake", &report.handshake_time_us),
    ] {
        if latency.count() > 0 {
            let at = |percentile| latency.percentile_us(percentile);
            let figures = [
                latency.mean_us(),
                at(50.0),
                at(90.0),
                at(95.0),
                at(99.0),
                at(99.9),
                at(99.99),
                latency.max_us(),
            ];
            write!(out, "<tr><td>{name}</td>")?;
            figures.iter().try_for_each(|us| write!(out, "<td class=\"n\">{}</td>", show_us(*us)))?;
            writeln!(out, "</tr>")?;
        }
    }
    writeln!(out, "</table></div>")
}

/// The curve of a distribution on an axis of nines, in microseconds.
pub(crate) fn percentile_curve(name: &str, class: &'static str, latency: &Latency) -> Curve {
    let most = (latency.count().max(10) as f64).log10();
    let mut points = Vec::new();
    if latency.count() > 0 {
        for step in 0..=240 {
            let x = most * f64::from(step) / 240.0;
            points.push((x, latency.percentile_us(100.0 * (1.0 - 10f64.powf(-x))).max(0.1)));
        }
        points.push((nines(1.0).min(most), latency.max_us().max(0.1)));
    }
    Curve { name: name.to_owned(), class, points }
}

/// A plot of such curves.
pub(crate) fn percentiles(curves: &[Curve], count: u64) -> String {
    let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let (min, max) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let y = Axis::powers("time, log scale", if min == f64::MAX { 1.0 } else { min }, max, plain_us);
    plot("Time by percentile", &Axis::percentiles(count), &y, curves)
}

/// A round time without digits that say nothing.
fn plain_us(us: f64) -> String {
    match us {
        _ if us == 0.0 => "0".to_owned(),
        _ if us < 1.0 => format!("{} ns", us * 1000.0),
        _ if us < 1000.0 => format!("{us} us"),
        _ if us < 1e6 => format!("{} ms", us / 1e3),
        _ => format!("{} s", us / 1e6),
    }
}

fn over_time(out: &mut String, report: &Report) -> std::fmt::Result {
    let intervals = &report.intervals;
    if intervals.is_empty() {
        return Ok(());
    }
    let end = intervals.last().map_or(1.0, |last| last.at_s + 1.0);
    let seconds = Axis::from_zero("seconds", end, |value| format!("{value}"));
    let of = |value: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
        (0..intervals.len()).map(|n| (intervals[n].at_s + 0.5, value(n))).collect()
    };
    let curve = |name: &str, class, points| Curve { name: name.to_owned(), class, points };
    let p99 = of(&|n| intervals[n].response_time_us.p99);
    let top = intervals.iter().map(|interval| interval.response_time_us.max).fold(1.0, f64::max);
    let low = intervals
        .iter()
        .map(|interval| interval.response_time_us.p50)
        .filter(|us| *us > 0.0)
        .fold(top, f64::min);
    let times = plot(
        "Response time of each second",
        &seconds,
        &Axis::powers("response time, log scale", low, top, plain_us),
        &[
            curve("max", "c4", of(&|n| intervals[n].response_time_us.max)),
            curve("p99", "c2", p99),
            curve("p50", "c1", of(&|n| intervals[n].response_time_us.p50)),
        ],
    );
    writeln!(out, "<h2>Response time over time</h2><div class=\"card\">{times}</div>")?;
    let rate = |n: usize, count: u64| count as f64 / intervals[n].length_s.max(0.05);
    let most =
        (0..intervals.len()).map(|n| rate(n, intervals[n].ok.max(intervals[n].asked))).fold(1.0, f64::max);
    let rates = plot(
        "Requests of each second",
        &seconds,
        &Axis::from_zero("requests a second", most, show_rate),
        &[
            curve("asked", "c3", of(&|n| rate(n, intervals[n].asked))),
            curve("good answers", "c1", of(&|n| rate(n, intervals[n].ok))),
            curve("errors", "c4", of(&|n| rate(n, intervals[n].errors))),
        ],
    );
    writeln!(out, "<h2>Throughput over time</h2><div class=\"card\">{rates}</div>")?;
    if report.generator_lag_us.count() > 0 {
        let most = intervals.iter().map(|interval| interval.lag_max_us).fold(1.0, f64::max);
        let lag = plot(
            "Worst generator lag of each second",
            &seconds,
            &Axis::from_zero("worst generator lag", most, plain_us),
            &[curve("", "c3", of(&|n| intervals[n].lag_max_us))],
        );
        writeln!(out, "<h2>Generator lag over time</h2><div class=\"card\">{lag}</div>")?;
    }
    Ok(())
}

fn table<'a>(
    out: &mut String,
    title: &str,
    heads: [&str; 2],
    rows: impl Iterator<Item = (&'a str, String)>,
) -> std::fmt::Result {
    writeln!(
        out,
        "<div><h2>{title}</h2><div class=\"card\"><table><tr><th>{}</th><th class=\"n\">{}</th></tr>",
        heads[0], heads[1]
    )?;
    for (name, value) in rows {
        writeln!(out, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escape(name), escape(&value))?;
    }
    writeln!(out, "</table></div></div>")
}

fn outcome(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "<div class=\"two\">")?;
    let errors = report.errors.iter().map(|(kind, count)| (kind.as_str(), count.to_string()));
    table(out, "Errors by kind", ["kind", "requests"], errors)?;
    let statuses = report.statuses.iter().map(|(status, count)| (status.as_str(), count.to_string()));
    table(out, "Status codes", ["status", "answers"], statuses)?;
    writeln!(out, "</div>")?;
    if !report.parts.is_empty() {
        writeln!(
            out,
            "<h2>By request</h2><div class=\"card\"><table><tr><th>request</th><th class=\"n\">count</th>\
             <th class=\"n\">errors</th><th class=\"n\">p50</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th></tr>"
        )?;
        for (name, part) in &report.parts {
            let at = |percentile| show_us(part.response_time_us.percentile_us(percentile));
            writeln!(
                out,
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                escape(name),
                part.requests,
                part.errors,
                at(50.0),
                at(99.0),
                at(99.9)
            )?;
        }
        writeln!(out, "</table></div>")?;
    }
    if !report.expectations.is_empty() {
        let rows = report.expectations.iter().map(|expectation| {
            let verdict = if expectation.met { "met" } else { "MISSED" };
            (expectation.text.as_str(), format!("{verdict}: {}", expectation.measured))
        });
        table(out, "Expectations", ["asked", "measured"], rows)?;
    }
    Ok(())
}

fn watched(out: &mut String, report: &Report) -> std::fmt::Result {
    let Some(watched) = &report.watched else { return Ok(()) };
    let title = format!("Process {} ({})", escape(&watched.name), watched.pid);
    writeln!(out, "<h2>{title}</h2>")?;
    if let [first, .., last] = watched.samples.as_slice() {
        let pairs = watched.samples.windows(2);
        let points = pairs.map(|pair| {
            let length = (pair[1].at_s - pair[0].at_s).max(0.001);
            (pair[1].at_s, (pair[1].cpu_s - pair[0].cpu_s) / length * 100.0)
        });
        let points: Vec<(f64, f64)> = points.collect();
        let seconds = Axis::from_zero("seconds", last.at_s, |value| format!("{value}"));
        let most = points.iter().map(|point| point.1).fold(1.0, f64::max);
        let cpu = plot(
            "CPU of the process over time",
            &seconds,
            &Axis::from_zero("CPU, percent of a core", most, |value| format!("{value}%")),
            &[Curve { name: String::new(), class: "c1", points }],
        );
        let most = watched.samples.iter().map(|sample| sample.rss_bytes as f64).fold(1.0, f64::max);
        let resident = plot(
            "Resident memory of the process over time",
            &seconds,
            &Axis::from_zero("resident, MiB", most / 1_048_576.0, |value| format!("{value}")),
            &[Curve {
                name: String::new(),
                class: "c2",
                points: watched
                    .samples
                    .iter()
                    .map(|sample| (sample.at_s, sample.rss_bytes as f64 / 1_048_576.0))
                    .collect(),
            }],
        );
        if last.at_s > first.at_s {
            writeln!(
                out,
                "<div class=\"two\"><div class=\"card\">{cpu}</div><div class=\"card\">{resident}</div></div>"
            )?;
        }
    }
    let rows = [
        ("CPU a request", show_us(watched.cpu_us_per_request)),
        ("CPU in user space", format!("{:.2} s", watched.user_s)),
        ("CPU in the kernel", format!("{:.2} s", watched.system_s)),
        ("resident memory", show_bytes(watched.rss_bytes)),
        ("its peak ever", show_bytes(watched.rss_peak_bytes)),
        ("voluntary context switches", watched.voluntary_switches.to_string()),
        ("involuntary context switches", watched.involuntary_switches.to_string()),
    ];
    table(out, "What it used", ["", ""], rows.into_iter())
}

fn environment(out: &mut String, report: &Report) -> std::fmt::Result {
    let here = &report.environment;
    let pinned = match here.pinned_to.as_slice() {
        [] => "no".to_owned(),
        cores => cores.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    };
    let command: Vec<String> = here.command.iter().map(|word| shell_word(word)).collect();
    let rows = [
        ("kernel", here.kernel.clone()),
        ("processor", format!("{}, {} cores", here.cpu, here.cores)),
        ("pinned to cores", pinned),
        ("ringway-load", format!("{} on {}", here.version, here.driver)),
        ("busiest thread", format!("{:.0}% of the time at work", report.occupancy * 100.0)),
        (
            "bytes",
            format!("{} sent, {} received", show_bytes(report.bytes.sent), show_bytes(report.bytes.received)),
        ),
    ];
    table(out, "Where and how", ["", ""], rows.into_iter())?;
    writeln!(
        out,
        "<div class=\"card\" style=\"margin-top:12px\"><code>{}</code></div>",
        escape(&command.join(" "))
    )
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn the_page_is_whole_and_needs_no_network() {
        let page = page(&sample());
        for expected in [
            "Time by percentile",
            "Throughput over time",
            "Errors by kind",
            "Generator lag over time",
            "Linux 6.18 x86_64",
            "CPU a request",
            "99.99%",
            "warm-up of 1.0 s",
            "MISSED",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        for forbidden in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_the_user_wrote_never_becomes_markup() {
        let page = page(&sample());
        assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("&lt;sample&gt;"));
        assert!(page.contains("&#39;&lt;&amp;&quot;&gt;&#39;"));
    }
}
