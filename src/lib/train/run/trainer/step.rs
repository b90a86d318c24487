//! One step of a run.

use super::{
    super::{
        adamw::length,
        objective::{Scored, Sparsity},
        parts::{Table, Theta},
        record::Record,
    },
    Ahead, Trainer,
};
use crate::{
    error::{Error, Result},
    train::{
        data::batch::Shape,
        recipe::stage::{RetrievalRecipe, StageRecipe, Task},
    },
};

impl Trainer {
    /// One step.
    ///
    /// # Errors
    /// As [`Shape::draw`] or [`crate::train::recipe::masked::MaskedLmRecipe::draw`]; [`Error::Compute`];
    /// [`Error::Internal`] after the last step, and in the first step of a stage for a variable that no
    /// gradient reaches.
    pub fn step(&mut self) -> Result<Record> {
        let Some((at, step)) = self.recipe.stage_of(self.step) else {
            let reason = "expected a step that is left, found a run that is done";
            return Err(Error::Internal(reason.into()));
        };
        let stage = self.recipe.stage[at].clone();
        let (scored, gradients) = match &stage.task {
            Task::Retrieval(task) => {
                let shape = self.shape(&stage, task);
                let batch = match self.ahead.take() {
                    Some(ahead) => ahead.batch?,
                    None => shape.draw(&mut self.mixture, &self.tokenizer)?,
                };
                let found = self.gradients(&stage, task, step, &batch)?;
                // a device still computes
                if step + 1 < stage.steps {
                    let draws = self.mixture.draws();
                    let batch = shape.draw(&mut self.mixture, &self.tokenizer);
                    self.ahead = Some(Ahead { batch, draws });
                }
                found
            }
            Task::MaskedLm(task) => {
                let Trainer { corpora, mixture, tokenizer, pieces, .. } = self;
                let texts = corpora[at].as_mut().unwrap_or(mixture);
                let pieces = pieces.as_ref().expect("set up for a recipe with such a stage");
                let shape = (stage.batch, self.recipe.model.max_tokens);
                let batch = task.draw(texts, tokenizer, pieces, shape)?;
                self.masked_gradients(&stage, &batch)?
            }
            Task::Distill(task) => {
                self.prune = task.pruning().map_err(Error::Usage)?.unwrap_or(self.prune);
                self.distill_gradients(&stage, task, step)?
            }
        };
        if step == 0 {
            self.check_gradients(&stage, &gradients)?;
        }
        let norm = length(&gradients)?;
        let clip = self.recipe.optimizer.clip;
        let factor = clip.filter(|&clip| norm > clip).map_or(1.0, |clip| clip / norm);
        let peak = stage.lr.unwrap_or(self.recipe.optimizer.lr);
        let moves = |name: &str| stage.distillation().is_none_or(|task| task.train.moves(name));
        for (slot, gradient) in self.slots.iter_mut().zip(&gradients) {
            if let Some(gradient) = gradient.as_ref().filter(|_| moves(&slot.name)) {
                let rate = stage.rate(slot.rate.unwrap_or(peak), step);
                slot.update(gradient, rate, factor, &self.recipe.optimizer)?;
            }
        }
        if let Some(Theta { var, .. }) = &self.theta {
            var.set(&var.maximum(0.0)?.detach())?;
        }
        self.table.as_ref().map_or(Ok(()), Table::settle)?;
        self.step += 1;
        self.record(&stage, at, step, &scored, norm)
    }

    /// Examples that the steps so far have drawn.
    pub(super) fn draws(&self) -> u64 {
        self.ahead.as_ref().map_or(self.mixture.draws(), |ahead| ahead.draws)
    }

    fn shape(&self, stage: &StageRecipe, task: &RetrievalRecipe) -> Shape {
        Shape {
            queries: stage.batch,
            documents: task.documents,
            teacher: task.loss.iter().any(|loss| loss.kind.needs_teacher()),
            max_tokens: self.recipe.model.max_tokens,
        }
    }

    fn record(
        &self,
        stage: &StageRecipe,
        at: usize,
        step: u64,
        scored: &Scored,
        norm: f64,
    ) -> Result<Record> {
        let budget = stage.regularizer().and_then(|recipe| recipe.threshold);
        let sparsity = scored.weights.as_ref().map(|weights| Sparsity::of(weights, budget));
        let peak = stage.lr.unwrap_or(self.recipe.optimizer.lr);
        let theta = self.theta.as_ref().map(|theta| theta.var.mean_all()).transpose()?;
        Ok(Record {
            step: self.step,
            stage: if stage.name.is_empty() { at.to_string() } else { stage.name.clone() },
            loss: f64::from(scored.loss.to_scalar::<f32>()?),
            parts: scored.parts.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
            lambda: scored.lambda,
            rate: stage.rate(peak, step),
            gradient: norm,
            sparsity: sparsity.transpose()?,
            theta: theta.map(|theta| theta.to_scalar::<f32>()).transpose()?.map(f64::from),
            documents: scored
                .weights
                .as_ref()
                .map_or(Ok(stage.documents()), |weights| weights.dim(0))?,
            ..Record::default()
        })
    }
}
