//! Weights to impacts and back.
//!
//! Every search method is exact on the *stored* weights, the ones that [`Impacts`] read back.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How an index stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// As given: four bytes per posting.
    F32,
    /// Eight bits per posting, with one scale per term.
    U8,
    /// Six bits per posting, with one scale per term.
    U6,
}

impl FromStr for Weights {
    type Err = Error;

    fn from_str(text: &str) -> Result<Weights> {
        match text {
            "f32" => Ok(Weights::F32),
            "u8" => Ok(Weights::U8),
            "u6" => Ok(Weights::U6),
            _ => Err(Error::Usage(format!("expected f32, u8 or u6, found `{text}`"))),
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weights::F32 => "f32",
            Weights::U8 => "u8",
            Weights::U6 => "u6",
        })
    }
}

/// How the weights of one posting list become bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Impacts {
    /// The weight itself, as a little-endian f32.
    Exact,
    /// `1..=255`, to be multiplied by this scale: above zero and at most `f32::MAX / 255`.
    ///
    /// One scale per term loses least: its step is the term's largest weight / 255, never coarser than
    /// one scale for all, and it costs four bytes per term.
    Linear8(f32),
    /// `1..=63`, in the same way.
    Linear6(f32),
}

impl Impacts {
    /// For a list whose largest weight is `max`, finite and above 0.
    pub fn fit(weights: Weights, max: f32) -> Impacts {
        let scale = |steps: f32| {
            let scale = (max / steps).max(f32::MIN_POSITIVE);
            // near f32::MAX the quotient may have been rounded up
            if (scale * steps).is_finite() { scale } else { scale.next_down() }
        };
        match weights {
            Weights::F32 => Impacts::Exact,
            Weights::U8 => Impacts::Linear8(scale(255.0)),
            Weights::U6 => Impacts::Linear6(scale(63.0)),
        }
    }

    /// Bits per posting.
    pub fn bits(self) -> usize {
        match self {
            Impacts::Exact => 32,
            Impacts::Linear8(_) => 8,
            Impacts::Linear6(_) => 6,
        }
    }

    /// Whether the bound of a posting is all that is stored of its weight.
    pub fn is_bound(self) -> bool {
        self != Impacts::Exact
    }

    /// The largest bound.
    pub fn steps(self) -> u8 {
        match self {
            Impacts::Exact | Impacts::Linear8(_) => 255,
            Impacts::Linear6(_) => 63,
        }
    }

    /// What is stored of a weight, in the lowest bits: the nearest that can be stored, never 0.
    pub(in crate::index) fn code(self, weight: f32) -> u32 {
        let steps = f32::from(self.steps());
        match self {
            Impacts::Exact => weight.to_bits(),
            Impacts::Linear8(scale) | Impacts::Linear6(scale) => {
                (weight / scale).round().clamp(1.0, steps) as u32
            }
        }
    }

    /// The weight of a code.
    #[inline(always)]
    pub(in crate::index) fn weight(self, code: u32) -> f32 {
        match self {
            Impacts::Exact => f32::from_bits(code),
            Impacts::Linear8(scale) | Impacts::Linear6(scale) => scale * f32::from(code as u8),
        }
    }

    /// The weight of one step of a bound in a list whose largest stored weight is `max`.
    pub fn unit(self, max: f32) -> f64 {
        match self {
            // a little more, so that no quotient exceeds 255
            Impacts::Exact => f64::from(max) / 255.0 * (1.0 + 1e-12),
            Impacts::Linear8(scale) | Impacts::Linear6(scale) => f64::from(scale),
        }
    }

    /// The least number of units that is not below the weight of a code.
    #[inline(always)]
    pub(in crate::index) fn bound(self, code: u32, unit: f64) -> u8 {
        match self {
            Impacts::Exact => (f64::from(f32::from_bits(code)) / unit).ceil() as u8,
            Impacts::Linear8(_) | Impacts::Linear6(_) => code as u8,
        }
    }

    /// The largest number of units that the weight of a code reaches.
    pub(in crate::index) fn floor(self, code: u32, unit: f64) -> u8 {
        match self {
            Impacts::Exact => (f64::from(f32::from_bits(code)) / unit) as u8,
            Impacts::Linear8(_) | Impacts::Linear6(_) => code as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(weights: Weights, max: f32, weight: f32, expected: f32) {
        let impacts = Impacts::fit(weights, max);
        let code = impacts.code(weight);
        let stored = impacts.weight(code);
        assert_eq!(stored, expected);
        assert!(stored.is_finite() && stored > 0.0);
        assert_eq!(impacts.code(stored), code);
        assert!(code >> impacts.bits().min(31) == 0 || impacts == Impacts::Exact);
    }

    #[test]
    fn bits_keep_the_nearest_step_and_never_zero() {
        check(Weights::U8, 2.55, 2.55, 2.55 / 255.0 * 255.0);
        check(Weights::U8, 255.0, 17.4, 17.0);
        check(Weights::U8, 255.0, 17.5, 18.0);
        check(Weights::U8, 255.0, 1e-9, 1.0);
        check(Weights::U6, 63.0, 17.4, 17.0);
        check(Weights::U6, 63.0, 63.0, 63.0);
        check(Weights::U6, 63.0, 1e-9, 1.0);
        check(Weights::F32, 3.0, 0.1, 0.1);
        check(Weights::U8, f32::from_bits(1), f32::from_bits(1), f32::MIN_POSITIVE);
        let scale = (f32::MAX / 255.0).next_down();
        let Impacts::Linear8(fitted) = Impacts::fit(Weights::U8, f32::MAX) else { panic!() };
        assert!(fitted >= scale && (fitted * 255.0).is_finite());
    }

    #[test]
    fn bounds_enclose_weights() {
        let unit = Impacts::Exact.unit(0.2);
        let code = Impacts::Exact.code(0.1);
        assert_eq!(
            (Impacts::Exact.bound(code, unit), Impacts::Exact.floor(code, unit)),
            (128, 127)
        );
        let impacts = Impacts::fit(Weights::U6, 6.3);
        assert_eq!((impacts.bound(9, 0.1), impacts.floor(9, 0.1)), (9, 9));
    }
}
