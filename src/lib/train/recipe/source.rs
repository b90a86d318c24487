//! A source of examples in a recipe.

use std::path::PathBuf;

use serde::Deserialize;

/// A source of examples.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecipe {
    /// A file of examples, or a BEIR folder with `qrels/SPLIT.tsv`.
    pub path: PathBuf,
    /// A BEIR folder that has the texts, if the file has ids.
    pub texts: Option<PathBuf>,
    /// A table `qid, pid, score` of a teacher's scores, if the file has ids without them.
    pub scores: Option<PathBuf>,
    /// Which judgements of a folder.
    #[serde(default = "train")]
    pub split: String,
    /// How often it is drawn from, relative to the other sources.
    #[serde(default = "one")]
    pub weight: f64,
    /// Lines of a file that are shuffled together.
    #[serde(default = "ten_thousand")]
    pub buffer: usize,
}

impl SourceRecipe {
    /// A source with defaults for everything except its path.
    pub fn of(path: PathBuf) -> SourceRecipe {
        let (split, weight, buffer) = (train(), one(), ten_thousand());
        SourceRecipe { path, texts: None, scores: None, split, weight, buffer }
    }
}

fn train() -> String {
    "train".into()
}
fn one() -> f64 {
    1.0
}
fn ten_thousand() -> usize {
    10_000
}
