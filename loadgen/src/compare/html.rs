//! A comparison as one page: the verdict, ratios with their intervals, each run, both environments.
//!
//! Whatever a user or a machine wrote is escaped. Colours: A `c1`, B `c2`.

use std::fmt::Write;

use super::sides::Sides;
use super::text::{chance, interval, ratio, shown, word};
use super::verdict::{Comparison, METRICS, Row, Run, Verdict};
use crate::report::html::{document, percentile_curve, percentiles};
use crate::report::model::Report;
use crate::report::plot::{Curve, escape};

/// The page.
pub fn page(
    comparison: &Comparison,
    sides: &Sides,
    runs: &(Vec<Run>, Vec<Run>),
    warnings: &[String],
) -> String {
    let mut out = String::new();
    let has = |verdict| comparison.rows.iter().any(|row| row.verdict == verdict);
    let class = match (has(Verdict::Better), has(Verdict::Worse)) {
        (_, true) => "bad",
        (true, false) => "good",
        _ => "soft",
    };
    let name = |side: &[Report], otherwise: &str| {
        let label = side.first().and_then(|report| report.plan.label.clone());
        escape(&label.unwrap_or_else(|| otherwise.to_owned()))
    };
    let (a, b) = (name(&sides.0, "A"), name(&sides.1, "B"));
    // Writing to a string never fails.
    let _ = writeln!(
        out,
        "<h1>{b} beside {a}</h1><p class=\"{class}\"><b>{}</b></p>\
         <p class=\"soft\">{} and {} runs, {}. Ratios are B in parts of A; a run is the sample.</p>",
        escape(&comparison.sentence),
        comparison.runs.0,
        comparison.runs.1,
        if comparison.is_paired { "taken in pairs" } else { "not in pairs" }
    );
    for warning in warnings {
        let _ = writeln!(out, "<p class=\"bad\">{}</p>", escape(warning));
    }
    let _ = writeln!(
        out,
        "<h2>Ratios with their 95% intervals</h2><div class=\"card\">{}</div>",
        forest(comparison)
    );
    table(&mut out, comparison);
    let _ = writeln!(
        out,
        "<h2>Each run in parts of A's median</h2><div class=\"card\">{}</div>",
        dots(comparison, runs)
    );
    let curves = |side: &[Report], class: &'static str, name: &str| -> Vec<Curve> {
        let curve = |(number, report): (usize, &Report)| {
            percentile_curve(if number == 0 { name } else { "" }, class, &report.response_time_us)
        };
        side.iter().enumerate().map(curve).collect()
    };
    let all = [curves(&sides.0, "c1 thin", "A"), curves(&sides.1, "c2 thin", "B")].concat();
    let most = sides.0.iter().chain(&sides.1).map(|report| report.ok).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "<h2>Response time of each run</h2><div class=\"card\">{}</div>",
        percentiles(&all, most)
    );
    environments(&mut out, sides);
    document("ringway-load: comparison", &out)
}

fn table(out: &mut String, comparison: &Comparison) {
    let _ = write!(
        out,
        "<h2>Figures</h2><div class=\"card\"><table><tr><th></th><th class=\"n\">A median</th>\
         <th class=\"n\">B median</th><th class=\"n\">ratio</th><th class=\"n\">95% interval</th>\
         <th class=\"n\">p, corrected</th><th>verdict</th></tr>"
    );
    for row in &comparison.rows {
        let class = match row.verdict {
            Verdict::Better => "good",
            Verdict::Worse => "bad",
            _ => "soft",
        };
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"{class}\">{}</td></tr>",
            row.metric,
            shown(row, row.medians.0),
            shown(row, row.medians.1),
            ratio(row.ratio.ratio),
            interval(row),
            escape(&chance(row)),
            word(row.verdict)
        );
    }
    out.push_str("</table></div>\n");
}

/// A logarithmic axis of ratios around 1, the same to both sides.
struct Axis {
    /// The logarithm at its right end.
    reach: f64,
}

impl Axis {
    /// Wide enough for all of them, up to a thousand times.
    fn around(ratios: impl Iterator<Item = f64>) -> Axis {
        let reach = ratios.map(|ratio| ratio.clamp(1e-3, 1e3).ln().abs()).fold(0.12, f64::max);
        Axis { reach: reach * 1.1 }
    }

    fn x(&self, ratio: f64) -> f64 {
        let part = (ratio.clamp(1e-3, 1e3).ln() / self.reach).clamp(-1.0, 1.0);
        LEFT + (WIDTH - LEFT - RIGHT) * (part + 1.0) / 2.0
    }

    /// The plot's begin: ticks, and the band of ratios too small to be called a difference.
    fn begin(&self, title: &str, rows: usize, min_effect: f64) -> String {
        let height = ROW * rows as f64 + FOOT;
        let bottom = height - FOOT + 6.0;
        let (low, high) = (self.x(1.0 / (1.0 + min_effect)), self.x(1.0 + min_effect));
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
             <rect class=\"band\" x=\"{low:.1}\" width=\"{:.1}\" y=\"0\" height=\"{bottom:.1}\"/>",
            high - low
        );
        let mut last = f64::MIN;
        for tick in TICKS.into_iter().filter(|tick| tick.ln().abs() <= self.reach && self.is_shown(*tick)) {
            let x = self.x(tick);
            if x - last < TICK_APART {
                continue;
            }
            last = x;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{bottom:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}x</text>",
                height - 10.0
            );
        }
        svg
    }

    /// A tick that would crowd out that of 1 gives way.
    fn is_shown(&self, tick: f64) -> bool {
        tick == 1.0 || (self.x(tick) - self.x(1.0)).abs() >= TICK_APART
    }
}

/// A row for each metric: its ratio as a dot, the interval as a line.
fn forest(comparison: &Comparison) -> String {
    let rows: Vec<&Row> = drawn(comparison).collect();
    let ends = rows.iter().map(|row| row.ratio.interval.unwrap_or((row.ratio.ratio, row.ratio.ratio)));
    let axis = Axis::around(ends.flat_map(|(low, high)| [low, high]));
    let mut svg = axis.begin("Ratios with their 95% intervals", rows.len(), comparison.min_effect);
    for (number, row) in rows.into_iter().enumerate() {
        let y = ROW * number as f64 + 18.0;
        // Not the colours of A and B: what is drawn here is of both.
        let colour = match row.verdict {
            Verdict::Worse => "bad",
            Verdict::Better => "good",
            _ => "soft",
        };
        let style = format!("style=\"fill:var(--{colour});stroke:var(--{colour})\"");
        label(&mut svg, row, y);
        if let Some((low, high)) = row.ratio.interval {
            let (low, high) = (axis.x(low), axis.x(high));
            let _ = write!(svg, "<line {style} x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y}\" y2=\"{y}\"/>");
        }
        let x = axis.x(row.ratio.ratio);
        let _ = write!(svg, "<circle {style} cx=\"{x:.1}\" cy=\"{y}\" r=\"4.5\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// A row for each metric: every run of A as a dot above, of B below.
fn dots(comparison: &Comparison, runs: &(Vec<Run>, Vec<Run>)) -> String {
    let parts = |row: &Row, side: &[Run]| -> Vec<f64> {
        let number = METRICS.iter().position(|metric| *metric == row.metric);
        let values = side.iter().filter_map(|run| run.values[number?]);
        values.map(|value| value / row.medians.0).collect()
    };
    let rows: Vec<(&Row, Vec<f64>, Vec<f64>)> =
        drawn(comparison).map(|row| (row, parts(row, &runs.0), parts(row, &runs.1))).collect();
    let axis = Axis::around(rows.iter().flat_map(|(_, a, b)| a.iter().chain(b).copied()));
    let mut svg = axis.begin("Each run in parts of A's median", rows.len(), comparison.min_effect);
    for (number, (row, a, b)) in rows.iter().enumerate() {
        let y = ROW * number as f64 + 18.0;
        label(&mut svg, row, y);
        for (class, y, values) in [("c1 thin", y - 5.0, a), ("c2 thin", y + 5.0, b)] {
            for value in values {
                let x = axis.x(*value);
                let _ = write!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y}\" r=\"3.5\"/>");
            }
        }
    }
    svg.push_str("</svg>");
    svg
}

/// A share of errors may be 0, and its ratio anything: it stands in the table only.
fn drawn(comparison: &Comparison) -> impl Iterator<Item = &Row> {
    comparison.rows.iter().filter(|row| row.metric != "errors")
}

fn label(svg: &mut String, row: &Row, y: f64) {
    let _ = write!(svg, "<text class=\"legend\" x=\"0\" y=\"{:.1}\">{}</text>", y + 4.0, row.metric);
}

fn environments(out: &mut String, sides: &Sides) {
    out.push_str("<div class=\"two\">");
    for (name, side) in [("A", &sides.0), ("B", &sides.1)] {
        let Some(report) = side.first() else { continue };
        let here = &report.environment;
        let _ = write!(
            out,
            "<div><h2>{name}</h2><div class=\"card\"><p>{}</p><p class=\"soft\">{}, {}, {}</p><p><code>{}</code></p>\
             </div></div>",
            escape(&report.plan.target),
            escape(&here.kernel),
            escape(&here.cpu),
            escape(&here.driver),
            escape(&here.command.join(" "))
        );
    }
    out.push_str("</div>");
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const ROW: f64 = 30.0;
const FOOT: f64 = 36.0;
/// Ratios that may have a tick.
const TICKS: [f64; 21] = [
    0.001, 0.01, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0, 1.01, 1.02, 1.05, 1.1, 1.25, 2.0, 5.0, 10.0,
    100.0, 1000.0,
];
/// Pixels between ticks, at least.
const TICK_APART: f64 = 48.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::verdict::{Rule, Run, compare};
    use crate::report::sample::sample;

    #[test]
    fn the_page_holds_the_verdict_and_nothing_the_user_wrote_becomes_markup() {
        let sides = (vec![sample()], vec![sample()]);
        let runs = |side: &[Report]| side.iter().map(Run::from).collect::<Vec<_>>();
        let runs = (runs(&sides.0), runs(&sides.1));
        let comparison = compare(&runs.0, &runs.1, Rule { is_paired: false, min_effect: 0.03, seed: 1 });
        let page = page(&comparison, &sides, &runs, &["<warn>".into()]);
        assert!(page.contains("no verdict: with one run a side") && page.contains("&lt;warn&gt;"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("<sample>"));
        assert!(page.contains("1.000x") && page.matches("<circle class=\"c2 thin\"").count() >= 8);
    }

    #[test]
    fn an_axis_takes_any_ratio() {
        let axis = Axis::around([0.0, f64::INFINITY, 1.0].into_iter());
        assert!(axis.x(0.0) >= LEFT && axis.x(f64::INFINITY) <= WIDTH - RIGHT && axis.x(1.0) > axis.x(0.9));
        assert!(Axis::around([1.01].into_iter()).begin("t", 1, 0.03).contains(">1x</text>"));
    }
}
