//! What is trained beside the encoder: the query table and the threshold.

use candle_core::{Device, Tensor, Var};

use super::recipe::{QueryKind, Recipe};
use crate::{
    error::{Error, Result},
    model::{Cutoff, ModelDirectory},
    ops::Share,
    text::{QueryTable, Tokenizer},
};

/// Query weights, `[V]`.
pub(super) enum Table {
    Frozen(Tensor),
    Learned(Var),
}

impl Table {
    /// `[V]`.
    pub fn tensor(&self) -> &Tensor {
        match self {
            Table::Frozen(table) => table,
            Table::Learned(table) => table,
        }
    }

    /// The table that the recipe names, else the base's own; none for the Siamese encoder.
    pub fn open(
        recipe: &Recipe,
        directory: &ModelDirectory,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Option<Table>> {
        if recipe.query.kind == QueryKind::Encoder {
            return Ok(None);
        }
        let vocabulary = tokenizer.vocabulary();
        let table = match &recipe.query.table {
            Some(unit) if unit.as_os_str() == "unit" => QueryTable::unit(vocabulary.len()),
            Some(file) => QueryTable::read(file, vocabulary)?,
            None => match &directory.query_table {
                Some(file) => QueryTable::read(file, vocabulary)?,
                None => {
                    return Err(Error::Usage(format!(
                        "query.table: {} has no table; name an idf.json (l0-encode idf makes one from a \
                         corpus), or \"unit\"",
                        directory.path.display()
                    )));
                }
            },
        };
        let tensor = Tensor::new(table.weights(), device)?;
        Ok(Some(match recipe.query.kind {
            QueryKind::Learned => Table::Learned(Var::from_tensor(&tensor)?),
            _ => Table::Frozen(tensor),
        }))
    }
}

/// A learned threshold.
pub(super) struct Theta {
    pub var: Var,
    share: Share,
}

impl Theta {
    /// θ as the first stage that has one begins with it.
    pub fn open(recipe: &Recipe, terms: usize, device: &Device) -> Result<Option<Theta>> {
        let mut recipes = recipe.stage.iter().filter_map(|stage| stage.threshold.as_ref());
        let Some(first) = recipes.next() else { return Ok(None) };
        if recipes.any(|other| other.share != first.share) {
            return Err(Error::Usage("want one threshold.share in all stages".into()));
        }
        let init = first.init as f32;
        let var = match first.share {
            Share::All | Share::Largest => Var::new(init, device)?,
            Share::Term => Var::from_vec(vec![init; terms], terms, device)?,
        };
        Ok(Some(Theta { var, share: first.share }))
    }

    /// What is saved of it.
    pub fn cutoff(&self) -> Result<Cutoff> {
        Ok(match self.share {
            Share::All => Cutoff::All(self.var.to_scalar()?),
            Share::Largest => Cutoff::Largest(self.var.to_scalar()?),
            Share::Term => Cutoff::Term(self.var.to_vec1()?),
        })
    }
}
