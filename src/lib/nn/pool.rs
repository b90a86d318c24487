//! From the rows of each document to one: the maximum, whose gradient goes to one token, the mean, the
//! first.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::Packing;
use crate::error::Result;

/// The largest logit over the tokens of each document: logits `[rows, V]` packed → `[B, V]`. Of
/// equal logits the first token takes the whole gradient, as in `torch.max`.
///
/// Source: SPLADE's max pooling; `docs/method.md`, "Document weights". Deviation: candle's `max` gives
/// every tied token the gradient, and `torch.amax` divides it among them.
///
/// # Errors
/// [`crate::Error::Compute`] if a document has no token.
pub fn max_over_tokens(logits: &Tensor, packing: &Packing) -> Result<Tensor> {
    let device = logits.device();
    let (documents, width, terms) = (packing.lengths().len(), packing.widest(), logits.dim(1)?);
    let padded = logits.index_select(&packing.padded(device)?, 0)?;
    let padded = padded.reshape((documents, width, terms))?;
    let padding = packing.padding(device)?.to_dtype(logits.dtype())?.unsqueeze(2)?;
    let padded = padded.broadcast_add(&padding)?;
    let winner = padded.detach().argmax_keepdim(1)?;
    Ok(padded.gather(&winner, 1)?.squeeze(1)?)
}

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean, including special tokens.
    Mean,
    /// That of the first token.
    Cls,
    /// The largest of each of the H numbers.
    Max,
}

/// One vector for each document: states `[rows, H]` packed → `[B, H]`. Source: the pooling modes of
/// Sentence Transformers.
///
/// # Errors
/// [`crate::Error::Compute`] if a document has no token.
pub fn pool(states: &Tensor, packing: &Packing, pooling: Pooling) -> Result<Tensor> {
    let device = states.device();
    match pooling {
        Pooling::Max => max_over_tokens(states, packing),
        Pooling::Cls => {
            let firsts: Vec<u32> = packing.documents().map(|(_, rows)| rows.start as u32).collect();
            Ok(states.index_select(&Tensor::new(firsts, device)?, 0)?)
        }
        Pooling::Mean => {
            let (documents, rows) = (packing.lengths().len(), packing.rows());
            let mut shares = vec![0.0f32; documents * rows];
            for (shares, (_, own)) in shares.chunks_exact_mut(rows.max(1)).zip(packing.documents())
            {
                let share = 1.0 / own.len() as f32;
                shares[own].fill(share);
            }
            let shares = Tensor::from_vec(shares, (documents, rows), device)?;
            Ok(shares.matmul(&states.to_dtype(DType::F32)?)?)
        }
    }
}

/// x / max(‖x‖, 1e-12) of each row of `[B, H]`, as PyTorch's `normalize`.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn normalize(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn of_equal_logits_the_first_takes_the_gradient() {
        let logits =
            Tensor::new(&[[1.0f32, 0.0], [1.0, 2.0], [1.0, 2.0], [5.0, 5.0]], &Device::Cpu);
        let logits = Var::from_tensor(&logits.unwrap()).unwrap();
        let pooled = max_over_tokens(&logits, &Packing::new(vec![3, 1], 0)).unwrap();
        assert_eq!(pooled.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [5.0, 5.0]]);
        let gradients = pooled.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&logits).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient, [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]);
    }

    #[test]
    fn rows_are_pooled_document_by_document() {
        let states = [[1.0f32, 2.0], [3.0, -2.0], [5.0, 7.0]];
        let states = Tensor::new(&states, &Device::Cpu).unwrap();
        let packing = Packing::new(vec![2, 1], 0);
        for (pooling, first) in
            [(Pooling::Mean, [2.0, 0.0]), (Pooling::Cls, [1.0, 2.0]), (Pooling::Max, [3.0, 2.0])]
        {
            let pooled = pool(&states, &packing, pooling).unwrap();
            assert_eq!(pooled.to_vec2::<f32>().unwrap(), [first, [5.0, 7.0]], "{pooling:?}");
        }
        let long = Tensor::new(&[[3.0f32, 4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let found = normalize(&long).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found, [[0.6, 0.8], [0.0, 0.0]]);
    }
}
