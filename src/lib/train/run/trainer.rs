//! The run: batch → forward → loss → backward → update, one step after the other.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    adamw::Slot,
    evaluate::{Evaluation, Evaluator},
    parts::{Table, Theta},
    record::{Record, Watch},
    save::{Saved, Size},
    state::{Origin, State},
};
use crate::{
    error::{Error, Result},
    io::{self, folder},
    model::TensorEncoder,
    nn::sum_of_squares,
    sparse::{Activation, Prune},
    text::{LexicalPart, Reweighting, Tokenizer},
    train::{
        data::{batch::TrainBatch, masked::Pieces, mixture::Mixture},
        recipe::{HeadKind, QueryKind, Recipe, stage::StageRecipe},
    },
};

mod gradients;
mod setup;
mod step;

use setup::Distillation;

/// The folder of checkpoints, in that of the run.
const CHECKPOINTS: &str = "checkpoints";
/// The longest time without a message, however seldom the run logs.
const SILENCE: Duration = Duration::from_secs(30);

/// A run that can be stepped, saved and resumed.
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
    lexical: Option<LexicalPart>,
    drops_lexical: bool,
    prune: Prune,
    /// As the base has it.
    reweighting: Option<Reweighting>,
    slots: Vec<Slot>,
    mixture: Mixture,
    ahead: Option<Ahead>,
    evaluator: Option<Evaluator>,
    /// For each stage, its separate corpus if it has one.
    corpora: Vec<Option<Mixture>>,
    pieces: Option<Pieces>,
    distillation: Option<Distillation>,
    step: u64,
}

/// What a run reports.
pub enum Event<'a> {
    /// A step that was logged.
    Step(&'a Record),
    /// An evaluation.
    Evaluation(&'a Evaluation),
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Step(record) => record.fmt(f),
            Event::Evaluation(evaluation) => evaluation.fmt(f),
        }
    }
}

/// The next batch, drawn while a device computed this one, and how much was drawn before it.
struct Ahead {
    batch: Result<TrainBatch>,
    draws: u64,
}

impl Trainer {
    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// What a user should know before the first step.
    pub fn remarks(&self) -> Option<String> {
        let dropped = self.drops_lexical.then_some(
            "the base has a lexical part and the recipe none: the model will have none \
             (model.lexical, or a lexical weight for `l0-train export`, gives it one)",
        );
        if dropped.is_some() {
            return dropped.map(str::to_owned);
        }
        let HeadKind::New = self.recipe.model.head?;
        Some(format!(
            "the head is new, and untrained: its transform the identity, its decoder the word table; {}",
            if self.recipe.stage.iter().any(|stage| stage.retrieval().is_none()) {
                "a masked_lm stage trains it"
            } else {
                "no masked_lm stage trains it: add one in front"
            }
        ))
    }

    /// Resumes from the last checkpoint of the folder.
    ///
    /// # Errors
    /// As [`State::load`].
    pub fn resume(&mut self) -> Result<()> {
        let vocabulary = self.tokenizer.vocabulary().fingerprint();
        let origin = Origin { recipe: &self.text, vocabulary };
        let state = State::load(&self.folder.join(CHECKPOINTS), origin, &mut self.slots)?;
        self.mixture.skip(state.draws)?;
        for (at, (corpus, stage)) in self.corpora.iter_mut().zip(&self.recipe.stage).enumerate() {
            let steps = state.step.saturating_sub(self.recipe.steps_before(at)).min(stage.steps);
            if let Some(corpus) = corpus {
                corpus.skip(steps * stage.batch as u64)?;
            }
        }
        self.step = state.step;
        if let Some((at, _)) = self.recipe.stage_of(self.step.saturating_sub(1))
            && let Some(task) = self.recipe.stage[at].distillation()
        {
            self.prune = task.pruning().map_err(Error::Usage)?.unwrap_or(self.prune);
        }
        let folder = &self.folder;
        self.evaluator.as_mut().map_or(Ok(()), |evaluator| evaluator.resume(folder))
    }

    /// Runs to the end, reporting each record and evaluation; then writes the model directory.
    ///
    /// # Errors
    /// [`Error::Usage`] if the folder holds another run; [`Error::Format`] if the loss is not a number
    /// or every document became empty; as [`Trainer::step`].
    pub fn run(&mut self, mut tell: impl FnMut(Event)) -> Result<()> {
        self.check_folder()?;
        folder::make(&self.folder)?;
        let _lock = folder::lock(&self.folder)?;
        let mut log = self.log()?;
        let mut watch = Watch::new(self.tokenizer.vocabulary().len());
        let (mut since, mut documents) = (Instant::now(), 0);
        let mut last_report = Instant::now();
        while self.recipe.stage_of(self.step).is_some() {
            let mut record = self.step()?;
            documents += record.documents;
            watch.look(&mut record, &self.folder)?;
            if self.step.is_multiple_of(self.recipe.log_every) || self.step == self.recipe.steps() {
                record.docs_per_second = documents as f64 / since.elapsed().as_secs_f64();
                (since, documents) = (Instant::now(), 0);
                log.add(&record.to_json())?;
                tell(Event::Step(&record));
                last_report = Instant::now();
            } else if last_report.elapsed() > SILENCE {
                record.docs_per_second = documents as f64 / since.elapsed().as_secs_f64();
                tell(Event::Step(&record));
                last_report = Instant::now();
            }
            let paused = Instant::now();
            if let Some(evaluation) = self.evaluation()? {
                let line = json!({"step": self.step, "evaluation": evaluation.to_json()});
                log.add(&line.to_string())?;
                tell(Event::Evaluation(&evaluation));
            }
            since += paused.elapsed();
            if self.step.is_multiple_of(self.recipe.checkpoint_every) {
                self.save_state()?;
            }
        }
        self.save_state()?;
        let mut saved = self.saved()?;
        if let Some(evaluation) = self.logged_evaluation()? {
            saved.record.insert("evaluation".into(), evaluation);
        }
        saved.write(&self.folder)
    }

    /// What the log has as the current model's measure; a run resumed at its end takes it from there.
    fn logged_evaluation(&self) -> Result<Option<Value>> {
        let text = io::read_text(&self.folder.join("train.jsonl"))?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = lines.filter_map(|mut line| Some(line.get_mut("evaluation")?.take()));
        Ok(found.rfind(|evaluation| evaluation["step"] == self.step))
    }

    /// The evaluation that is due after this step, if one is.
    fn evaluation(&mut self) -> Result<Option<Evaluation>> {
        let every = self.recipe.evaluate.as_ref().map(|recipe| recipe.every);
        let due = |every| self.step.is_multiple_of(every) || self.step == self.recipe.steps();
        if !every.is_some_and(due) {
            return Ok(None);
        }
        self.check_weights()?;
        let Some(mut evaluator) = self.evaluator.take() else { return Ok(None) };
        let found = evaluator.evaluate(self.saved()?, &self.tokenizer, self.step, &self.folder);
        self.evaluator = Some(evaluator);
        found.map(Some)
    }

    /// A folder with a model or with checkpoints of a run is not overwritten.
    fn check_folder(&self) -> Result<()> {
        if self.folder.as_os_str() == "-" {
            return Err(Error::Usage(
                "expected a folder for the model, found the standard output".into(),
            ));
        }
        if self.step == 0 && State::is_begun(&self.checkpoints())? {
            return Err(Error::Usage(format!(
                "{} holds a run; resume it, or name another folder",
                self.folder.display()
            )));
        }
        // what a run killed before its first checkpoint leaves may be overwritten
        let ours = |name: &String| {
            name == CHECKPOINTS || name.starts_with('.') || name == "train.jsonl" && self.is_log()
        };
        let names = folder::names(&self.folder)?;
        match names.into_iter().find(|name| self.step == 0 && !ours(name)) {
            Some(name) => Err(Error::Usage(format!(
                "{} is not empty ({name} is in it); name a new folder",
                self.folder.display()
            ))),
            None => Ok(()),
        }
    }

    /// Whether the folder's train.jsonl was written by a run.
    fn is_log(&self) -> bool {
        let text = io::read_text(&self.folder.join("train.jsonl")).unwrap_or_default();
        text.lines().all(|line| Record::step_of(line).is_some())
    }

    /// What a checkpoint must have been made with.
    fn origin(&self) -> Origin<'_> {
        let vocabulary = self.tokenizer.vocabulary().fingerprint();
        Origin { recipe: &self.text, vocabulary }
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join(CHECKPOINTS)
    }

    /// Weights that are not numbers are not saved: the last checkpoint stays.
    fn check_weights(&self) -> Result<()> {
        for slot in &self.slots {
            if !sum_of_squares([slot.var.as_tensor()].into_iter())?.is_finite() {
                let reason = format!(
                    "{} is not finite after step {}; a lower learning rate or optimizer.clip keeps it so",
                    slot.name, self.step
                );
                return Err(Error::format(&self.folder, reason));
            }
        }
        Ok(())
    }

    fn save_state(&self) -> Result<()> {
        self.check_weights()?;
        State::new(self.step, self.draws(), self.origin(), &self.slots)
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

    /// Whether the stage of the last step applies a threshold; a stage without documents changes nothing.
    fn is_cut(&self) -> bool {
        let at = self.recipe.stage_of(self.step.saturating_sub(1)).map_or(0, |(at, _)| at);
        let mut done = self.recipe.stage[..=at].iter().filter_map(StageRecipe::retrieval);
        done.next_back().is_some_and(|stage| stage.threshold.is_some())
    }

    /// The current model, to be written.
    ///
    /// # Errors
    /// [`Error::Compute`].
    pub fn saved(&self) -> Result<Saved<'_>> {
        let mut record = serde_json::Map::new();
        record.insert("steps".into(), self.step.into());
        record.insert("seed".into(), self.recipe.seed.into());
        let drawn = self.corpora.iter().flatten().map(Mixture::draws).sum::<u64>();
        record.insert("examples".into(), (self.draws() + drawn).into());
        let sources = self.recipe.data.iter().map(|source| source.path.as_path());
        let corpora = self.recipe.stage.iter().filter_map(StageRecipe::corpus);
        let paths = sources.chain(corpora).map(|path| path.display().to_string());
        record.insert("data".into(), paths.collect::<Vec<_>>().into());
        if self.recipe.model.head == Some(HeadKind::New) {
            record.insert("head".into(), "new".into());
        }
        let theta = self.theta.as_ref().filter(|_| self.is_cut());
        let cutoff = theta.map(Theta::cutoff).transpose()?;
        let words = self.encoder.words();
        let table = self.table.as_ref().map(|table| table.weights(words)).transpose()?;
        let table = table.map(|table| table.to_vec1::<f32>()).transpose()?;
        Ok(Saved {
            base: &self.base,
            variables: self.encoder.variables(),
            head: self.encoder.config().vocabulary_head.as_ref(),
            tokenizer: &self.tokenizer,
            table,
            ranks: self.recipe.ranks(),
            frozen: self.recipe.query.kind == QueryKind::Idf,
            activation: self.activation,
            max_tokens: self.recipe.model.max_tokens,
            cutoff,
            lexical: self.recipe.model.lexical,
            prune: self.prune,
            reweighting: self.reweighting,
            record,
            recipe: &self.text,
            size: Size::Whole,
            card: None,
        })
    }

    /// Every variable's name and numbers, for comparison.
    ///
    /// # Errors
    /// [`Error::Compute`].
    pub fn numbers(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let slots = self.slots.iter();
        slots.map(|slot| Ok((slot.name.clone(), slot.var.flatten_all()?.to_vec1()?))).collect()
    }
}
