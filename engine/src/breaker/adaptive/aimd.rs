//! Additive increase, multiplicative decrease: one more while all is well and the limit is in use, a tenth less when
//! latency or failures are above their bounds. Pure.

use super::Window;

/// Where it begins, within its bounds.
const FIRST: u32 = 20;
/// What is left of a limit that was too high.
const LEFT: f64 = 0.9;

#[derive(Debug)]
pub(super) struct Aimd {
    min: u32,
    max: u32,
    latency_ns: u64,
    failures: f64,
    limit: u32,
}

impl Aimd {
    pub fn new(min: u32, max: u32, latency_ns: u64, failures: f64) -> Aimd {
        Aimd { min, max, latency_ns, failures, limit: FIRST.clamp(min, max) }
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    pub fn window(&mut self, window: &Window) {
        let share = window.failed as f64 / (window.answered + window.failed).max(1) as f64;
        let too_slow = window.answered > 0 && window.latency_ns > self.latency_ns as f64;
        self.limit = match (too_slow || share > self.failures, window.limit_was_used) {
            (true, _) => (f64::from(self.limit) * LEFT) as u32,
            (false, true) => self.limit + 1,
            (false, false) => self.limit,
        }
        .clamp(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Window = Window { answered: 100, failed: 0, latency_ns: 5.0, limit_was_used: true };

    #[test]
    fn it_rises_by_one_and_falls_by_a_tenth() {
        let mut aimd = Aimd::new(2, 100, 10, 0.1);
        aimd.window(&WELL);
        assert_eq!(aimd.limit(), 21);
        aimd.window(&Window { latency_ns: 11.0, ..WELL });
        assert_eq!(aimd.limit(), 18);
        aimd.window(&Window { failed: 12, ..WELL });
        assert_eq!(aimd.limit(), 16);
        aimd.window(&Window { limit_was_used: false, ..WELL });
        assert_eq!(aimd.limit(), 16);
    }

    #[test]
    fn it_keeps_within_its_bounds() {
        let mut aimd = Aimd::new(2, 22, 10, 0.1);
        (0..50).for_each(|_| aimd.window(&WELL));
        assert_eq!(aimd.limit(), 22);
        (0..50).for_each(|_| aimd.window(&Window { answered: 0, failed: 5, ..WELL }));
        assert_eq!(aimd.limit(), 2);
    }
}
