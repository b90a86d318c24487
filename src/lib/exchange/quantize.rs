//! Weights to whole numbers, by the conventions that engines and papers use.

use std::{fmt, str::FromStr};

use super::Number;
use crate::error::{Error, Result};

/// A convention, by name. All but [`Quantize::MinMax`] are linear, so that a score stays a sum of
/// products, times one factor.
///
/// Source: `docs/formats.md`, "Quantisation" (who uses which).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantize {
    /// Weights as they are.
    None,
    /// `scale:S`: round(S · w); what becomes 0 is left out. SPLADE's and Pyserini's documents: 100.
    Scale(f32),
    /// `range:R:L`: round(w / R · L); what becomes 0 is left out. Anserini's queries: 5 and 256.
    Range(f32, u32),
    /// `max:L`: the largest weight of the collection becomes L; at least 1.
    Max(u32),
    /// `minmax:L`: the smallest weight of the collection becomes 1 and the largest L. CIFF's converters: 255.
    MinMax(u32),
    /// `u8-ceil:C`: round(min(w, C) / C · 255); what becomes 0 is left out. OpenSearch: 3.
    Ceiling(f32),
}

const WANTED: &str = "none, scale:S, range:R:LEVELS, max:LEVELS, minmax:LEVELS or u8-ceil:C";

/// Engines hold whole weights as i32.
const MOST_LEVELS: u32 = i32::MAX as u32;

impl FromStr for Quantize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Quantize> {
        let bad =
            || Error::Usage(format!("expected {WANTED}, with numbers above 0, found `{text}`"));
        let real = |text: &str| -> Result<f32> {
            let number = text.parse().ok().filter(|number: &f32| number.is_finite());
            number.filter(|&number| number > 0.0).ok_or_else(bad)
        };
        let levels = |text: &str| -> Result<u32> {
            let number = text.parse().ok();
            number.filter(|levels| (1..=MOST_LEVELS).contains(levels)).ok_or_else(bad)
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            ["none"] => Ok(Quantize::None),
            ["scale", scale] => Ok(Quantize::Scale(real(scale)?)),
            ["range", range, count] => Ok(Quantize::Range(real(range)?, levels(count)?)),
            ["max", count] => Ok(Quantize::Max(levels(count)?)),
            ["minmax", count] => Ok(Quantize::MinMax(levels(count)?)),
            ["u8-ceil", ceiling] => Ok(Quantize::Ceiling(real(ceiling)?)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Quantize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quantize::None => f.write_str("none"),
            Quantize::Scale(scale) => write!(f, "scale:{scale}"),
            Quantize::Range(range, levels) => write!(f, "range:{range}:{levels}"),
            Quantize::Max(levels) => write!(f, "max:{levels}"),
            Quantize::MinMax(levels) => write!(f, "minmax:{levels}"),
            Quantize::Ceiling(ceiling) => write!(f, "u8-ceil:{ceiling}"),
        }
    }
}

/// The smallest and the largest weight of a collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The smallest.
    pub least: f32,
    /// The largest.
    pub most: f32,
}

impl Extent {
    /// Of no weight.
    pub const NONE: Extent = Extent { least: f32::INFINITY, most: 0.0 };

    /// With one weight more.
    pub fn with(self, weight: f32) -> Extent {
        Extent { least: self.least.min(weight), most: self.most.max(weight) }
    }
}

impl Quantize {
    /// Whether [`Quantize::level`] depends on the collection's [`Extent`].
    pub fn needs_extent(self) -> bool {
        matches!(self, Quantize::Max(_) | Quantize::MinMax(_))
    }

    /// Whether weights become whole numbers.
    pub fn is_whole(self) -> bool {
        self != Quantize::None
    }

    /// A weight above 0 as it is written; none for one that is left out.
    pub fn number(self, weight: f32, extent: Extent) -> Option<Number> {
        match self {
            Quantize::None => Some(Number::Real(weight)),
            _ => self.level(weight, extent).map(Number::Whole),
        }
    }

    /// The whole number for a weight above 0; none for one that is left out, and for
    /// [`Quantize::None`].
    pub fn level(self, weight: f32, extent: Extent) -> Option<u32> {
        let weight = f64::from(weight);
        let (least, most) = (f64::from(extent.least), f64::from(extent.most));
        let level = match self {
            Quantize::None => return None,
            Quantize::Scale(scale) => weight * f64::from(scale),
            Quantize::Range(range, levels) => weight / f64::from(range) * f64::from(levels),
            Quantize::Max(levels) => (weight / most * f64::from(levels)).max(1.0),
            Quantize::MinMax(levels) if most > least => {
                1.0 + (weight - least) / (most - least) * f64::from(levels - 1)
            }
            Quantize::MinMax(levels) => f64::from(levels),
            Quantize::Ceiling(ceiling) => {
                let ceiling = f64::from(ceiling);
                weight.min(ceiling) / ceiling * 255.0
            }
        };
        let level = level.round().min(f64::from(MOST_LEVELS)) as u32;
        (level > 0).then_some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, weights: &[f32], expected: &[Option<u32>]) {
        let quantize: Quantize = rule.parse().unwrap();
        assert_eq!(quantize.to_string(), rule);
        let extent = weights.iter().fold(Extent::NONE, |extent, &weight| extent.with(weight));
        let levels: Vec<_> = weights.iter().map(|&weight| quantize.level(weight, extent)).collect();
        assert_eq!(levels, expected, "{rule}");
    }

    #[test]
    fn conventions_give_their_levels() {
        check("none", &[0.5], &[None]);
        check("scale:100", &[1.234, 0.004, 0.006], &[Some(123), None, Some(1)]);
        check("range:5:256", &[5.0, 2.5, 0.001], &[Some(256), Some(128), None]);
        check("max:255", &[2.0, 1.0, 0.0001], &[Some(255), Some(128), Some(1)]);
        check("minmax:255", &[3.0, 1.0, 2.0], &[Some(255), Some(1), Some(128)]);
        check("minmax:255", &[2.0, 2.0], &[Some(255), Some(255)]);
        check("u8-ceil:3", &[4.0, 3.0, 1.5, 0.001], &[Some(255), Some(255), Some(128), None]);
        check("scale:1000000000", &[9.0], &[Some(i32::MAX as u32)]);
    }

    #[test]
    fn what_is_no_convention_is_refused() {
        for text in [
            "",
            "scale",
            "scale:0",
            "scale:-1",
            "scale:inf",
            "range:5",
            "max:0",
            "max:1.5",
            "u8-ceil:x",
            "u8",
        ] {
            let error = text.parse::<Quantize>().unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{text}");
        }
    }
}
