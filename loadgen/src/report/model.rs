//! A report: everything one run found, as it is written to JSON and read back.
//!
//! Times are recorded in nanoseconds and shown in microseconds. Invariant: a report that was written is read back the
//! same: figures are taken from the histograms, which are written whole (HdrHistogram V2, deflated, base64).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

/// The version of the format. Fields may be added without a new one; a reader ignores what it does not know.
pub const FORMAT: &str = "ringway-load/1";
/// The longest time a histogram holds, in nanoseconds: an hour. Longer ones are recorded as this.
pub const LONGEST_NS: u64 = 3_600_000_000_000;
/// Significant digits of every histogram.
pub const DIGITS: u8 = 3;

/// What one run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// Whether the figures mean what they say. Not so where the generator was late or something was dropped.
    pub valid: bool,
    /// Why not, each with its remedy.
    #[serde(default)]
    pub invalid_because: Vec<String>,
    /// What the reader should know all the same.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Stopped before its time.
    #[serde(default)]
    pub partial: bool,
    /// What the run was asked to do.
    pub plan: PlanSummary,
    /// Where it ran.
    pub environment: Environment,
    /// When the measured part began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long the measured part was, in seconds: from the end of the warm-up to the last intended time, or to the
    /// last answer in a closed loop.
    pub seconds: f64,
    /// What was left out at the beginning.
    pub warmup: Warmup,
    /// Requests of the measured part that were sent, or tried to be.
    pub requests: u64,
    /// Of those, answered as they should be.
    pub ok: u64,
    /// Requests with an intended time in the measured part that were never sent. Makes the run invalid.
    pub dropped: u64,
    /// Good answers a second.
    pub achieved_rate: f64,
    /// Failures by kind: `connect tls timeout reset protocol status body`. Never part of the latencies.
    pub errors: BTreeMap<String, u64>,
    /// Answers by status: HTTP status, or `grpc-0` and so on.
    pub statuses: BTreeMap<String, u64>,
    /// Bytes sent and received above TLS.
    pub bytes: Bytes,
    /// From the intended time to the last byte of a good answer. In a closed loop the same as the service time.
    pub response_time_us: Latency,
    /// From sending to the last byte of a good answer.
    pub service_time_us: Latency,
    /// From the intended time until a connection was free. Part of the response time.
    pub waiting_us: Latency,
    /// How late the generator's own scheduler was. Empty in a closed loop, where nothing is due.
    pub generator_lag_us: Latency,
    /// From sending until a failure showed.
    pub error_time_us: Latency,
    /// TCP (or Unix) connects that succeeded.
    pub connect_time_us: Latency,
    /// TLS handshakes that succeeded.
    pub handshake_time_us: Latency,
    /// TLS handshakes that resumed an earlier session.
    #[serde(default)]
    pub resumed: u64,
    /// Share of the measured time for which the busiest generator thread was on a core or waited for one; 0 to 1.
    pub occupancy: f64,
    /// Of each second since the measured part began.
    pub intervals: Vec<Interval>,
    /// By name of a scenario's requests.
    #[serde(default)]
    pub parts: BTreeMap<String, Part>,
    /// What the watched process used.
    #[serde(default)]
    pub watched: Option<Watched>,
    /// Whether each `--expect` was met.
    #[serde(default)]
    pub expectations: Vec<Expectation>,
}

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// A name given by `--label`.
    #[serde(default)]
    pub label: Option<String>,
    /// The URL.
    pub target: String,
    /// `open` or `closed`.
    pub loop_kind: String,
    /// `constant`, `poisson` or `phases`; empty in a closed loop.
    #[serde(default)]
    pub arrivals: String,
    /// A scenario's phases in words.
    #[serde(default)]
    pub phases: Vec<String>,
    /// Requests a second asked for; none in a closed loop; the average of phases.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Seconds asked for, warm-up not counted.
    pub duration_s: f64,
    /// `http/1.1`, `h2`, `grpc` or `tcp`, with `+tls` behind it.
    pub protocol: String,
    /// Connections in all.
    pub connections: u32,
    /// Streams on each HTTP/2 connection, or requests pipelined on an HTTP/1.1 one.
    pub depth: u32,
    /// Generator threads.
    pub threads: u32,
    /// Of the random parts.
    pub seed: u64,
}

/// The machine and the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// `Linux 6.18.44 x86_64`.
    pub kernel: String,
    /// Model name of the processor.
    pub cpu: String,
    /// Cores the machine shows.
    pub cores: u32,
    /// Cores the generator's threads were pinned to.
    pub pinned_to: Vec<u32>,
    /// Version of ringway-load.
    pub version: String,
    /// How the generator talks to the kernel: `io_uring (defer_taskrun)`, `epoll`, ...
    pub driver: String,
    /// The command line.
    pub command: Vec<String>,
}

/// What was left out of every figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warmup {
    /// Its length.
    pub seconds: f64,
    /// Requests in it.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
}

/// Bytes both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// One second of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its begin, in seconds since the measured part began.
    pub at_s: f64,
    /// Its length in seconds: 1, or less for the last one.
    pub length_s: f64,
    /// Requests due in it; sent in it where the loop is closed.
    pub asked: u64,
    /// Good answers that came in it.
    pub ok: u64,
    /// Failures in it.
    pub errors: u64,
    /// The worst generator lag in it, in microseconds.
    pub lag_max_us: f64,
    /// Response times of the good answers that came in it.
    pub response_time_us: Figures,
}

/// The share of one kind of request in a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Sent.
    pub requests: u64,
    /// Failed.
    pub errors: u64,
    /// From the intended time to the last byte of a good answer.
    pub response_time_us: Latency,
}

/// What a process under test used over the measured part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU time in user space, in seconds; threads and their ends included, children not.
    pub user_s: f64,
    /// CPU time in the kernel, in seconds.
    pub system_s: f64,
    /// CPU time for each request answered, in microseconds.
    pub cpu_us_per_request: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// Highest resident memory ever, in bytes.
    pub rss_peak_bytes: u64,
    /// Times it waited of its own accord, all threads.
    pub voluntary_switches: u64,
    /// Times it was made to wait.
    pub involuntary_switches: u64,
    /// Per second: CPU seconds used and resident bytes.
    #[serde(default)]
    pub samples: Vec<WatchSample>,
}

/// What was seen of a watched process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchSample {
    /// Seconds since the measured part began.
    pub at_s: f64,
    /// CPU seconds since then.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// A threshold and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// As it was written: `p99<10ms`.
    pub text: String,
    /// What was measured, as a person reads it.
    pub measured: String,
    /// Whether it holds.
    pub met: bool,
}

/// The kinds of failure, in the order in which they are shown.
pub const ERROR_KINDS: [&str; 7] = ["connect", "tls", "timeout", "reset", "protocol", "status", "body"];

/// A distribution of times.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(pub Histogram<u64>);

impl Default for Latency {
    fn default() -> Latency {
        Latency(empty())
    }
}

/// A histogram of nanoseconds up to [`LONGEST_NS`] with [`DIGITS`] digits.
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are constants that fit")
}

impl Latency {
    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percentile` of 100 do not exceed, in microseconds; 0 when empty.
    pub fn percentile_us(&self, percentile: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { us(self.0.value_at_quantile(percentile / 100.0)) }
    }

    /// Mean in microseconds; 0 when empty.
    pub fn mean_us(&self) -> f64 {
        self.0.mean() / 1000.0
    }

    /// The longest, in microseconds; 0 when empty.
    pub fn max_us(&self) -> f64 {
        us(self.0.max())
    }

    /// As HdrHistogram V2, deflated, base64: the payload of interval logs too.
    pub fn encoded(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).expect("memory takes every byte");
        STANDARD.encode(bytes)
    }

    fn decoded(text: &str) -> Result<Latency, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram is not base64: {error}"))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("a histogram can't be read: {error:?}"))?;
        let mut histogram = empty();
        histogram.add(&read).map_err(|error| format!("a histogram is of other bounds: {error:?}"))?;
        Ok(Latency(histogram))
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// A distribution's figures, in microseconds, and all of it encoded: how it stands in JSON, and how a second of a long
/// run is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many times were recorded.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// The time that 90 of 100 do not exceed; the others likewise.
    pub p90: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p99_9: f64,
    /// 9999 of 10,000.
    pub p99_99: f64,
    /// The longest.
    pub max: f64,
    /// All of it: HdrHistogram V2, deflated, base64; in nanoseconds.
    pub histogram: String,
}

impl From<&Latency> for Figures {
    fn from(latency: &Latency) -> Figures {
        let at = |percentile| latency.percentile_us(percentile);
        Figures {
            count: latency.count(),
            mean: latency.mean_us(),
            p50: at(50.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
            p99_9: at(99.9),
            p99_99: at(99.99),
            max: latency.max_us(),
            histogram: latency.encoded(),
        }
    }
}

impl Figures {
    /// The distribution itself.
    pub fn latency(&self) -> Result<Latency, String> {
        Latency::decoded(&self.histogram)
    }
}

impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Figures::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        Figures::deserialize(deserializer)?.latency().map_err(D::Error::custom)
    }
}
