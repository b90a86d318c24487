//! What is trained in addition to the encoder: the query table and the threshold.

use candle_core::{DType, Device, Tensor, Var};

use crate::{
    error::{Error, Result},
    model::{Cutoff, ModelDirectory},
    nn::{Share, embedding_table},
    text::{QueryTable, Tokenizer},
    train::recipe::{Embeddings, QueryKind, QueryRecipe, Recipe},
};

/// Query weights, `[V]`, never below 0.
pub(in crate::train) enum Table {
    Frozen(Tensor),
    /// Deviation: the released code takes the relu of its table, where a term that has come below 0
    /// gets no gradient any more and stays there. Here it is set to 0 after each step, at which the
    /// gradient is that of a weight above it: a term that queries need comes back.
    Learned(Var),
    /// ln(1 + relu(E w + b)): [`embedding_table`].
    Embedding {
        weight: Var,
        bias: Var,
        words: Embeddings,
    },
}

impl Table {
    /// `[V]`, the current weights, with a gradient for what is learned; `words` `[V, H]` are the encoder's.
    pub fn weights(&self, words: &Tensor) -> Result<Tensor> {
        match self {
            Table::Frozen(table) => Ok(table.clone()),
            Table::Learned(table) => Ok(table.as_tensor().clone()),
            Table::Embedding { weight, bias, words: Embeddings::Trained } => {
                embedding_table(words, weight, bias)
            }
            Table::Embedding { weight, bias, words: Embeddings::Frozen } => {
                embedding_table(&words.detach(), weight, bias)
            }
        }
    }

    /// What is learned, by name.
    pub fn variables(&self) -> Vec<(&'static str, &Var)> {
        match self {
            Table::Frozen(_) => Vec::new(),
            Table::Learned(table) => vec![("query.table", table)],
            Table::Embedding { weight, bias, .. } => {
                vec![("query.weight", weight), ("query.bias", bias)]
            }
        }
    }

    /// Sets weights that a step has brought below 0 to 0.
    pub fn settle(&self) -> Result<()> {
        match self {
            Table::Learned(table) => Ok(table.set(&table.maximum(0.0)?.detach())?),
            Table::Frozen(_) | Table::Embedding { .. } => Ok(()),
        }
    }

    /// The table that the recipe names, else the base's own; none for the Siamese encoder, and none
    /// if no stage ranks and the recipe names none.
    pub fn open(
        recipe: &Recipe,
        directory: &ModelDirectory,
        tokenizer: &Tokenizer,
        words: &Tensor,
    ) -> Result<Option<Table>> {
        let device = words.device();
        let QueryRecipe { kind, table, embeddings, drop_below, .. } = &recipe.query;
        if *kind == QueryKind::Encoder {
            return Ok(None);
        }
        if *kind == QueryKind::Embedding {
            // every term begins with ln 2: the source gives no start, and this one prefers no term
            let weight = Var::zeros(words.dim(1)?, DType::F32, device)?;
            let bias = Var::new(1.0f32, device)?;
            return Ok(Some(Table::Embedding { weight, bias, words: *embeddings }));
        }
        let vocabulary = tokenizer.vocabulary();
        let table = match table {
            Some(unit) if unit.as_os_str() == "unit" => QueryTable::unit(vocabulary.len()),
            Some(file) => QueryTable::read(file, vocabulary)?,
            None => match &directory.query_table {
                Some(file) => QueryTable::read(file, vocabulary)?,
                None if !recipe.ranks() => return Ok(None),
                None => {
                    return Err(Error::Usage(format!(
                        "query.table: {} has no table; name an idf.json (l0-encode idf makes one from a \
                         corpus), or \"unit\"",
                        directory.path.display()
                    )));
                }
            },
        };
        let least = drop_below.unwrap_or_default().max(0.0);
        let kept = |&weight: &f32| if weight >= least { weight } else { 0.0 };
        let weights: Vec<f32> = table.weights().iter().map(kept).collect();
        if drop_below.is_some() && weights.iter().all(|&weight| weight == 0.0) {
            let largest = table.weights().iter().copied().fold(f32::NEG_INFINITY, f32::max);
            return Err(Error::Usage(format!(
                "query.drop_below: expected a weight that leaves queries something, found {least}; the table's \
                 largest is {largest}"
            )));
        }
        let tensor = Tensor::new(&weights[..], device)?;
        Ok(Some(match kind {
            QueryKind::Learned => Table::Learned(Var::from_tensor(&tensor)?),
            _ => Table::Frozen(tensor),
        }))
    }
}

/// A learned threshold.
pub(in crate::train) struct Theta {
    pub var: Var,
    share: Share,
}

impl Theta {
    /// θ as the first stage that has one begins with it.
    pub fn open(recipe: &Recipe, terms: usize, device: &Device) -> Result<Option<Theta>> {
        let stages = recipe.stage.iter().filter_map(|stage| stage.retrieval());
        let mut recipes = stages.filter_map(|stage| stage.threshold.as_ref());
        let Some(first) = recipes.next() else { return Ok(None) };
        if recipes.any(|other| other.share != first.share) {
            return Err(Error::Usage("expected one threshold.share in all stages".into()));
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
