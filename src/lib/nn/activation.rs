//! Logits to weights on tensors; one number is [`Activation::weight`].

use candle_core::Tensor;
use rayon::prelude::*;

use super::custom_op::{Value, custom_op, on_slices, with_numbers};
use crate::{error::Result, sparse::Activation};

impl Activation {
    /// The weights of a tensor of logits, any shape.
    ///
    /// dw/dz = Π 1/(1 + the argument of each ln(1 + ·)) for z > 0, else 0. Deviation: candle's relu
    /// has gradient 1 at 0, PyTorch's and this one have 0.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn weights(self, logits: &Tensor) -> Result<Tensor> {
        if !on_slices(logits) {
            let relu = (logits * logits.gt(0.0)?.to_dtype(logits.dtype())?)?;
            return Ok((0..self.depth()).try_fold(relu, |weight, _| (weight + 1.0)?.log())?);
        }
        let value = with_numbers([logits], |[logits]| {
            let weight = |&logit: &f32| if logit.is_nan() { logit } else { self.weight(logit) };
            logits.par_iter().with_min_len(CELLS).map(weight).collect()
        })?;
        let backward = move |[logits]: [&Tensor; 1], gradient: &Tensor| {
            let numbers: Vec<f32> = with_numbers([logits, gradient], |[logits, g]| {
                let pairs = logits.par_iter().zip(g).with_min_len(CELLS);
                pairs
                    .map(|(&logit, &g)| if g == 0.0 { 0.0 } else { g * self.slope(logit) })
                    .collect()
            })?;
            Ok([Tensor::from_vec(numbers, logits.shape(), logits.device())?])
        };
        let shape = logits.shape();
        Ok(custom_op("activation", [logits], Value::Host(value), shape, Box::new(backward))?)
    }

    /// dw/dz.
    fn slope(self, logit: f32) -> f32 {
        if logit <= 0.0 {
            return 0.0;
        }
        let step = |(weight, slope): (f32, f32), _| (weight.ln_1p(), slope / (1.0 + weight));
        (0..self.depth()).fold((logit, 1.0), step).1
    }
}

/// Numbers a thread takes at least.
const CELLS: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_slices_it_is_the_plain_formula() {
        for depth in 0..=4 {
            let activation = Activation::new(depth).unwrap();
            let inputs = [crate::nn::custom_op::tests::random(&[4, 30], 5)];
            crate::nn::custom_op::tests::check_same(&inputs, |[z]| activation.weights(&(z * 4.0)?));
        }
    }
}
