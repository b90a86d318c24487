//! Logit to weight: nested logarithms over relu.

use std::{fmt, str::FromStr};

use candle_core::Tensor;
use rayon::prelude::*;

use super::graft::{Value, graft, on_slices, with_numbers};
use crate::{
    error::{Error, Result},
    sparse::{SparseVector, TermId},
};

/// w = ln(1 + ln(1 + … relu(z))), `depth` logarithms deep, 0 to 4.
///
/// 0 is relu alone, 1 SPLADE's, 2 the ℓ0 approximation, 3 and 4 its ablations
/// (`docs/method.md`, "Document weights"). It increases, so the maximum over tokens may be taken before
/// it: V logarithms instead of T·V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    depth: u8,
}

impl Activation {
    /// SPLADE's: one logarithm.
    pub const SPLADE: Activation = Activation { depth: 1 };
    /// The ℓ0 approximation: two.
    pub const L0: Activation = Activation { depth: 2 };

    /// # Errors
    /// [`Error::Usage`] outside 0 to 4.
    pub fn new(depth: u8) -> Result<Activation> {
        match depth {
            0..=4 => Ok(Activation { depth }),
            _ => {
                let message = format!("activation: expected 0 to 4 logarithms, found {depth}");
                Err(Error::Usage(message))
            }
        }
    }

    /// How many logarithms.
    pub fn depth(self) -> u8 {
        self.depth
    }

    /// The weights above zero of the largest logits of a document, terms ascending.
    ///
    /// # Errors
    /// [`Error::Weight`] if a logit is not a number: it is refused, not dropped.
    pub fn vector(self, logits: impl Iterator<Item = (TermId, f32)>) -> Result<SparseVector> {
        let pairs = logits.filter(|&(_, logit)| logit > 0.0 || logit.is_nan());
        SparseVector::new(
            pairs.map(|(term, logit)| {
                (term, if logit.is_nan() { logit } else { self.weight(logit) })
            }),
        )
    }

    /// The weight of a logit; 0 up to 0.
    pub fn weight(self, logit: f32) -> f32 {
        (0..self.depth).fold(logit.max(0.0), |weight, _| weight.ln_1p())
    }

    /// The weights of a tensor of logits, any shape.
    ///
    /// dw/dz = Π 1/(1 + what stands in each logarithm) for z > 0, else 0. Deviation: candle's relu
    /// has gradient 1 at 0, ours and PyTorch's has 0.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn weights(self, logits: &Tensor) -> Result<Tensor> {
        if !on_slices(logits) {
            let relu = (logits * logits.gt(0.0)?.to_dtype(logits.dtype())?)?;
            return Ok((0..self.depth).try_fold(relu, |weight, _| (weight + 1.0)?.log())?);
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
        Ok(graft("activation", [logits], Value::Host(value), shape, Box::new(backward))?)
    }

    /// dw/dz.
    fn slope(self, logit: f32) -> f32 {
        if logit <= 0.0 {
            return 0.0;
        }
        let step = |(weight, slope): (f32, f32), _| (weight.ln_1p(), slope / (1.0 + weight));
        (0..self.depth).fold((logit, 1.0), step).1
    }
}

/// Numbers a thread takes at least.
const CELLS: usize = 1 << 12;

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            0 => f.write_str("relu"),
            depth => write!(f, "log1p:{depth}"),
        }
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Activation> {
        if text == "relu" {
            return Activation::new(0);
        }
        let depth = text.strip_prefix("log1p:").unwrap_or(text).parse();
        let depth = depth.map_err(|_| {
            Error::Usage(format!("activation: expected relu or log1p:1 to log1p:4, found `{text}`"))
        })?;
        Activation::new(depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/method.md`, "Reference values", printed there to three decimals.
    #[test]
    fn values_are_those_of_the_paper_notes() {
        for (logit, weights) in [
            (1.0, [0.693, 0.527, 0.423, 0.353]),
            (5.0, [1.792, 1.027, 0.706, 0.534]),
            (20.0, [3.045, 1.397, 0.874, 0.628]),
            (-3.0, [0.0; 4]),
        ] {
            for (depth, expected) in (1..).zip(weights) {
                let weight = Activation::new(depth).unwrap().weight(logit);
                assert!((weight - expected).abs() < 5.1e-4, "{logit} {depth}: {weight}");
            }
        }
        assert!((Activation::L0.weight(5.0) - 1.02667).abs() < 1e-5);
    }

    #[test]
    fn on_slices_it_is_the_plain_formula() {
        for depth in 0..=4 {
            let activation = Activation::new(depth).unwrap();
            let inputs = [crate::ops::graft::tests::random(&[4, 30], 5)];
            crate::ops::graft::tests::check_same(&inputs, |[z]| activation.weights(&(z * 4.0)?));
        }
    }

    #[test]
    fn depths_outside_the_table_are_refused() {
        assert!(Activation::new(5).is_err());
        assert_eq!(Activation::new(0).unwrap().weight(-1.5), 0.0);
        assert_eq!(Activation::new(0).unwrap().weight(1.5), 1.5);
        assert!("log1p:5".parse::<Activation>().is_err());
        assert_eq!("log1p:2".parse::<Activation>().unwrap(), Activation::L0);
        let relu = "relu".parse::<Activation>().unwrap();
        assert_eq!((relu.depth(), relu.to_string().as_str()), (0, "relu"));
    }
}
