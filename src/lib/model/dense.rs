//! Dense bi-encoders: hidden states to one vector a text, for the scores of a teacher.
//!
//! A directory of Sentence Transformers names its pooling, its prompts and its similarity; a bare
//! directory of Hugging Face names none of them, so there the caller says the pooling.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::{Checkpoint, cpu::CpuEncoder, directory::parse};
use crate::error::{Error, Result};

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, special tokens included.
    Mean,
    /// That of the first token.
    Cls,
}

/// Where a dense model's parts are, and what its files say of them.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseDirectory {
    /// Where `config.json`, the tensors and the tokenizer are.
    pub encoder: PathBuf,
    /// From hidden states to the vector.
    pub pooling: Pooling,
    /// Whether vectors are brought to length 1: a module says so, or scores are cosines.
    pub normalize: bool,
    /// The longest text the files allow, if they say.
    pub max_tokens: Option<usize>,
    /// What stands before every query.
    pub query_prompt: String,
    /// What stands before every document.
    pub document_prompt: String,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

/// The pooling's two spellings: `pooling_mode` since release 6, a flag for each mode before.
#[derive(Deserialize)]
struct RawPooling {
    pooling_mode: Option<String>,
    include_prompt: Option<bool>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
struct Conventions {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
    similarity_fn_name: Option<String>,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    architectures: Vec<String>,
}

#[derive(Deserialize)]
struct Lengths {
    max_seq_length: Option<usize>,
    model_max_length: Option<f64>,
}

impl DenseDirectory {
    /// The parts of a Sentence Transformers directory with a dense pooling; none for a directory
    /// without `modules.json` or of another kind.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a module or a convention that is not implemented.
    pub fn recognise(path: &Path) -> Result<Option<DenseDirectory>> {
        let file = path.join("modules.json");
        if !file.exists() {
            return Ok(None);
        }
        let modules: Vec<Module> = parse(&file)?;
        let kind = |module: &Module| module.r#type.rsplit('.').next().map(str::to_owned);
        let kinds: Vec<String> = modules.iter().filter_map(kind).collect();
        let Some(at) = kinds.iter().position(|kind| kind == "Pooling") else { return Ok(None) };
        let order: Vec<&str> = kinds.iter().map(String::as_str).collect();
        let ["Transformer", "Pooling", rest @ ..] = order.as_slice() else {
            return Err(not_implemented(&file, &order));
        };
        if !rest.is_empty() && rest != ["Normalize"] {
            return Err(not_implemented(&file, &order));
        }
        let folder = path.join(&modules[at].path);
        let (pooling, include_prompt) = read_pooling(&folder.join("config.json"))?;
        let encoder = path.join(&modules[0].path);
        let found = DenseDirectory { normalize: !rest.is_empty(), ..bare(encoder, pooling)? };
        found
            .with_conventions(&path.join("config_sentence_transformers.json"), include_prompt)
            .map(Some)
    }

    /// Whether a directory has an encoder without a masked-language head, by what `config.json` says.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`].
    pub fn is_bare(path: &Path) -> Result<bool> {
        let Names { architectures } = parse(&path.join("config.json"))?;
        let has_head = |name: &String| name.ends_with("ForMaskedLM");
        Ok(!architectures.is_empty() && !architectures.iter().any(has_head))
    }

    /// A bare directory of an encoder under a pooling that its files do not name; scores are cosines.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`].
    pub fn told(path: &Path, pooling: Pooling) -> Result<DenseDirectory> {
        Ok(DenseDirectory { normalize: true, ..bare(path.to_owned(), pooling)? })
    }

    /// Prompts and similarity; a cosine is the product of vectors of length 1.
    fn with_conventions(mut self, file: &Path, include_prompt: bool) -> Result<DenseDirectory> {
        let said: Conventions = if file.exists() { parse(file)? } else { Conventions::default() };
        match said.similarity_fn_name.as_deref().unwrap_or("cosine") {
            "cosine" => self.normalize = true,
            "dot" => {}
            other => {
                let reason = format!("want similarity_fn_name cosine or dot, got `{other}`");
                return Err(Error::format(file, reason));
            }
        }
        let prompt = |names: &[&str]| {
            let default = said.default_prompt_name.as_deref();
            let mut names = names.iter().copied().chain(default);
            names.find_map(|name| said.prompts.get(name)).cloned().unwrap_or_default()
        };
        self.query_prompt = prompt(&["query"]);
        self.document_prompt = prompt(&["document", "passage", "corpus"]);
        let prompts = !self.query_prompt.is_empty() || !self.document_prompt.is_empty();
        if prompts && !include_prompt {
            let reason = "want a pooling that includes the prompt, got include_prompt false";
            return Err(Error::format(file, reason));
        }
        Ok(self)
    }
}

fn not_implemented(file: &Path, kinds: &[&str]) -> Error {
    let wanted = "want modules Transformer, Pooling and perhaps Normalize";
    Error::format(file, format!("{wanted}, got {}", kinds.join(", ")))
}

fn bare(encoder: PathBuf, pooling: Pooling) -> Result<DenseDirectory> {
    let mut max_tokens = None;
    // the tokenizer's own limit holds where the transformer's file is silent
    for name in ["sentence_bert_config.json", "tokenizer_config.json"] {
        let file = encoder.join(name);
        if max_tokens.is_none() && file.exists() {
            let Lengths { max_seq_length, model_max_length } = parse(&file)?;
            // "no limit" is written as 10³⁰
            let model_max = model_max_length.filter(|&length| (1.0..1e9).contains(&length));
            max_tokens = max_seq_length.or(model_max.map(|length| length as usize));
        }
    }
    Ok(DenseDirectory {
        encoder,
        pooling,
        normalize: false,
        max_tokens,
        query_prompt: String::new(),
        document_prompt: String::new(),
    })
}

fn read_pooling(file: &Path) -> Result<(Pooling, bool)> {
    let raw: RawPooling = parse(file)?;
    let is_on = |(_, value): &(&String, &Value)| value.as_bool() == Some(true);
    let flags = raw.others.iter().filter(is_on);
    let flags = flags.filter_map(|(name, _)| name.strip_prefix("pooling_mode_"));
    let modes: Vec<&str> = raw.pooling_mode.as_deref().into_iter().chain(flags).collect();
    let pooling = match modes.as_slice() {
        ["mean" | "mean_tokens"] => Pooling::Mean,
        ["cls" | "cls_token"] => Pooling::Cls,
        other => {
            let reason = format!("want a pooling by mean or cls, got {}", other.join(" and "));
            return Err(Error::format(file, reason));
        }
    };
    Ok((pooling, raw.include_prompt.unwrap_or(true)))
}

/// A dense encoder on the processor.
pub struct DenseEncoder {
    encoder: CpuEncoder,
    pooling: Pooling,
    normalize: bool,
    /// The longest text in tokens.
    pub max_tokens: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// SHA-256 of the file of weights.
    pub sha256: String,
}

impl DenseEncoder {
    /// Loads the encoder of a directory, for texts of at most `max_tokens` if that is given.
    ///
    /// # Errors
    /// As [`Checkpoint::load_encoder`]; [`Error::Usage`] for a length it has no positions for.
    pub fn load(directory: &DenseDirectory, max_tokens: Option<usize>) -> Result<DenseEncoder> {
        let Checkpoint { config, weights, sha256 } = Checkpoint::load_encoder(&directory.encoder)?;
        let positions = config.max_positions;
        let longest = directory.max_tokens.map_or(positions, |own| own.min(positions));
        let max_tokens = max_tokens.unwrap_or(longest);
        if max_tokens > positions {
            return Err(Error::Usage(format!(
                "--max-tokens: the model has {positions} positions, got {max_tokens}"
            )));
        }
        Ok(DenseEncoder {
            vocab_size: config.vocab_size,
            encoder: CpuEncoder::new(config, weights),
            pooling: directory.pooling,
            normalize: directory.normalize,
            max_tokens,
            sha256,
        })
    }

    /// The vector `[H]` of each text, in order: `texts` are token ids, special ones included, each at
    /// least one and at most `max_tokens` long. Each is computed by itself.
    pub fn encode(&self, texts: &[&[u32]]) -> Vec<Vec<f32>> {
        texts.par_iter().map(|ids| self.vector(ids)).collect()
    }

    fn vector(&self, ids: &[u32]) -> Vec<f32> {
        let states = self.encoder.hidden_states(ids);
        let width = states.len() / ids.len().max(1);
        let mut vector = match self.pooling {
            Pooling::Cls => states[..width].to_vec(),
            Pooling::Mean => mean(&states, width),
        };
        if self.normalize {
            normalize(&mut vector);
        }
        vector
    }
}

/// `[width]`: the mean of the rows of `[T, width]`, summed in f32 in their order.
fn mean(states: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for row in states.chunks_exact(width.max(1)) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let rows = (states.len() / width.max(1)) as f32;
    sum.iter_mut().for_each(|sum| *sum /= rows);
    sum
}

/// x / max(‖x‖, 1e-12), as PyTorch's `normalize`.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|value| *value /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_means_of_length_one() {
        let mut vector = mean(&[1.0, 2.0, 5.0, 6.0], 2);
        assert_eq!(vector, [3.0, 4.0]);
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        normalize(&mut [0.0]);
    }
}
