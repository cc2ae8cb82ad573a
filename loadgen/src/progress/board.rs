//! What the dashboard shows: from ticks to cells. Pure.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, LineGauge, Sparkline, Widget};

use super::Tick;
use super::line::{kinds, time};
use crate::units::{show_rate, show_us};

/// Rows it takes.
pub(super) const HEIGHT: u16 = 14;

/// The last tick, and the seconds before it.
#[derive(Default)]
pub(super) struct Board {
    last: Tick,
    seconds: VecDeque<Second>,
}

/// What is kept of a second.
struct Second {
    number: u64,
    achieved_rate: f64,
    asked_rate: f64,
    /// The worst of its ticks: a short stall is to be seen.
    p99_us: f64,
}

impl Board {
    pub(super) fn add(&mut self, tick: &Tick) {
        let number = tick.elapsed_s as u64;
        let same = self.seconds.back_mut().filter(|second| second.number == number);
        let asked_rate = tick.asked_rate.unwrap_or(0.0);
        match same {
            Some(second) => {
                second.achieved_rate = tick.achieved_rate;
                second.asked_rate = asked_rate;
                second.p99_us = second.p99_us.max(tick.p99_us);
            }
            None => {
                let (achieved_rate, p99_us) = (tick.achieved_rate, tick.p99_us);
                self.seconds.push_back(Second { number, achieved_rate, asked_rate, p99_us });
                if self.seconds.len() > SECONDS_MAX {
                    self.seconds.pop_front();
                }
            }
        }
        self.last = tick.clone();
    }

    pub(super) fn render(&self, area: Rect, buffer: &mut Buffer) {
        let heights = [1, 4, 4, 1, 1, 1, 1, 1].map(Constraint::Length);
        let [time, rate, response, answers, counts, errors, lag, scale] =
            Layout::vertical(heights).areas(area);
        let width = usize::from(area.width);
        let shown = || self.seconds.iter().skip(self.seconds.len().saturating_sub(width));
        // Measured against what was asked, so that what is missing shows as a gap.
        let rate_max = shown().map(|second| second.achieved_rate.max(second.asked_rate)).fold(0.0, f64::max);
        let p99_max = shown().map(|second| second.p99_us).fold(0.0, f64::max);

        self.time(time, buffer);
        graph("rate", self.rates(), GOOD, shown().map(|second| second.achieved_rate), rate_max, rate, buffer);
        let times = self.response_times();
        graph("response time", times, TIME, shown().map(|second| second.p99_us), p99_max, response, buffer);
        titled("answers", Vec::new()).render(answers, buffer);
        self.counts().render(counts, buffer);
        self.errors().render(errors, buffer);
        self.lag().render(lag, buffer);
        let seconds = shown().count();
        let scale_text = format!(
            "bars: good answers up to {}, p99 up to {}, the last {seconds} s",
            show_rate(rate_max),
            show_us(p99_max)
        );
        Line::styled(scale_text, DIM).render(scale, buffer);
    }

    fn time(&self, area: Rect, buffer: &mut Buffer) {
        let Tick { elapsed_s, total_s, in_warmup, .. } = self.last;
        let ratio = if total_s > 0.0 { (elapsed_s / total_s).clamp(0.0, 1.0) } else { 0.0 };
        let style = Style::new().fg(if in_warmup { Color::Yellow } else { Color::Cyan });
        LineGauge::default()
            .ratio(if ratio.is_finite() { ratio } else { 0.0 })
            .label(Line::styled(time(&self.last), BOLD))
            .filled_style(style)
            .unfilled_style(DIM)
            .filled_symbol("━")
            .unfilled_symbol("─")
            .render(area, buffer);
    }

    fn rates(&self) -> Vec<(&'static str, String)> {
        let mut rates = vec![("achieved", show_rate(self.last.achieved_rate))];
        rates.extend(self.last.asked_rate.map(|asked| ("asked", show_rate(asked))));
        rates
    }

    fn response_times(&self) -> Vec<(&'static str, String)> {
        let Tick { p50_us, p99_us, p99_9_us, max_us, .. } = self.last;
        [("p50", p50_us), ("p99", p99_us), ("p99.9", p99_9_us), ("max", max_us)]
            .map(|(name, us)| (name, show_us(us)))
            .to_vec()
    }

    fn counts(&self) -> Line<'static> {
        Line::from(vec![
            Span::styled("ok ", DIM),
            Span::styled(self.last.ok.to_string(), BOLD),
            Span::styled("  errors ", DIM),
            Span::styled(self.last.errors.to_string(), if self.last.errors > 0 { BAD } else { BOLD }),
        ])
    }

    fn errors(&self) -> Line<'static> {
        match kinds(&self.last) {
            kinds if kinds.is_empty() => Line::styled("no errors", DIM),
            kinds => Line::styled(kinds, BAD),
        }
    }

    fn lag(&self) -> Line<'static> {
        let lag_us = self.last.lag_p99_us;
        let style = if lag_us > LATE_US { BAD } else { BOLD };
        Line::from(vec![Span::styled("generator lag p99 ", DIM), Span::styled(show_us(lag_us), style)])
    }
}

/// Figures and below them a bar for each second.
fn graph(
    title: &'static str,
    figures: Vec<(&'static str, String)>,
    style: Style,
    bars: impl Iterator<Item = f64>,
    max: f64,
    area: Rect,
    buffer: &mut Buffer,
) {
    // In thousandths: times and rates below 1 have a height too.
    let whole = |value: f64| (value * 1000.0) as u64;
    Sparkline::default()
        .block(titled(title, figures))
        .data(bars.map(whole).collect::<Vec<u64>>())
        .max(whole(max).max(1))
        .style(style)
        .render(area, buffer);
}

fn titled(title: &'static str, figures: Vec<(&'static str, String)>) -> Block<'static> {
    let mut spans = vec![Span::styled(format!("{title} "), DIM)];
    for (name, figure) in figures {
        spans.push(Span::styled(format!(" {name} "), DIM));
        spans.push(Span::styled(format!("{figure} "), BOLD));
    }
    Block::new().borders(Borders::TOP).border_style(DIM).title(Line::from(spans))
}

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const TIME: Style = Style::new().fg(Color::Blue);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// A generator later than this is shown in red, in microseconds.
const LATE_US: f64 = 1000.0;
/// Seconds kept: more than any terminal shows.
const SECONDS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn tick(elapsed_s: f64, p99_us: f64) -> Tick {
        Tick {
            elapsed_s,
            total_s: 40.0,
            asked_rate: Some(2000.0),
            achieved_rate: 1998.0,
            p50_us: 120.0,
            p99_us,
            p99_9_us: 2500.0,
            max_us: 3400.0,
            ok: 19_980,
            errors: 3,
            errors_by_kind: vec![("connect", 0), ("timeout", 2), ("reset", 1)],
            lag_p99_us: 35.0,
            in_warmup: false,
        }
    }

    /// The rows of the dashboard after some ticks.
    fn rows(ticks: &[Tick]) -> Vec<String> {
        let mut board = Board::default();
        ticks.iter().for_each(|tick| board.add(tick));
        let mut terminal = Terminal::new(TestBackend::new(80, HEIGHT)).unwrap();
        terminal.draw(|frame| board.render(frame.area(), frame.buffer_mut())).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect();
        buffer.content.chunks(80).map(row).collect()
    }

    #[test]
    fn a_tick_shows_its_figures() {
        let rows = rows(&[tick(10.0, 1200.0)]);
        for (row, expected) in [
            (0, "10.0 of 40 s"),
            (1, "rate  achieved 1998/s  asked 2000/s"),
            (5, "response time  p50 120 us  p99 1.20 ms  p99.9 2.50 ms  max 3.40 ms"),
            (9, "answers"),
            (10, "ok 19980  errors 3"),
            (11, "timeout 2, reset 1"),
            (12, "generator lag p99 35 us"),
            (13, "bars: good answers up to 2000/s, p99 up to 1.20 ms, the last 1 s"),
        ] {
            assert!(rows[row].starts_with(expected), "row {row}: {}", rows.join("\n"));
        }
        let (done, left) = (rows[0].matches('━').count(), rows[0].matches('─').count());
        assert!((15..=18).contains(&done) && (49..=53).contains(&left), "a quarter: {}", rows[0]);
    }

    #[test]
    fn a_stalled_second_stands_out() {
        let ticks: Vec<Tick> =
            (0..20).map(|at| tick(f64::from(at) * 0.5, if at == 10 { 90_000.0 } else { 9_000.0 })).collect();
        let rows = rows(&ticks);
        // Ten seconds; the sixth had the stall in the first of its two ticks.
        assert_eq!(rows[6].trim_end(), "     █", "{}", rows.join("\n"));
        assert!(rows[8].trim_end().chars().count() == 10, "{}", rows.join("\n"));
    }

    #[test]
    fn a_run_longer_than_the_screen_shows_its_last_seconds() {
        let ticks: Vec<Tick> =
            (0..1000).map(|at| tick(f64::from(at), if at == 999 { 90_000.0 } else { 9_000.0 })).collect();
        let rows = rows(&ticks);
        assert_eq!(rows[6].chars().next_back(), Some('█'), "{}", rows.join("\n"));
        assert!(rows[13].contains("the last 80 s"));
    }

    #[test]
    fn figures_of_no_size_do_no_harm() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MAX] {
            let tick =
                Tick { elapsed_s: bad, total_s: bad, achieved_rate: bad, p99_us: bad, ..Tick::default() };
            assert_eq!(rows(&[tick.clone(), tick]).len(), usize::from(HEIGHT));
        }
        assert!(rows(&[])[11].starts_with("no errors"));
    }
}
