//! What Ringway says about itself on stderr: one short line for each fact.
//!
//! Beside the line: only the background, the binary and start-up speak here, requests have the access log. A line
//! that can't be written is lost, never waited for and never an error. Under systemd's journal lines carry its
//! level prefix and no time of their own, for the journal adds one.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::linux::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed and someone should look.
    Error,
    /// It works, but not as someone may expect.
    Warning,
    /// What happened.
    Info,
}

/// Says it at level error.
pub fn error(message: impl fmt::Display) {
    say(Level::Error, &message);
}

/// Says it at level warning.
pub fn warning(message: impl fmt::Display) {
    say(Level::Warning, &message);
}

/// Says it at level info.
pub fn info(message: impl fmt::Display) {
    say(Level::Info, &message);
}

fn say(level: Level, message: &dyn fmt::Display) {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    let journal = *JOURNAL.get_or_init(stderr_is_the_journal);
    let now = (!journal).then(SystemTime::now);
    let text = render(level, &message.to_string(), now);
    // One write, so that lines of several threads don't mix. Nobody is left to tell of a failure.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A message of several lines keeps its shape: each line under the journal needs the prefix of its own.
fn render(level: Level, message: &str, now: Option<SystemTime>) -> String {
    let (word, priority) = match level {
        Level::Error => ("error", 3),
        Level::Warning => ("warning", 4),
        Level::Info => ("info", 6),
    };
    let mut text = String::with_capacity(message.len() + 48);
    for (index, line) in message.trim_end().lines().enumerate() {
        match (now, index) {
            (None, 0) => text.push_str(&format!("<{priority}>{word}: ")),
            (None, _) => text.push_str(&format!("<{priority}>")),
            (Some(now), 0) => text.push_str(&format!("{} ringway: {word}: ", utc(now))),
            (Some(_), _) => {}
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// systemd sets `JOURNAL_STREAM` to `device:inode` of the stream it made; stderr may have been redirected since.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino())
}

/// `2026-11-23T20:37:10Z`
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |past| past.as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day, counted from whole days since 1970.
fn civil_date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_is_written_in_utc_across_leap_years() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn a_terminal_gets_the_time_and_the_journal_a_level_on_each_line() {
        let at = Some(UNIX_EPOCH);
        assert_eq!(render(Level::Info, "up", at), "1970-01-01T00:00:00Z ringway: info: up\n");
        assert_eq!(render(Level::Error, "bad\n  here\n", None), "<3>error: bad\n<3>  here\n");
    }
}
