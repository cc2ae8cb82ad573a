//! What checks in a row come to. Pure.
//!
//! ```text
//! healthy -- `unhealthy` failures in a row --> unhealthy -- `healthy` good ones in a row --> healthy
//! ```
//! An endpoint begins as healthy: until it was checked nothing is known against it.

/// One endpoint's checks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    unhealthy: bool,
    /// Results in a row that speak against the verdict.
    against: u32,
}

impl Tally {
    /// What is thought of it now.
    pub fn is_healthy(self) -> bool {
        !self.unhealthy
    }

    /// Takes a result in. Whether the verdict changed.
    pub fn observe(&mut self, passed: bool, healthy: u32, unhealthy: u32) -> bool {
        if passed == self.is_healthy() {
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.against < if passed { healthy } else { unhealthy } {
            return false;
        }
        *self = Tally { unhealthy: !passed, against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_in_a_row_change_the_verdict() {
        let mut tally = Tally::default();
        let mut see = |results: &str| -> String {
            let verdict = |result| {
                tally.observe(result == '+', 2, 3);
                if tally.is_healthy() { 'h' } else { 'u' }
            };
            results.chars().map(verdict).collect()
        };
        assert_eq!(see("--+--+---"), "hhhhhhhhu");
        assert_eq!(see("-+-+-++-+"), "uuuuuuhhh");
    }

    #[test]
    fn a_change_is_told_once() {
        let mut tally = Tally::default();
        let told: Vec<bool> = [false, false, true, true].map(|passed| tally.observe(passed, 1, 1)).into();
        assert_eq!(told, [true, false, true, false]);
    }
}
