//! The document encoder on candle tensors, for training: packed token ids in, pooled logits out.
//!
//! The arithmetic is that of `cpu`, with gradients; variables carry Hugging Face's names. Numbers
//! are held in f32 and cast for each use, so half precision on a device has f32 masters.

mod head;
mod variables;

use candle_core::{DType, Device, Tensor, Var};

use super::{
    Architecture, Checkpoint, Config, HasBias, LayerAttention, Mlp, Norms, Weights,
    names::LEXICAL_SCALE,
};
use crate::{
    error::{Error, Result},
    nn::{self, AttentionContext, Dropout, Packing, Rotation, Turn},
};
use head::HeadVars;
use variables::{LayerVars, NormVars, matrix, vector};

/// Documents as token ids, one after the other.
#[derive(Clone, Debug)]
pub struct Batch {
    /// All ids, including special ones.
    pub ids: Vec<u32>,
    /// Which of them belong together.
    pub packing: Packing,
}

impl Batch {
    /// Documents in order, the first of which is number `first` of its batch.
    pub fn new(documents: &[impl AsRef<[u32]>], first: usize) -> Batch {
        let documents: Vec<&[u32]> = documents.iter().map(AsRef::as_ref).collect();
        let lengths = documents.iter().map(|ids| ids.len()).collect();
        Batch { ids: documents.concat(), packing: Packing::new(lengths, first) }
    }

    /// Whether a model can read it.
    pub(super) fn check(&self, longest: usize) -> Result<()> {
        let lengths = self.packing.lengths();
        if lengths.contains(&0) || self.packing.widest() > longest {
            let message = format!("expected documents of 1 to {longest} tokens, found {lengths:?}");
            return Err(Error::Usage(message));
        }
        Ok(())
    }
}

/// A masked-language model in which every tensor has a gradient.
pub struct TensorEncoder {
    config: Config,
    dtype: DType,
    device: Device,
    rotations: Vec<Rotation>,
    words: Var,
    positions: Option<Var>,
    token_types: Option<Var>,
    relative: Option<Var>,
    embedding_norm: NormVars,
    layers: Vec<LayerVars>,
    final_norm: Option<NormVars>,
    head: HeadVars,
    untied_decoder: Option<Var>,
    decoder_bias: variables::Bias,
    lexical_scale: Option<Var>,
}

fn no_head() -> Error {
    Error::Internal("expected a model with the head that this needs, found another".into())
}

/// What the layers of one batch share.
struct Shared<'a> {
    packing: &'a Packing,
    turns: Vec<Turn>,
    bias: Option<Tensor>,
}

impl TensorEncoder {
    /// From a checkpoint; `dtype` is that of products and states, sums and norms stay f32.
    ///
    /// # Errors
    /// [`Error::Compute`] if the device is out of memory.
    pub fn new(checkpoint: Checkpoint, device: &Device, dtype: DType) -> Result<TensorEncoder> {
        let Checkpoint { config, weights, .. } = checkpoint;
        let mut biases = config.form.biases;
        if config.vocabulary_head.is_some() {
            biases.decoder = HasBias::Yes;
        }
        let Weights { words, positions, token_types, layers, head, lexical_scale, .. } = weights;
        let layers = layers.into_iter().map(|layer| LayerVars::new(layer, biases, device));
        let layers = layers.collect::<Result<_>>()?;
        let has_table = config.position_rows().is_some();
        let norm = |norm| NormVars::new(norm, biases.norms, device);
        Ok(TensorEncoder {
            rotations: config.rotations(),
            words: matrix(words, device)?,
            positions: has_table.then(|| matrix(positions, device)).transpose()?,
            token_types: match config.token_types {
                0 => None,
                _ => Some(matrix(token_types, device)?),
            },
            relative: weights.relative.map(|table| matrix(table, device)).transpose()?,
            embedding_norm: norm(weights.embedding_norm)?,
            layers,
            final_norm: weights.final_norm.map(norm).transpose()?,
            head: HeadVars::new(head, &config, device)?,
            untied_decoder: weights.untied_decoder.map(|own| matrix(own, device)).transpose()?,
            decoder_bias: variables::Bias::new(weights.decoder_bias, biases.decoder, device)?,
            lexical_scale: lexical_scale.map(|scale| vector(scale, device)).transpose()?,
            device: device.clone(),
            config,
            dtype,
        })
    }

    /// Sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `[V, H]`: the embedding of every token.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// Every variable under its name, in the order of the layers.
    pub fn variables(&self) -> Vec<(String, &Var)> {
        let names = self.config.outer();
        let mut all = vec![(names.words.clone(), &self.words)];
        let tables = [
            (&names.positions, &self.positions),
            (&names.token_types, &self.token_types),
            (&names.relative, &self.relative),
        ];
        let tables = tables.into_iter();
        all.extend(tables.filter_map(|(name, var)| Some((name.clone(), var.as_ref()?))));
        self.embedding_norm.name(&mut all, &names.embedding_norm);
        for (at, layer) in self.layers.iter().enumerate() {
            layer.name(&mut all, &self.config.architecture.layer(at));
        }
        if let Some(norm) = &self.final_norm {
            norm.name(&mut all, &names.final_norm);
        }
        self.head.name(&mut all, &names);
        if let Some(var) = &self.untied_decoder {
            all.push((names.decoder.to_owned(), var));
        }
        self.decoder_bias.name(&mut all, names.decoder_bias.to_owned());
        if let Some(var) = &self.lexical_scale {
            all.push((LEXICAL_SCALE.to_owned(), var));
        }
        all
    }

    /// `[V]`: the factor of the lexical part of each term, if it is trained.
    pub fn lexical_scale(&self) -> Option<&Var> {
        self.lexical_scale.as_ref()
    }

    /// Gives the lexical part of each term a trained scale, 1 at first; a base that has scales keeps them.
    ///
    /// # Errors
    /// [`Error::Compute`].
    pub fn scale_lexical(&mut self) -> Result<()> {
        if self.lexical_scale.is_none() {
            let ones = vec![1.0; self.config.vocab_size];
            self.lexical_scale = Some(vector(ones, &self.device)?);
        }
        Ok(())
    }

    /// `[B, V]` in f32: the largest logit over the tokens of each document, right where it is above 0; the
    /// others are some number that is not ([`nn::max_pool_head`]).
    ///
    /// # Errors
    /// [`Error::Usage`] for a document that is empty or longer than the model reads;
    /// [`Error::Compute`].
    pub fn pooled_logits(&self, batch: &Batch, dropout: Option<Dropout>) -> Result<Tensor> {
        let hidden = self.hidden_states(batch, dropout)?;
        match &self.head {
            HeadVars::None => Err(no_head()),
            HeadVars::MaskedLanguage { .. } => {
                let hidden = self.transformed(hidden)?;
                let decoder = self.untied_decoder.as_ref().unwrap_or(&self.words);
                let pooled =
                    nn::max_pool_head(&hidden, decoder, &self.decoder_bias, &batch.packing)?;
                Ok(pooled.to_dtype(DType::F32)?)
            }
            HeadVars::Vocabulary(head) => {
                self.logits_of_pooled(&head.pooled(&hidden, &batch.packing)?)
            }
        }
    }

    /// `[B, V]` in f32: the logits of a vocabulary head for vectors `[B, width]` that were pooled before
    /// ([`TensorEncoder::pooled`]).
    ///
    /// # Errors
    /// [`Error::Internal`] for another head; [`Error::Compute`].
    pub fn logits_of_pooled(&self, pooled: &Tensor) -> Result<Tensor> {
        let HeadVars::Vocabulary(head) = &self.head else { return Err(no_head()) };
        let decoder = self.untied_decoder.as_ref().unwrap_or(&self.words);
        let mapped = head.mapped(&pooled.to_dtype(DType::F32)?)?;
        nn::linear(&mapped, decoder, &self.decoder_bias)
    }

    /// `[B, width]` in f32: the pooled vectors of a batch, before the map and the decoder of the head.
    ///
    /// # Errors
    /// As [`TensorEncoder::pooled_logits`].
    pub fn pooled(&self, batch: &Batch) -> Result<Tensor> {
        let HeadVars::Vocabulary(head) = &self.head else { return Err(no_head()) };
        head.pooled(&self.hidden_states(batch, None)?, &batch.packing)
    }

    /// Masked-language modelling: the mean cross entropy of guessing `targets` at some rows of the
    /// packed batch; a scalar.
    ///
    /// # Errors
    /// As [`TensorEncoder::pooled_logits`] and [`nn::cross_entropy_head`].
    pub fn masked_loss(
        &self,
        batch: &Batch,
        rows: &[u32],
        targets: &[u32],
        dropout: Option<Dropout>,
    ) -> Result<Tensor> {
        let rows = Tensor::new(rows, &self.device)?;
        let hidden =
            self.transformed(self.hidden_states(batch, dropout)?.index_select(&rows, 0)?)?;
        let decoder = self.untied_decoder.as_ref().unwrap_or(&self.words);
        nn::cross_entropy_head(&hidden, decoder, &self.decoder_bias, targets)
    }

    /// `[rows, H]` after the head's transform, ready for the decoder.
    fn transformed(&self, hidden: Tensor) -> Result<Tensor> {
        let HeadVars::MaskedLanguage { transform, norm } = &self.head else {
            return Err(no_head());
        };
        self.norm(&nn::gelu(&transform.of(&hidden)?)?, norm)
    }

    /// `[rows, H]`: the last layer's states.
    ///
    /// # Errors
    /// As [`TensorEncoder::pooled_logits`].
    pub fn hidden_states(&self, batch: &Batch, dropout: Option<Dropout>) -> Result<Tensor> {
        batch.check(self.config.max_positions)?;
        let (packing, places) =
            (&batch.packing, self.config.packed_places(&batch.ids, &batch.packing));
        let mut x = nn::embed(&self.words, &batch.ids)?;
        if let Some(positions) = &self.positions {
            x = (x + nn::embed(positions, &places)?)?;
        }
        if let Some(types) = &self.token_types {
            x = x.broadcast_add(&types.narrow(0, 0, 1)?)?;
        }
        let x = self.norm(&x.to_dtype(self.dtype)?, &self.embedding_norm)?;
        let mut x = nn::dropout(&x, packing, dropout)?;
        let turns = self.rotations.iter().map(|rotation| rotation.at(&places, &self.device));
        let bias = self.relative.as_ref();
        let bias = bias.map(|table| nn::relative_bias(table, packing.widest()));
        let shared =
            Shared { packing, turns: turns.collect::<Result<_>>()?, bias: bias.transpose()? };
        let layers = self.layers.iter().zip(&self.config.form.sees);
        for (at, (layer, &sees)) in (1u64..).zip(layers) {
            x = self.layer(&x, layer, sees, &shared, dropout.map(|drop| drop.at(at)))?;
        }
        match &self.final_norm {
            Some(norm) => self.norm(&x, norm),
            None => Ok(x),
        }
    }

    fn layer(
        &self,
        x: &Tensor,
        layer: &LayerVars,
        sees: LayerAttention,
        shared: &Shared,
        dropout: Option<Dropout>,
    ) -> Result<Tensor> {
        let at = |place| dropout.map(|drop| drop.at(place));
        let packing = shared.packing;
        let before = match (self.config.form.norms, &layer.attention_norm) {
            (Norms::Pre, Some(norm)) => self.norm(x, norm)?,
            _ => x.clone(),
        };
        let [query, key, value] = layer.query_key_value(&before)?;
        let turned = |x: Tensor| match shared.turns.get(sees.rotary) {
            Some(turn) => nn::rotate(&x, turn),
            None => Ok(x),
        };
        let (query, key) = (turned(query)?, turned(key)?);
        let sight = AttentionContext { span: sees.span, bias: shared.bias.as_ref() };
        let heads = self.config.heads;
        let context = nn::attention([&query, &key, &value], packing, heads, sight, at(1))?;
        let mut out = layer.attention_out.of(&context)?;
        // DistilBERT drops nothing out here
        if self.config.architecture != Architecture::DistilBert {
            out = nn::dropout(&out, packing, at(2))?;
        }
        let sum = (out + x)?;
        let (x, before) = match (self.config.form.norms, &layer.attention_norm) {
            (Norms::Post, Some(norm)) => {
                let normed = self.norm(&sum, norm)?;
                (normed.clone(), normed)
            }
            (Norms::Post, None) => (sum.clone(), sum),
            (Norms::Pre, _) => (sum.clone(), self.norm(&sum, &layer.out_norm)?),
        };
        let wide = layer.up.of(&before)?;
        let out = match self.config.form.feed {
            Mlp::Plain => nn::linear_after_gelu(&wide, &layer.down.weight, &layer.down.bias)?,
            Mlp::Gated(half) => layer.down.of(&nn::gated(&wide, half)?)?,
        };
        let sum = (nn::dropout(&out, packing, at(3))? + x)?;
        match self.config.form.norms {
            Norms::Post => self.norm(&sum, &layer.out_norm),
            Norms::Pre => Ok(sum),
        }
    }

    fn norm(&self, x: &Tensor, norm: &NormVars) -> Result<Tensor> {
        nn::layer_norm(x, &norm.scale, &norm.shift, f64::from(self.config.norm_epsilon))
    }
}
