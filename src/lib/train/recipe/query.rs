//! The query side of a recipe.

use std::path::PathBuf;

use serde::Deserialize;

use super::numbers::at_least_zero;

/// How queries become weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryKind {
    /// A fixed table.
    #[default]
    Idf,
    /// A learned table, with its own learning rate.
    Learned,
    /// A table that is a learned function of the word embeddings (Li-LSR).
    Embedding,
    /// The document encoder: the Siamese baseline.
    Encoder,
}

/// The query side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRecipe {
    /// How queries become weights.
    #[serde(default)]
    pub kind: QueryKind,
    /// The table's file, or `unit`; default: the base's own.
    pub table: Option<PathBuf>,
    /// Weights of the table below this are 0 (of a learned one, at the start): words of almost every text
    /// matter little, and cost much.
    pub drop_below: Option<f32>,
    /// Learning rate of the table's learned numbers.
    pub lr: Option<f64>,
    /// For `embedding`: whether its gradient reaches the word embeddings.
    #[serde(default)]
    pub embeddings: Embeddings,
}

/// Whether a table of [`QueryKind::Embedding`] trains the word embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Embeddings {
    /// They get its gradient too, as in the source, which freezes nothing.
    #[default]
    Trained,
    /// They get only the gradient of the documents.
    Frozen,
}

impl QueryRecipe {
    pub(super) fn check(&self) -> Result<(), String> {
        let reads = matches!(self.kind, QueryKind::Idf | QueryKind::Learned);
        match self.drop_below {
            Some(_) if !reads => return Err("query.drop_below is for a table that is read".into()),
            Some(least) => at_least_zero("query.drop_below", f64::from(least))?,
            None => {}
        }
        if self.kind != QueryKind::Embedding {
            return match self.embeddings {
                Embeddings::Trained => Ok(()),
                Embeddings::Frozen => Err("query.embeddings is for kind = \"embedding\"".into()),
            };
        }
        match &self.table {
            None => Ok(()),
            Some(_) => Err("query.kind = \"embedding\" makes a table and reads none: leave \
                            query.table out, or replace the table by query = { kind = \"embedding\" }"
                .into()),
        }
    }
}
