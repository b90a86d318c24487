//! The run: batch → forward → loss → backward → update, one step after the other.

use std::{path::PathBuf, time::Instant};

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};

use super::{
    adamw::{Slot, length},
    batch::{Shape, TrainBatch},
    objective::{Objective, Scored, Sparsity},
    parts::{Table, Theta},
    recipe::{QueryKind, Recipe},
    record::{Record, Watch},
    source::Mixture,
    stage::StageRecipe,
    state::State,
};
use crate::{
    error::{Error, Result},
    io::{self, folder},
    model::{Batch, Checkpoint, ModelDirectory, TensorEncoder},
    ops::{self, Activation, Dropout},
    text::Tokenizer,
    train::save::Saved,
};

/// A run that can be stepped, saved and gone on with.
pub struct Trainer {
    recipe: Recipe,
    text: String,
    folder: PathBuf,
    base: PathBuf,
    tokenizer: Tokenizer,
    encoder: TensorEncoder,
    activation: Activation,
    table: Option<Table>,
    theta: Option<Theta>,
    slots: Vec<Slot>,
    mixture: Mixture,
    step: u64,
}

impl Trainer {
    /// Sets a run up: reads base, tokenizer and query table, opens the data.
    ///
    /// # Errors
    /// As [`Checkpoint::load`], [`crate::text::QueryTable::read`] and [`Mixture::open`]; [`Error::Usage`] for
    /// stages whose thresholds are not of one kind.
    pub fn new(
        recipe: Recipe,
        text: &str,
        folder: PathBuf,
        device: &Device,
        dtype: DType,
    ) -> Result<Trainer> {
        let directory = ModelDirectory::open(&recipe.model.base)?;
        let tokenizer = Tokenizer::load(&directory.encoder)?;
        let checkpoint = Checkpoint::load(&directory.encoder)?;
        let terms = tokenizer.vocabulary().len();
        if checkpoint.config.vocab_size != terms {
            return Err(Error::Mismatch {
                what: format!("vocabulary of {}", directory.path.display()),
                expected: format!("{} tokens, as the model has", checkpoint.config.vocab_size),
                got: format!("{terms} in its tokenizer"),
                remedy: "use the tokenizer that came with the model".into(),
            });
        }
        let longest = checkpoint.config.max_positions;
        if recipe.model.max_tokens > longest || recipe.model.max_tokens < 3 {
            return Err(Error::Usage(format!(
                "model.max_tokens: want 3 to {longest}, got {}",
                recipe.model.max_tokens
            )));
        }
        let encoder = TensorEncoder::new(checkpoint, device, dtype)?;
        let table = Table::open(&recipe, &directory, &tokenizer, device)?;
        let theta = Theta::open(&recipe, terms, device)?;
        let mixture = Mixture::open(&recipe.data, recipe.seed)?;
        let mut slots = Vec::new();
        for (name, var) in encoder.variables() {
            slots.push(Slot::new(&name, var, None)?);
        }
        if let Some(Table::Learned(var)) = &table {
            slots.push(Slot::new("query.table", var, recipe.query.lr)?);
        }
        if let Some(Theta { var, .. }) = &theta {
            let rates = recipe.stage.iter().filter_map(|stage| stage.threshold.as_ref());
            slots.push(Slot::new("theta", var, rates.map(|threshold| threshold.lr).next())?);
        }
        Ok(Trainer {
            activation: Activation::new(recipe.model.activation)?,
            text: text.to_owned(),
            base: directory.encoder,
            step: 0,
            recipe,
            folder,
            tokenizer,
            encoder,
            table,
            theta,
            slots,
            mixture,
        })
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Goes on from the last checkpoint of the folder.
    ///
    /// # Errors
    /// As [`State::load`].
    pub fn resume(&mut self) -> Result<()> {
        let state = State::load(&self.checkpoints(), &self.text, &mut self.slots)?;
        self.mixture.skip(state.draws)?;
        self.step = state.step;
        Ok(())
    }

    /// Runs to the end, telling each record; then writes the model directory.
    ///
    /// # Errors
    /// [`Error::Format`] if the loss is no number or every document became empty; as
    /// [`Trainer::step`].
    pub fn run(&mut self, mut tell: impl FnMut(&Record)) -> Result<()> {
        folder::make(&self.folder)?;
        let mut log = self.log()?;
        let mut watch = Watch::new(self.tokenizer.vocabulary().len());
        let (mut since, mut documents) = (Instant::now(), 0);
        while self.recipe.stage_of(self.step).is_some() {
            let mut record = self.step()?;
            documents += record.documents;
            watch.look(&mut record, &self.folder)?;
            if self.step.is_multiple_of(self.recipe.log_every) || self.step == self.recipe.steps() {
                record.docs_per_second = documents as f64 / since.elapsed().as_secs_f64();
                (since, documents) = (Instant::now(), 0);
                log.add(&record.to_json())?;
                tell(&record);
            }
            if self.step.is_multiple_of(self.recipe.checkpoint_every) {
                self.save_state()?;
            }
        }
        self.save_state()?;
        self.saved()?.write(&self.folder)
    }

    /// One step.
    ///
    /// # Errors
    /// As [`Shape::draw`]; [`Error::Tensor`]; in the first step, [`Error::Usage`] naming a variable
    /// that no gradient reaches.
    pub fn step(&mut self) -> Result<Record> {
        let Some((at, step)) = self.recipe.stage_of(self.step) else {
            return Err(Error::Usage("want a step, got a run that is done".into()));
        };
        let stage = self.recipe.stage[at].clone();
        let batch = self.shape(&stage).draw(&mut self.mixture, &self.tokenizer)?;
        let (scored, gradients) = self.gradients(&stage, step, &batch)?;
        if step == 0 {
            self.check_gradients(&stage, &gradients)?;
        }
        let norm = length(&gradients)?;
        let clip = self.recipe.optimizer.clip;
        let factor = clip.filter(|&clip| norm > clip).map_or(1.0, |clip| clip / norm);
        let peak = stage.lr.unwrap_or(self.recipe.optimizer.lr);
        for (slot, gradient) in self.slots.iter_mut().zip(&gradients) {
            if let Some(gradient) = gradient {
                let rate = stage.rate(slot.rate.unwrap_or(peak), step);
                slot.update(gradient, rate, factor, &self.recipe.optimizer)?;
            }
        }
        if let Some(Theta { var, .. }) = &self.theta {
            var.set(&var.maximum(0.0)?.detach())?;
        }
        self.step += 1;
        self.record(&stage, at, step, &scored, norm)
    }

    fn shape(&self, stage: &StageRecipe) -> Shape {
        Shape {
            queries: stage.batch,
            documents: stage.documents,
            teacher: stage.loss.iter().any(|loss| loss.kind.needs_teacher()),
            max_tokens: self.recipe.model.max_tokens,
        }
    }

    /// Loss, and the gradient of every slot. A batch in parts is encoded without a graph first; the
    /// loss of the whole gives each part's share (GradCache, arXiv 2101.06983), so that means over
    /// documents and negatives in the batch are those of the whole batch, to rounding.
    fn gradients(
        &self,
        stage: &StageRecipe,
        step: u64,
        batch: &TrainBatch,
    ) -> Result<(Scored, Vec<Option<Tensor>>)> {
        let mut texts = batch.documents.clone();
        if self.recipe.query.kind == QueryKind::Encoder {
            texts.extend(batch.query_tokens.iter().cloned());
        }
        let objective = Objective {
            stage,
            step,
            table: self.table.as_ref().map(Table::tensor),
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
            let more = self.of_slots(&ops::backward(&surrogate)?);
            for (sum, more) in gradients.iter_mut().zip(more) {
                *sum = match (sum.take(), more) {
                    (Some(sum), Some(more)) => Some((sum + more)?),
                    (sum, more) => sum.or(more),
                };
            }
        }
        Ok((scored, gradients))
    }

    /// `[texts, V]`; `first` is the number of the first in the batch.
    fn weights(&self, texts: &[Vec<u32>], first: usize) -> Result<Tensor> {
        let rate = self.recipe.model.dropout;
        let key = self.recipe.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.step;
        let dropout = (rate > 0.0).then(|| Dropout::new(rate, key));
        let logits = self.encoder.pooled_logits(&Batch::new(texts, first), dropout)?;
        self.activation.weights(&logits)
    }

    fn of_slots(&self, store: &GradStore) -> Vec<Option<Tensor>> {
        self.slots.iter().map(|slot| store.get(&slot.var).cloned()).collect()
    }

    /// A gradient that is missing is a mistake in the graph, and would go unseen.
    fn check_gradients(&self, stage: &StageRecipe, gradients: &[Option<Tensor>]) -> Result<()> {
        let idle = |name: &str| name == "theta" && stage.threshold.is_none();
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            if gradient.is_none() && !idle(&slot.name) {
                return Err(Error::Usage(format!("no gradient reaches {}", slot.name)));
            }
        }
        Ok(())
    }

    fn record(
        &self,
        stage: &StageRecipe,
        at: usize,
        step: u64,
        scored: &Scored,
        norm: f64,
    ) -> Result<Record> {
        let budget = stage.regularizer.as_ref().and_then(|recipe| recipe.threshold);
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
            sparsity: Sparsity::of(&scored.weights, budget)?,
            theta: theta.map(|theta| theta.to_scalar::<f32>()).transpose()?.map(f64::from),
            documents: stage.batch * stage.documents,
            ..Record::default()
        })
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn save_state(&self) -> Result<()> {
        State::new(self.step, self.mixture.draws(), &self.text, &self.slots)
            .save(&self.checkpoints(), &self.slots)
    }

    /// The log, without records of steps that are done again.
    fn log(&self) -> Result<folder::Log> {
        let path = self.folder.join("train.jsonl");
        let old =
            if self.step > 0 && path.exists() { io::read_text(&path)? } else { String::new() };
        let kept: Vec<&str> = old
            .lines()
            .filter(|line| Record::step_of(line).is_some_and(|at| at <= self.step))
            .collect();
        folder::Log::open(&path, &kept)
    }

    /// The model as it stands, to be written.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn saved(&self) -> Result<Saved<'_>> {
        let mut record = serde_json::Map::new();
        record.insert("steps".into(), self.step.into());
        record.insert("seed".into(), self.recipe.seed.into());
        record.insert("examples".into(), self.mixture.draws().into());
        let sources = self.recipe.data.iter().map(|source| source.path.display().to_string());
        record.insert("data".into(), sources.collect::<Vec<_>>().into());
        let last = self.recipe.stage.last().is_some_and(|stage| stage.threshold.is_some());
        let theta = self.theta.as_ref().filter(|_| last);
        let cutoff = theta.map(Theta::cutoff).transpose()?;
        let table = self.table.as_ref().map(|table| table.tensor().to_vec1::<f32>()).transpose()?;
        Ok(Saved {
            base: &self.base,
            variables: self.encoder.variables(),
            tokenizer: &self.tokenizer,
            table,
            frozen: self.recipe.query.kind == QueryKind::Idf,
            activation: self.activation,
            max_tokens: self.recipe.model.max_tokens,
            cutoff,
            record,
            recipe: &self.text,
        })
    }

    /// Every variable's name and numbers, for comparison.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn numbers(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let slots = self.slots.iter();
        slots.map(|slot| Ok((slot.name.clone(), slot.var.flatten_all()?.to_vec1()?))).collect()
    }
}
