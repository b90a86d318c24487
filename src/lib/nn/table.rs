//! Query weights as a function of word embeddings.

use candle_core::Tensor;

use crate::{error::Result, sparse::Activation};

/// s = ln(1 + relu(E w + b)): E `[V, H]`, w `[H]`, b `[]` → `[V]`, a weight for every term.
///
/// Source: Li-LSR (arXiv 2505.01452; `docs/method.md`, "Query weights").
///
/// # Errors
/// [`crate::Error::Compute`] for shapes that do not fit.
pub fn embedding_table(words: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let scores = words.matmul(&weight.unsqueeze(1)?)?.squeeze(1)?.broadcast_add(bias)?;
    Activation::SPLADE.weights(&scores)
}
