//! `.hlog`: an HdrHistogram interval log (V2), a line for each second, for its log processors and viewers.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::model::Report;

/// The log's largest values are written in milliseconds.
const NS_PER_MS: f64 = 1e6;

/// The log of the response times.
pub fn hlog(report: &Report) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_millis(report.started_unix_ms);
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .with_start_time(start)
        .with_base_time(UNIX_EPOCH)
        .with_max_value_divisor(NS_PER_MS)
        .add_comment("ringway-load: response times in nanoseconds");
    let mut log = builder.begin_log_with(&mut out, &mut serializer).map_err(|error| error.to_string())?;
    for interval in &report.intervals {
        let latency = interval.response_time_us.latency()?;
        let at = Duration::from_millis(report.started_unix_ms) + Duration::from_secs_f64(interval.at_s);
        log.write_histogram(&latency.0, at, Duration::from_secs_f64(interval.length_s), None)
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(with_headings(&out))
}

/// Version and column names, which other readers look for, around what the writer puts at the top.
fn with_headings(log: &[u8]) -> Vec<u8> {
    let mut at = 0;
    for line in log.split_inclusive(|&byte| byte == b'\n').take_while(|line| line.starts_with(b"#")) {
        at += line.len();
    }
    [b"#[Histogram log format version 1.3]\n", &log[..at], LEGEND, &log[at..]].concat()
}

const LEGEND: &[u8] =
    b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::empty;
    use crate::report::sample::sample;
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_seconds_add_up_to_the_whole() {
        let report = sample();
        let log = hlog(&report).unwrap();
        let text = String::from_utf8_lossy(&log);
        assert!(
            text.contains("StartTimestamp") && text.contains("[Histogram log format version 1.3]"),
            "{text:.400}"
        );
        let mut sum = empty();
        let mut seconds = 0;
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
                sum.add(Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).unwrap()).unwrap();
                seconds += 1;
            }
        }
        assert_eq!(seconds, 20);
        assert_eq!(sum, report.response_time_us.0);
    }
}
