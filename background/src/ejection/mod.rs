//! tmp
pub mod endpoint;
pub mod judge;
#[cfg(test)]
mod tests;

/// By what endpoints are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Failures in a row; 0: not judged by that.
    pub consecutive: u32,
    /// Least share that must succeed, in parts per million; 0: not judged by that.
    pub success_ppm: u32,
    /// Times the siblings' median, in hundredths.
    pub latency_percent: Option<u32>,
    /// Of the two above.
    pub interval_ns: u64,
    /// Of a first ejection.
    pub base_ns: u64,
    /// Of any.
    pub max_ns: u64,
    /// Of the endpoints, that may be out.
    pub share_ppm: u32,
    /// Within an interval, or an endpoint is not judged by it.
    pub requests: u32,
}

impl Default for Terms {
    fn default() -> Terms {
        const S: u64 = 1_000_000_000;
        Terms {
            consecutive: 5,
            success_ppm: 800_000,
            latency_percent: None,
            interval_ns: 10 * S,
            base_ns: 30 * S,
            max_ns: 300 * S,
            share_ppm: 500_000,
            requests: 20,
        }
    }
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many failures in a row.
    Consecutive(u32),
    /// So few succeeded, in parts per million.
    Success(u32),
    /// Slower than its siblings.
    Latency {
        /// Its mean.
        mean_us: u64,
        /// What it was held to.
        limit_us: u64,
    },
    /// So many failed of the first it got again.
    Probe(u32),
}

impl Kind {
    /// In metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Consecutive(_) => "consecutive",
            Kind::Success(_) => "success",
            Kind::Latency { .. } => "latency",
            Kind::Probe(_) => "probe",
        }
    }

    /// The worse, the more, among those of one kind; success before latency.
    fn weight(self) -> u64 {
        match self {
            Kind::Consecutive(run) | Kind::Probe(run) => u64::from(run),
            Kind::Success(ppm) => (1 << 60) + u64::from(1_000_000 - ppm.min(1_000_000)),
            Kind::Latency { mean_us, limit_us } => (mean_us.saturating_mul(1000) / limit_us.max(1)).min(1 << 59),
        }
    }
}
