//! Progress as one line: written over on a terminal, added to each second elsewhere.

use std::fmt::Write as _;

use super::{Output, Size, Tick};
use crate::units::{show_rate, show_us};

/// A line on an output.
pub struct Live {
    out: Output,
    size: Option<Size>,
    /// The second of the last line that was added.
    second: Option<u64>,
    /// The cursor stands behind a line that is to be written over.
    open: bool,
}

impl Live {
    pub(super) fn new(out: Output, size: Option<Size>) -> Live {
        Live { out, size, second: None, open: false }
    }

    pub(super) fn tick(&mut self, tick: &Tick) {
        let text = text(tick);
        match self.size {
            Some(size) => {
                // One that wraps could not be written over.
                let room = usize::from(size().0.saturating_sub(1));
                let text: String = text.chars().take(room).collect();
                self.open = true;
                self.write(&format!("\r{ERASE}{text}"));
            }
            None => {
                let second = Some(tick.elapsed_s as u64);
                if second != self.second {
                    self.second = second;
                    self.write(&format!("{text}\n"));
                }
            }
        }
    }

    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            self.write(&format!("\r{ERASE}"));
        }
    }

    /// That progress can't be shown is no reason to end a run.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.open {
            self.write("\n");
        }
    }
}

/// `12.0 of 30 s  1998/s of 2000/s  p50 120 us  p99 1.20 ms  max 3.40 ms  errors 3: timeout 2, reset 1`
fn text(tick: &Tick) -> String {
    let mut text = time(tick);
    let _ = write!(text, "  {}", show_rate(tick.achieved_rate));
    if let Some(asked) = tick.asked_rate {
        let _ = write!(text, " of {}", show_rate(asked));
    }
    for (name, us) in [("p50", tick.p50_us), ("p99", tick.p99_us), ("max", tick.max_us)] {
        let _ = write!(text, "  {name} {}", show_us(us));
    }
    let _ = write!(text, "  errors {}", tick.errors);
    if tick.errors > 0 {
        let _ = write!(text, ": {}", kinds(tick));
    }
    text
}

/// `12.0 of 30 s`, with what is going on.
pub(super) fn time(tick: &Tick) -> String {
    let total = if tick.total_s > 0.0 { format!(" of {:.0}", tick.total_s) } else { String::new() };
    format!("{:.1}{total} s{}", tick.elapsed_s, if tick.in_warmup { ", warming up" } else { "" })
}

/// `timeout 2, reset 1`
pub(super) fn kinds(tick: &Tick) -> String {
    let kinds = tick.errors_by_kind.iter().filter(|(_, count)| *count > 0);
    kinds.map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

/// To the end of the line.
const ERASE: &str = "\u{1b}[K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_figures() {
        let tick = Tick {
            elapsed_s: 12.04,
            total_s: 30.0,
            asked_rate: Some(2000.0),
            achieved_rate: 1998.0,
            p50_us: 120.0,
            p99_us: 1200.0,
            max_us: 3400.0,
            errors: 3,
            errors_by_kind: vec![("connect", 0), ("timeout", 2), ("reset", 1)],
            ..Tick::default()
        };
        assert_eq!(
            text(&tick),
            "12.0 of 30 s  1998/s of 2000/s  p50 120 us  p99 1.20 ms  max 3.40 ms  errors 3: timeout 2, reset 1"
        );
        let closed = Tick { in_warmup: true, ..Tick::default() };
        assert!(text(&closed).starts_with("0.0 s, warming up  0/s  p50"), "{}", text(&closed));
    }
}
