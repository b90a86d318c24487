//! Dense bi-encoders: hidden states to one vector per text, for the scores of a teacher.
//!
//! A directory of Sentence Transformers names its pooling, its prompts and its similarity; a bare
//! directory of Hugging Face names none of them, so there the caller gives the pooling.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Checkpoint, DenseSize, HeadParts, Length, Linear, Pooled, Pooling, Squash, cpu::CpuEncoder,
    directory::parse, vocabulary::Pooler,
};
use crate::{
    error::{Error, Result},
    kernels::packed::Kind,
    layout,
};

/// Where a dense model's parts are, and what its files say about them.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseDirectory {
    /// Where `config.json`, the tensors and the tokenizer are.
    pub encoder: PathBuf,
    /// From hidden states to the vector. It has length 1 if a module says so, or if scores are cosines.
    pub pooled: Pooled,
    /// The folders of its dense maps.
    pub dense: Vec<PathBuf>,
    /// The longest text the files allow, if they say.
    pub max_tokens: Option<usize>,
    /// The prefix of every query.
    pub query_prompt: String,
    /// The prefix of every document.
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
    /// A vocabulary head, with any content.
    #[serde(default)]
    l0_head: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Lengths {
    max_seq_length: Option<usize>,
    model_max_length: Option<f64>,
}

impl DenseDirectory {
    /// The parts of a Sentence Transformers directory with a dense pooling; `None` for a directory
    /// without `modules.json` or of another kind.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a module or a convention that is not implemented.
    pub fn recognise(path: &Path) -> Result<Option<DenseDirectory>> {
        let file = path.join(layout::MODULES);
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
        let maps = rest.iter().take_while(|kind| **kind == "Dense").count();
        if !rest[maps..].is_empty() && rest[maps..] != ["Normalize"] {
            return Err(not_implemented(&file, &order));
        }
        let folder = path.join(&modules[at].path);
        let (pooling, include_prompt) = read_pooling(&folder.join(layout::CONFIG))?;
        let encoder = path.join(&modules[0].path);
        let mut found = bare(encoder, pooling)?;
        for module in &modules[2..2 + maps] {
            found.pooled.dense.push(read_dense(&path.join(&module.path).join(layout::CONFIG))?);
            found.dense.push(path.join(&module.path));
        }
        if rest.len() > maps {
            found.pooled.length = Length::One;
        }
        found.with_conventions(&path.join(layout::PROMPTS), include_prompt).map(Some)
    }

    /// Whether a directory has an encoder without a head over the vocabulary, by what `config.json` says.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`].
    pub fn is_bare(path: &Path) -> Result<bool> {
        let Names { architectures, l0_head } = parse(&path.join(layout::CONFIG))?;
        let has_head = |name: &String| name.ends_with("ForMaskedLM");
        Ok(l0_head.is_none() && !architectures.is_empty() && !architectures.iter().any(has_head))
    }

    /// A bare directory of an encoder under a pooling that its files do not name; scores are cosines.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`].
    pub fn with_pooling(path: &Path, pooling: Pooling) -> Result<DenseDirectory> {
        let mut found = bare(path.to_owned(), pooling)?;
        found.pooled.length = Length::One;
        Ok(found)
    }

    /// The dense maps, in order, of a model whose states are `hidden` wide.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for tensors that are missing or of another shape.
    pub fn maps(&self, hidden: usize) -> Result<Vec<Linear>> {
        let mut width = hidden;
        let maps = self.dense.iter().zip(&self.pooled.dense).map(|(folder, size)| {
            let shape = [size.outputs, width];
            width = size.outputs;
            Checkpoint::load_dense(folder, shape)
        });
        maps.collect()
    }

    /// Prompts and similarity; a cosine is the product of vectors of length 1.
    fn with_conventions(mut self, file: &Path, include_prompt: bool) -> Result<DenseDirectory> {
        let said: Conventions = if file.exists() { parse(file)? } else { Conventions::default() };
        match said.similarity_fn_name.as_deref().unwrap_or("cosine") {
            "cosine" => self.pooled.length = Length::One,
            "dot" => {}
            other => {
                let reason = format!("expected similarity_fn_name cosine or dot, found `{other}`");
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
            let reason = "expected a pooling that includes the prompt, found include_prompt false";
            return Err(Error::format(file, reason));
        }
        Ok(self)
    }
}

fn not_implemented(file: &Path, kinds: &[&str]) -> Error {
    let expected = "expected modules Transformer, Pooling, any Dense and perhaps Normalize";
    Error::format(file, format!("{expected}; found {}", kinds.join(", ")))
}

fn bare(encoder: PathBuf, pooling: Pooling) -> Result<DenseDirectory> {
    let mut max_tokens = None;
    // the tokenizer's own limit applies if the transformer's file has none
    for name in [layout::TRANSFORMER, layout::TOKENIZER_CONFIG] {
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
        pooled: Pooled { pooling, dense: Vec::new(), length: Length::Free },
        dense: Vec::new(),
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
        ["max" | "max_tokens"] => Pooling::Max,
        other => {
            let found = other.join(" and ");
            let reason = format!("expected a pooling by mean, cls or max, found {found}");
            return Err(Error::format(file, reason));
        }
    };
    Ok((pooling, raw.include_prompt.unwrap_or(true)))
}

#[derive(Deserialize)]
struct RawDense {
    out_features: usize,
    bias: Option<bool>,
    activation_function: Option<String>,
}

fn read_dense(file: &Path) -> Result<DenseSize> {
    let raw: RawDense = parse(file)?;
    let name = raw.activation_function.as_deref().unwrap_or("torch.nn.modules.activation.Tanh");
    let squash = match name.rsplit('.').next() {
        Some("Identity") => Squash::Identity,
        Some("Tanh") => Squash::Tanh,
        _ => {
            let reason = format!("expected activation_function Identity or Tanh, found `{name}`");
            return Err(Error::format(file, reason));
        }
    };
    if raw.bias == Some(false) {
        return Err(Error::format(file, "expected a dense map with a bias, found bias false"));
    }
    Ok(DenseSize { outputs: raw.out_features, squash })
}

/// A pooling as a short text that differs for different poolings.
fn pooling_of(pooled: &Pooled, maps: &[Linear]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let numbers = maps.iter().flat_map(|map| map.weight.data.iter().chain(&map.bias));
    numbers.for_each(|number| hasher.update(&number.to_le_bytes()));
    format!("{pooled:?} {:08x}", hasher.finalize())
}

/// A dense encoder on the processor.
pub struct DenseEncoder {
    encoder: CpuEncoder,
    pooler: Pooler,
    hidden: usize,
    /// The pooling, and a checksum of its dense maps.
    pooling: String,
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
    /// As [`Checkpoint::load_encoder`]; [`Error::Format`] for dense maps of other sizes;
    /// [`Error::Usage`] for a length it has no positions for.
    pub fn load(directory: &DenseDirectory, max_tokens: Option<usize>) -> Result<DenseEncoder> {
        let Checkpoint { config, weights, sha256 } = Checkpoint::load_encoder(&directory.encoder)?;
        let positions = config.max_positions;
        let longest = directory.max_tokens.map_or(positions, |own| own.min(positions));
        let max_tokens = max_tokens.unwrap_or(longest);
        if max_tokens > positions {
            return Err(Error::Usage(format!(
                "longest text: expected at most {positions} tokens, the positions of the model, \
                 found {max_tokens}"
            )));
        }
        let hidden = config.hidden;
        let maps = directory.maps(hidden)?;
        let pooling = pooling_of(&directory.pooled, &maps);
        Ok(DenseEncoder {
            pooling,
            vocab_size: config.vocab_size,
            encoder: CpuEncoder::new(config, weights),
            pooler: Pooler::new(Kind::F32, directory.pooled.clone(), maps),
            hidden,
            max_tokens,
            sha256,
        })
    }

    /// The pooling, and a checksum of its dense maps: with [`DenseEncoder::sha256`], what vectors depend on.
    pub fn pooling(&self) -> &str {
        &self.pooling
    }

    /// Whether its vectors have length 1.
    pub fn length(&self) -> Length {
        self.pooler.length()
    }

    /// The encoder and the pooling before the decoder of a model with a vocabulary head, in `folder`.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; [`Error::Format`] for a model with another head.
    pub fn of_head(folder: &Path) -> Result<DenseEncoder> {
        let Checkpoint { config, mut weights, sha256 } = Checkpoint::load(folder)?;
        let parts = std::mem::take(&mut weights.head);
        let (Some(head), HeadParts::Vocabulary { dense, .. }) = (&config.vocabulary_head, parts)
        else {
            return Err(Error::format(
                folder,
                "expected a model with a vocabulary head, found another",
            ));
        };
        weights.untied_decoder = None;
        let pooling = pooling_of(&head.pooled, &dense);
        Ok(DenseEncoder {
            pooling,
            vocab_size: config.vocab_size,
            max_tokens: config.max_positions,
            pooler: Pooler::new(Kind::F32, head.pooled.clone(), dense),
            hidden: config.hidden,
            encoder: CpuEncoder::new(config, weights),
            sha256,
        })
    }

    /// The vector `[H]` of each text, in order: `texts` are token ids, special ones included, each at
    /// least one and at most `max_tokens` long. Each is computed separately.
    pub fn encode(&self, texts: &[&[u32]]) -> Vec<Vec<f32>> {
        texts.par_iter().map(|ids| self.vector(ids)).collect()
    }

    fn vector(&self, ids: &[u32]) -> Vec<f32> {
        self.pooler.vector(&self.encoder.hidden_states(ids), self.hidden)
    }
}
