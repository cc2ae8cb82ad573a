//! Durations, sizes, rates and numbers: text to value and back. Pure.
//!
//! Every reader names what it met and, where it can, what would have been right. Every writer's text reads back as the
//! same value.

use std::time::Duration;

use crate::model::Rate;

/// The longest duration that may be written.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Code of the diagnostic.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Problem {
    /// A problem without remedy.
    pub fn new(code: &'static str, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), help: None }
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

/// A quoted excerpt for messages, never longer than a line.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("`{text}`");
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("`{head}...`")
}

/// `250ms`, `5s`, `1m`, `1h`: a whole number of one unit, above 0 and at most [`DURATION_MAX`].
pub fn duration(text: &str) -> Result<Duration, Problem> {
    const FORM: &str = "write a whole number and a unit: `250ms`, `5s`, `1m`, `1h`";
    let (number, unit) = split(text);
    let per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if whole(number).is_some() => {
            let problem = Problem::new("bad-duration", format!("{} has no unit", quoted(text)));
            return Err(problem.help(format!("did you mean `{number}s` or `{number}ms`?")));
        }
        _ => {
            let near = match unit.to_ascii_lowercase().as_str() {
                "sec" | "secs" | "second" | "seconds" => "s",
                "min" | "mins" | "minute" | "minutes" => "m",
                "hour" | "hours" | "hr" | "hrs" => "h",
                "msec" | "millis" | "milliseconds" => "ms",
                "d" | "day" | "days" => "h",
                _ => "",
            };
            let problem = Problem::new("bad-duration", format!("{} is not a duration", quoted(text)));
            return Err(match near {
                "h" if unit.starts_with(['d', 'D']) => problem.help("the longest unit is `h`"),
                "" => problem.help(FORM),
                unit if whole(number).is_some() => problem.help(format!("did you mean `{number}{unit}`?")),
                _ => problem.help(FORM),
            });
        }
    };
    let Some(number) = whole(number) else {
        return Err(Problem::new("bad-duration", format!("{} is not a duration", quoted(text))).help(FORM));
    };
    let duration = Duration::from_millis(number.saturating_mul(per_unit));
    if duration.is_zero() {
        return Err(Problem::new("out-of-range", format!("{} is no time at all", quoted(text)))
            .help("write at least `1ms`"));
    }
    if duration > DURATION_MAX {
        let message = format!("{} is more than {}", quoted(text), duration_text(DURATION_MAX));
        return Err(Problem::new("out-of-range", message));
    }
    Ok(duration)
}

/// The shortest text that [`duration`] reads back.
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// `100B`, `16KiB`, `1MiB`, `2GiB`, within bounds in bytes.
pub fn size(text: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let bytes = bytes(text)?;
    if bytes < min || bytes > max {
        let message = format!("{} is out of range", quoted(text));
        let help = format!("write {} to {}", size_text(min), size_text(max));
        return Err(Problem::new("out-of-range", message).help(help));
    }
    Ok(bytes)
}

fn bytes(text: &str) -> Result<u64, Problem> {
    const FORM: &str = "write a whole number and a unit: `100B`, `16KiB`, `1MiB`, `2GiB`";
    let (number, unit) = split(text);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "" if whole(number).is_some() => {
            let problem = Problem::new("bad-size", format!("{} has no unit", quoted(text)));
            return Err(problem.help(format!("did you mean `{number}B`?")));
        }
        _ => {
            let near = match unit.to_ascii_lowercase().as_str() {
                "k" | "kb" | "ki" | "kib" => "KiB",
                "m" | "mb" | "mi" | "mib" => "MiB",
                "g" | "gb" | "gi" | "gib" => "GiB",
                "b" | "byte" | "bytes" => "B",
                _ => "",
            };
            let problem = Problem::new("bad-size", format!("{} is not a size", quoted(text)));
            return Err(if near.is_empty() || whole(number).is_none() {
                problem.help(FORM)
            } else {
                problem.help(format!("did you mean `{number}{near}`?"))
            });
        }
    };
    let Some(number) = whole(number) else {
        return Err(Problem::new("bad-size", format!("{} is not a size", quoted(text))).help(FORM));
    };
    Ok(number.saturating_mul(1 << shift))
}

/// The shortest text that [`size`] reads back.
pub fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// `100/s`, `60/min`, `7200/h`: a whole number a second, above 0.
pub fn rate(text: &str) -> Result<u32, Problem> {
    const FORM: &str = "write a whole number and a period: `100/s`, `60/min`, `7200/h`";
    let not = || Problem::new("bad-rate", format!("{} is not a rate", quoted(text))).help(FORM);
    let (number, period) = text.split_once('/').ok_or_else(not)?;
    let seconds = match period {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return Err(not()),
    };
    let number = whole(number).ok_or_else(not)?;
    if number == 0 || number % seconds != 0 {
        let message = format!("{} is not a whole number a second", quoted(text));
        return Err(Problem::new("out-of-range", message).help("write at least `1/s`, or a multiple of it"));
    }
    u32::try_from(number / seconds)
        .map_err(|_| Problem::new("out-of-range", format!("{} is too much", quoted(text))))
}

/// `20%`, `0.5%`: parts per million, 0 to 1 000 000.
pub fn share(text: &str) -> Result<u32, Problem> {
    const FORM: &str = "write a percentage: `20%`, `0.5%`";
    let not = || Problem::new("bad-share", format!("{} is not a share", quoted(text))).help(FORM);
    let number = text.strip_suffix('%').ok_or_else(not)?;
    let (units, parts) = number.split_once('.').unwrap_or((number, "0"));
    let units = whole(units).ok_or_else(not)?;
    let sound = (1..=4).contains(&parts.len()) && parts.bytes().all(|byte| byte.is_ascii_digit());
    let parts: u64 = match sound {
        true => format!("{parts:0<4}").parse().map_err(|_| not())?,
        false => return Err(not()),
    };
    let ppm = units.saturating_mul(10_000).saturating_add(parts);
    match u32::try_from(ppm) {
        Ok(ppm @ 0..=1_000_000) => Ok(ppm),
        _ => {
            Err(Problem::new("out-of-range", format!("{} is more than all", quoted(text)))
                .help("at most `100%`"))
        }
    }
}

/// As it is written: the shortest text that reads back as the same share.
pub fn share_text(ppm: u32) -> String {
    let (units, parts) = (ppm / 10_000, ppm % 10_000);
    match parts {
        0 => format!("{units}%"),
        _ => format!("{units}.{}%", format!("{parts:04}").trim_end_matches('0')),
    }
}

/// The most of a rate in its period; more than a million a second are refused too.
const QUOTA_MAX: u64 = 1_000_000_000;

/// `100/s`, `5/min`, `1000/h`, `10000/day`: a whole number in a period, above 0 and at most a million a second.
pub fn quota(text: &str) -> Result<Rate, Problem> {
    const FORM: &str = "write a whole number and a period: `100/s`, `5/min`, `1000/h`, `10000/day`";
    let not = || Problem::new("bad-rate", format!("{} is not a rate", quoted(text))).help(FORM);
    let (number, period) = text.split_once('/').ok_or_else(not)?;
    let seconds = PERIODS.iter().find(|(word, _)| *word == period).map(|(_, seconds)| *seconds);
    let Some(seconds) = seconds else {
        let near = match period.to_ascii_lowercase().as_str() {
            "sec" | "second" => "s",
            "m" | "minute" => "min",
            "hour" | "hr" => "h",
            "d" => "day",
            _ => return Err(not()),
        };
        return Err(Problem { help: Some(format!("did you mean `{number}/{near}`?")), ..not() });
    };
    let number = whole(number).ok_or_else(not)?;
    if number == 0 {
        let problem = Problem::new("out-of-range", format!("{} lets nothing through", quoted(text)));
        return Err(problem.help("write at least `1/day`"));
    }
    let count = u32::try_from(number).ok().filter(|_| number <= (seconds * 1_000_000).min(QUOTA_MAX));
    let Some(count) = count else {
        let problem = Problem::new("out-of-range", format!("{} is too much", quoted(text)));
        return Err(problem.help("write at most `1000000/s`"));
    };
    Ok(Rate { count, period: Duration::from_secs(seconds) })
}

const PERIODS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3600), ("day", 86_400)];

/// The text that [`quota`] reads back.
pub fn quota_text(rate: Rate) -> String {
    let of = |(_, seconds): &&(&str, u64)| *seconds == rate.period.as_secs();
    let word = PERIODS.iter().find(of).map_or("s", |(word, _)| word);
    format!("{}/{word}", rate.count)
}

/// `100B/s`, `1KiB/s`; `0B/s` is off.
pub fn byte_rate(text: &str) -> Result<u32, Problem> {
    const FORM: &str = "write a size and `/s`: `100B/s`, `1KiB/s`";
    let not = || Problem::new("bad-rate", format!("{} is not a rate in bytes", quoted(text))).help(FORM);
    let size = text.strip_suffix("/s").ok_or_else(not)?;
    let bytes = bytes(size).map_err(|_| not())?;
    u32::try_from(bytes).map_err(|_| Problem::new("out-of-range", format!("{} is too much", quoted(text))))
}

/// A whole number within bounds: decimal digits and nothing else.
pub fn integer(text: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let Some(number) = whole(text) else {
        return Err(Problem::new("wrong-type", format!("{} is not a whole number", quoted(text)))
            .help(format!("write a number, {min} to {max}")));
    };
    if number < min || number > max {
        return Err(Problem::new("out-of-range", format!("{} is out of range", quoted(text)))
            .help(format!("write {min} to {max}")));
    }
    Ok(number)
}

/// Digits without sign, spaces, separators or leading zeros (`010` is ten to some and eight to others).
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    // What does not fit is beyond every bound.
    Some(text.parse().unwrap_or(u64::MAX))
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_needed_and_exact() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("24h"), Ok(DURATION_MAX));
        assert_eq!(size("16KiB", 0, u64::MAX), Ok(16384));
        assert_eq!(size("0B", 0, 1), Ok(0));
        assert_eq!(rate("60/min"), Ok(1));
        assert_eq!(rate("7200/h"), Ok(2));
        assert_eq!(byte_rate("1KiB/s"), Ok(1024));
        assert_eq!(share("20%"), Ok(200_000));
        assert_eq!(share("0.5%"), Ok(5_000));
        assert_eq!(share("100%"), Ok(1_000_000));
        for bad in ["", "%", "20", "100.1%", "101%", ".5%", "1.%", "0.12345%", "-1%", "1.5.5%", "05%", "1,5%"]
        {
            assert!(share(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "5",
            "5 s",
            "s",
            "-5s",
            "1.5s",
            "05s",
            "5S",
            "0s",
            "25h",
            "1e3s",
            "99999999999999999999h",
            "5d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "16", "16KB", "16kib", "KiB", "1.5MiB", "-1B", "99999999999999999999TiB"] {
            assert!(size(bad, 0, 1 << 40).is_err(), "{bad}");
        }
        for bad in ["", "100", "/s", "0/s", "1/min", "100/sec", "-1/s", "99999999999/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["010", "+1", "1_000", "0x10", " 1", "1.0", ""] {
            assert!(integer(bad, 0, u64::MAX).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn shares_read_back(ppm in 0..=1_000_000u32) {
            prop_assert_eq!(share(&share_text(ppm)), Ok(ppm));
        }

        #[test]
        fn what_is_written_reads_back(ms in 1u64..=86_400_000, bytes in 0u64..=1 << 50) {
            let duration_ = Duration::from_millis(ms);
            prop_assert_eq!(duration(&duration_text(duration_)), Ok(duration_));
            prop_assert_eq!(size(&size_text(bytes), 0, u64::MAX), Ok(bytes));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = (duration(&text), size(&text, 1, 2), rate(&text), byte_rate(&text), integer(&text, 1, 2));
        }
    }
}
