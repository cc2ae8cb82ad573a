//! What a person sees while a run goes on, on standard error.
//!
//! Invariant: the terminal is never in a state that has to be undone. No raw mode, no other screen, no hidden cursor:
//! after each frame the cursor stands where the next output belongs, so that a signal, a panic or an abort at any
//! moment leaves a terminal that works. Keys are not read. Writing may block: tick from a thread that sends nothing.

mod board;
mod line;
mod screen;

use std::io::{IsTerminal, Write};
use std::str::FromStr;

use line::Live;
use screen::Screen;

/// Where a run is. Rates and times are of the last moments, not of the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Seconds since the begin, warm-up included.
    pub elapsed_s: f64,
    /// Seconds there will be in all; 0 if that is not known.
    pub total_s: f64,
    /// Requests a second due now; none in a closed loop.
    pub asked_rate: Option<f64>,
    /// Good answers a second.
    pub achieved_rate: f64,
    /// Median response time in microseconds.
    pub p50_us: f64,
    /// Response time in microseconds that 99 of 100 do not exceed.
    pub p99_us: f64,
    /// Response time in microseconds that 999 of 1000 do not exceed.
    pub p99_9_us: f64,
    /// The longest response time in microseconds.
    pub max_us: f64,
    /// Good answers since the begin.
    pub ok: u64,
    /// Failures since the begin.
    pub errors: u64,
    /// Failures since the begin by kind; those that did not happen may be left out or 0.
    pub errors_by_kind: Vec<(&'static str, u64)>,
    /// How late the generator itself is, in microseconds.
    pub lag_p99_us: f64,
    /// What is seen now is left out of the result.
    pub in_warmup: bool,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    None,
    /// One line that is written over on a terminal; a line each second elsewhere.
    #[default]
    Line,
    /// A small dashboard on a terminal that has room for it; as `Line` elsewhere.
    Full,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "none" => Ok(Mode::None),
            "line" => Ok(Mode::Line),
            "full" => Ok(Mode::Full),
            _ => Err(format!("`{text}` is not a progress: write none, line or full")),
        }
    }
}

/// The display of one run. Goes to its end by [`Progress::end`]; dropped before, what is shown stays.
pub enum Progress {
    /// Nothing is shown.
    None,
    /// A line.
    Line(Live),
    /// A dashboard.
    Full(Screen),
}

impl Progress {
    /// What fits the mode and standard error.
    pub fn choose(mode: Mode) -> Progress {
        let moves =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Progress::on(Box::new(std::io::stderr()), mode, if moves { Some(size) } else { None })
    }

    /// Shows on an output; `size` tells columns and rows of a terminal and is none elsewhere.
    fn on(out: Output, mode: Mode, size: Option<Size>) -> Progress {
        match (mode, size) {
            (Mode::None, _) => Progress::None,
            (Mode::Full, Some(size)) if screen::fits(size()) => Progress::Full(Screen::new(out, size)),
            (Mode::Line | Mode::Full, size) => Progress::Line(Live::new(out, size)),
        }
    }

    /// Shows where the run is. May be called as often as the caller likes; a few times a second looks alive.
    pub fn tick(&mut self, tick: &Tick) {
        match self {
            Progress::None => {}
            Progress::Line(line) => line.tick(tick),
            Progress::Full(screen) => screen.tick(tick),
        }
    }

    /// The run is over: makes room for the summary. The dashboard stays above it, a live line goes.
    pub fn end(self) {
        if let Progress::Line(mut line) = self {
            line.end();
        }
    }
}

type Output = Box<dyn Write + Send>;
type Size = fn() -> (u16, u16);

fn size() -> (u16, u16) {
    crossterm::terminal::size().unwrap_or((80, 24))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// An output that a test can look at.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Seen {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn tick(elapsed_s: f64) -> Tick {
        Tick { elapsed_s, total_s: 30.0, achieved_rate: 1998.0, ok: 7, ..Tick::default() }
    }

    fn ticked(mode: Mode, size: Option<Size>, times: &[f64]) -> (Progress, Seen) {
        let seen = Seen::default();
        let mut progress = Progress::on(Box::new(seen.clone()), mode, size);
        times.iter().for_each(|&at| progress.tick(&tick(at)));
        (progress, seen)
    }

    #[test]
    fn nothing_is_shown_where_nothing_is_asked_for() {
        let (progress, seen) = ticked(Mode::None, Some(|| (100, 40)), &[1.0, 2.0]);
        progress.end();
        assert_eq!(seen.take(), "");
    }

    #[test]
    fn a_file_gets_a_plain_line_a_second() {
        let (progress, seen) = ticked(Mode::Full, None, &[0.2, 0.4, 1.1, 1.6, 2.0]);
        progress.end();
        let text = seen.take();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains(['\r', '\u{1b}']) && text.ends_with('\n'), "{text:?}");
    }

    #[test]
    fn a_terminal_has_one_line_that_goes_at_the_end() {
        let (progress, seen) = ticked(Mode::Line, Some(|| (40, 40)), &[0.2, 0.4]);
        let text = seen.take();
        assert!(!text.contains('\n') && text.matches('\r').count() == 2, "{text:?}");
        let longest = text.split("\r\u{1b}[K").map(|line| line.chars().count()).max();
        assert!(longest < Some(40), "a line that wraps can't be written over: {text:?}");
        progress.end();
        assert_eq!(seen.take(), "\r\u{1b}[K");
    }

    #[test]
    fn a_line_that_is_dropped_is_not_written_into() {
        let (progress, seen) = ticked(Mode::Line, Some(|| (80, 40)), &[0.2]);
        drop(progress);
        assert!(seen.take().ends_with('\n'));
    }

    #[test]
    fn a_dashboard_needs_room() {
        let chosen = |size: Size| ticked(Mode::Full, Some(size), &[]).0;
        assert!(matches!(chosen(|| (80, 24)), Progress::Full(_)));
        assert!(matches!(chosen(|| (30, 24)), Progress::Line(_)));
        assert!(matches!(chosen(|| (80, 10)), Progress::Line(_)));
    }

    #[test]
    fn a_dashboard_is_written_over_in_place_and_leaves_nothing_to_undo() {
        let (progress, seen) = ticked(Mode::Full, Some(|| (80, 24)), &[1.0]);
        let first = seen.take();
        assert_eq!(first.matches("\r\n").count(), 14);
        drop(progress);
        assert_eq!(seen.take(), "");
        let (mut progress, seen) = ticked(Mode::Full, Some(|| (80, 24)), &[1.0]);
        seen.take();
        progress.tick(&tick(2.0));
        let second = seen.take();
        assert!(second.starts_with("\r\u{1b}[14A"), "{second:?}");
        // Neither another screen nor a hidden cursor, and no question that is answered as if by keys.
        for state in ["\u{1b}[?", "\u{1b}[6n"] {
            assert!(!first.contains(state) && !second.contains(state));
        }
    }

    #[test]
    fn modes_are_read() {
        assert_eq!(
            ["none", "line", "full"].map(Mode::from_str),
            [Ok(Mode::None), Ok(Mode::Line), Ok(Mode::Full)]
        );
        assert!(Mode::from_str("much").unwrap_err().contains("none, line or full"));
    }
}
