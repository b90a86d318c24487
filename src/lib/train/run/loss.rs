//! Ranking losses over scores, and their weighted sum.

use candle_core::{D, Result as Candle, Tensor};
use serde::Deserialize;

use crate::error::Result;

/// The ranking losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// KL(softmax teacher ‖ softmax student) over each query's own documents.
    Kl,
    /// Squared difference of the margins first − other document, student against teacher.
    MarginMse,
    /// Cross entropy of the first document among the query's own.
    InfoNce,
    /// Cross entropy of the first document among all documents of the batch.
    InBatch,
}

impl LossKind {
    /// Whether it needs a teacher's scores.
    pub fn needs_teacher(self) -> bool {
        matches!(self, LossKind::Kl | LossKind::MarginMse)
    }
}

/// KL(softmax t ‖ softmax s) of student and teacher `[Q, N]`, summed over documents, mean over
/// queries; a scalar. Source: `docs/method.md`, "Ranking losses".
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn kl(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let target = log_softmax(&teacher.detach())?;
    let gap = (&target - log_softmax(student)?)?;
    Ok((target.exp()? * gap)?.sum(1)?.mean_all()?)
}

/// mean of ((s_0 − s_n) − (t_0 − t_n))² over queries and n ≥ 1; `[Q, N]`, N ≥ 2, a scalar.
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn margin_mse(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let gap = (student - teacher.detach())?;
    let others = gap.narrow(1, 1, gap.dim(1)? - 1)?;
    Ok(gap.narrow(1, 0, 1)?.broadcast_sub(&others)?.sqr()?.mean_all()?)
}

/// −ln softmax of column `positives[q]` in row q of `[Q, M]`, mean over rows; a scalar.
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn info_nce(scores: &Tensor, positives: &[u32]) -> Result<Tensor> {
    let columns = Tensor::new(positives, scores.device())?.unsqueeze(1)?;
    let chosen = log_softmax(scores)?.gather(&columns, 1)?;
    Ok(chosen.mean_all()?.neg()?)
}

/// x − ln Σ exp x over the last dimension.
pub(in crate::train) fn log_softmax(x: &Tensor) -> Candle<Tensor> {
    let x = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)
}
