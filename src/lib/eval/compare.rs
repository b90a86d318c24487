//! Two runs over the same queries: how likely is such a difference by chance?

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{measures::Measure, report::Scores};

/// Random assignments of signs in a randomisation test.
pub const PERMUTATIONS: u32 = 10_000;

/// Sums that are equal on paper differ by rounding: by less than this share of the largest sum.
const ROUNDING: f64 = 1e-12;

/// One measure of a run and of the run it is compared with. All tests are two-sided and paired by
/// query; none if there are fewer than two queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What was measured.
    pub measure: Measure,
    /// The value of the run it is compared with.
    pub baseline: f64,
    /// The run's value.
    pub value: f64,
    /// Queries on which the run is better.
    pub better: usize,
    /// Queries on which it is worse.
    pub worse: usize,
    /// Student's t test.
    pub t_test: Option<Chance>,
    /// Fisher's randomisation test.
    pub randomisation: Option<Chance>,
}

/// A probability, alone and as one of several looked at together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// As if this were the only measure.
    pub p: f64,
    /// Corrected for all measures of the comparison after Holm (1979).
    pub holm: f64,
}

/// Compares measure by measure. Both must hold the same measures and queries, as two results of
/// `evaluate` on the same judgements do.
pub fn compare(run: &Scores, baseline: &Scores, seed: u64, permutations: u32) -> Vec<Comparison> {
    let places = 0..run.measures.len();
    let differences: Vec<Vec<f64>> = places
        .map(|place| {
            let pairs = run.queries.iter().zip(&baseline.queries);
            pairs.map(|((_, ours), (_, theirs))| ours[place] - theirs[place]).collect()
        })
        .collect();
    let t_tests = together(differences.iter().map(|d| t_test(d)).collect());
    let randomisations =
        together(differences.iter().map(|d| randomisation_test(d, seed, permutations)).collect());
    let tests = t_tests.into_iter().zip(randomisations);
    let rows = differences.iter().zip(tests).enumerate();
    rows.map(|(place, (differences, (t_test, randomisation)))| Comparison {
        measure: run.measures[place],
        baseline: baseline.overall(place),
        value: run.overall(place),
        better: differences.iter().filter(|&&d| d > 0.0).count(),
        worse: differences.iter().filter(|&&d| d < 0.0).count(),
        t_test,
        randomisation,
    })
    .collect()
}

/// The probability of a mean difference at least as far from 0 if differences are normal around 0.
fn t_test(differences: &[f64]) -> Option<f64> {
    let n = differences.len() as f64;
    if n < 2.0 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    let error = (squares / (n - 1.0) / n).sqrt();
    if error == 0.0 {
        return Some(if mean == 0.0 { 1.0 } else { 0.0 });
    }
    let student = StudentsT::new(0.0, 1.0, n - 1.0).expect("at least one degree of freedom");
    Some(2.0 * student.sf((mean / error).abs()))
}

/// The share of random exchanges of the two runs' values, query by query, whose sum of differences
/// is at least as far from 0; the exchange that was observed counts as one of them.
///
/// Source: Smucker, Allan, Carterette, CIKM 2007.
fn randomisation_test(differences: &[f64], seed: u64, permutations: u32) -> Option<f64> {
    if differences.len() < 2 {
        return None;
    }
    let differences: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let observed = differences.iter().sum::<f64>().abs();
    let largest: f64 = differences.iter().map(|d| d.abs()).sum();
    let far = observed - ROUNDING * largest;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut as_far = 1u32;
    for _ in 0..permutations {
        let mut sum = 0.0;
        for chunk in differences.chunks(64) {
            let signs = random.next_u64();
            for (bit, difference) in chunk.iter().enumerate() {
                sum += if signs >> bit & 1 == 0 { *difference } else { -difference };
            }
        }
        as_far += u32::from(sum.abs() >= far);
    }
    Some(f64::from(as_far) / (f64::from(permutations) + 1.0))
}

/// Holm's correction: the i-th smallest of m probabilities times m − i + 1, never below one before.
fn together(chances: Vec<Option<f64>>) -> Vec<Option<Chance>> {
    let mut order: Vec<usize> = (0..chances.len()).filter(|&at| chances[at].is_some()).collect();
    let p = |at: usize| chances[at].expect("only those that are there");
    order.sort_by(|&a, &b| p(a).total_cmp(&p(b)));
    let mut corrected = vec![None; chances.len()];
    let mut floor = 0.0f64;
    for (i, &at) in order.iter().enumerate() {
        floor = floor.max((order.len() - i) as f64 * p(at)).min(1.0);
        corrected[at] = Some(Chance { p: p(at), holm: floor });
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [f64; 6] = [0.5, 0.7, 0.2, 0.9, 0.4, 0.6];
    const THEIRS: [f64; 6] = [0.4, 0.5, 0.25, 0.6, 0.4, 0.3];

    /// Three standard deviations of a share estimated from [`PERMUTATIONS`] draws.
    const SAMPLING: f64 = 0.015;

    fn scores(run: &str, values: &[f64]) -> Scores {
        let queries =
            values.iter().enumerate().map(|(n, &value)| (n.to_string(), vec![value, 0.5]));
        Scores {
            run: run.into(),
            measures: vec!["AP".parse().unwrap(), "P@5".parse().unwrap()],
            queries: queries.collect(),
            missing: 0,
            unjudged: 0,
        }
    }

    fn differences() -> Vec<f64> {
        OURS.iter().zip(THEIRS).map(|(ours, theirs)| ours - theirs).collect()
    }

    #[test]
    fn the_t_test_is_that_of_scipy() {
        let p = t_test(&differences()).unwrap(); // scipy.stats.ttest_rel(OURS, THEIRS)
        assert_eq!(format!("{p:.10}"), "0.0682486627");
        assert_eq!(t_test(&[0.0, 0.0]), Some(1.0));
        assert_eq!(t_test(&[0.5, 0.5]), Some(0.0));
        assert_eq!(t_test(&[0.5]), None);
    }

    #[test]
    fn the_randomisation_test_comes_near_the_exact_share() {
        let exact = 8.0 / 64.0; // of all 2^6 exchanges
        for seed in 0..5 {
            let p = randomisation_test(&differences(), seed, PERMUTATIONS).unwrap();
            assert!((p - exact).abs() < SAMPLING, "{p}");
        }
        assert_eq!(randomisation_test(&[0.0, 0.0], 0, 100), Some(1.0));
        assert_eq!(randomisation_test(&[0.5], 0, 100), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_chances_and_the_order_of_runs_does_not_matter() {
        let (ours, theirs) = (scores("ours", &OURS), scores("theirs", &THEIRS));
        let there = compare(&ours, &theirs, 7, 1000);
        assert_eq!(there, compare(&ours, &theirs, 7, 1000));
        let back = compare(&theirs, &ours, 7, 1000);
        assert_eq!(there[0].randomisation, back[0].randomisation);
        assert_eq!((there[0].better, there[0].worse), (4, 1));
        assert_eq!((back[0].better, back[0].worse), (1, 4));
    }

    #[test]
    fn holm_multiplies_by_the_number_of_tests_left() {
        let corrected = together(vec![Some(0.01), Some(0.04), None, Some(0.03), Some(0.005)]);
        let holm: Vec<_> =
            corrected.iter().map(|c| c.map(|c| (c.holm * 1e6).round() / 1e6)).collect();
        assert_eq!(holm, [Some(0.03), Some(0.06), None, Some(0.06), Some(0.02)]);
    }
}
