//! Weights to impacts and back.
//!
//! Every search method is exact on the *stored* weights, the ones [`Impacts::read`] gives.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How an index stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// As they came: four bytes a posting.
    F32,
    /// One byte a posting, with one scale a term.
    U8,
}

impl FromStr for Weights {
    type Err = Error;

    fn from_str(text: &str) -> Result<Weights> {
        match text {
            "f32" => Ok(Weights::F32),
            "u8" => Ok(Weights::U8),
            _ => Err(Error::Usage(format!("want f32 or u8, got `{text}`"))),
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weights::F32 => "f32",
            Weights::U8 => "u8",
        })
    }
}

/// How the weights of one posting list become bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Impacts {
    /// The weight itself, as a little-endian f32.
    Exact,
    /// `1..=255`, to be multiplied by this scale: above zero and at most `f32::MAX / 255`.
    ///
    /// A scale a term loses least: its step is the term's largest weight / 255, never coarser than
    /// one scale for all, and it costs four bytes a term.
    Linear8(f32),
}

const STEPS: f32 = 255.0;

impl Impacts {
    /// For a list whose largest weight is `max`, finite and above 0.
    pub fn fit(weights: Weights, max: f32) -> Impacts {
        match weights {
            Weights::F32 => Impacts::Exact,
            Weights::U8 => {
                let scale = (max / STEPS).max(f32::MIN_POSITIVE);
                // near f32::MAX the quotient may have been rounded up
                let finite = (scale * STEPS).is_finite();
                Impacts::Linear8(if finite { scale } else { scale.next_down() })
            }
        }
    }

    /// Bytes a posting.
    pub fn width(self) -> usize {
        match self {
            Impacts::Exact => 4,
            Impacts::Linear8(_) => 1,
        }
    }

    /// Appends a weight in its stored form and returns the weight that will be read: the nearest
    /// that can be stored, never 0.
    pub fn push(self, weight: f32, bytes: &mut Vec<u8>) -> f32 {
        match self {
            Impacts::Exact => {
                bytes.extend(weight.to_le_bytes());
                weight
            }
            Impacts::Linear8(scale) => {
                let impact = (weight / scale).round().clamp(1.0, STEPS) as u8;
                bytes.push(impact);
                scale * f32::from(impact)
            }
        }
    }

    /// What one step of a bound stands for in a list whose largest stored weight is `max`.
    pub fn unit(self, max: f32) -> f64 {
        match self {
            // a little more, so that no quotient exceeds 255
            Impacts::Exact => f64::from(max) / f64::from(STEPS) * (1.0 + 1e-12),
            Impacts::Linear8(scale) => f64::from(scale),
        }
    }

    /// The weight of an impact of a byte.
    #[inline(always)]
    pub fn weight(self, impact: u8) -> f32 {
        match self {
            Impacts::Exact => f32::from(impact),
            Impacts::Linear8(scale) => scale * f32::from(impact),
        }
    }

    /// The bound and the weight at `position` of the stored bytes; zeros beyond their end.
    #[inline(always)]
    pub fn read(self, bytes: &[u8], position: usize, unit: f64) -> (u8, f32) {
        match self {
            Impacts::Exact => {
                let weight =
                    bytes.as_chunks().0.get(position).map_or(0.0, |&w| f32::from_le_bytes(w));
                ((f64::from(weight) / unit).ceil() as u8, weight)
            }
            Impacts::Linear8(scale) => {
                let impact = bytes.get(position).copied().unwrap_or(0);
                (impact, scale * f32::from(impact))
            }
        }
    }

    /// The largest number of units that a stored weight reaches.
    pub(super) fn floor(self, weight: f32, unit: f64) -> u8 {
        match self {
            Impacts::Exact => (f64::from(weight) / unit) as u8,
            Impacts::Linear8(_) => (f64::from(weight) / unit).round() as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(max: f32, weight: f32, expected: f32) {
        let impacts = Impacts::fit(Weights::U8, max);
        let mut bytes = Vec::new();
        let stored = impacts.push(weight, &mut bytes);
        assert_eq!(impacts.read(&bytes, 0, 1.0).1, stored);
        assert_eq!(stored, expected);
        assert!(stored.is_finite() && stored > 0.0);
    }

    #[test]
    fn eight_bits_keep_the_nearest_step_and_never_zero() {
        check(2.55, 2.55, 2.55 / 255.0 * 255.0);
        check(255.0, 17.4, 17.0);
        check(255.0, 17.5, 18.0);
        check(255.0, 1e-9, 1.0);
        check(f32::from_bits(1), f32::from_bits(1), f32::MIN_POSITIVE);
        let scale = (f32::MAX / 255.0).next_down();
        let Impacts::Linear8(fitted) = Impacts::fit(Weights::U8, f32::MAX) else { panic!() };
        assert!(fitted >= scale && (fitted * 255.0).is_finite());
    }

    #[test]
    fn exact_is_exact_and_the_end_is_no_panic() {
        let mut bytes = Vec::new();
        assert_eq!(Impacts::Exact.push(0.1, &mut bytes), 0.1);
        let unit = Impacts::Exact.unit(0.2);
        assert_eq!(Impacts::Exact.read(&bytes, 0, unit), (128, 0.1));
        assert_eq!(Impacts::Exact.floor(0.1, unit), 127);
        assert_eq!(Impacts::Exact.read(&bytes, 1, unit), (0, 0.0));
        assert_eq!(Impacts::Linear8(1.0).read(&bytes, 4, 1.0), (0, 0.0));
    }
}
