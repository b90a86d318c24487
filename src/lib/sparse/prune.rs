//! Static pruning under OpenSearch's names.

use std::{fmt, str::FromStr};

use super::{SparseVector, TermId};
use crate::error::Error;

/// Which weights of a vector are kept; kept weights do not change.
///
/// The five rules and their names are those of OpenSearch's sparse-encoding processor
/// (`none`, `top_k`, `max_ratio`, `abs_value`, `alpha_mass`). Every rule except
/// `alpha_mass` is idempotent; that one measures the mass again each time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prune {
    /// Keep all.
    None,
    /// The `K` largest weights; of equal weights the lower term stays. `K ≥ 1`.
    TopK(usize),
    /// Weights ≥ `R` · the vector's largest, `0 < R ≤ 1`.
    MaxRatio(f32),
    /// Weights ≥ `V`, `V > 0`.
    AbsValue(f32),
    /// The largest weights, as few as hold the share `A` of the sum, `0 < A ≤ 1`.
    AlphaMass(f32),
}

impl Prune {
    /// The pruned `vector`.
    pub fn apply(self, vector: &SparseVector) -> SparseVector {
        match self {
            Prune::None => vector.clone(),
            Prune::TopK(k) => keep_largest(vector, k.min(vector.nnz())),
            Prune::MaxRatio(ratio) => {
                let floor = ratio * vector.max_weight();
                vector.filtered(|_, weight| weight >= floor)
            }
            Prune::AbsValue(floor) => vector.filtered(|_, weight| weight >= floor),
            Prune::AlphaMass(share) => keep_largest(vector, terms_for_mass(vector, share)),
        }
    }
}

/// Positions of a vector, largest weight first, then lower term.
fn by_weight(vector: &SparseVector) -> Vec<usize> {
    let mut order: Vec<usize> = (0..vector.nnz()).collect();
    let weights = vector.weights();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    order
}

fn keep_largest(vector: &SparseVector, count: usize) -> SparseVector {
    let order = by_weight(vector);
    let Some(&last) = count.checked_sub(1).and_then(|last| order.get(last)) else {
        return SparseVector::default();
    };
    let (floor, last_term) = (vector.weights()[last], vector.terms()[last]);
    let kept = |term: TermId, weight: f32| weight > floor || (weight == floor && term <= last_term);
    vector.filtered(kept)
}

/// The smallest number of largest weights whose sum reaches `share` of all.
fn terms_for_mass(vector: &SparseVector, share: f32) -> usize {
    let total: f64 = vector.weights().iter().map(|&weight| f64::from(weight)).sum();
    let wanted = f64::from(share) * total;
    let mut sum = 0.0;
    for (count, at) in by_weight(vector).into_iter().enumerate() {
        if sum >= wanted {
            return count;
        }
        sum += f64::from(vector.weights()[at]);
    }
    vector.nnz()
}

impl FromStr for Prune {
    type Err = Error;

    fn from_str(text: &str) -> Result<Prune, Error> {
        let wanted = || {
            Error::Usage(format!(
                "expected none, top_k:K, max_ratio:R, abs_value:V or alpha_mass:A, found `{text}`"
            ))
        };
        let (name, value) = match text.split_once(':') {
            None if text == "none" => return Ok(Prune::None),
            None => return Err(wanted()),
            Some(parts) => parts,
        };
        let number: f32 = value.parse().map_err(|_| wanted())?;
        let (prune, fits, range) = match name {
            "top_k" => {
                let k: usize = value.parse().map_err(|_| wanted())?;
                (Prune::TopK(k), k >= 1, "a whole number from 1")
            }
            "max_ratio" => (Prune::MaxRatio(number), number > 0.0 && number <= 1.0, "0 < R ≤ 1"),
            "abs_value" => {
                (Prune::AbsValue(number), number > 0.0 && number.is_finite(), "a number above 0")
            }
            "alpha_mass" => (Prune::AlphaMass(number), number > 0.0 && number <= 1.0, "0 < A ≤ 1"),
            _ => return Err(wanted()),
        };
        if fits {
            Ok(prune)
        } else {
            Err(Error::Usage(format!("{name}: expected {range}, found {value}")))
        }
    }
}

impl fmt::Display for Prune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prune::None => write!(f, "none"),
            Prune::TopK(k) => write!(f, "top_k:{k}"),
            Prune::MaxRatio(ratio) => write!(f, "max_ratio:{ratio}"),
            Prune::AbsValue(floor) => write!(f, "abs_value:{floor}"),
            Prune::AlphaMass(share) => write!(f, "alpha_mass:{share}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &str) -> SparseVector {
        SparseVector::new(pairs.split_whitespace().map(|pair| {
            let (term, weight) = pair.split_once(':').unwrap();
            (TermId(term.parse().unwrap()), weight.parse().unwrap())
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(rule: &str, pairs: &str, expected: &str) {
        let prune: Prune = rule.parse().unwrap();
        assert_eq!(prune.to_string(), rule);
        assert_eq!(prune.apply(&parse(pairs)), parse(expected));
        assert_eq!(prune.apply(&SparseVector::default()), SparseVector::default());
    }

    #[test]
    fn keeps_what_each_rule_says() {
        check("none", "1:1 2:2", "1:1 2:2");
        check("top_k:2", "1:1 2:3 3:2", "2:3 3:2");
        check("top_k:9", "1:1 2:3", "1:1 2:3");
        check("top_k:1", "4:1 9:1", "4:1"); // a tie: the lower term
        check("max_ratio:0.5", "1:1 2:2 3:0.9", "1:1 2:2");
        check("max_ratio:1", "1:1 2:2 3:2", "2:2 3:2");
        check("abs_value:0.5", "1:0.5 2:0.4", "1:0.5");
        check("alpha_mass:0.5", "1:1 2:4 3:3", "2:4");
        check("alpha_mass:0.51", "1:1 2:4 3:3", "2:4 3:3");
        check("alpha_mass:1", "1:1 2:4 3:3", "1:1 2:4 3:3");
    }

    #[test]
    fn refuses_rules_that_make_no_sense() {
        for rule in ["", "top", "top_k", "top_k:0", "top_k:1.5", "max_ratio:0", "max_ratio:1.1"] {
            assert!(rule.parse::<Prune>().is_err(), "{rule}");
        }
        for rule in ["abs_value:NaN", "abs_value:inf", "alpha_mass:-1", "alpha_mass:2", "none:1"] {
            assert!(rule.parse::<Prune>().is_err(), "{rule}");
        }
    }
}
