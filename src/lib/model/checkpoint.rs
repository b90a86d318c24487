//! A model's tensors under Hugging Face's names, checked one by one, as plain f32.
//!
//! Old spellings (`LayerNorm.gamma`, `LayerNorm.beta`) are read; tensors that masked-language
//! models carry beside the ones used here are known by name; any other missing or unexpected
//! tensor is an error that names it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Config,
    stored::{Stored, hash, stored},
};
use crate::{
    error::{Error, Result},
    io,
};

/// A row-major matrix, `rows × columns`.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Row after row.
    pub data: Vec<f32>,
    /// Length of a row.
    pub columns: usize,
}

impl Matrix {
    /// One row.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.data[at * self.columns..][..self.columns]
    }
}

/// y = x Wᵀ + b, W `[out, in]`.
#[derive(Clone, Debug, Default)]
pub struct Linear {
    /// W.
    pub weight: Matrix,
    /// b, `[out]`.
    pub bias: Vec<f32>,
}

impl Linear {
    /// Several maps of one input as one: `[N₁ + N₂ + …, in]`.
    #[must_use]
    pub fn side_by_side(parts: impl IntoIterator<Item = Linear>) -> Linear {
        let mut all = Linear::default();
        for part in parts {
            all.weight.columns = part.weight.columns;
            all.weight.data.extend(part.weight.data);
            all.bias.extend(part.bias);
        }
        all
    }
}

/// Scale and shift of a layer norm, `[H]` each.
#[derive(Clone, Debug, Default)]
pub struct Norm {
    /// Scale.
    pub weight: Vec<f32>,
    /// Shift.
    pub bias: Vec<f32>,
}

/// One transformer layer, post-norm.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Query, key and value, each `[H, H]`.
    pub query_key_value: [Linear; 3],
    /// After attention, `[H, H]`.
    pub attention_out: Linear,
    /// After the first residual.
    pub attention_norm: Norm,
    /// `[I, H]`
    pub up: Linear,
    /// `[H, I]`
    pub down: Linear,
    /// After the second residual.
    pub out_norm: Norm,
}

/// Everything an encoder needs.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// `[V, H]`
    pub words: Matrix,
    /// `[P, H]`
    pub positions: Matrix,
    /// `[types, H]`, of which row 0 is used; one row of zeros where the architecture has none.
    pub token_types: Matrix,
    /// After the embeddings.
    pub embedding_norm: Norm,
    /// In order.
    pub layers: Vec<Layer>,
    /// The head's transform, `[H, H]`.
    pub head: Linear,
    /// After it.
    pub head_norm: Norm,
    /// The decoder where it is not the word table.
    pub untied_decoder: Option<Matrix>,
    /// `[V]`
    pub decoder_bias: Vec<f32>,
}

impl Weights {
    /// `[V, H]`: one row a term.
    pub fn decoder(&self) -> &Matrix {
        self.untied_decoder.as_ref().unwrap_or(&self.words)
    }
}

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
        Checkpoint::read(folder, "a masked-language model with its head", |name| name, read)
    }

    /// As [`Checkpoint::load`], of an encoder that has no head yet, to be trained: its names with or
    /// without the family's prefix, and a new head.
    ///
    /// The head's transform is the identity, its norm 1 and 0, its decoder the word table, its bias 0.
    /// Deviation: a BERT's transform begins with normal numbers of deviation 0.02, a random rotation that
    /// training has to undo before states and word embeddings meet. Residual sums carry a token's
    /// embedding to its last state, so the identity begins where they meet already, and needs no seed
    /// (MiniLM-L6, 160 steps of 8 abstracts: loss 5.6 where the random start has 6.5).
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; [`Error::Format`] for a model that has a head.
    pub fn load_with_new_head(folder: &Path) -> Result<Checkpoint> {
        let head = Config::load(folder)?.architecture.outer().head;
        let mut checkpoint = Checkpoint::load_bare(folder, |named| match named.has_head(head) {
            true => {
                Err(named.bad("want a model without a head, got one with; leave model.head out"))
            }
            false => Ok(()),
        })?;
        let Config { hidden, vocab_size, .. } = checkpoint.config;
        let mut identity = Matrix { data: vec![0.0; hidden * hidden], columns: hidden };
        identity.data.iter_mut().step_by(hidden + 1).for_each(|number| *number = 1.0);
        let weights = &mut checkpoint.weights;
        weights.head = Linear { weight: identity, bias: vec![0.0; hidden] };
        weights.head_norm = Norm { weight: vec![1.0; hidden], bias: vec![0.0; hidden] };
        weights.decoder_bias = vec![0.0; vocab_size];
        Ok(checkpoint)
    }

    /// As [`Checkpoint::load`], of an encoder for inference: with or without the family's prefix before
    /// the names, a head passed over if there is one; the head's weights stay empty.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn load_encoder(folder: &Path) -> Result<Checkpoint> {
        Checkpoint::load_bare(folder, |_| Ok(()))
    }

    fn load_bare(folder: &Path, look: impl FnOnce(&Named) -> Result<()>) -> Result<Checkpoint> {
        let prefix = Config::load(folder)?.architecture.prefix();
        let prefixed = |name: String| {
            let bare = ["embeddings.", "encoder.", "transformer.", "pooler."];
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
        let Some(file) = weights_file(folder) else {
            let reason = "want model.safetensors or pytorch_model.bin in it, found neither";
            return Err(Error::format(folder, reason));
        };
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
        named.finish()?;
        Ok(Checkpoint { config, weights, sha256 })
    }

    /// SHA-256 of the file of weights in a folder, in hex; none if there is no such file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn fingerprint(folder: &Path) -> Result<Option<String>> {
        weights_file(folder).map(|file| Ok(hash(&io::map(&file)?))).transpose()
    }
}

fn weights_file(folder: &Path) -> Option<PathBuf> {
    let names = ["model.safetensors", "pytorch_model.bin"];
    names.iter().map(|name| folder.join(name)).find(|file| io::exists(file))
}

/// The name that today's releases use.
fn modern(name: &str) -> String {
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

/// Tensors that stand in masked-language checkpoints and that an encoder does not use.
fn is_known_extra(name: &str) -> bool {
    name.starts_with("bert.pooler.")
        || name.starts_with("cls.seq_relationship.")
        || name.ends_with("embeddings.position_ids")
        || name == "cls.predictions.decoder.bias"
}

/// Tensors by name; each is taken once.
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
            return Err(self.bad(&format!("want {name} in floating point, got whole numbers")));
        }
        if tensor.shape != shape {
            let reason = format!("want {name} of shape {shape:?}, got {:?}", tensor.shape);
            return Err(self.bad(&reason));
        }
        Ok(tensor.data)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix> {
        Ok(Matrix { data: self.take(name, &[rows, columns])?, columns })
    }

    fn linear(&mut self, name: &str, out: usize, into: usize) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), out, into)?;
        Ok(Linear { weight, bias: self.take(&format!("{name}.bias"), &[out])? })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        let weight = self.take(&format!("{name}.weight"), &[width])?;
        Ok(Norm { weight, bias: self.take(&format!("{name}.bias"), &[width])? })
    }

    /// The decoder if it is stored and differs from the word table.
    fn decoder(&mut self, name: &str, words: &Matrix, rows: usize) -> Result<Option<Matrix>> {
        if !self.tensors.contains_key(name) {
            return Ok(None);
        }
        let decoder = self.matrix(name, rows, words.columns)?;
        Ok((decoder.data != words.data).then_some(decoder))
    }

    fn finish(self) -> Result<()> {
        let bad = |what: &str, names: &[String]| {
            let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(4);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Error::format(self.file, format!("{what} {shown}{more}"))
        };
        if !self.missing.is_empty() {
            return Err(bad(&format!("want {}; missing:", self.wanted), &self.missing));
        }
        let unexpected = self.tensors.into_keys().filter(|name| !is_known_extra(name));
        let unexpected: Vec<String> = unexpected.collect();
        if unexpected.is_empty() { Ok(()) } else { Err(bad("unexpected tensors:", &unexpected)) }
    }
}

fn read(config: &Config, named: &mut Named) -> Result<Weights> {
    let &Config { vocab_size, hidden, architecture, .. } = config;
    let names = architecture.outer();
    if !named.has_head(names.head) {
        return Err(named.bad(&format!(
            "want a masked-language model with its head, found no {}.weight; l0-train gives an \
             encoder a head: model.head = \"new\" and a stage of kind masked_lm",
            names.head
        )));
    }
    let encoder = read_encoder(config, named)?;
    Ok(Weights {
        untied_decoder: named.decoder(names.decoder, &encoder.words, vocab_size)?,
        head: named.linear(names.head, hidden, hidden)?,
        head_norm: named.norm(names.head_norm, hidden)?,
        decoder_bias: named.take(names.decoder_bias, &[vocab_size])?,
        ..encoder
    })
}

/// Everything but the head, which stays empty.
fn read_encoder(config: &Config, named: &mut Named) -> Result<Weights> {
    let &Config { vocab_size, hidden, intermediate, architecture, .. } = config;
    let names = architecture.outer();
    let words = named.matrix(names.words, vocab_size, hidden)?;
    let token_types = match names.token_types {
        Some(name) => named.matrix(name, config.token_types, hidden)?,
        None => Matrix { data: vec![0.0; hidden], columns: hidden },
    };
    let mut layers = Vec::with_capacity(config.layers);
    for at in 0..config.layers {
        let names = architecture.layer(at);
        let [query, key, value] = &names.query_key_value;
        layers.push(Layer {
            query_key_value: [
                named.linear(query, hidden, hidden)?,
                named.linear(key, hidden, hidden)?,
                named.linear(value, hidden, hidden)?,
            ],
            attention_out: named.linear(&names.attention_out, hidden, hidden)?,
            attention_norm: named.norm(&names.attention_norm, hidden)?,
            up: named.linear(&names.up, intermediate, hidden)?,
            down: named.linear(&names.down, hidden, intermediate)?,
            out_norm: named.norm(&names.out_norm, hidden)?,
        });
    }
    Ok(Weights {
        positions: named.matrix(names.positions, config.max_positions, hidden)?,
        words,
        token_types,
        embedding_norm: named.norm(names.embedding_norm, hidden)?,
        layers,
        ..Weights::default()
    })
}
