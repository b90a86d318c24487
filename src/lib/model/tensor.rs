//! The document encoder on candle tensors, for training: packed token ids in, pooled logits out.
//!
//! The arithmetic is that of `cpu`, with gradients; variables carry Hugging Face's names. Numbers
//! are held in f32 and cast for each use, so half precision on a device has f32 masters.

use candle_core::{DType, Device, Tensor, Var};

use super::{Architecture, Checkpoint, Config, Linear, Matrix, Norm, Weights};
use crate::{
    error::{Error, Result},
    ops::{self, Dropout, Packing},
};

/// Documents as token ids, one behind the other.
#[derive(Clone, Debug)]
pub struct Batch {
    /// All ids, special ones included.
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
            let message = format!("want documents of 1 to {longest} tokens, got {lengths:?}");
            return Err(Error::Usage(message));
        }
        Ok(())
    }
}

struct LinearVars {
    weight: Var,
    bias: Var,
}

struct NormVars {
    scale: Var,
    shift: Var,
}

struct LayerVars {
    query_key_value: [LinearVars; 3],
    attention_out: LinearVars,
    attention_norm: NormVars,
    up: LinearVars,
    down: LinearVars,
    out_norm: NormVars,
}

/// A masked-language model whose every tensor takes a gradient.
pub struct TensorEncoder {
    config: Config,
    dtype: DType,
    device: Device,
    words: Var,
    positions: Var,
    token_types: Option<Var>,
    embedding_norm: NormVars,
    layers: Vec<LayerVars>,
    head: LinearVars,
    head_norm: NormVars,
    untied_decoder: Option<Var>,
    decoder_bias: Var,
}

impl TensorEncoder {
    /// From a checkpoint; `dtype` is that of products and states, sums and norms stay f32.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the device has no room.
    pub fn new(checkpoint: Checkpoint, device: &Device, dtype: DType) -> Result<TensorEncoder> {
        let Checkpoint { config, weights, .. } = checkpoint;
        let types = config.architecture.outer().token_types;
        let Weights { words, positions, token_types, layers, head, .. } = weights;
        let layers = layers.into_iter().map(|layer| {
            let [query, key, value] = layer.query_key_value;
            Ok(LayerVars {
                query_key_value: [
                    linear(query, device)?,
                    linear(key, device)?,
                    linear(value, device)?,
                ],
                attention_out: linear(layer.attention_out, device)?,
                attention_norm: norm(layer.attention_norm, device)?,
                up: linear(layer.up, device)?,
                down: linear(layer.down, device)?,
                out_norm: norm(layer.out_norm, device)?,
            })
        });
        let layers = layers.collect::<Result<_>>()?;
        Ok(TensorEncoder {
            words: matrix(words, device)?,
            positions: matrix(positions, device)?,
            token_types: types.map(|_| matrix(token_types, device)).transpose()?,
            embedding_norm: norm(weights.embedding_norm, device)?,
            layers,
            head: linear(head, device)?,
            head_norm: norm(weights.head_norm, device)?,
            untied_decoder: weights.untied_decoder.map(|own| matrix(own, device)).transpose()?,
            decoder_bias: vector(weights.decoder_bias, device)?,
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
        let names = self.config.architecture.outer();
        let mut all = Vec::new();
        let mut one = |name: &str, var| all.push((name.to_owned(), var));
        one(names.words, &self.words);
        one(names.positions, &self.positions);
        if let (Some(name), Some(var)) = (names.token_types, &self.token_types) {
            one(name, var);
        }
        norm_names(&mut all, names.embedding_norm, &self.embedding_norm);
        for (at, layer) in self.layers.iter().enumerate() {
            let names = self.config.architecture.layer(at);
            for (name, part) in names.query_key_value.iter().zip(&layer.query_key_value) {
                linear_names(&mut all, name, part);
            }
            linear_names(&mut all, &names.attention_out, &layer.attention_out);
            norm_names(&mut all, &names.attention_norm, &layer.attention_norm);
            linear_names(&mut all, &names.up, &layer.up);
            linear_names(&mut all, &names.down, &layer.down);
            norm_names(&mut all, &names.out_norm, &layer.out_norm);
        }
        linear_names(&mut all, names.head, &self.head);
        norm_names(&mut all, names.head_norm, &self.head_norm);
        let mut one = |name: &str, var| all.push((name.to_owned(), var));
        if let Some(var) = &self.untied_decoder {
            one(names.decoder, var);
        }
        one(names.decoder_bias, &self.decoder_bias);
        all
    }

    /// `[B, V]` in f32: the largest logit over the tokens of each document, right where it is above 0; the
    /// others are some number that is not ([`ops::max_pool_head`]).
    ///
    /// # Errors
    /// [`Error::Usage`] for a document that is empty or longer than the model reads;
    /// [`Error::Tensor`].
    pub fn pooled_logits(&self, batch: &Batch, dropout: Option<Dropout>) -> Result<Tensor> {
        let hidden = self.transformed(self.hidden_states(batch, dropout)?)?;
        let decoder = self.untied_decoder.as_ref().unwrap_or(&self.words);
        let pooled = ops::max_pool_head(&hidden, decoder, &self.decoder_bias, &batch.packing)?;
        Ok(pooled.to_dtype(DType::F32)?)
    }

    /// Masked-language modelling: the mean cross entropy of guessing `targets` at some rows of the
    /// packed batch; a scalar.
    ///
    /// # Errors
    /// As [`TensorEncoder::pooled_logits`] and [`ops::cross_entropy_head`].
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
        ops::cross_entropy_head(&hidden, decoder, &self.decoder_bias, targets)
    }

    /// `[rows, H]` after the head's transform, ready for the decoder.
    fn transformed(&self, hidden: Tensor) -> Result<Tensor> {
        self.norm(&ops::gelu(&apply(&hidden, &self.head)?)?, &self.head_norm)
    }

    /// `[rows, H]`: the last layer's states.
    ///
    /// # Errors
    /// As [`TensorEncoder::pooled_logits`].
    pub fn hidden_states(&self, batch: &Batch, dropout: Option<Dropout>) -> Result<Tensor> {
        batch.check(self.config.max_positions)?;
        let positions = ops::embed(&self.positions, &batch.packing.places())?;
        let mut x = (ops::embed(&self.words, &batch.ids)? + positions)?;
        if let Some(types) = &self.token_types {
            x = x.broadcast_add(&types.narrow(0, 0, 1)?)?;
        }
        let x = self.norm(&x.to_dtype(self.dtype)?, &self.embedding_norm)?;
        let mut x = ops::dropout(&x, &batch.packing, dropout)?;
        for (at, layer) in (1u64..).zip(&self.layers) {
            x = self.layer(&x, layer, &batch.packing, dropout.map(|drop| drop.at(at)))?;
        }
        Ok(x)
    }

    fn layer(
        &self,
        x: &Tensor,
        layer: &LayerVars,
        packing: &Packing,
        dropout: Option<Dropout>,
    ) -> Result<Tensor> {
        let at = |place| dropout.map(|drop| drop.at(place));
        let [query, key, value] = &layer.query_key_value;
        let [query, key, value] = [apply(x, query)?, apply(x, key)?, apply(x, value)?];
        let heads = self.config.heads;
        let context = ops::attention([&query, &key, &value], packing, heads, at(1))?;
        let mut out = apply(&context, &layer.attention_out)?;
        // DistilBERT drops nothing out here
        if self.config.architecture == Architecture::Bert {
            out = ops::dropout(&out, packing, at(2))?;
        }
        let x = self.norm(&(out + x)?, &layer.attention_norm)?;
        let wide = apply(&x, &layer.up)?;
        let out = ops::linear_after_gelu(&wide, &layer.down.weight, &layer.down.bias)?;
        let out = ops::dropout(&out, packing, at(3))?;
        self.norm(&(out + x)?, &layer.out_norm)
    }

    fn norm(&self, x: &Tensor, norm: &NormVars) -> Result<Tensor> {
        ops::layer_norm(x, &norm.scale, &norm.shift, f64::from(self.config.norm_epsilon))
    }
}

fn apply(x: &Tensor, part: &LinearVars) -> Result<Tensor> {
    ops::linear(x, &part.weight, &part.bias)
}

fn matrix(matrix: Matrix, device: &Device) -> Result<Var> {
    let rows = matrix.data.len() / matrix.columns.max(1);
    Ok(Var::from_vec(matrix.data, (rows, matrix.columns), device)?)
}

fn vector(numbers: Vec<f32>, device: &Device) -> Result<Var> {
    let length = numbers.len();
    Ok(Var::from_vec(numbers, length, device)?)
}

fn linear(part: Linear, device: &Device) -> Result<LinearVars> {
    Ok(LinearVars { weight: matrix(part.weight, device)?, bias: vector(part.bias, device)? })
}

fn norm(part: Norm, device: &Device) -> Result<NormVars> {
    Ok(NormVars { scale: vector(part.weight, device)?, shift: vector(part.bias, device)? })
}

fn linear_names<'a>(all: &mut Vec<(String, &'a Var)>, name: &str, part: &'a LinearVars) {
    all.push((format!("{name}.weight"), &part.weight));
    all.push((format!("{name}.bias"), &part.bias));
}

fn norm_names<'a>(all: &mut Vec<(String, &'a Var)>, name: &str, part: &'a NormVars) {
    all.push((format!("{name}.weight"), &part.scale));
    all.push((format!("{name}.bias"), &part.shift));
}
