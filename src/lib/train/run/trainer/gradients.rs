//! Loss and gradients of one step, whole or in parts.

use candle_core::{Tensor, Var, backprop::GradStore};

use super::{Trainer, setup::Distillation};
use crate::{
    error::{Error, Result},
    model::Batch,
    nn::{self, Dropout},
    train::{
        data::{batch::TrainBatch, masked::MaskedBatch, random::Random},
        recipe::{
            QueryKind,
            distill::{DistillRecipe, Trained},
            stage::{RetrievalRecipe, StageRecipe, Task},
        },
        run::{
            distill::DistillObjective,
            objective::{Objective, Scored},
        },
    },
};

/// Keeps the random choices of a pool apart from those of examples.
const DISTILL: u64 = 0x6469_7374_696c_6c00;

/// For each slot of a trainer.
pub(super) type Gradients = Vec<Option<Tensor>>;

impl Trainer {
    /// Loss, and the gradient of every slot. A batch in parts is encoded without a graph first; the
    /// loss of the whole gives each part's share (GradCache, arXiv 2101.06983), so that means over
    /// documents and negatives in the batch are those of the whole batch, to rounding.
    pub(super) fn gradients(
        &self,
        stage: &StageRecipe,
        task: &RetrievalRecipe,
        step: u64,
        batch: &TrainBatch,
    ) -> Result<(Scored, Gradients)> {
        let mut texts = batch.documents.clone();
        if self.recipe.query.kind == QueryKind::Encoder {
            texts.extend(batch.query_tokens.iter().cloned());
        }
        let table = self.table.as_ref().map(|table| table.weights(self.encoder.words()));
        let table = table.transpose()?;
        let objective = Objective {
            stage: task,
            step,
            table: table.as_ref(),
            theta: self.theta.as_ref().map(|theta| theta.var.as_tensor()),
        };
        self.through_network(stage, &texts, |weights| objective.of(weights, batch))
    }

    /// Loss of the weights `[texts, V]`, and the gradient of every slot.
    fn through_network(
        &self,
        stage: &StageRecipe,
        texts: &[Vec<u32>],
        score: impl Fn(&Tensor) -> Result<Scored>,
    ) -> Result<(Scored, Gradients)> {
        let part = stage.micro_batch.unwrap_or(texts.len()).min(texts.len());
        if part == texts.len() {
            let scored = score(&self.weights(texts, 0)?)?;
            let gradients = self.of_slots(&nn::backward(&scored.loss)?);
            return Ok((scored, gradients));
        }
        let leaf = Var::from_tensor(&self.in_parts(texts, part)?)?;
        let scored = score(&leaf)?;
        let store = nn::backward(&scored.loss)?;
        let mut gradients = self.of_slots(&store);
        let Some(pull) = store.get(&leaf) else {
            let reason = "expected a loss that depends on the documents, found one that does not";
            return Err(Error::Internal(reason.into()));
        };
        for (first, texts) in (0..).step_by(part).zip(texts.chunks(part)) {
            let pull = pull.narrow(0, first, texts.len())?;
            let surrogate = (self.weights(texts, first)? * pull.detach())?.sum_all()?;
            add_up(&mut gradients, self.of_slots(&nn::backward(&surrogate)?))?;
        }
        Ok((scored, gradients))
    }

    /// Loss over hidden word pieces, and the gradient of every slot. The mean is one over word pieces,
    /// so the parts of a batch just add up.
    pub(super) fn masked_gradients(
        &self,
        stage: &StageRecipe,
        batch: &MaskedBatch,
    ) -> Result<(Scored, Gradients)> {
        let mut gradients: Gradients = self.slots.iter().map(|_| None).collect();
        let part = stage.micro_batch.unwrap_or(batch.texts.len()).min(batch.texts.len());
        let loss = batch.loss(&self.encoder, part, self.dropout(), |loss| {
            add_up(&mut gradients, self.of_slots(&nn::backward(&loss)?))
        })?;
        let parts = vec![("masked_lm", loss)];
        let loss = Tensor::new(loss as f32, self.encoder.device())?;
        Ok((Scored { loss, parts, lambda: 0.0, weights: None }, gradients))
    }

    /// `[texts, V]` without a graph, so many texts at a time.
    fn in_parts(&self, texts: &[Vec<u32>], part: usize) -> Result<Tensor> {
        let parts = (0..).step_by(part).zip(texts.chunks(part));
        let rows = parts.map(|(first, texts)| Ok(self.weights(texts, first)?.detach()));
        Ok(Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// Loss and gradients of a step of distillation.
    pub(super) fn distill_gradients(
        &self,
        stage: &StageRecipe,
        task: &DistillRecipe,
        step: u64,
    ) -> Result<(Scored, Gradients)> {
        let distillation = self.distillation.as_ref();
        let Some(Distillation { pool, teacher, near, first_table, states, scale }) = distillation
        else {
            return Err(Error::Internal("expected a pool that was read, found none".into()));
        };
        let random = Random::new(self.recipe.seed ^ DISTILL, self.step);
        let batch = near.draw(random, stage.batch, task.queries);
        let table = self.table.as_ref().map(|table| table.weights(self.encoder.words()));
        let Some(table) = table.transpose()? else {
            return Err(Error::Internal("expected a query table, found none".into()));
        };
        let objective = DistillObjective {
            recipe: task,
            prune: self.prune,
            step,
            pool,
            teacher,
            batch: &batch,
            table: &table,
            first_table,
            scale: &scale.0,
        };
        let texts: Vec<Vec<u32>> =
            batch.documents.iter().map(|&document| pool.documents[document].clone()).collect();
        match (task.train, states) {
            (Trained::Head, Some(states)) => {
                let rows: Vec<u32> = batch.documents.iter().map(|&at| at as u32).collect();
                let rows = Tensor::new(rows, states.device())?;
                let logits = self.encoder.logits_of_pooled(&states.index_select(&rows, 0)?)?;
                let weights = self.with_lexical(&logits, &texts)?;
                self.fit_scale(&objective, || Ok(weights.clone()))?;
                let scored = objective.of(&weights)?;
                let gradients = self.of_slots(&nn::backward(&scored.loss)?);
                Ok((scored, gradients))
            }
            _ => {
                let part = stage.micro_batch.unwrap_or(texts.len()).min(texts.len());
                self.fit_scale(&objective, || self.in_parts(&texts, part))?;
                self.through_network(stage, &texts, |weights| objective.of(weights))
            }
        }
    }

    /// In the first step of the first `distill` stage, scales the student's scores to the teacher's spread.
    fn fit_scale(
        &self,
        objective: &DistillObjective,
        weights: impl FnOnce() -> Result<Tensor>,
    ) -> Result<()> {
        let stages = &self.recipe.stage;
        let first = stages.iter().position(|stage| stage.distillation().is_some());
        if first.map(|at| self.recipe.steps_before(at)) == Some(self.step) {
            let scale = objective.fitting_scale(&weights()?.detach())?;
            objective.scale.set(&Tensor::new(scale, objective.scale.device())?)?;
        }
        Ok(())
    }

    /// `[texts, V]`, the lexical part added; `first` is the number of the first in the batch.
    fn weights(&self, texts: &[Vec<u32>], first: usize) -> Result<Tensor> {
        let logits = self.encoder.pooled_logits(&Batch::new(texts, first), self.dropout())?;
        self.with_lexical(&logits, texts)
    }

    /// Weights of logits `[texts, V]`, the lexical part added.
    fn with_lexical(&self, logits: &Tensor, texts: &[Vec<u32>]) -> Result<Tensor> {
        let weights = self.activation.weights(logits)?;
        let Some(lexical) = &self.lexical else { return Ok(weights) };
        let terms = weights.dim(1)?;
        let mut added = vec![0.0f32; texts.len() * terms];
        for (row, ids) in added.chunks_exact_mut(terms).zip(texts) {
            lexical.of(ids).into_iter().for_each(|(term, weight)| row[term.index()] = weight);
        }
        let added = Tensor::from_vec(added, weights.shape(), weights.device())?;
        let added = match self.encoder.lexical_scale() {
            Some(scale) => added.broadcast_mul(scale)?,
            None => added,
        };
        Ok((weights + added)?)
    }

    /// The dropout of this step.
    fn dropout(&self) -> Option<Dropout> {
        let rate = self.recipe.model.dropout;
        let key = self.recipe.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.step;
        (rate > 0.0).then(|| Dropout::new(rate, key))
    }

    fn of_slots(&self, store: &GradStore) -> Gradients {
        self.slots.iter().map(|slot| store.get(&slot.var).cloned()).collect()
    }

    /// A missing gradient is a mistake in the graph, which would go unnoticed.
    pub(super) fn check_gradients(
        &self,
        stage: &StageRecipe,
        gradients: &[Option<Tensor>],
    ) -> Result<()> {
        let idle = |name: &str| match &stage.task {
            Task::Retrieval(task) => {
                name == "theta" && task.threshold.is_none() || name.starts_with("distill.")
            }
            Task::MaskedLm(_) => {
                name == "theta" || name.starts_with("query.") || name.starts_with("distill.")
            }
            Task::Distill(task) => name == "theta" || !task.train.moves(name),
        };
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            if gradient.is_none() && !idle(&slot.name) {
                let reason = format!("expected a gradient for {}, found none", slot.name);
                return Err(Error::Internal(reason));
            }
        }
        Ok(())
    }
}

/// Adds gradients, slot by slot.
fn add_up(sums: &mut [Option<Tensor>], more: Gradients) -> Result<()> {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = match (sum.take(), more) {
            (Some(sum), Some(more)) => Some((sum + more)?),
            (sum, more) => sum.or(more),
        };
    }
    Ok(())
}
