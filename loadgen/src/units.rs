//! What a person types: durations, rates, sizes, shares. Pure; every refusal says what would be right.

use std::time::Duration;

/// `250us`, `5ms`, `1.5s`, `2m`, `1h`; `0s` is allowed. At most a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form =
        || format!("`{text}` is not a duration: write a number and a unit, such as 250us, 5ms, 1.5s, 2m, 1h");
    let (number, unit) = split(text);
    let unit_ns = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "" if number.parse::<f64>().is_ok() => {
            return Err(format!("`{text}` has no unit: did you mean {text}s or {text}ms?"));
        }
        _ => return Err(form()),
    };
    let ns = number.parse::<f64>().map_err(|_| form())? * unit_ns;
    if !(0.0..=86_400e9).contains(&ns) {
        return Err(format!("`{text}` is longer than a day"));
    }
    Ok(Duration::from_nanos(ns.round() as u64))
}

/// Requests a second: `200`, `20k`, `1.5M`, `300/s`, `600/min`, `1000/h`. Above 0, at most a hundred million.
pub fn rate(text: &str) -> Result<f64, String> {
    let form =
        || format!("`{text}` is not a rate: write requests a second, such as 200, 20k, 300/s or 600/min");
    let (count, per) = text.split_once('/').map_or((text, 1.0), |(count, per)| match per {
        "s" => (count, 1.0),
        "min" | "m" => (count, 60.0),
        "h" => (count, 3600.0),
        _ => (count, f64::NAN),
    });
    let (number, unit) = split(count);
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        _ => return Err(form()),
    };
    let rate = number.parse::<f64>().map_err(|_| form())? * factor / per;
    if rate.is_nan() {
        return Err(form());
    }
    if rate <= 0.0 {
        return Err(format!("`{text}`: a rate must be above 0 (`saturate` sends as fast as answers come)"));
    }
    if rate > 1e8 {
        return Err(format!("`{text}`: at most 100M requests a second"));
    }
    Ok(rate)
}

/// Bytes: `64B`, `64`, `1KiB`, `2MiB`, `1GiB`, `10kB`, `1MB`.
pub fn size(text: &str) -> Result<usize, String> {
    let form = || format!("`{text}` is not a size: write bytes, such as 64B, 1KiB or 2MiB");
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "B" => 1.0,
        "kB" => 1e3,
        "KiB" | "K" | "k" => 1024.0,
        "MB" => 1e6,
        "MiB" | "M" => 1024.0 * 1024.0,
        "GiB" | "G" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(form()),
    };
    let bytes = number.parse::<f64>().map_err(|_| form())? * factor;
    if !(0.0..=f64::from(u32::MAX)).contains(&bytes) {
        return Err(format!("`{text}`: at most 4 GiB"));
    }
    Ok(bytes as usize)
}

/// A part of a whole: `1%`, `0.1%`, `0.05`. From 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let form = || format!("`{text}` is not a share: write 1% or 0.01, from 0 to 100%");
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| form())? / 100.0,
        None => text.trim().parse::<f64>().map_err(|_| form())?,
    };
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(form()) }
}

/// A time as a person reads it, from microseconds: `35 us`, `1.20 ms`, `2.40 s`.
pub fn show_us(us: f64) -> String {
    match us {
        _ if us < 10.0 => format!("{us:.2} us"),
        _ if us < 1000.0 => format!("{us:.0} us"),
        _ if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// A rate as a person reads it: `950/s`, `20.0k/s`.
pub fn show_rate(rate: f64) -> String {
    match rate {
        _ if rate == 0.0 => "0/s".to_owned(),
        _ if rate < 10.0 => format!("{rate:.2}/s"),
        _ if rate < 10_000.0 => format!("{rate:.0}/s"),
        _ if rate < 1e6 => format!("{:.1}k/s", rate / 1e3),
        _ => format!("{:.2}M/s", rate / 1e6),
    }
}

/// Bytes as a person reads them: `512 B`, `1.5 KiB`, `20.0 MiB`.
pub fn show_bytes(bytes: u64) -> String {
    let bytes_f = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes_f / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes_f / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes_f / 1_073_741_824.0),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("10").unwrap_err().contains("10s or 10ms"));
        assert!(duration("-1s").is_err() && duration("s").is_err() && duration("25h").is_err());
    }

    #[test]
    fn rates_are_per_second_and_above_zero() {
        assert_eq!(rate("20k"), Ok(20_000.0));
        assert_eq!(rate("600/min"), Ok(10.0));
        assert!(rate("0").unwrap_err().contains("above 0"));
        assert!(rate("fast").is_err() && rate("10/y").is_err() && rate("-3").is_err() && rate("").is_err());
    }

    #[test]
    fn sizes_and_shares_have_bounds() {
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("64B"), Ok(64));
        assert!(size("9999GiB").is_err() && size("x").is_err());
        assert_eq!(share("1%"), Ok(0.01));
        assert!(share("101%").is_err() && share("-1%").is_err());
    }
}
