//! How a run shows that it is under way: not at all, a line a second, or a small dashboard.
//!
//! Everything goes to standard error, below what is there already, and keys are left to the terminal: Ctrl-C stays a
//! signal. Invariant: whatever ends the run, the cursor is given back.

use std::collections::VecDeque;
use std::io::{IsTerminal, Stderr, Write};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Sparkline};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::units::{show_rate, show_us};

/// What is known after a second.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// Since the begin, warm-up included.
    pub elapsed_s: f64,
    /// Of the whole run, warm-up included.
    pub total_s: f64,
    /// Requests a second asked for; none in a closed loop.
    pub asked_rate: Option<f64>,
    /// Good answers in the last second.
    pub achieved_rate: f64,
    /// Response times of the last second.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Good answers so far.
    pub ok: u64,
    /// Failures so far.
    pub errors: u64,
    /// The worst generator lag of the last second.
    pub lag_max_us: f64,
    /// Nothing of it counts yet.
    pub in_warmup: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// A dashboard on a terminal, else a line a second.
    #[default]
    Auto,
    /// A line.
    Line,
    /// A dashboard.
    Full,
}

/// Shows a run's progress.
#[derive(Default)]
pub enum Progress {
    /// Nothing is shown.
    #[default]
    None,
    /// A line: rewritten on a terminal, else one a second.
    Line {
        /// Whether to rewrite it.
        rewrite: bool,
    },
    /// A dashboard.
    Full(Box<Dashboard<CrosstermBackend<Stderr>>>),
}

impl Progress {
    /// As it was asked for.
    pub fn choose(mode: Option<Mode>) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        match mode {
            None => Progress::None,
            Some(Mode::Line) => Progress::Line { rewrite: terminal },
            Some(_) if !terminal => Progress::Line { rewrite: false },
            Some(_) => match Dashboard::new(CrosstermBackend::new(std::io::stderr())) {
                Ok(dashboard) => Progress::Full(Box::new(dashboard)),
                Err(_) => Progress::Line { rewrite: true },
            },
        }
    }

    /// A second has passed.
    pub fn tick(&mut self, tick: &Tick) {
        match self {
            Progress::None => {}
            Progress::Line { rewrite } => {
                let (begin, end) = if *rewrite { ("\r", "\x1b[K") } else { ("", "\n") };
                let mut out = std::io::stderr().lock();
                // A closed standard error is no reason to end a run.
                let _ = write!(out, "{begin}{}{end}", line(tick)).and_then(|()| out.flush());
            }
            Progress::Full(dashboard) => dashboard.tick(tick),
        }
    }

    /// The run is over.
    pub fn end(&mut self) {
        if let Progress::Line { rewrite: true } = self {
            let _ = writeln!(std::io::stderr());
        }
        *self = Progress::None;
    }
}

fn line(tick: &Tick) -> String {
    let asked = tick.asked_rate.map_or(String::new(), |rate| format!(" of {}", show_rate(rate)));
    let warm = if tick.in_warmup { "  warm-up" } else { "" };
    format!(
        "{:>4.0} s  {}{asked}  p50 {}  p99 {}  p99.9 {}  errors {}  lag {}{warm}",
        tick.elapsed_s,
        show_rate(tick.achieved_rate),
        show_us(tick.p50_us),
        show_us(tick.p99_us),
        show_us(tick.p99_9_us),
        tick.errors,
        show_us(tick.lag_max_us),
    )
}

/// Rows of the dashboard.
const ROWS: u16 = 12;
/// Seconds that its curves show.
const HISTORY: usize = 240;

/// A small dashboard below what the terminal shows.
pub struct Dashboard<B: Backend> {
    terminal: Terminal<B>,
    rates: VecDeque<u64>,
    tails: VecDeque<u64>,
}

impl<B: Backend> Dashboard<B> {
    /// On this terminal.
    pub fn new(backend: B) -> Result<Dashboard<B>, B::Error> {
        let options = TerminalOptions { viewport: Viewport::Inline(ROWS) };
        let terminal = Terminal::with_options(backend, options)?;
        Ok(Dashboard { terminal, rates: VecDeque::new(), tails: VecDeque::new() })
    }

    fn tick(&mut self, tick: &Tick) {
        if !tick.in_warmup {
            for (history, value) in
                [(&mut self.rates, tick.achieved_rate as u64), (&mut self.tails, tick.p99_us as u64)]
            {
                history.push_back(value);
                if history.len() > HISTORY {
                    history.pop_front();
                }
            }
        }
        let (rates, tails) = (&self.rates, &self.tails);
        // A terminal that is gone is no reason to end a run.
        let _ = self.terminal.draw(|frame| draw(frame, tick, rates, tails));
    }
}

impl<B: Backend> Drop for Dashboard<B> {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        let _ = self.terminal.set_cursor_position((0, u16::MAX));
        let _ = writeln!(std::io::stderr());
    }
}

fn draw(frame: &mut Frame<'_>, tick: &Tick, rates: &VecDeque<u64>, tails: &VecDeque<u64>) {
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Length(5), Constraint::Min(5)]);
    let [bar, figures, curves] = rows.areas(frame.area());
    let done = if tick.total_s > 0.0 { (tick.elapsed_s / tick.total_s).clamp(0.0, 1.0) } else { 0.0 };
    let state = if tick.in_warmup { "warm-up, " } else { "" };
    let label = format!("{state}{:.0} s of {:.0} s", tick.elapsed_s, tick.total_s);
    frame.render_widget(
        Gauge::default().ratio(done).label(label).gauge_style(Style::new().fg(Color::Blue)),
        bar,
    );
    frame.render_widget(Paragraph::new(text(tick)).block(Block::bordered()), figures);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(curves);
    let titled = |title: &'static str, values: &VecDeque<u64>, color| {
        let width = usize::from(left.width.saturating_sub(2));
        let shown: Vec<u64> = values.iter().copied().skip(values.len().saturating_sub(width)).collect();
        Sparkline::default().block(Block::bordered().title(title)).data(shown).style(Style::new().fg(color))
    };
    frame.render_widget(titled(" good answers a second ", rates, Color::Green), left);
    frame.render_widget(titled(" p99 of each second ", tails, Color::Yellow), right);
}

fn text(tick: &Tick) -> Vec<Line<'static>> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let name = |text: &'static str| Span::styled(format!("{text:<10}"), Style::new().fg(Color::DarkGray));
    let value = |text: String| Span::styled(format!("{text:<12}"), strong);
    let asked = tick.asked_rate.map_or_else(|| "as fast as it goes".to_owned(), show_rate);
    let bad = Style::new().fg(if tick.errors > 0 { Color::Red } else { Color::Reset });
    vec![
        Line::from(vec![name("rate"), value(show_rate(tick.achieved_rate)), name("asked"), value(asked)]),
        Line::from(vec![
            name("p50"),
            value(show_us(tick.p50_us)),
            name("p99"),
            value(show_us(tick.p99_us)),
            name("p99.9"),
            value(show_us(tick.p99_9_us)),
            name("max"),
            value(show_us(tick.max_us)),
        ]),
        Line::from(vec![
            name("answers"),
            value(tick.ok.to_string()),
            name("errors"),
            Span::styled(format!("{:<12}", tick.errors), bad),
            name("lag"),
            value(show_us(tick.lag_max_us)),
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    #[test]
    fn the_dashboard_shows_the_figures_of_the_last_second() {
        let mut dashboard = Dashboard::new(TestBackend::new(100, 20)).unwrap();
        let tick = Tick {
            elapsed_s: 7.0,
            total_s: 30.0,
            asked_rate: Some(20_000.0),
            achieved_rate: 19_990.0,
            p50_us: 120.0,
            p99_us: 2400.0,
            errors: 3,
            ..Tick::default()
        };
        dashboard.tick(&tick);
        let shown = format!("{:?}", dashboard.terminal.backend().buffer());
        for expected in ["7 s of 30 s", "20.0k/s", "120 us", "2.40 ms"] {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        assert!(line(&tick).contains("20.0k/s of 20.0k/s  p50 120 us"));
    }
}
