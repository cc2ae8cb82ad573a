//! A comparison for a terminal and as a page.

use std::fmt::Write;

use super::sides::Sides;
use super::verdict::{Comparison, Row, Verdict};
use crate::report::html::{document, percentile_curve, percentiles};
use crate::report::model::Report;
use crate::report::plot::{Curve, escape};
use crate::units::{show_rate, show_us};

/// The table and the sentence.
pub fn text(comparison: &Comparison) -> String {
    let (a, b) = comparison.runs;
    let how = if comparison.is_paired { "in pairs" } else { "not in pairs" };
    let mut out = format!("A: {a} runs, B: {b} runs, {how}; ratios are B in parts of A\n\n");
    // Writing to a string never fails.
    let _ = writeln!(
        out,
        "{:<8}{:>12}{:>12}{:>9}{:>18}{:>9}  verdict",
        "", "A median", "B median", "ratio", "95% interval", "p"
    );
    for row in &comparison.rows {
        let _ = writeln!(
            out,
            "{:<8}{:>12}{:>12}{:>8.3}x{:>18}{:>9.3}  {}",
            row.metric,
            shown(row, row.medians.0),
            shown(row, row.medians.1),
            row.ratio.ratio,
            interval(row),
            row.p_corrected,
            word(row.verdict)
        );
    }
    let _ = writeln!(out, "\n{}", comparison.sentence);
    out
}

fn shown(row: &Row, value: f64) -> String {
    match row.metric {
        "rate" => show_rate(value),
        "errors" => format!("{:.2}%", value * 100.0),
        _ => show_us(value),
    }
}

fn interval(row: &Row) -> String {
    row.ratio.interval.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.3} to {high:.3}"))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "no difference shown",
        Verdict::AsAsked => "as asked",
        Verdict::NotJudged => "not judged",
        Verdict::Refused => "no verdict",
    }
}

/// The page.
pub fn page(comparison: &Comparison, sides: &Sides, warnings: &[String]) -> String {
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
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.3}x</td>\
             <td class=\"n\">{}</td><td class=\"n\">{:.3}</td><td class=\"{class}\">{}</td></tr>",
            row.metric,
            shown(row, row.medians.0),
            shown(row, row.medians.1),
            row.ratio.ratio,
            interval(row),
            row.p_corrected,
            word(row.verdict)
        );
    }
    out.push_str("</table></div>\n");
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 90.0;
const ROW: f64 = 30.0;

/// A row for each metric: its ratio as a dot, the interval as a line, around 1 on a logarithmic axis.
fn forest(comparison: &Comparison) -> String {
    // A share of errors may be 0, and its ratio anything.
    let rows: Vec<&Row> = comparison.rows.iter().filter(|row| row.metric != "errors").collect();
    let band = 1.0 + comparison.min_effect;
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.ratio.interval.unwrap_or((row.ratio.ratio, row.ratio.ratio));
        [low.max(1e-3), high.max(1e-3)]
    });
    let reach = ends.map(|end| end.ln().abs()).fold(0.12, f64::max) * 1.1;
    let x = |ratio: f64| {
        let part = (ratio.max(1e-3).ln() / reach).clamp(-1.0, 1.0);
        LEFT + (WIDTH - LEFT - 20.0) * (part + 1.0) / 2.0
    };
    let height = ROW * rows.len() as f64 + 36.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Ratios with their 95% intervals\">\
         <rect class=\"band\" x=\"{:.1}\" width=\"{:.1}\" y=\"0\" height=\"{:.1}\"/>",
        x(1.0 / band),
        x(band) - x(1.0 / band),
        height - 30.0
    );
    for tick in [0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 2.0, 5.0, 10.0f64] {
        if tick.ln().abs() <= reach && (reach < 0.4 || !matches!(tick, 0.95 | 1.05 | 0.9 | 1.1)) {
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{1:.1}\"/>\
                 <text x=\"{0:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">{tick}x</text>",
                x(tick),
                height - 30.0,
                height - 12.0
            );
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let y = ROW * number as f64 + 18.0;
        let class = match row.verdict {
            Verdict::Worse => "c4",
            Verdict::Better => "c1",
            _ => "c3",
        };
        let _ = write!(svg, "<text class=\"legend\" x=\"0\" y=\"{:.1}\">{}</text>", y + 4.0, row.metric);
        if let Some((low, high)) = row.ratio.interval {
            let (low, high) = (x(low), x(high));
            let _ = write!(
                svg,
                "<line class=\"{class}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y}\" y2=\"{y}\"/>"
            );
        }
        let _ =
            write!(svg, "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y}\" r=\"4.5\"/>", x(row.ratio.ratio));
    }
    svg.push_str("</svg>");
    svg
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::verdict::{Rule, Run, compare};
    use crate::report::sample::sample;

    #[test]
    fn the_page_holds_the_verdict_and_nothing_the_user_wrote_becomes_markup() {
        let sides = (vec![sample()], vec![sample()]);
        let runs = |side: &[Report]| side.iter().map(Run::from).collect::<Vec<_>>();
        let comparison =
            compare(&runs(&sides.0), &runs(&sides.1), Rule { is_paired: false, min_effect: 0.03, seed: 1 });
        let page = page(&comparison, &sides, &["<warn>".into()]);
        assert!(page.contains("no verdict: with one run a side") && page.contains("&lt;warn&gt;"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("<sample>"));
        assert!(text(&comparison).contains("1.000x"));
    }
}
