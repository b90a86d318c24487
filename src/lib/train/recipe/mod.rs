//! A training run as a TOML file: what to start from, what to read, and a list of stages.
//!
//! Unknown keys are refused with the nearest known one. `--set a.b=c` changes the file before it is
//! read; a number in the path counts list items from 0: `--set stage.1.lr=1e-5`.

pub mod change;
pub mod distill;
pub mod masked;
mod model;
mod numbers;
mod optimizer;
mod query;
mod source;
pub mod stage;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::{
    error::{Error, Result},
    io,
    sparse::Activation,
};

use change::{set, with_nearest};
use distill::{DistillRecipe, PoolRecipe, Trained};
pub use model::{HeadKind, LexicalScale, ModelRecipe};
use numbers::{above_zero, at_least_zero};
pub use optimizer::OptimizerRecipe;
pub use query::{Embeddings, QueryKind, QueryRecipe};
pub use source::SourceRecipe;
use stage::StageRecipe;

/// A whole run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The seed of every random choice.
    #[serde(default)]
    pub seed: u64,
    /// What is trained.
    pub model: ModelRecipe,
    /// How queries are weighted.
    #[serde(default)]
    pub query: QueryRecipe,
    /// AdamW.
    #[serde(default)]
    pub optimizer: OptimizerRecipe,
    /// Sources of examples.
    #[serde(default)]
    pub data: Vec<SourceRecipe>,
    /// Texts without labels.
    pub pool: Option<PoolRecipe>,
    /// One after the other.
    pub stage: Vec<StageRecipe>,
    /// Evaluation during the run.
    pub evaluate: Option<EvaluateRecipe>,
    /// Steps between two records of the log.
    #[serde(default = "ten")]
    pub log_every: u64,
    /// Steps between two checkpoints.
    #[serde(default = "thousand")]
    pub checkpoint_every: u64,
}

/// What a run is measured on, and how often.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRecipe {
    /// Steps between two evaluations; there is one more at the end.
    pub every: u64,
    /// BEIR folders; the mean over them decides which model is the best.
    pub data: Vec<PathBuf>,
    /// Which judgements of a folder.
    #[serde(default = "test")]
    pub split: String,
    /// What is measured, as `l0-eval` spells it, over the first 1000 hits.
    #[serde(default = "ndcg")]
    pub measure: String,
}

fn test() -> String {
    "test".into()
}
fn ndcg() -> String {
    "nDCG@10".into()
}
fn ten() -> u64 {
    10
}
fn thousand() -> u64 {
    1000
}

impl Recipe {
    /// Stages that distil need a pool and a table, and those that train the head alone come first: their
    /// documents are pooled by the base.
    fn check_distillation(&self) -> Result<(), String> {
        let mut stages = self.stage.iter().map(StageRecipe::distillation);
        match (&self.pool, stages.clone().any(|stage| stage.is_some())) {
            (None, true) => return Err("expected a [pool] for stages of kind distill".into()),
            (Some(_), false) => return Err("expected a stage of kind distill with a [pool]".into()),
            (Some(pool), true) => pool.check()?,
            (None, false) => {}
        }
        if self.pool.is_some() && !matches!(self.query.kind, QueryKind::Idf | QueryKind::Learned) {
            return Err("expected query.kind = \"idf\" or \"learned\" for distillation".into());
        }
        let of_head = |stage: &Option<&DistillRecipe>| {
            stage.is_some_and(|stage| stage.train == Trained::Head)
        };
        stages.find(|stage| !of_head(stage));
        match stages.any(|stage| of_head(&stage)) {
            true => Err("expected stages with train = \"head\" before all others".into()),
            false => Ok(()),
        }
    }

    /// Reads a file and makes changes, each `path=value`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for what is not TOML, not a recipe, or inconsistent;
    /// [`Error::Usage`] for a change that cannot be made.
    pub fn load(file: &Path, changes: &[String]) -> Result<Recipe> {
        Recipe::parse(&io::read_text(file)?, changes).map_err(|error| match error {
            Error::Usage(_) => error,
            other => Error::format(file, other.to_string()),
        })
    }

    fn parse(text: &str, changes: &[String]) -> Result<Recipe> {
        let bad = |reason: String| Error::format("recipe", reason);
        let mut table: Table =
            text.parse().map_err(|error: toml::de::Error| bad(error.to_string()))?;
        for change in changes {
            set(&mut table, change)?;
        }
        let recipe: Recipe = Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| bad(with_nearest(error.message())))?;
        recipe.check().map_err(bad)?;
        Ok(recipe)
    }

    /// Steps of all stages.
    pub fn steps(&self) -> u64 {
        self.stage.iter().map(|stage| stage.steps).sum()
    }

    /// Steps of the stages before one.
    pub fn steps_before(&self, stage: usize) -> u64 {
        self.stage[..stage].iter().map(|stage| stage.steps).sum()
    }

    /// Whether documents are ranked in any stage.
    pub fn ranks(&self) -> bool {
        let ranks =
            |stage: &StageRecipe| stage.retrieval().is_some() || stage.distillation().is_some();
        self.stage.iter().any(ranks)
    }

    /// The stage that a step of the run (from 0) is in: its number, and the step within it.
    pub fn stage_of(&self, step: u64) -> Option<(usize, u64)> {
        let mut from = 0;
        self.stage.iter().enumerate().find_map(|(at, stage)| {
            from += stage.steps;
            (step < from).then(|| (at, step + stage.steps - from))
        })
    }

    fn check(&self) -> Result<(), String> {
        Activation::new(self.model.activation).map_err(|error| error.to_string())?;
        if !(0.0..1.0).contains(&self.model.dropout) {
            return Err(format!(
                "expected model.dropout from 0 to below 1, found {}",
                self.model.dropout
            ));
        }
        let distills = |stage: &StageRecipe| stage.distillation().is_some();
        let needs_data =
            self.stage.iter().any(|stage| stage.corpus().is_none() && !distills(stage));
        if self.stage.is_empty() || needs_data && self.data.is_empty() {
            return Err("expected at least one [[stage]] and one [[data]]".into());
        }
        self.query.check()?;
        if let Some(lexical) = &self.model.lexical {
            lexical.check().map_err(|error| error.to_string())?;
            if !matches!(self.query.kind, QueryKind::Idf | QueryKind::Learned) {
                let expected = "expected query.kind = \"idf\" or \"learned\" with model.lexical";
                return Err(format!("{expected}: it counts the terms of a table"));
            }
        } else if self.model.lexical_scale == LexicalScale::Learned {
            return Err("expected model.lexical with model.lexical_scale, found none".into());
        }
        self.check_distillation()?;
        self.query.lr.map_or(Ok(()), |lr| at_least_zero("query.lr", lr))?;
        self.optimizer.check()?;
        self.data.iter().try_for_each(|source| above_zero("data.weight", source.weight))?;
        if self.log_every == 0 || self.checkpoint_every == 0 {
            return Err("expected log_every and checkpoint_every above 0".into());
        }
        if self.evaluate.as_ref().is_some_and(|part| part.every == 0 || part.data.is_empty()) {
            return Err(
                "expected evaluate.every above 0 and at least one folder in its data".into()
            );
        }
        for (at, stage) in self.stage.iter().enumerate() {
            stage.check().map_err(|reason| format!("stage {at}: {reason}"))?;
            let siamese = self.query.kind == QueryKind::Encoder;
            let pays = stage.retrieval().is_some_and(|task| task.query_regularizer.is_some());
            if pays && !siamese {
                return Err(format!(
                    "stage {at}: query_regularizer needs query.kind = \"encoder\""
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        [model]
        base = "m"
        [[data]]
        path = "d"
        [[stage]]
        steps = 10
        batch = 4
        loss = [{ kind = "kl" }]
        regularizer = { kind = "l0_mask", lambda = 0.04, ramp = 10000, threshold = 200 }
        [[stage]]
        steps = 5
        batch = 2
        warmup = 2
        loss = [{ kind = "in_batch", weight = 0.5 }]
    "#;

    fn parse(changes: &[&str]) -> Result<Recipe> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        Recipe::parse(SMALL, &changes)
    }

    #[test]
    fn changes_reach_their_place() {
        let recipe =
            parse(&["stage.1.batch=7", "model.base=x/y", "seed=3", "query.kind=\"learned\""])
                .unwrap();
        let loss = |recipe: &Recipe| recipe.stage[1].retrieval().unwrap().loss[0].weight;
        assert_eq!((recipe.stage[1].batch, recipe.seed), (7, 3));
        assert_eq!(recipe.model.base, Path::new("x/y"));
        assert_eq!(recipe.query.kind, QueryKind::Learned);
        assert_eq!(loss(&parse(&["stage.1.loss.0.weight=2"]).unwrap()), 2.0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (change, found) in [
            ("stage.0.step=1", "unknown key of a retrieval stage: `step`"),
            ("stage.0.step=1", "the nearest is `steps`"),
            ("stage.0.mask=1", "unknown key of a retrieval stage: `mask`"),
            ("stage.0.kind=masked_lm", "unknown key of a masked_lm stage: `loss`"),
            (
                "stage.0={ kind = \"masked_lm\", steps = 1, batch = 1, shar = 1 }",
                "the nearest is `share`",
            ),
            ("stage.0={ kind = \"masked\", steps = 1, batch = 1 }", "the nearest is `masked_lm`"),
            ("stage.0={ kind = \"masked_lm\", batch = 1 }", "missing field `steps`"),
            (
                "stage.0={ kind = \"masked_lm\", steps = 1, batch = 1, mask = 2 }",
                "stage 0: expected mask",
            ),
            ("data=[]", "one [[data]]"),
            ("model.head=old", "the nearest is `new`"),
            ("query={ kind = \"embedding\", table = \"t\" }", "reads none"),
            ("query.embeddings=frozen", "is for kind"),
            ("query.drop_below=-1", "query.drop_below"),
            ("model.lexical={ weight = -1 }", "expected a weight from 0"),
            ("model={ base = \"b\", lexical = { weight = 0.5, k = 1 } }", "unknown field"),
            ("query={ kind = \"encoder\", drop_below = 1 }", "is for a table that is read"),
            ("model.activations=1", "the nearest is `activation`"),
            ("stage.0.loss.0.kind=marginmse", "the nearest is `margin_mse`"),
            ("stage.5.steps=1", "no item `5`"),
            ("seed.x=1", "invalid type"),
            ("nothing", "expected a.b=value"),
            ("stage.0.steps=0", "above 0"),
            ("stage.0.documents=1", "documents = 2"),
            ("stage.0.regularizer.kind=flops", "has no threshold"),
            ("model.activation=5", "0 to 4"),
            ("model.dropout=1.0", "dropout"),
            ("optimizer.lr=-1.0", "optimizer.lr"),
            ("optimizer.lr=inf", "optimizer.lr"),
            ("optimizer.betas=[0.9, 1.0]", "betas"),
            ("optimizer.clip=0.0", "optimizer.clip"),
            ("stage.0.lr=nan", "lr of 0 or more"),
            ("stage.0.batch=9000000000", "documents per step"),
            ("stage.0.regularizer={ kind = \"flops\", lambda = -1.0 }", "lambda"),
            ("log_every=0", "log_every"),
            ("data.0.weight=0", "above 0"),
            ("evaluate={ every = 0, data = [\"x\"] }", "evaluate.every above 0"),
            ("evaluate={ every = 5, data = [] }", "at least one folder"),
            ("evaluate={ evry = 5, data = [] }", "the nearest is `every`"),
            ("stage.0.query_regularizer={ kind = \"flops\", lambda = 1 }", "encoder"),
            ("stage.0.threshold={ width = 0.1, init = 0.01, lr = 1 }", "half the width"),
            ("stage.0.threshold={ width = 0.1, init = 0.1, lr = 1, target = 1 }", "terms"),
        ] {
            let error = parse(&[change]).unwrap_err().to_string();
            assert!(error.contains(found), "{change}: {error}");
        }
    }

    #[test]
    fn a_stage_of_hidden_pieces_with_a_corpus_needs_no_examples() {
        let hidden = "stage=[{ kind = \"masked_lm\", steps = 3, batch = 4, corpus = \"c\" }]";
        let recipe = parse(&[hidden, "data=[]", "model.head=new"]).unwrap();
        assert!(!recipe.ranks() && recipe.stage[0].retrieval().is_none());
        assert_eq!((recipe.stage[0].corpus(), recipe.steps_before(1)), (Some(Path::new("c")), 3));
        assert_eq!(recipe.model.head, Some(HeadKind::New));
    }

    #[test]
    fn rates_and_lambdas_depend_on_the_step_alone() {
        let recipe = parse(&[]).unwrap();
        assert_eq!(recipe.steps(), 15);
        assert_eq!((recipe.stage_of(9), recipe.stage_of(10)), (Some((0, 9)), Some((1, 0))));
        assert_eq!(recipe.stage_of(15), None);
        let stage = recipe.stage[0].retrieval().unwrap();
        let regularizer = stage.regularizer.as_ref().unwrap();
        // docs/method.md, "Reference values"
        assert!((regularizer.lambda_at(4_999) - 0.01).abs() < 1e-12);
        assert_eq!(regularizer.lambda_at(20_000), 0.04);
        let rates: Vec<f64> = (0..5).map(|step| recipe.stage[1].rate(6.0, step)).collect();
        assert_eq!(rates, [3.0, 6.0, 6.0, 4.0, 2.0]);
    }
}
