//! One stage of a recipe: what it minimises, for how long and how fast; for retrieval its losses,
//! what documents pay, the hard threshold, and their curves.

use std::path::Path;

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::{Table, Value};

use super::{
    distill::DistillRecipe,
    masked::MaskedLmRecipe,
    numbers::{above_zero, at_least_zero},
};
use crate::{
    error::{Error, Result},
    nn::{Denominator, Groups, HardThreshold, Kernel, Regularizer, RegularizerKind, Share},
    train::run::loss::LossKind,
};

/// How a learning rate falls after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// To 0 at the end of the stage.
    #[default]
    Linear,
    /// To 0 at the end of the stage, along half a cosine.
    Cosine,
    /// It does not fall.
    Constant,
}

/// One stage: how long, how fast, and what is minimised.
#[derive(Clone, Debug, Deserialize)]
pub struct StageRecipe {
    /// For the log.
    #[serde(default)]
    pub name: String,
    /// Steps.
    pub steps: u64,
    /// Queries per step; texts per step if word pieces are guessed.
    pub batch: usize,
    /// Texts that go through the encoder together; default: all of a step.
    pub micro_batch: Option<usize>,
    /// The largest learning rate; default: the optimizer's.
    pub lr: Option<f64>,
    /// Steps in which the learning rate rises from 0.
    #[serde(default)]
    pub warmup: u64,
    /// How it falls.
    #[serde(default)]
    pub schedule: Schedule,
    /// What is minimised; its keys are among the others.
    #[serde(flatten)]
    pub task: Task,
}

/// What a stage minimises: `kind` in a recipe, and the keys that go with it.
#[derive(Clone, Debug)]
pub enum Task {
    /// `retrieval`, also where no kind is named: documents are ranked for queries.
    Retrieval(RetrievalRecipe),
    /// `masked_lm`: word pieces that were hidden are guessed.
    MaskedLm(MaskedLmRecipe),
    /// `distill`: a teacher's ranking of a pool's passages is learned.
    Distill(DistillRecipe),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Retrieval,
    MaskedLm,
    Distill,
}

/// The keys of every stage, for a message that names the known ones.
const EVERY_STAGE: &str =
    "`kind`, `name`, `steps`, `batch`, `micro_batch`, `lr`, `warmup`, `schedule`";

impl<'de> Deserialize<'de> for Task {
    fn deserialize<D: Deserializer<'de>>(keys: D) -> Result<Task, D::Error> {
        let mut keys = Table::deserialize(keys)?;
        let kind = keys.remove("kind").map_or(Ok(Kind::Retrieval), Value::try_into);
        let kind = kind.map_err(|error: toml::de::Error| D::Error::custom(error.message()))?;
        let own: Vec<String> = keys.keys().map(|key| format!("unknown field `{key}`")).collect();
        let (of, task) = match kind {
            Kind::Retrieval => ("retrieval", keys.try_into().map(Task::Retrieval)),
            Kind::MaskedLm => ("masked_lm", keys.try_into().map(Task::MaskedLm)),
            Kind::Distill => ("distill", keys.try_into().map(Task::Distill)),
        };
        task.map_err(|error: toml::de::Error| {
            let message = error.message();
            match own.iter().any(|unknown| message.starts_with(unknown.as_str())) {
                true => D::Error::custom(format!(
                    "{}, {EVERY_STAGE}",
                    message.replacen("field", &format!("key of a {of} stage:"), 1)
                )),
                false => D::Error::custom(message),
            }
        })
    }
}

/// A stage that ranks documents for queries.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalRecipe {
    /// Documents per query.
    #[serde(default = "two_documents")]
    pub documents: usize,
    /// Ranking losses, added up.
    pub loss: Vec<LossRecipe>,
    /// What documents pay.
    pub regularizer: Option<RegularizerRecipe>,
    /// What queries pay; for the Siamese encoder.
    pub query_regularizer: Option<RegularizerRecipe>,
    /// The hard threshold of this stage.
    pub threshold: Option<ThresholdRecipe>,
}

/// One ranking loss.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossRecipe {
    /// Which.
    pub kind: LossKind,
    /// Its share in the sum.
    #[serde(default = "one")]
    pub weight: f64,
    /// Student scores are divided by it.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Teacher scores are multiplied by it.
    #[serde(default = "one")]
    pub teacher_scale: f64,
}

/// Which formula of [`RegularizerKind`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegularizerName {
    /// [`RegularizerKind::Flops`]
    Flops,
    /// [`RegularizerKind::L0Mask`]
    L0Mask,
    /// [`RegularizerKind::Ratio`]
    Ratio,
    /// [`RegularizerKind::L1`]
    L1,
}

/// What documents pay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegularizerRecipe {
    /// The formula.
    pub kind: RegularizerName,
    /// λ once it has risen.
    pub lambda: f64,
    /// T: λ rises as (step/T)² over so many steps of the stage.
    #[serde(default)]
    pub ramp: u64,
    /// Terms that a document has for free; for `l0_mask` and `ratio`.
    pub threshold: Option<u32>,
    /// For `l0_mask`.
    #[serde(default)]
    pub denominator: Denominator,
    /// Over what means are taken.
    #[serde(default)]
    pub groups: Groups,
    /// Multiply the mean of each term by its query weight.
    #[serde(default)]
    pub idf: bool,
    /// Regularize on one logarithm more than ranks.
    #[serde(default)]
    pub decouple: bool,
}

/// The hard threshold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdRecipe {
    /// What shares a θ.
    #[serde(default)]
    pub share: Share,
    /// The smoothed step of the backward pass.
    #[serde(default)]
    pub kernel: Kernel,
    /// ε.
    pub width: f64,
    /// θ at the start.
    pub init: f64,
    /// θ's learning rate.
    pub lr: f64,
    /// λ of the mean count of weights above θ.
    #[serde(default)]
    pub count: f64,
    /// λ of (count / terms − 1)², with `terms`.
    #[serde(default)]
    pub target: f64,
    /// The length that `target` aims at.
    pub terms: Option<f64>,
}

fn one() -> f64 {
    1.0
}
fn two_documents() -> usize {
    2
}

/// An upper bound, so that a wrong number is an error and not a huge allocation.
const MOST_DOCUMENTS: usize = 1 << 20;

impl StageRecipe {
    pub(in crate::train) fn check(&self) -> Result<(), String> {
        if self.steps == 0 || self.batch == 0 || self.micro_batch == Some(0) {
            return Err("expected steps, batch and micro_batch above 0".into());
        }
        if self.documents() > MOST_DOCUMENTS {
            let given = self.documents();
            return Err(format!(
                "expected at most {MOST_DOCUMENTS} documents per step, found {given}"
            ));
        }
        self.lr.map_or(Ok(()), |lr| at_least_zero("lr", lr))?;
        match &self.task {
            Task::Retrieval(task) => task.check(),
            Task::MaskedLm(task) => task.check(),
            Task::Distill(task) => task.check(),
        }
    }

    /// What is ranked and paid, if documents are ranked.
    pub fn retrieval(&self) -> Option<&RetrievalRecipe> {
        match &self.task {
            Task::Retrieval(task) => Some(task),
            Task::MaskedLm(_) | Task::Distill(_) => None,
        }
    }

    /// What is distilled, if a teacher's ranking is.
    pub fn distillation(&self) -> Option<&DistillRecipe> {
        match &self.task {
            Task::Distill(task) => Some(task),
            Task::Retrieval(_) | Task::MaskedLm(_) => None,
        }
    }

    /// What documents pay, if they do.
    pub fn regularizer(&self) -> Option<&RegularizerRecipe> {
        match &self.task {
            Task::Retrieval(task) => task.regularizer.as_ref(),
            Task::Distill(task) => task.regularizer.as_ref(),
            Task::MaskedLm(_) => None,
        }
    }

    /// The separate corpus that a stage reads.
    pub fn corpus(&self) -> Option<&Path> {
        match &self.task {
            Task::Retrieval(_) | Task::Distill(_) => None,
            Task::MaskedLm(task) => task.corpus.as_deref(),
        }
    }

    /// Documents that pass through the encoder in a step.
    pub fn documents(&self) -> usize {
        self.batch.saturating_mul(self.retrieval().map_or(1, |task| task.documents))
    }

    /// The learning rate at a step of the stage, from 0, under the largest `peak`.
    pub fn rate(&self, peak: f64, step: u64) -> f64 {
        if step < self.warmup {
            return peak * (step + 1) as f64 / self.warmup as f64;
        }
        let left = (self.steps.max(self.warmup + 1) - self.warmup) as f64;
        let share = ((step - self.warmup) as f64 / left).min(1.0);
        match self.schedule {
            Schedule::Linear => peak * (1.0 - share),
            Schedule::Cosine => peak * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()),
            Schedule::Constant => peak,
        }
    }
}

impl RetrievalRecipe {
    fn check(&self) -> Result<(), String> {
        if self.documents == 0 {
            return Err("expected documents above 0".into());
        }
        if self.loss.is_empty() {
            return Err("expected at least one [[stage.loss]]".into());
        }
        let single =
            self.documents == 1 && self.loss.iter().any(|loss| loss.kind != LossKind::InBatch);
        if single {
            return Err("expected documents = 2 or more for losses other than in_batch".into());
        }
        for loss in &self.loss {
            above_zero("loss.temperature", loss.temperature)?;
            at_least_zero("loss.weight", loss.weight)?;
            above_zero("loss.teacher_scale", loss.teacher_scale)?;
        }
        for regularizer in self.regularizer.iter().chain(&self.query_regularizer) {
            at_least_zero("regularizer.lambda", regularizer.lambda)?;
            regularizer.regularizer().map_err(|error| error.to_string())?;
        }
        self.threshold.as_ref().map_or(Ok(()), ThresholdRecipe::check)
    }
}

impl RegularizerRecipe {
    /// The operator.
    ///
    /// # Errors
    /// [`Error::Usage`] if the formula lacks its threshold, or has one that it does not use.
    pub fn regularizer(&self) -> Result<Regularizer> {
        let kind = match (self.kind, self.threshold) {
            (RegularizerName::Flops, None) => RegularizerKind::Flops,
            (RegularizerName::L1, None) => RegularizerKind::L1,
            (RegularizerName::L0Mask, Some(threshold)) => {
                RegularizerKind::L0Mask { threshold, denominator: self.denominator }
            }
            (RegularizerName::Ratio, Some(threshold)) => RegularizerKind::Ratio { threshold },
            (name, Some(_)) => {
                return Err(Error::Usage(format!("regularizer {name:?} has no threshold")));
            }
            (name, None) => {
                return Err(Error::Usage(format!("regularizer {name:?} wants a threshold")));
            }
        };
        Ok(Regularizer { kind, groups: self.groups })
    }

    /// λ at a step of the stage, from 0: λ · ((step + 1)/T)² up to T. Source: `docs/method.md`,
    /// "The λ schedule".
    pub fn lambda_at(&self, step: u64) -> f64 {
        let share = if step < self.ramp { (step + 1) as f64 / self.ramp as f64 } else { 1.0 };
        self.lambda * share * share
    }
}

impl ThresholdRecipe {
    pub(in crate::train) fn check(&self) -> Result<(), String> {
        above_zero("threshold.width", self.width)?;
        above_zero("threshold.init", self.init)?;
        at_least_zero("threshold.lr", self.lr)?;
        at_least_zero("threshold.count", self.count)?;
        at_least_zero("threshold.target", self.target)?;
        // else weights that are exactly 0 lie in the band and pull θ
        if self.kernel == Kernel::Rectangle
            && self.share != Share::Largest
            && self.init < self.width / 2.0
        {
            return Err(format!(
                "expected threshold.init of at least half the width, {}, found {}",
                self.width / 2.0,
                self.init
            ));
        }
        match (self.target > 0.0, self.terms) {
            (true, None) => Err("threshold.target wants threshold.terms".into()),
            (_, Some(terms)) => above_zero("threshold.terms", terms),
            _ => Ok(()),
        }
    }

    /// The operator.
    pub fn threshold(&self) -> HardThreshold {
        HardThreshold { share: self.share, kernel: self.kernel, width: self.width }
    }
}
