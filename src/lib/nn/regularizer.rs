//! What a document pays for its terms: FLOPS and the ℓ0 mask loss, each variant by its name.

use candle_core::Tensor;
use serde::Deserialize;

use crate::error::Result;

/// The formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RegularizerKind {
    /// Σ_j (mean_i w_ij)²: every document pays (Paria et al. 2020).
    Flops,
    /// FLOPS of the documents with more than `threshold` terms: the ℓ0 mask loss. The mask is a
    /// constant: no gradient flows through the count. Source: `docs/method.md`, "Regularizers".
    L0Mask {
        /// Terms that a document has for free.
        threshold: u32,
        /// By how many documents the sum is divided.
        denominator: Denominator,
    },
    /// FLOPS of every document times its terms over `threshold` (branch L0mask of the released
    /// code); the factor is a constant.
    Ratio {
        /// Terms at which the factor is 1.
        threshold: u32,
    },
    /// mean_i Σ_j w_ij (Li-LSR).
    L1,
}

/// The denominator of the mean in the ℓ0 mask loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// All documents, as released ("concurrent").
    #[default]
    All,
    /// Those that pay, at least 1 ("nonzero_mean").
    Kept,
}

/// Over what a mean is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// All documents of the batch, as in Sentence Transformers and naver/splade.
    #[default]
    Pooled,
    /// One mean for each rank (the first documents of all queries, the second …), the losses
    /// summed, as in the paper's code: with k documents per query about k times the pooled loss.
    Rank,
}

/// A regularizer with what its means are taken over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// The formula.
    pub kind: RegularizerKind,
    /// Over what its means are taken.
    pub groups: Groups,
}

impl Regularizer {
    /// The loss of weights `[Q · N, V]`, rows by query then rank, N = `documents_per_query`; a
    /// scalar. `idf` `[V]` multiplies the mean of each term: the form that a review of the paper
    /// quotes and its code does not have (`docs/method.md`, "Regularizers").
    ///
    /// # Errors
    /// [`crate::Error::Compute`] for shapes that do not fit.
    pub fn loss(
        &self,
        weights: &Tensor,
        documents_per_query: usize,
        idf: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, terms) = weights.dims2()?;
        match self.groups {
            Groups::Pooled => self.kind.of(weights, idf),
            Groups::Rank => {
                let ranks =
                    weights.reshape((rows / documents_per_query, documents_per_query, terms))?;
                let mut sum = self.kind.of(&ranks.narrow(1, 0, 1)?.squeeze(1)?, idf)?;
                for rank in 1..documents_per_query {
                    let group = ranks.narrow(1, rank, 1)?.squeeze(1)?;
                    sum = (sum + self.kind.of(&group, idf)?)?;
                }
                Ok(sum)
            }
        }
    }
}

impl RegularizerKind {
    /// The loss of one group `[N, V]`.
    fn of(self, weights: &Tensor, idf: Option<&Tensor>) -> Result<Tensor> {
        let rows = weights.dim(0)? as f64;
        let sum = match self {
            RegularizerKind::Flops => (weights.sum(0)? / rows)?,
            RegularizerKind::L0Mask { threshold, denominator } => {
                let mask = count_terms(weights)?.gt(f64::from(threshold))?;
                let mask = mask.to_dtype(weights.dtype())?;
                let sum = weights.broadcast_mul(&mask.unsqueeze(1)?)?.sum(0)?;
                match denominator {
                    Denominator::All => (sum / rows)?,
                    Denominator::Kept => sum.broadcast_div(&mask.sum_all()?.maximum(1.0)?)?,
                }
            }
            RegularizerKind::Ratio { threshold } => {
                let factor = (count_terms(weights)? / f64::from(threshold.max(1)))?;
                (weights.broadcast_mul(&factor.unsqueeze(1)?)?.sum(0)? / rows)?
            }
            RegularizerKind::L1 => {
                let mean = (weights.sum(0)? / rows)?;
                let mean = idf.map_or(Ok(mean.clone()), |idf| mean.mul(idf))?;
                return Ok(mean.sum_all()?);
            }
        };
        let mean = idf.map_or(Ok(sum.clone()), |idf| sum.mul(idf))?;
        Ok(mean.sqr()?.sum_all()?)
    }
}

/// `[N]`: the terms above 0 of each row of `[N, V]`; a constant.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn count_terms(weights: &Tensor) -> Result<Tensor> {
    Ok(weights.detach().gt(0.0)?.to_dtype(weights.dtype())?.sum(1)?)
}
