//! Loss and gradients of one step, whole or in parts.

use candle_core::{Tensor, Var, backprop::GradStore};

use super::{
    super::{
        batch::TrainBatch,
        masked::MaskedBatch,
        objective::{Objective, Scored},
        recipe::QueryKind,
        stage::{RetrievalRecipe, StageRecipe},
    },
    Trainer,
};
use crate::{
    error::{Error, Result},
    model::Batch,
    ops::{self, Dropout},
};

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
        let part = stage.micro_batch.unwrap_or(texts.len()).min(texts.len());
        if part == texts.len() {
            let scored = objective.of(&self.weights(&texts, 0)?, batch)?;
            let gradients = self.of_slots(&ops::backward(&scored.loss)?);
            return Ok((scored, gradients));
        }
        let firsts = (0..).step_by(part);
        let parts: Vec<(usize, &[Vec<u32>])> = firsts.zip(texts.chunks(part)).collect();
        let mut rows = Vec::new();
        for &(first, texts) in &parts {
            rows.push(self.weights(texts, first)?.detach());
        }
        let leaf = Var::from_tensor(&Tensor::cat(&rows, 0)?)?;
        let scored = objective.of(&leaf, batch)?;
        let store = ops::backward(&scored.loss)?;
        let mut gradients = self.of_slots(&store);
        let Some(pull) = store.get(&leaf) else {
            return Err(Error::Usage("want a loss that depends on the documents".into()));
        };
        for (first, texts) in parts {
            let pull = pull.narrow(0, first, texts.len())?;
            let surrogate = (self.weights(texts, first)? * pull.detach())?.sum_all()?;
            add_up(&mut gradients, self.of_slots(&ops::backward(&surrogate)?))?;
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
            add_up(&mut gradients, self.of_slots(&ops::backward(&loss)?))
        })?;
        let parts = vec![("masked_lm", loss)];
        let loss = Tensor::new(loss as f32, self.encoder.device())?;
        Ok((Scored { loss, parts, lambda: 0.0, weights: None }, gradients))
    }

    /// `[texts, V]`, the lexical part added; `first` is the number of the first in the batch.
    fn weights(&self, texts: &[Vec<u32>], first: usize) -> Result<Tensor> {
        let logits = self.encoder.pooled_logits(&Batch::new(texts, first), self.dropout())?;
        let weights = self.activation.weights(&logits)?;
        let Some(lexical) = &self.lexical else { return Ok(weights) };
        let terms = weights.dim(1)?;
        let mut added = vec![0.0f32; texts.len() * terms];
        for (row, ids) in added.chunks_exact_mut(terms).zip(texts) {
            lexical.of(ids).into_iter().for_each(|(term, weight)| row[term.index()] = weight);
        }
        let added = Tensor::from_vec(added, weights.shape(), weights.device())?;
        Ok((weights + added)?)
    }

    /// What is dropped out in this step.
    fn dropout(&self) -> Option<Dropout> {
        let rate = self.recipe.model.dropout;
        let key = self.recipe.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.step;
        (rate > 0.0).then(|| Dropout::new(rate, key))
    }

    fn of_slots(&self, store: &GradStore) -> Gradients {
        self.slots.iter().map(|slot| store.get(&slot.var).cloned()).collect()
    }

    /// A gradient that is missing is a mistake in the graph, and would go unseen.
    pub(super) fn check_gradients(
        &self,
        stage: &StageRecipe,
        gradients: &[Option<Tensor>],
    ) -> Result<()> {
        let idle = |name: &str| match stage.retrieval() {
            Some(task) => name == "theta" && task.threshold.is_none(),
            None => name == "theta" || name.starts_with("query."),
        };
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            if gradient.is_none() && !idle(&slot.name) {
                return Err(Error::Usage(format!("no gradient reaches {}", slot.name)));
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
