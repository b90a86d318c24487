//! From logit to weight: nested logarithms over relu.

use std::{fmt, str::FromStr};

use super::{SparseVector, TermId};
use crate::error::{Error, Result};

/// w = ln(1 + ln(1 + … relu(z))), `depth` logarithms deep, 0 to 4.
///
/// 0 is relu alone, 1 SPLADE's, 2 the ℓ0 approximation, 3 and 4 its ablations (`docs/method.md`,
/// "Document weights"). It increases, so the maximum over tokens may be taken before it: V logarithms
/// instead of T·V.
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
}

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

    /// The table of paper.md 1.1, printed there to three decimals.
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
