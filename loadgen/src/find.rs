//! The highest rate that keeps an objective. The search itself is pure: rates in, rates out.

use crate::expect::Expectations;

/// What must hold, as it was written.
#[derive(Clone, Debug)]
pub struct Objective {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub expectations: Expectations,
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Objective, String> {
        Ok(Objective { text: text.to_owned(), expectations: text.parse()? })
    }
}

/// The gap between kept and missed at which the search ends.
const PRECISION: f64 = 1.05;

/// Where a search stands: doubling while kept, then halving the gap.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The highest rate that kept the objective.
    pub kept: Option<f64>,
    /// The lowest rate that missed it.
    pub missed: Option<f64>,
    from: f64,
    to: f64,
}

impl Search {
    /// From a rate, to another one.
    pub fn new(from: f64, to: f64) -> Search {
        Search { kept: None, missed: None, from: from.min(to), to }
    }

    /// The rate to try next; `None` when it is known well enough.
    pub fn next(&self) -> Option<f64> {
        match (self.kept, self.missed) {
            (None, None) => Some(self.from),
            (Some(kept), None) if kept >= self.to => None,
            (Some(kept), None) => Some((kept * 2.0).min(self.to)),
            // Below where it began: down by halves, to a hundredth of it.
            (None, Some(missed)) if missed <= self.from / 100.0 => None,
            (None, Some(missed)) => Some(missed / 2.0),
            (Some(kept), Some(missed)) if missed / kept <= PRECISION => None,
            (Some(kept), Some(missed)) => Some((kept * missed).sqrt()),
        }
    }

    /// What came of trying `rate`.
    pub fn tried(&mut self, rate: f64, kept: bool) {
        if kept {
            self.kept = Some(self.kept.map_or(rate, |known| known.max(rate)));
        } else {
            self.missed = Some(self.missed.map_or(rate, |known| known.min(rate)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(from: f64, to: f64, capacity: f64) -> (Search, usize) {
        let mut search = Search::new(from, to);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.tried(rate, rate <= capacity);
            tries += 1;
            assert!(tries < 60);
        }
        (search, tries)
    }

    #[test]
    fn a_target_that_keeps_everything_is_tried_to_the_end_and_one_that_keeps_nothing_is_given_up() {
        assert_eq!(search(1000.0, 50_000.0, 1e9).0.kept, Some(50_000.0));
        assert_eq!(search(1000.0, 50_000.0, 1.0).0.kept, None);
    }

    proptest! {
        #[test]
        fn the_capacity_is_found_to_five_percent(from in 10.0f64..5000.0, capacity in 1000.0f64..1e6) {
            let (search, tries) = search(from, 1e8, capacity);
            let kept = search.kept.unwrap();
            prop_assert!(kept <= capacity && kept * 1.05 >= capacity * 0.999, "{kept} for {capacity}");
            prop_assert!(tries < 30);
        }
    }
}
