//! Plots as SVG, made here: axes, curves, legends. Coloured by classes of the page's style sheet.

use std::fmt::Write;

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// Values with their labels, in order.
    pub ticks: Vec<(f64, String)>,
    /// The values at its ends.
    pub ends: (f64, f64),
    /// How values lie on it.
    pub scale: Scale,
}

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
}

impl Axis {
    /// From zero, with round ticks, to just above `max`.
    pub fn from_zero(title: &str, max: f64, label: impl Fn(f64) -> String) -> Axis {
        let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
        let rough = max / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough);
        let step = step.unwrap_or(max);
        let count = (max / step).ceil() as usize;
        let ticks = (0..=count).map(|n| (n as f64 * step, label(n as f64 * step))).collect();
        Axis { title: title.to_owned(), ticks, ends: (0.0, count as f64 * step), scale: Scale::Linear }
    }

    /// Powers of ten around the values from `min` to `max`.
    pub fn powers(title: &str, min: f64, max: f64, label: impl Fn(f64) -> String) -> Axis {
        let from = min.max(1e-3).log10().floor() as i32;
        let to = (max.max(min).max(1e-3).log10().ceil() as i32).max(from + 1);
        let ticks = (from..=to).map(|power| 10f64.powi(power)).map(|value| (value, label(value))).collect();
        Axis { title: title.to_owned(), ticks, ends: (10f64.powi(from), 10f64.powi(to)), scale: Scale::Log }
    }

    /// Percentiles by their nines: 0, 90, 99, ... up to what `count` samples can tell. See [`nines`].
    pub fn percentiles(count: u64) -> Axis {
        let most = (count.max(10) as f64).log10().ceil().clamp(2.0, 7.0);
        let name = |n: i32| match n {
            0 => "0%".to_owned(),
            1 => "90%".to_owned(),
            2 => "99%".to_owned(),
            n => format!("99.{}%", "9".repeat(n as usize - 2)),
        };
        let ticks = (0..=most as i32).map(|n| (f64::from(n), name(n))).collect();
        Axis { title: "percentile".to_owned(), ticks, ends: (0.0, most), scale: Scale::Linear }
    }

    fn place(&self, value: f64) -> f64 {
        let (from, to) = self.ends;
        let part = match self.scale {
            Scale::Linear => (value - from) / (to - from),
            Scale::Log => (value.max(from).log10() - from.log10()) / (to.log10() - from.log10()),
        };
        part.clamp(0.0, 1.0)
    }
}

/// Where a quantile from 0 to 1 lies on an axis of [`Axis::percentiles`]: 0.999 at 3.
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

/// A curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name in the legend; none for one that repeats another's.
    pub name: String,
    /// Class of its line: `c1` to `c4`.
    pub class: &'static str,
    /// Points, from left to right.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;

/// A plot of curves. `title` is read out where the picture can't be seen.
pub fn plot(title: &str, x: &Axis, y: &Axis, curves: &[Curve]) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><title>{}</title>",
        escape(title),
        escape(title)
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let at_x = |value: f64| LEFT + x.place(value) * (right - LEFT);
    let at_y = |value: f64| bottom - y.place(value) * (bottom - TOP);
    for (value, label) in &y.ticks {
        let level = at_y(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{level:.1}\" y2=\"{level:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            level + 4.0,
            escape(label)
        );
    }
    for (value, label) in &x.ticks {
        let place = at_x(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            escape(label)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
        HEIGHT - 6.0,
        escape(&x.title),
        TOP - 14.0,
        escape(&y.title)
    );
    for curve in curves {
        line(&mut svg, curve, at_x, at_y);
    }
    legend(&mut svg, curves, right);
    svg.push_str("</svg>");
    svg
}

fn line(svg: &mut String, curve: &Curve, at_x: impl Fn(f64) -> f64, at_y: impl Fn(f64) -> f64) {
    if let [(x, y)] = curve.points[..] {
        let _ = write!(
            svg,
            "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
            curve.class,
            at_x(x),
            at_y(y)
        );
        return;
    }
    let _ = write!(svg, "<polyline class=\"{}\" points=\"", curve.class);
    for &(x, y) in curve.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
        let _ = write!(svg, "{:.1},{:.1} ", at_x(x), at_y(y));
    }
    svg.push_str("\"/>");
}

fn legend(svg: &mut String, curves: &[Curve], right: f64) {
    let mut x = right;
    for curve in curves.iter().rev().filter(|curve| !curve.name.is_empty()) {
        x -= 8.0 * curve.name.chars().count() as f64 + 34.0;
        let _ = write!(
            svg,
            "<line class=\"{}\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"14\" y2=\"14\"/>\
             <text class=\"legend\" x=\"{:.1}\" y=\"18\">{}</text>",
            curve.class,
            x + 18.0,
            x + 24.0,
            escape(&curve.name)
        );
    }
}

/// Text as it may stand in HTML, in attributes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::from_zero("y", 930.0, |value| format!("{value}"));
        assert_eq!(
            axis.ticks.iter().map(|tick| tick.0).collect::<Vec<_>>(),
            [0.0, 250.0, 500.0, 750.0, 1000.0]
        );
        let axis = Axis::powers("y", 35.0, 4200.0, |value| format!("{value}"));
        assert_eq!(axis.ticks.iter().map(|tick| tick.0).collect::<Vec<_>>(), [10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(Axis::percentiles(20_000).ticks[3].1, "99.9%");
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn text_never_becomes_markup() {
        let svg = plot("<b>\"", &Axis::percentiles(10), &Axis::from_zero("<i>", 0.0, |_| "<".into()), &[]);
        assert!(!svg.contains("<b>") && !svg.contains("<i>"));
    }
}
