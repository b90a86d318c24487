//! What approximate search costs in recall, measured when the index was built.

use serde::{Deserialize, Serialize};

/// Recall by reach: how many of the best hits were found when thresholds were overstated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Documents of which queries were made.
    pub sampled: usize,
    /// What was measured.
    pub rows: Vec<Trial>,
}

/// One setting of one kind of query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Hits asked for.
    pub k: usize,
    /// The most terms of the queries.
    pub terms: usize,
    /// By how much thresholds were overstated.
    pub reach: f64,
    /// The mean share of the best hits that were found.
    pub recall: f64,
    /// The standard error of that mean.
    pub error: f64,
}

impl Calibration {
    /// The trial of the largest reach whose recall, less twice its standard error, is at least what is
    /// wanted; none if no overstating keeps that. `k` and `terms` count as the next larger ones that
    /// were tried, or the largest.
    pub fn trial(&self, recall: f64, k: usize, terms: usize) -> Option<&Trial> {
        let tried = |of: fn(&Trial) -> usize, wanted: usize| {
            let tried = || self.rows.iter().map(of);
            tried().filter(|&tried| tried >= wanted).min().or_else(|| tried().max())
        };
        let (k, terms) = (tried(|trial| trial.k, k)?, tried(|trial| trial.terms, terms)?);
        let fits = |trial: &&Trial| {
            (trial.k, trial.terms) == (k, terms) && trial.recall - 2.0 * trial.error >= recall
        };
        self.rows.iter().filter(fits).max_by(|a, b| a.reach.total_cmp(&b.reach))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(recall: f64, k: usize, terms: usize, expected: Option<f64>) {
        let trial = |k, terms, reach, recall| Trial { k, terms, reach, recall, error: 0.001 };
        let rows = vec![
            trial(10, 9, 1.1, 0.995),
            trial(10, 9, 1.2, 0.97),
            trial(10, 60, 1.2, 0.999),
            trial(100, 9, 1.1, 0.98),
        ];
        let calibration = Calibration { sampled: 5, rows };
        assert_eq!(calibration.trial(recall, k, terms).map(|trial| trial.reach), expected);
    }

    #[test]
    fn the_largest_reach_that_surely_keeps_the_recall() {
        check(0.99, 10, 6, Some(1.1));
        check(0.995, 10, 6, None); // within its error
        check(0.96, 3, 6, Some(1.2));
        check(0.99, 10, 30, Some(1.2));
        check(0.97, 11, 6, Some(1.1));
        check(0.97, 5000, 6, Some(1.1));
        check(0.97, 100, 30, None); // never tried
    }
}
