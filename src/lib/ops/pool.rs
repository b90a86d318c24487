//! The maximum over tokens, whose gradient goes to one token.

use candle_core::Tensor;

use super::Packing;
use crate::error::Result;

/// The largest logit over the tokens of each document: logits `[rows, V]` packed → `[B, V]`. Of
/// equal logits the first token takes the whole gradient, as in `torch.max`.
///
/// Source: SPLADE's max pooling; paper.md 1.1. Deviation from candle's `max`, which pays every
/// tied token, and from `torch.amax`, which shares among them.
///
/// # Errors
/// [`crate::Error::Tensor`] if a document has no token.
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
}
