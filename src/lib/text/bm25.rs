//! BM25's formula.

use crate::error::{Error, Result};

/// The two constants of BM25.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bm25 {
    /// How fast a repeated term saturates, ≥ 0; usually 1.2.
    pub k1: f32,
    /// How much a long document is discounted, 0 to 1; usually 0.75.
    pub b: f32,
}

impl Bm25 {
    /// The usual values.
    pub const USUAL: Bm25 = Bm25 { k1: 1.2, b: 0.75 };

    /// # Errors
    /// [`Error::Usage`] for a constant out of range.
    pub fn new(k1: f32, b: f32) -> Result<Bm25> {
        if !(k1.is_finite() && k1 >= 0.0 && (0.0..=1.0).contains(&b)) {
            let message = format!("BM25: expected k1 from 0 and b from 0 to 1, found {k1} and {b}");
            return Err(Error::Usage(message));
        }
        Ok(Bm25 { k1, b })
    }

    /// idf · tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length)).
    ///
    /// The document carries the whole impact, so that a query with weight 1 per term (its count, for a
    /// repeated term) scores BM25. Source: Robertson and Zaragoza 2009, with the idf of
    /// [`crate::text::inverse_document_frequency`], which is never negative.
    pub fn impact(self, idf: f32, tf: u32, length: u32, mean_length: f64) -> f32 {
        let (k1, b, tf) = (f64::from(self.k1), f64::from(self.b), f64::from(tf));
        let relative = if mean_length > 0.0 { f64::from(length) / mean_length } else { 0.0 };
        let norm = k1 * (1.0 - b + b * relative);
        (f64::from(idf) * tf * (k1 + 1.0) / (tf + norm)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impact_is_that_of_the_formula() {
        let bm25 = Bm25::new(1.2, 0.75).unwrap();
        // a document of mean length: tf · 2.2 / (tf + 1.2)
        assert!((bm25.impact(2.0, 1, 10, 10.0) - 2.0).abs() < 1e-6);
        assert!((bm25.impact(1.0, 3, 10, 10.0) - 3.0 * 2.2 / 4.2).abs() < 1e-6);
        // twice as long: norm 1.2 · (0.25 + 1.5) = 2.1
        assert!((bm25.impact(1.0, 1, 20, 10.0) - 2.2 / 3.1).abs() < 1e-6);
        assert!(Bm25::new(-1.0, 0.5).is_err() && Bm25::new(1.0, 1.5).is_err());
    }
}
