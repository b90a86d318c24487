//! Logit to weight: nested logarithms over relu.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// w = ln(1 + ln(1 + … relu(z))), `depth` logarithms deep, 1 to 4.
///
/// 1 is SPLADE's, 2 the ℓ0 approximation, 3 and 4 its ablations (paper.md 1.1). It increases, so
/// the maximum over tokens may be taken before it: V logarithms instead of T·V.
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
    /// [`Error::Usage`] outside 1 to 4.
    pub fn new(depth: u8) -> Result<Activation> {
        match depth {
            1..=4 => Ok(Activation { depth }),
            _ => Err(Error::Usage(format!("activation: want 1 to 4 logarithms, got {depth}"))),
        }
    }

    /// How many logarithms.
    pub fn depth(self) -> u8 {
        self.depth
    }

    /// The weight of a logit; 0 up to 0.
    pub fn weight(self, logit: f32) -> f32 {
        (0..self.depth).fold(logit.max(0.0), |weight, _| weight.ln_1p())
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log1p:{}", self.depth)
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Activation> {
        let depth = text.strip_prefix("log1p:").unwrap_or(text).parse();
        let depth = depth.map_err(|_| {
            Error::Usage(format!("activation: want log1p:1 to log1p:4, got `{text}`"))
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
        assert!(Activation::new(0).is_err());
        assert!("log1p:5".parse::<Activation>().is_err());
        assert_eq!("log1p:2".parse::<Activation>().unwrap(), Activation::L0);
    }
}
