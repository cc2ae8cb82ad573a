//! Points in time as they are written: `2026-12-01T00:00:00Z` (RFC 3339), to the second, any offset. Pure.

use crate::units::{Problem, quoted};

const FORM: &str = "write a time like `2026-12-01T00:00:00Z`";
const DAY_S: u64 = 86_400;
/// What can be written: to the end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Seconds since 1970 of an RFC 3339 time. Fractions of a second are refused: nothing here is that exact.
pub fn parse(text: &str) -> Result<u64, Problem> {
    read(text).ok_or_else(|| Problem::new("bad-time", format!("{} is not a time", quoted(text))).help(FORM))
}

fn read(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let shape = |at: usize, one: u8| bytes.get(at) == Some(&one);
    let date = shape(4, b'-') && shape(7, b'-') && (shape(10, b'T') || shape(10, b't'));
    if !text.is_ascii() || !date || !shape(13, b':') || !shape(16, b':') {
        return None;
    }
    let (year, month, day) = (number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?);
    let (hour, minute, second) = (number(text, 11, 2)?, number(text, 14, 2)?, number(text, 17, 2)?);
    let known = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
    if !known || day > month_days(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let local = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    let seconds = match text.get(19..)? {
        "Z" | "z" => Some(local),
        offset => {
            let (sign, offset) = offset.split_at_checked(1)?;
            let (hours, minutes) = (number(offset, 0, 2)?, number(offset, 3, 2)?);
            if offset.len() != 5 || offset.as_bytes()[2] != b':' || hours > 23 || minutes > 59 {
                return None;
            }
            let by = hours * 3600 + minutes * 60;
            match sign {
                "+" => local.checked_sub(by),
                "-" => local.checked_add(by),
                _ => None,
            }
        }
    };
    seconds.filter(|seconds| *seconds <= SECONDS_MAX)
}

fn number(text: &str, from: usize, digits: usize) -> Option<u64> {
    let digits = text.get(from..from + digits)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The text in UTC that [`parse`] reads back; of what lies beyond the year 9999 its last second.
pub fn text(seconds: u64) -> String {
    let seconds = seconds.min(SECONDS_MAX);
    let (mut days, of_day) = (seconds / DAY_S, seconds % DAY_S);
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

/// Whole days from 1970 to a date.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(year_days).sum();
    let months: u64 = (1..month).map(|month| month_days(year, month)).sum();
    years + months + day - 1
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_days(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_any_offset_across_leap_years() {
        for (written, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2024-12-31T23:59:59Z", 1_735_689_599),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("2100-03-01T01:30:00+01:30", 4_107_542_400),
            ("2100-02-28T22:30:00-01:30", 4_107_542_400),
            ("1970-01-01t00:00:01z", 1),
        ] {
            assert_eq!(parse(written), Ok(seconds), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "tomorrow",
            "2026-12-01",
            "2026-12-01T00:00:00",
            "2026-12-01 00:00:00Z",
            "2026-12-01T00:00:00.5Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-12-00T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T00:60:00Z",
            "2026-12-01T00:00:60Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-12-01T00:00:00+1:00",
            "2026-12-01T00:00:00+0100",
            "2026-12-01T00:00:00+01:00 ",
            "+026-12-01T00:00:00Z",
            "2026-12-01T00:00:0éZ",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0..=SECONDS_MAX) {
            prop_assert_eq!(parse(&text(seconds)), Ok(seconds));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}", changed in "[0-9TZtz:+.-]{15,30}") {
            let _ = (parse(&text), parse(&changed));
        }
    }
}
