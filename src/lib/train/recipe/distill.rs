//! Distillation in a recipe: a pool of texts, its teacher, and stages that learn from it.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    numbers::{above_zero, at_least_zero},
    stage::RegularizerRecipe,
};
use crate::sparse::Prune;

/// Texts without labels, for stages of kind `distill`, and who scores them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRecipe {
    /// Files of passages.
    pub documents: Vec<PathBuf>,
    /// Files of short texts: questions, titles, glosses, sentences.
    pub queries: Vec<PathBuf>,
    /// Tokens of a passage that are read, by the teacher too.
    #[serde(default = "ninety_six")]
    pub max_tokens: usize,
    /// A file in which vectors of the texts are kept for the next run with the same texts and teacher; default:
    /// they are not kept.
    pub cache: Option<PathBuf>,
    /// Who scores.
    #[serde(default)]
    pub teacher: TeacherRecipe,
}

/// score(q, d) = cos(q, d) + `bm25` · BM25(q, d).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherRecipe {
    /// A sentence encoder, as `l0-train score --teacher` takes it; default: the base itself as it is before
    /// training.
    pub dense: Option<String>,
    /// The share of BM25, over word pieces with the weights of the query table at the start.
    #[serde(default = "one_in_two_hundred")]
    pub bm25: f32,
    /// Passages that are near a query: its negatives and positives come from them.
    #[serde(default = "hundred")]
    pub candidates: usize,
}

impl Default for TeacherRecipe {
    fn default() -> TeacherRecipe {
        TeacherRecipe { dense: None, bm25: one_in_two_hundred(), candidates: hundred() }
    }
}

fn ninety_six() -> usize {
    96
}
fn hundred() -> usize {
    100
}
fn one_in_two_hundred() -> f32 {
    0.005
}
fn twenty() -> f64 {
    20.0
}
fn four_hundred() -> usize {
    400
}

/// What a stage trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// The whole network.
    #[default]
    All,
    /// The decoder, its bias and map, lexical scales and query table: documents are pooled once, before
    /// the first step, and a step takes a fraction of a second.
    Head,
}

impl Trained {
    /// Whether a variable moves.
    pub(in crate::train) fn moves(self, name: &str) -> bool {
        let head = ["decoder.", "head.map.", "lexical.", "query.", "distill."];
        self == Trained::All || head.iter().any(|start| name.starts_with(start))
    }
}

/// A stage that learns a teacher's ranking of passages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillRecipe {
    /// What moves.
    #[serde(default)]
    pub train: Trained,
    /// The most queries of a step; its documents are the stage's `batch`.
    #[serde(default = "four_hundred")]
    pub queries: usize,
    /// What the teacher's scores are multiplied by.
    #[serde(default = "twenty")]
    pub teacher_scale: f64,
    /// 0 to below 1: how much less a query counts whose words the teacher's first passage has: by this times
    /// the share of its query weight that they make up.
    #[serde(default)]
    pub paraphrase: f64,
    /// What is kept of a document's weights, in the loss and in the model that is saved: `top_k:K` or `none`;
    /// default: the base's own rule.
    #[serde(default)]
    pub prune: Option<String>,
    /// What documents pay.
    pub regularizer: Option<RegularizerRecipe>,
}

impl DistillRecipe {
    pub(in crate::train) fn check(&self) -> Result<(), String> {
        if self.queries == 0 {
            return Err("expected queries above 0, found 0".into());
        }
        above_zero("teacher_scale", self.teacher_scale)?;
        if !(0.0..1.0).contains(&self.paraphrase) {
            return Err(format!(
                "expected paraphrase from 0 to below 1, found {}",
                self.paraphrase
            ));
        }
        self.pruning()?;
        let Some(regularizer) = &self.regularizer else { return Ok(()) };
        at_least_zero("regularizer.lambda", regularizer.lambda)?;
        regularizer.regularizer().map(|_| ()).map_err(|error| error.to_string())
    }

    /// What is kept of a document's weights, if the stage says it.
    pub(in crate::train) fn pruning(&self) -> Result<Option<Prune>, String> {
        let Some(prune) = self.prune.as_deref() else { return Ok(None) };
        match prune.parse::<Prune>().map_err(|error| error.to_string())? {
            prune @ (Prune::None | Prune::TopK(_)) => Ok(Some(prune)),
            other => Err(format!("expected prune none or top_k:K, found {other}")),
        }
    }
}

impl PoolRecipe {
    pub(in crate::train) fn check(&self) -> Result<(), String> {
        if self.documents.is_empty() || self.queries.is_empty() {
            return Err("pool: expected files of documents and of queries, found none".into());
        }
        if self.max_tokens < 3 {
            return Err(format!("pool.max_tokens: expected 3 or more, found {}", self.max_tokens));
        }
        at_least_zero("pool.teacher.bm25", f64::from(self.teacher.bm25))?;
        match self.teacher.candidates {
            ..20 => Err(format!(
                "pool.teacher.candidates: expected 20 or more, found {}",
                self.teacher.candidates
            )),
            _ => Ok(()),
        }
    }
}
