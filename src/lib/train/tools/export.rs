//! Trained models as one directory: the mean of their weights, in a size of choice.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use serde_json::{Map, json};

use crate::{
    error::{Error, Result},
    io::{
        self,
        folder::{Staged, names},
    },
    model::{Activation, Checkpoint, Config, Cutoff, ModelDirectory, TensorEncoder},
    text::{Lexical, QueryTable, Tokenizer},
    train::run::save::{Saved, Size},
};

/// One model directory, read.
struct Part {
    directory: ModelDirectory,
    config: Config,
    encoder: TensorEncoder,
    tokenizer: Tokenizer,
    table: Option<Vec<f32>>,
    sha256: String,
}

/// Settings of the exported model that replace those of its models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The weight of the lexical part; 0 for none.
    pub lexical: Option<f32>,
    /// The threshold that all weights must pass; 0 for none.
    pub threshold: Option<f32>,
    /// Tokens of a document that are read.
    pub max_tokens: Option<usize>,
    /// The text of the model card.
    pub card: Option<String>,
}

impl Changes {
    fn check(&self) -> Result<()> {
        self.lexical.map_or(Ok(()), |weight| Lexical::of_weight(weight).check())?;
        match self.threshold.filter(|level| !(level.is_finite() && *level >= 0.0)) {
            Some(level) => {
                Err(Error::Usage(format!("threshold: expected 0 or more, found {level}")))
            }
            None => Ok(()),
        }
    }
}

/// Writes the mean of models that differ only in their numbers as one directory.
///
/// Runs of several seeds from one start lie in one basin, so that the mean of their weights is a model,
/// often a better one (Wortsman et al. 2022, arXiv 2203.05482). Lexical part, threshold, activation and
/// query table are those of the models, apart from the changes.
///
/// # Errors
/// [`Error::Usage`] without a model, for a number out of range and for a folder that is not empty;
/// [`Error::Mismatch`] for models that differ in sizes, vocabulary, activation, longest text, lexical
/// part, threshold, pruning rule, or in having a query table; [`Error::Format`] for a weight that the size cannot hold;
/// those of reading and writing.
pub fn export(models: &[PathBuf], changes: &Changes, size: Size, folder: &Path) -> Result<()> {
    changes.check()?;
    if let Some(name) = names(folder)?.first() {
        return Err(Error::Usage(format!(
            "{} is not empty ({name} is in it); name a new folder",
            folder.display()
        )));
    }
    let mut parts = models.iter().map(|path| Part::read(path)).collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        return Err(Error::Usage("expected at least one model directory, found none".into()));
    }
    let mut first = parts.remove(0);
    for part in &parts {
        first.check_like(part)?;
    }
    let hashes: Vec<&str> = [&first].into_iter().chain(&parts).map(|p| p.sha256.as_str()).collect();
    let mut record = Map::new();
    record.insert("exported_from".into(), json!(hashes));
    first.take_mean(&parts)?;
    let longest = first.config.max_positions;
    if let Some(tokens) = changes.max_tokens.filter(|&tokens| tokens > longest || tokens < 3) {
        return Err(Error::Usage(format!("max tokens: expected 3 to {longest}, found {tokens}")));
    }
    let recipe = first.directory.path.join("train_config.toml");
    let recipe = if io::exists(&recipe) { io::read_text(&recipe)? } else { String::new() };
    let Part { directory, config, encoder, tokenizer, table, .. } = first;
    let saved = Saved {
        base: &directory.encoder,
        variables: encoder.variables(),
        head: encoder.config().vocabulary_head.as_ref(),
        tokenizer: &tokenizer,
        table,
        ranks: true,
        frozen: true,
        activation: directory.activation.unwrap_or(Activation::SPLADE),
        max_tokens: changes.max_tokens.or(directory.max_tokens).unwrap_or(config.max_positions),
        cutoff: match changes.threshold {
            Some(level) => (level > 0.0).then_some(Cutoff::All(level)),
            None => directory.cutoff,
        },
        lexical: Lexical::or_of(directory.lexical, changes.lexical),
        prune: directory.prune,
        reweighting: directory.reweighting,
        record,
        recipe: &recipe,
        size,
        card: changes.card.as_deref(),
    };
    let staged = Staged::create(folder)?;
    saved.write(staged.path())?;
    staged.replace()
}

impl Part {
    fn read(path: &Path) -> Result<Part> {
        let directory = ModelDirectory::open(path)?;
        let checkpoint = Checkpoint::load(&directory.encoder)?;
        let tokenizer = Tokenizer::load(&directory.encoder)?;
        let read = |file: &PathBuf| QueryTable::read(file, tokenizer.vocabulary());
        let table = directory.query_table.as_ref().map(read).transpose()?;
        let (config, sha256) = (checkpoint.config.clone(), checkpoint.sha256.clone());
        let encoder = TensorEncoder::new(checkpoint, &Device::Cpu, DType::F32)?;
        let table = table.map(|table| table.weights().to_vec());
        Ok(Part { directory, config, encoder, tokenizer, table, sha256 })
    }

    fn check_like(&self, other: &Part) -> Result<()> {
        let said = |part: &Part| {
            let ModelDirectory { activation, max_tokens, cutoff, lexical, prune, .. } =
                &part.directory;
            let reweighting = part.directory.reweighting.map_or("model", |_| "corpus");
            let cutoff = cutoff.as_ref().map(|cutoff| cutoff.digest());
            let vocabulary = part.tokenizer.vocabulary().fingerprint();
            let Config { layers, hidden, heads, intermediate, vocab_size, .. } = part.config;
            let lexical = lexical.as_ref().map(|Lexical { weight, k1, b, length }| {
                format!("weight {weight}, k1 {k1}, b {b}, length {length}")
            });
            let table = if part.table.is_some() { "one" } else { "none" };
            let none = || "none".to_owned();
            [
                (
                    "network",
                    format!(
                        "{layers} layers of {hidden}, {heads} heads, {intermediate} within, {vocab_size} tokens"
                    ),
                ),
                ("vocabulary", vocabulary.to_string()),
                ("activation", activation.map_or_else(none, |own| own.to_string())),
                ("longest text", max_tokens.map_or_else(none, |own| format!("{own} tokens"))),
                ("threshold", cutoff.unwrap_or_else(none)),
                ("lexical part", lexical.unwrap_or_else(none)),
                ("pruning rule", prune.to_string()),
                ("query table", table.to_owned()),
                ("query weights", reweighting.to_owned()),
            ]
        };
        let differs = said(self).into_iter().zip(said(other)).find(|(a, b)| a != b);
        // networks of equal sizes may still be of two families
        let otherwise = || {
            let built = |text: &str| ("network", text.to_owned());
            (built("one of its family and settings"), built("another of the same sizes"))
        };
        let differs = differs.or_else(|| (self.config != other.config).then(otherwise));
        differs.map_or(Ok(()), |((what, expected), (_, got))| {
            Err(Error::Mismatch {
                what: format!("{what} of {}", other.directory.path.display()),
                expected: format!("{expected}, as {} has", self.directory.path.display()),
                got,
                remedy: "export models of one recipe, that differ by seed or step".into(),
            })
        })
    }

    fn take_mean(&mut self, others: &[Part]) -> Result<()> {
        let share = 1.0 / (others.len() + 1) as f64;
        for (at, (_, var)) in self.encoder.variables().into_iter().enumerate() {
            let mut sum = var.as_tensor().clone();
            for other in others {
                sum = (sum + other.encoder.variables()[at].1.as_tensor())?;
            }
            var.set(&(sum * share)?.detach())?;
        }
        let tables = others.iter().filter_map(|other| other.table.as_ref());
        if let Some(own) = &mut self.table {
            for (number, weight) in tables.flat_map(|table| table.iter().enumerate()) {
                own[number] += weight;
            }
            own.iter_mut().for_each(|weight| *weight *= share as f32);
        }
        Ok(())
    }
}
