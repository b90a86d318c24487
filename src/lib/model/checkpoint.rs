//! A model's tensors under Hugging Face's names, checked one by one, as plain f32.
//!
//! Old spellings (`LayerNorm.gamma`, `LayerNorm.beta`) are read; the tensors of masked-language
//! models that are not used here are known by name; any other missing or unexpected
//! tensor is an error that names it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Architecture, Config, DecoderRows, HasBias, HeadParts, Layer, Linear, Matrix, Norm, Norms,
    VocabularyHead, Weights,
    files::weights_file,
    names::{self, OuterNames},
    stored::{Stored, stored},
};
use crate::error::{Error, Result};

/// A model as its files have it.
pub struct Checkpoint {
    /// Sizes.
    pub config: Config,
    /// Tensors.
    pub weights: Weights,
    /// SHA-256 of the file of weights, in hex: what `sha256sum` prints.
    pub sha256: String,
}

impl Checkpoint {
    /// Reads `config.json` and `model.safetensors` or `pytorch_model.bin` in a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] naming what is missing, unexpected or of another shape.
    pub fn load(folder: &Path) -> Result<Checkpoint> {
        let wanted = match Config::load(folder)?.vocabulary_head {
            Some(_) => "a model with a vocabulary head",
            None => "a masked-language model with its head",
        };
        Checkpoint::read(folder, wanted, |name| name, read)
    }

    /// As [`Checkpoint::load`], of an encoder that has no head yet, to be trained: its names with or
    /// without the family's prefix, and a new head.
    ///
    /// The head's transform is the identity, its norm 1 and 0, its decoder the word table, its bias 0.
    /// Deviation: a BERT's transform begins with normal numbers of deviation 0.02, a random rotation that
    /// training has to undo before states and word embeddings match. Residual sums carry a token's
    /// embedding to its last state, so with the identity they match from the start, and it needs no seed
    /// (MiniLM-L6, 160 steps of 8 abstracts: loss 5.6 where the random start has 6.5).
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; [`Error::Format`] for a model that has a head.
    pub fn load_with_new_head(folder: &Path) -> Result<Checkpoint> {
        let config = Config::load(folder)?;
        let (head, pooled) = (config.architecture.outer().head, config.vocabulary_head);
        let mut checkpoint = Checkpoint::load_bare(folder, |named| {
            match named.has_head(head) || pooled.is_some() {
                true => Err(named
                    .bad("expected a model without a head, found one with; leave model.head out")),
                false => Ok(()),
            }
        })?;
        let Config { hidden, vocab_size, .. } = checkpoint.config;
        let mut identity = Matrix { data: vec![0.0; hidden * hidden], columns: hidden };
        identity.data.iter_mut().step_by(hidden + 1).for_each(|number| *number = 1.0);
        let weights = &mut checkpoint.weights;
        weights.head = HeadParts::MaskedLanguage {
            transform: Linear { weight: identity, bias: vec![0.0; hidden] },
            norm: Norm { weight: vec![1.0; hidden], bias: vec![0.0; hidden] },
        };
        weights.decoder_bias = vec![0.0; vocab_size];
        Ok(checkpoint)
    }

    /// Puts a vocabulary head after an encoder: what comes before its decoder, the rows of the decoder if it
    /// has its own, and their bias `[V]`.
    pub fn set_vocabulary_head(
        &mut self,
        head: VocabularyHead,
        parts: HeadParts,
        rows: Option<Matrix>,
        bias: Vec<f32>,
    ) {
        self.weights.head = parts;
        self.weights.untied_decoder = rows;
        self.weights.decoder_bias = bias;
        self.config.vocabulary_head = Some(head);
    }

    /// As [`Checkpoint::load`], of an encoder for inference: with or without the family's prefix before
    /// the names, a head ignored if there is one; the head's weights stay empty.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn load_encoder(folder: &Path) -> Result<Checkpoint> {
        Checkpoint::load_bare(folder, |_| Ok(()))
    }

    /// The linear map of a `Dense` module in a folder of its own: `linear.weight` of `shape`, out and in,
    /// and `linear.bias`.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub(super) fn load_dense(folder: &Path, shape: [usize; 2]) -> Result<Linear> {
        let file = tensors_of(folder)?;
        let tensors = stored(&file)?.0.into_iter().collect();
        let mut named = Named { file: &file, wanted: "a dense map", tensors, missing: Vec::new() };
        let linear = named.linear("linear", shape, HasBias::Yes)?;
        named.finish(|_| false)?;
        Ok(linear)
    }

    fn load_bare(folder: &Path, look: impl FnOnce(&Named) -> Result<()>) -> Result<Checkpoint> {
        let prefix = Config::load(folder)?.architecture.prefix();
        let prefixed = |name: String| {
            let bare =
                ["embeddings.", "encoder.", "transformer.", "pooler.", "layers.", "final_norm."];
            let is_bare = bare.iter().any(|start| name.starts_with(start));
            if is_bare { format!("{prefix}{name}") } else { name }
        };
        Checkpoint::read(folder, "an encoder", prefixed, |config, named| {
            look(named)?;
            let weights = read_encoder(config, named)?;
            named.tensors.retain(|name, _| name.starts_with(prefix));
            Ok(weights)
        })
    }

    fn read(
        folder: &Path,
        wanted: &'static str,
        rename: impl Fn(String) -> String,
        read: impl FnOnce(&Config, &mut Named) -> Result<Weights>,
    ) -> Result<Checkpoint> {
        let config = Config::load(folder)?;
        let file = tensors_of(folder)?;
        let (tensors, sha256) = stored(&file)?;
        let mut named =
            Named { file: &file, wanted, tensors: BTreeMap::new(), missing: Vec::new() };
        for (name, tensor) in tensors {
            let known = rename(modern(&name));
            if named.tensors.insert(known.clone(), tensor).is_some() {
                return Err(named.bad(&format!("two tensors for {known}, one is called {name}")));
            }
        }
        let weights = read(&config, &mut named)?;
        named.finish(|name| is_known_extra(config.architecture, name))?;
        Ok(Checkpoint { config, weights, sha256 })
    }
}

fn tensors_of(folder: &Path) -> Result<PathBuf> {
    weights_file(folder).ok_or_else(|| {
        Error::format(
            folder,
            "expected model.safetensors or pytorch_model.bin in it, found neither",
        )
    })
}

/// The name that today's releases use.
fn modern(name: &str) -> String {
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

/// Tensors of masked-language checkpoints that an encoder does not use.
fn is_known_extra(architecture: Architecture, name: &str) -> bool {
    name.strip_prefix(architecture.prefix()).is_some_and(|bare| bare.starts_with("pooler."))
        || name.starts_with("cls.seq_relationship.")
        || name.ends_with("embeddings.position_ids")
        || name.ends_with("rotary_emb.inv_freq")
}

/// Tensors by name; each is used once.
struct Named<'a> {
    file: &'a Path,
    /// The kind of model.
    wanted: &'static str,
    tensors: BTreeMap<String, Stored>,
    missing: Vec<String>,
}

impl Named<'_> {
    fn bad(&self, reason: &str) -> Error {
        Error::format(self.file, reason)
    }

    fn has_head(&self, head: &str) -> bool {
        self.tensors.contains_key(&format!("{head}.weight"))
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(tensor) = self.tensors.remove(name) else {
            self.missing.push(name.to_owned());
            return Ok(Vec::new());
        };
        if tensor.whole {
            return Err(
                self.bad(&format!("expected {name} in floating point, found whole numbers"))
            );
        }
        if tensor.shape != shape {
            let reason = format!("expected {name} of shape {shape:?}, found {:?}", tensor.shape);
            return Err(self.bad(&reason));
        }
        Ok(tensor.data)
    }

    /// A vector of finite numbers.
    fn finite(&mut self, name: &str, width: usize) -> Result<Vec<f32>> {
        let numbers = self.take(name, &[width])?;
        match numbers.iter().find(|number| !number.is_finite()) {
            Some(bad) => Err(self.bad(&format!("expected finite numbers in {name}, found {bad}"))),
            None => Ok(numbers),
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix> {
        Ok(Matrix { data: self.take(name, &[rows, columns])?, columns })
    }

    /// Zeros if there is none.
    fn bias(&mut self, name: &str, width: usize, has: HasBias) -> Result<Vec<f32>> {
        match has {
            HasBias::Yes => self.take(name, &[width]),
            HasBias::No => Ok(vec![0.0; width]),
        }
    }

    fn linear(&mut self, name: &str, [out, into]: [usize; 2], has: HasBias) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), out, into)?;
        Ok(Linear { weight, bias: self.bias(&format!("{name}.bias"), out, has)? })
    }

    fn norm(&mut self, name: &str, width: usize, has: HasBias) -> Result<Norm> {
        let weight = self.take(&format!("{name}.weight"), &[width])?;
        Ok(Norm { weight, bias: self.bias(&format!("{name}.bias"), width, has)? })
    }

    /// The bias of the decoder, which files hold under one of two names, or under both.
    fn decoder_bias(&mut self, names: &OuterNames, width: usize, has: HasBias) -> Result<Vec<f32>> {
        let beside = names.decoder.replace(".weight", ".bias");
        let second = (beside != names.decoder_bias).then(|| self.tensors.remove(&beside)).flatten();
        if let Some(second) = second
            && !self.tensors.contains_key(names.decoder_bias)
        {
            self.tensors.insert(names.decoder_bias.to_owned(), second);
        }
        self.bias(names.decoder_bias, width, has)
    }

    /// The decoder if it differs from the word table.
    fn decoder(&mut self, name: &str, words: &Matrix, rows: usize) -> Result<Option<Matrix>> {
        let decoder = self.matrix(name, rows, words.columns)?;
        Ok((decoder.data != words.data).then_some(decoder))
    }

    fn finish(self, is_known_extra: impl Fn(&str) -> bool) -> Result<()> {
        let bad = |what: &str, names: &[String]| {
            let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(4);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Error::format(self.file, format!("{what} {shown}{more}"))
        };
        if !self.missing.is_empty() {
            return Err(bad(&format!("expected {}; missing:", self.wanted), &self.missing));
        }
        let unexpected = self.tensors.into_keys();
        let unexpected: Vec<String> = unexpected.filter(|name| !is_known_extra(name)).collect();
        if unexpected.is_empty() { Ok(()) } else { Err(bad("unexpected tensors:", &unexpected)) }
    }
}

fn read(config: &Config, named: &mut Named) -> Result<Weights> {
    match &config.vocabulary_head {
        Some(head) => read_vocabulary(config, head, named),
        None => read_masked_language(config, named),
    }
}

fn read_vocabulary(config: &Config, head: &VocabularyHead, named: &mut Named) -> Result<Weights> {
    let &Config { vocab_size, hidden, .. } = config;
    let names = config.outer();
    let encoder = read_encoder(config, named)?;
    let mut width = hidden;
    let dense = head.pooled.dense.iter().enumerate().map(|(at, size)| {
        let shape = [size.outputs, width];
        width = size.outputs;
        named.linear(&names::dense(at), shape, HasBias::Yes)
    });
    let dense = dense.collect::<Result<_>>()?;
    let map = head.rank.map(|rank| named.matrix(names::MAP, rank, width)).transpose()?;
    let columns = head.columns(hidden);
    let untied_decoder = match head.decoder {
        DecoderRows::Tied => None,
        DecoderRows::Own => Some(named.matrix(names.decoder, vocab_size, columns)?),
    };
    let has_scale = named.tensors.contains_key(names::LEXICAL_SCALE);
    let scale = has_scale.then(|| named.finite(names::LEXICAL_SCALE, vocab_size));
    Ok(Weights {
        untied_decoder,
        head: HeadParts::Vocabulary { dense, map },
        decoder_bias: named.take(names.decoder_bias, &[vocab_size])?,
        lexical_scale: scale.transpose()?,
        ..encoder
    })
}

fn read_masked_language(config: &Config, named: &mut Named) -> Result<Weights> {
    let &Config { vocab_size, hidden, architecture, .. } = config;
    let (names, biases) = (architecture.outer(), config.form.biases);
    if !named.has_head(names.head) {
        return Err(named.bad(&format!(
            "expected a masked-language model with its head, found no {}.weight; l0-train gives an \
             encoder a head: model.head = \"new\" and a stage of kind masked_lm",
            names.head
        )));
    }
    let encoder = read_encoder(config, named)?;
    // where it is tied to the word table it may be missing
    let is_left_out = config.form.tied && !named.tensors.contains_key(names.decoder);
    let untied_decoder = match is_left_out {
        true => None,
        false => named.decoder(names.decoder, &encoder.words, vocab_size)?,
    };
    Ok(Weights {
        untied_decoder,
        head: HeadParts::MaskedLanguage {
            transform: named.linear(names.head, [hidden, hidden], biases.head)?,
            norm: named.norm(names.head_norm, hidden, biases.norms)?,
        },
        decoder_bias: named.decoder_bias(&names, vocab_size, biases.decoder)?,
        ..encoder
    })
}

/// Everything except the head, which stays empty.
fn read_encoder(config: &Config, named: &mut Named) -> Result<Weights> {
    let &Config { vocab_size, hidden, heads, .. } = config;
    let (names, form) = (config.architecture.outer(), &config.form);
    let words = named.matrix(&names.words, vocab_size, hidden)?;
    let token_types = match config.token_types {
        0 => Matrix { data: vec![0.0; hidden], columns: hidden },
        rows => named.matrix(&names.token_types, rows, hidden)?,
    };
    let positions = match config.position_rows() {
        Some(rows) => named.matrix(&names.positions, rows, hidden)?,
        None => Matrix::default(),
    };
    let relative = config.relative_buckets();
    let relative = relative.map(|buckets| named.matrix(&names.relative, buckets, heads));
    let layers = (0..config.layers).map(|at| read_layer(config, at, named));
    let layers = layers.collect::<Result<_>>()?;
    let last = (form.norms == Norms::Pre)
        .then(|| named.norm(&names.final_norm, hidden, form.biases.norms));
    Ok(Weights {
        positions,
        words,
        token_types,
        relative: relative.transpose()?,
        embedding_norm: named.norm(&names.embedding_norm, hidden, form.biases.norms)?,
        layers,
        final_norm: last.transpose()?,
        ..Weights::default()
    })
}

fn read_layer(config: &Config, at: usize, named: &mut Named) -> Result<Layer> {
    let &Config { hidden, intermediate, architecture, .. } = config;
    let (names, biases) = (architecture.layer(at), config.form.biases);
    let wide = 3 * hidden / names.query_key_value.len();
    let maps = names.query_key_value.iter();
    let maps = maps.map(|name| named.linear(name, [wide, hidden], biases.attention));
    let query_key_value = maps.collect::<Result<_>>()?;
    let norm = names.attention_norm.as_deref();
    Ok(Layer {
        query_key_value,
        attention_out: named.linear(&names.attention_out, [hidden, hidden], biases.attention)?,
        attention_norm: norm.map(|name| named.norm(name, hidden, biases.norms)).transpose()?,
        up: named.linear(&names.up, [config.up_width(), hidden], biases.up)?,
        down: named.linear(&names.down, [hidden, intermediate], biases.down)?,
        out_norm: named.norm(&names.out_norm, hidden, biases.norms)?,
    })
}
