//! Query weights from a collection's own statistics.

use super::{DocumentFrequencies, QueryTable};
use crate::{error::Result, sparse::TermId};

/// How a query table and the document frequencies of a collection make query weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reweighting {
    /// The idf alone, if the model has no table.
    Idf,
    /// The geometric mean of table and idf: table^(1 − share) · idf^share, `share` from 0 to 1.
    Geometric {
        /// How much of the weight is the collection's.
        share: f64,
    },
}

impl Reweighting {
    /// What a model's table is reweighted by.
    pub const OF_A_MODEL: Reweighting = Reweighting::Geometric { share: 0.5 };

    /// The weight of a term with the weight `table`, whose idf in the collection is `idf` ≥ 0. A weight
    /// of 0 or less becomes 0.
    pub fn weight(self, table: f32, idf: f32) -> f32 {
        if table <= 0.0 {
            return 0.0;
        }
        match self {
            Reweighting::Idf => idf,
            Reweighting::Geometric { share } => {
                (f64::from(table).powf(1.0 - share) * f64::from(idf).powf(share)) as f32
            }
        }
    }

    /// The table of a collection, from one over the same vocabulary.
    ///
    /// # Errors
    /// None for weights and counts within their ranges.
    pub fn table(self, table: &QueryTable, counted: &DocumentFrequencies) -> Result<QueryTable> {
        let weights = (0..).map(TermId).zip(table.weights());
        let weights = weights.map(|(term, &weight)| self.weight(weight, counted.weight(term)));
        QueryTable::from_weights(weights.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_in_numbers() {
        for (reweighting, table, idf, expected) in [
            (Reweighting::Idf, 3.0, 2.0, 2.0),
            (Reweighting::Idf, 0.0, 2.0, 0.0),
            (Reweighting::OF_A_MODEL, 8.0, 2.0, 4.0),
            (Reweighting::OF_A_MODEL, 8.0, 0.0, 0.0),
            (Reweighting::OF_A_MODEL, 0.0, 2.0, 0.0),
            (Reweighting::OF_A_MODEL, -1.0, 2.0, 0.0),
            (Reweighting::Geometric { share: 0.0 }, 8.0, 0.0, 8.0),
            (Reweighting::Geometric { share: 1.0 }, 8.0, 2.0, 2.0),
            (Reweighting::Geometric { share: 0.75 }, 16.0, 1.0, 2.0),
        ] {
            assert_eq!(reweighting.weight(table, idf), expected, "{reweighting:?}: {table}, {idf}");
        }
    }
}
