//! The sparse vector that all modules share.

use crate::error::{Error, Result};

/// A position in the vocabulary: the token's id in the tokenizer, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TermId(pub u32);

impl TermId {
    /// As an index into a table over the vocabulary.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A document's or a query's weights: terms strictly ascend, weights are finite and above zero.
///
/// Checked once, in [`SparseVector::new`]; every value of this type is valid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    terms: Vec<TermId>,
    weights: Vec<f32>,
}

impl SparseVector {
    /// From pairs in ascending order of terms.
    ///
    /// # Errors
    /// [`Error::Order`] if a term does not exceed the one before, [`Error::Weight`] if a weight is
    /// not finite and above zero.
    pub fn new(pairs: impl IntoIterator<Item = (TermId, f32)>) -> Result<SparseVector> {
        let mut vector = SparseVector::default();
        for (term, weight) in pairs {
            if let Some(&previous) = vector.terms.last()
                && previous >= term
            {
                return Err(Error::Order { previous: previous.0, next: term.0 });
            }
            if !(weight.is_finite() && weight > 0.0) {
                return Err(Error::Weight { term: term.0, weight });
            }
            vector.terms.push(term);
            vector.weights.push(weight);
        }
        Ok(vector)
    }

    /// From pairs in any order.
    ///
    /// # Errors
    /// As [`SparseVector::new`]: a repeated term is an error of order.
    pub fn from_unordered(mut pairs: Vec<(TermId, f32)>) -> Result<SparseVector> {
        pairs.sort_by_key(|&(term, _)| term);
        SparseVector::new(pairs)
    }

    /// The weights above zero of a dense row `[V]`.
    ///
    /// # Errors
    /// [`Error::Weight`] if a weight is NaN or infinite.
    pub fn from_dense(row: &[f32]) -> Result<SparseVector> {
        let mut vector = SparseVector::default();
        for (term, &weight) in (0..).zip(row) {
            if !weight.is_finite() {
                return Err(Error::Weight { term, weight });
            }
            if weight > 0.0 {
                vector.terms.push(TermId(term));
                vector.weights.push(weight);
            }
        }
        Ok(vector)
    }

    /// Number of terms with a weight.
    pub fn nnz(&self) -> usize {
        self.terms.len()
    }

    /// Whether no term has a weight.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Terms, ascending.
    pub fn terms(&self) -> &[TermId] {
        &self.terms
    }

    /// Weights, in the order of the terms.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Pairs, terms ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (TermId, f32)> + '_ {
        self.terms.iter().copied().zip(self.weights.iter().copied())
    }

    /// The largest weight, 0 for an empty vector.
    pub fn max_weight(&self) -> f32 {
        self.weights.iter().copied().fold(0.0, f32::max)
    }

    /// Σ over shared terms of the product of weights, summed in f32 in ascending order of terms.
    pub fn dot(&self, other: &SparseVector) -> f32 {
        let (mut left, mut right, mut sum) = (0, 0, 0.0f32);
        while left < self.nnz() && right < other.nnz() {
            match self.terms[left].cmp(&other.terms[right]) {
                std::cmp::Ordering::Less => left += 1,
                std::cmp::Ordering::Greater => right += 1,
                std::cmp::Ordering::Equal => {
                    sum += self.weights[left] * other.weights[right];
                    left += 1;
                    right += 1;
                }
            }
        }
        sum
    }

    /// The pairs for which `keep` is true.
    pub fn filtered(&self, mut keep: impl FnMut(TermId, f32) -> bool) -> SparseVector {
        let (terms, weights) = self.iter().filter(|&(term, weight)| keep(term, weight)).unzip();
        SparseVector { terms, weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(pairs: &[(u32, f32)]) -> SparseVector {
        SparseVector::new(pairs.iter().map(|&(t, w)| (TermId(t), w))).unwrap()
    }

    #[test]
    fn refuses_what_is_not_a_weight_or_not_ascending() {
        for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = SparseVector::new([(TermId(3), weight)]).unwrap_err();
            assert!(matches!(error, Error::Weight { term: 3, .. }), "{weight}: {error}");
        }
        for next in [5, 4] {
            let error = SparseVector::new([(TermId(5), 1.0), (TermId(next), 1.0)]).unwrap_err();
            assert!(matches!(error, Error::Order { previous: 5, .. }), "{error}");
        }
        assert!(SparseVector::from_unordered(vec![(TermId(2), 1.0), (TermId(2), 2.0)]).is_err());
        assert!(SparseVector::from_dense(&[0.0, f32::NAN]).is_err());
    }

    #[test]
    fn from_dense_keeps_what_is_above_zero() {
        assert_eq!(
            SparseVector::from_dense(&[0.0, 2.0, -1.0, 0.5]).unwrap(),
            vector(&[(1, 2.0), (3, 0.5)])
        );
    }

    #[test]
    fn dot_meets_shared_terms_only() {
        let left = vector(&[(1, 2.0), (3, 0.5), (9, 1.0)]);
        let right = vector(&[(0, 7.0), (3, 4.0), (9, 0.25)]);
        assert_eq!(left.dot(&right), 2.25);
        assert_eq!(left.dot(&SparseVector::default()), 0.0);
    }
}
