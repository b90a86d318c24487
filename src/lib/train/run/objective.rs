//! What a step minimises: ranking losses, and what documents pay for their terms.

use candle_core::{DType, Tensor};

use super::loss::{LossKind, info_nce, kl, margin_mse};
use crate::{
    error::Result,
    nn::count_terms,
    train::{
        data::batch::TrainBatch,
        recipe::stage::{LossRecipe, RegularizerRecipe, RetrievalRecipe},
    },
};

/// What the loss depends on, in addition to the document weights.
pub struct Objective<'a> {
    /// The current stage.
    pub stage: &'a RetrievalRecipe,
    /// The step within it, from 0.
    pub step: u64,
    /// `[V]`: the weight of each term in a query, 0 or more; `None` for the Siamese encoder.
    pub table: Option<&'a Tensor>,
    /// The threshold's θ.
    pub theta: Option<&'a Tensor>,
}

/// A loss, with the numbers that make it up.
pub struct Scored {
    /// The sum, a scalar with a gradient.
    pub loss: Tensor,
    /// Each part under its name, before its factor.
    pub parts: Vec<(&'static str, f64)>,
    /// The current λ.
    pub lambda: f64,
    /// Document weights as they would be indexed, `[Q · N, V]`, without a graph; `None` if word pieces
    /// are guessed.
    pub weights: Option<Tensor>,
}

impl Objective<'_> {
    /// The loss of `weights` `[Q · N, V]`, and below them `[Q, V]` of queries if the encoder weights
    /// these too.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] for shapes that do not fit.
    pub fn of(&self, weights: &Tensor, batch: &TrainBatch) -> Result<Scored> {
        let (rows, count) = (batch.documents.len(), batch.query_terms.len());
        let raw = weights.narrow(0, 0, rows)?;
        let threshold = self.stage.threshold.as_ref().zip(self.theta);
        let documents = match threshold {
            Some((recipe, theta)) => recipe.threshold().apply(&raw, theta)?,
            None => raw.clone(),
        };
        let queries = match self.table {
            Some(table) => bags(batch, table)?,
            None => weights.narrow(0, rows, count)?,
        };
        let mut parts = Vec::new();
        let mut loss = Tensor::new(0.0f32, weights.device())?;
        let mut add = |name, value: Tensor, factor: f64| -> Result<()> {
            parts.push((name, f64::from(value.to_scalar::<f32>()?)));
            loss = (&loss + (value * factor)?)?;
            Ok(())
        };
        for recipe in &self.stage.loss {
            add(name(recipe.kind), ranking(recipe, &documents, &queries, batch)?, recipe.weight)?;
        }
        let mut lambda = 0.0;
        if let Some(recipe) = &self.stage.regularizer {
            lambda = recipe.lambda_at(self.step);
            let ranks = self.stage.documents;
            add("regularizer", self.pay(recipe, &documents, ranks)?, lambda)?;
        }
        if let Some(recipe) = &self.stage.query_regularizer {
            add("query_regularizer", self.pay(recipe, &queries, 1)?, recipe.lambda_at(self.step))?;
        }
        if let Some((recipe, theta)) = threshold {
            let operator = recipe.threshold();
            if recipe.count > 0.0 {
                add("count", operator.count(&raw, theta)?.mean_all()?, recipe.count)?;
            }
            if let (true, Some(terms)) = (recipe.target > 0.0, recipe.terms) {
                add("target", operator.target(&raw, theta, terms)?, recipe.target)?;
            }
        }
        Ok(Scored { loss, parts, lambda, weights: Some(documents.detach()) })
    }

    fn pay(&self, recipe: &RegularizerRecipe, weights: &Tensor, ranks: usize) -> Result<Tensor> {
        let weights = if recipe.decouple { (weights + 1.0)?.log()? } else { weights.clone() };
        let table = self.table.filter(|_| recipe.idf).map(Tensor::detach);
        recipe.regularizer()?.loss(&weights, ranks, table.as_ref())
    }
}

fn name(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Kl => "kl",
        LossKind::MarginMse => "margin_mse",
        LossKind::InfoNce => "info_nce",
        LossKind::InBatch => "in_batch",
    }
}

/// `[Q, V]`: the weights of each query's terms.
fn bags(batch: &TrainBatch, table: &Tensor) -> Result<Tensor> {
    let terms = table.dim(0)?;
    let mut ones = vec![0.0f32; batch.query_terms.len() * terms];
    for (row, query) in ones.chunks_exact_mut(terms).zip(&batch.query_terms) {
        query.iter().for_each(|&term| row[term as usize] = 1.0);
    }
    let ones = Tensor::from_vec(ones, (batch.query_terms.len(), terms), table.device())?;
    Ok(ones.broadcast_mul(table)?)
}

fn ranking(
    recipe: &LossRecipe,
    documents: &Tensor,
    queries: &Tensor,
    batch: &TrainBatch,
) -> Result<Tensor> {
    let (count, terms) = queries.dims2()?;
    let each = documents.dim(0)? / count;
    if recipe.kind == LossKind::InBatch {
        let scores = (queries.matmul(&documents.t()?)? / recipe.temperature)?;
        let mut mask = vec![0.0f32; count * count * each];
        for &(query, row) in &batch.duplicate_positives {
            mask[query * count * each + row] = f32::NEG_INFINITY;
        }
        let mask = Tensor::from_vec(mask, (count, count * each), scores.device())?;
        let positives: Vec<u32> = (0..count).map(|query| (query * each) as u32).collect();
        return info_nce(&(scores + mask)?, &positives);
    }
    let own = documents.reshape((count, each, terms))?.matmul(&queries.unsqueeze(2)?)?;
    let scores = (own.squeeze(2)? / recipe.temperature)?;
    let teacher = || -> Result<Tensor> {
        let scores = batch.teacher.clone().unwrap_or_default();
        let scores = Tensor::from_vec(scores, (count, each), documents.device())?;
        Ok((scores * recipe.teacher_scale)?)
    };
    match recipe.kind {
        LossKind::Kl => kl(&scores, &teacher()?),
        LossKind::MarginMse => margin_mse(&scores, &teacher()?),
        LossKind::InfoNce | LossKind::InBatch => info_nce(&scores, &vec![0; count]),
    }
}

/// What documents look like: the mean of their terms, the share of documents with more than
/// `budget` terms, the mean of weights above 0, the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sparsity {
    /// Mean terms per document.
    pub terms: f64,
    /// Share of documents over the budget.
    pub over: f64,
    /// Mean weight above 0.
    pub mean: f64,
    /// Largest weight.
    pub max: f64,
}

impl Sparsity {
    /// Of weights `[N, V]`.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub fn of(weights: &Tensor, budget: Option<u32>) -> Result<Sparsity> {
        let scalar = |tensor: Tensor| -> Result<f64> {
            Ok(f64::from(tensor.to_dtype(DType::F32)?.to_scalar::<f32>()?))
        };
        let counts = count_terms(weights)?;
        let terms = scalar(counts.mean_all()?)?;
        let over = match budget {
            Some(budget) => {
                scalar(counts.gt(f64::from(budget))?.to_dtype(DType::F32)?.mean_all()?)?
            }
            None => 0.0,
        };
        let all = (terms * counts.elem_count() as f64).max(1.0);
        let mean = scalar(weights.sum_all()?)? / all;
        Ok(Sparsity { terms, over, mean, max: scalar(weights.max(1)?.max_all()?)? })
    }
}
