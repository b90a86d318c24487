//! What approximate search costs in recall, measured when the index was built.

use serde::{Deserialize, Serialize};

/// Recall by reach: how many of the best hits were found when thresholds were overstated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The trials; within one kind of query and one k, reach ascends.
    pub rows: Vec<Trial>,
}

/// One setting of one kind of query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Hits asked for.
    pub k: usize,
    /// The most terms of the queries.
    pub terms: usize,
    /// How many queries there were.
    pub queries: usize,
    /// By how much thresholds were overstated.
    pub reach: f64,
    /// The mean share of the best hits that were found.
    pub recall: f64,
    /// Half of how far the true mean may be below that: its standard error, and at least what a
    /// sample of this size may not have met (see `search::calibrate`).
    pub error: f64,
}

impl Calibration {
    /// The trial of the largest reach up to which recall, less twice its error, stays at or above the
    /// wanted one; `None` if no reach does, or for what was not measured: a k or a number of terms
    /// above the largest tried. Between two k that were tried, the more careful one counts; terms
    /// count as the next larger number tried.
    pub fn trial(&self, recall: f64, k: usize, terms: usize) -> Option<&Trial> {
        let of_terms = self.rows.iter().map(|trial| trial.terms);
        let terms = of_terms.filter(|&tried| tried >= terms).min()?;
        let ks = || self.rows.iter().filter(|trial| trial.terms == terms).map(|trial| trial.k);
        let above = ks().filter(|&tried| tried >= k).min()?;
        let below = ks().filter(|&tried| tried <= k).max().unwrap_or(above);
        let largest = |k| {
            let rows = self.rows.iter().filter(|trial| (trial.k, trial.terms) == (k, terms));
            let fits = |trial: &&Trial| trial.recall - 2.0 * trial.error >= recall;
            rows.take_while(fits).last()
        };
        let (above, below) = (largest(above)?, largest(below)?);
        Some(if below.reach < above.reach { below } else { above })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(recall: f64, k: usize, terms: usize, expected: Option<f64>) {
        let trial =
            |k, terms, reach, recall| Trial { k, terms, queries: 100, reach, recall, error: 0.001 };
        let rows = vec![
            trial(10, 9, 1.1, 0.995),
            trial(10, 9, 1.2, 0.97),
            trial(10, 9, 1.3, 0.996), // by luck
            trial(100, 9, 1.1, 0.98),
            trial(10, 60, 1.2, 0.999),
        ];
        let trial = Calibration { rows }.trial(recall, k, terms).map(|trial| trial.reach);
        assert_eq!(trial, expected);
    }

    #[test]
    fn the_largest_reach_that_surely_keeps_the_recall() {
        check(0.99, 10, 6, Some(1.1));
        check(0.995, 10, 6, None); // within its error
        check(0.96, 3, 6, Some(1.3));
        check(0.99, 10, 30, Some(1.2));
        check(0.97, 100, 6, Some(1.1));
        check(0.96, 11, 6, Some(1.1)); // between 10 and 100 the more careful
    }

    #[test]
    fn what_was_not_measured_is_not_promised() {
        check(0.5, 101, 6, None);
        check(0.5, 100, 30, None);
        check(0.5, 10, 61, None);
        assert_eq!(Calibration::default().trial(0.5, 10, 6), None);
    }
}
