//! The document encoder on a device, for inference: packed token ids in, pooled logits out, no graph.
//!
//! The arithmetic is that of `cpu`. Matrices are held in the type of the products, cast once; biases,
//! norms, maxima and everything after them are f32.

use candle_core::{DType, Device, Tensor};

use super::{
    Batch, Checkpoint, Config, HeadParts, Layer, LayerAttention, Length, Linear, Matrix, Mlp,
    Norms, Squash, VocabularyHead, Weights,
};
use crate::{
    error::{Error, Result},
    nn::{
        AttentionContext, Documents, Look, Norm, Projection, Rotation, Turn,
        cuda::{Landing, Port},
        normalize, relative_bias,
    },
};

/// A masked-language model that turns token ids into the largest logit of each term.
pub(super) struct DeviceEncoder {
    config: Config,
    rotations: Vec<Rotation>,
    words: Tensor,
    positions: Option<Tensor>,
    token_type: Option<Tensor>,
    relative: Option<Tensor>,
    embedding_norm: Norm,
    layers: Vec<DeviceLayer>,
    final_norm: Option<Norm>,
    head: DeviceHead,
    decoder: Projection,
    port: Option<Port>,
}

/// What lies between hidden states and decoder.
enum DeviceHead {
    MaskedLanguage { transform: Projection, norm: Norm },
    Vocabulary { pooled: super::Pooled, dense: Vec<Projection>, map: Option<Projection> },
}

struct DeviceLayer {
    /// Query, key and value as one product.
    query_key_value: Projection,
    attention_out: Projection,
    attention_norm: Option<Norm>,
    up: Projection,
    down: Projection,
    out_norm: Norm,
}

/// Pooled logits `[B, V]` on their way to the host.
pub(super) enum Pooled {
    /// They have arrived.
    Here(Tensor),
    /// The device still computes or copies them.
    Sent(Landing),
}

impl DeviceEncoder {
    /// From a checkpoint; `dtype` is that of matrices and states.
    ///
    /// # Errors
    /// [`Error::Compute`] if the device is out of memory.
    pub fn new(checkpoint: Checkpoint, device: &Device, dtype: DType) -> Result<DeviceEncoder> {
        let Checkpoint { config, weights, .. } = checkpoint;
        let to = To { device, dtype, epsilon: config.norm_epsilon };
        let (has_types, has_table) = (config.token_types > 0, config.position_rows().is_some());
        let Weights { words, positions, token_types, embedding_norm, layers, .. } = weights;
        let words = to.matrix(words)?;
        // the head of pooled states is small, and f32 throughout
        let full = To { dtype: DType::F32, ..to };
        let rows = if config.vocabulary_head.is_some() { full } else { to };
        let decoder = weights.untied_decoder.map(|own| rows.matrix(own)).transpose()?;
        let decoder = decoder.map_or_else(|| words.to_dtype(rows.dtype), Ok)?;
        Ok(DeviceEncoder {
            rotations: config.rotations(),
            positions: has_table.then(|| to.matrix(positions)).transpose()?,
            token_type: has_types.then(|| to.first_row(&token_types)).transpose()?,
            relative: weights.relative.map(|table| to.matrix(table)).transpose()?,
            embedding_norm: to.norm(embedding_norm)?,
            final_norm: weights.final_norm.map(|norm| to.norm(norm)).transpose()?,
            layers: layers.into_iter().map(|layer| to.layer(layer)).collect::<Result<_>>()?,
            head: to.head(weights.head, config.vocabulary_head.as_ref())?,
            decoder: Projection { weight: decoder, bias: to.vector(weights.decoder_bias)? },
            port: device.is_cuda().then(|| Port::new(device)).transpose()?,
            words,
            config,
        })
    }

    /// `[B, V]` in f32 on the device: the largest logit over the tokens of each document.
    ///
    /// # Errors
    /// [`Error::Usage`] for a document that is empty or longer than the model reads; [`Error::Compute`].
    pub fn pooled_logits(&self, batch: Batch) -> Result<Tensor> {
        batch.check(self.config.max_positions)?;
        let places = self.config.packed_places(&batch.ids, &batch.packing);
        let device = self.words.device();
        let turns = self.rotations.iter().map(|rotation| rotation.at(&places, device));
        let turns = turns.collect::<Result<Vec<_>>>()?;
        let documents = Documents::new(batch.ids, places, batch.packing, &self.words)?;
        let bias = self.relative.as_ref().map(|table| relative_bias(table, documents.widest()));
        let bias = bias.transpose()?;
        let (positions, types) = (self.positions.as_ref(), self.token_type.as_ref());
        let mut x = self.embedding_norm.of_embeddings(&documents, &self.words, positions, types)?;
        for (layer, &sees) in self.layers.iter().zip(&self.config.form.sees) {
            let look = self.look(sees, &turns, bias.as_ref());
            x = match self.config.form.norms {
                Norms::Post => self.post_norm(&x, layer, &documents, look)?,
                Norms::Pre => self.pre_norm(&x, layer, &documents, look)?,
            };
        }
        if let Some(norm) = &self.final_norm {
            x = norm.of(&x)?;
        }
        match &self.head {
            DeviceHead::MaskedLanguage { transform, norm } => {
                self.decoder.max_pool(&norm.of(&transform.gelu(&x)?)?, &documents)
            }
            DeviceHead::Vocabulary { pooled, dense, map } => {
                let mut x = documents.pool(&x, pooled.pooling)?;
                for (map, size) in dense.iter().zip(&pooled.dense) {
                    x = map.of(&x)?;
                    if size.squash == Squash::Tanh {
                        x = x.tanh()?;
                    }
                }
                if pooled.length == Length::One {
                    x = normalize(&x)?;
                }
                let x = map.as_ref().map_or(Ok(x.clone()), |map| map.of(&x))?;
                self.decoder.of(&x)
            }
        }
    }

    fn look<'a>(
        &self,
        sees: LayerAttention,
        turns: &'a [Turn],
        bias: Option<&'a Tensor>,
    ) -> Look<'a> {
        let sight = AttentionContext { span: sees.span, bias };
        Look { heads: self.config.heads, sight, turn: turns.get(sees.rotary) }
    }

    fn post_norm(
        &self,
        x: &Tensor,
        layer: &DeviceLayer,
        documents: &Documents,
        look: Look,
    ) -> Result<Tensor> {
        let context = layer.query_key_value.attention(x, documents, look)?;
        let x = match &layer.attention_norm {
            Some(norm) => norm.of_sum(&context, &layer.attention_out, x)?,
            None => (layer.attention_out.of(&context)? + x)?,
        };
        layer.out_norm.of_sum(&self.widened(&x, layer)?, &layer.down, &x)
    }

    fn pre_norm(
        &self,
        x: &Tensor,
        layer: &DeviceLayer,
        documents: &Documents,
        look: Look,
    ) -> Result<Tensor> {
        let normed = layer.attention_norm.as_ref().map(|norm| norm.of(x)).transpose()?;
        let before = normed.as_ref().unwrap_or(x);
        let context = layer.query_key_value.attention(before, documents, look)?;
        let x = (layer.attention_out.of(&context)? + x)?;
        let wide = self.widened(&layer.out_norm.of(&x)?, layer)?;
        Ok((layer.down.of(&wide)? + x)?)
    }

    /// The states between the two maps of the feed-forward network.
    fn widened(&self, x: &Tensor, layer: &DeviceLayer) -> Result<Tensor> {
        match self.config.form.feed {
            Mlp::Plain => layer.up.gelu(x),
            Mlp::Gated(half) => layer.up.gated(x, half),
        }
    }

    /// As [`DeviceEncoder::pooled_logits`], without waiting for them.
    ///
    /// # Errors
    /// As [`DeviceEncoder::pooled_logits`].
    pub fn start(&self, batch: Batch) -> Result<Pooled> {
        let pooled = self.pooled_logits(batch)?;
        Ok(match &self.port {
            Some(port) => Pooled::Sent(port.send(pooled)?),
            None => Pooled::Here(pooled),
        })
    }

    /// Waits for pooled logits and hands each document's `[V]` to `f`, in order.
    ///
    /// # Errors
    /// [`Error::Compute`] if the device failed.
    pub fn finish<R>(&self, pooled: Pooled, f: impl FnOnce(&[f32], usize) -> R) -> Result<R> {
        let terms = self.config.vocab_size;
        match (pooled, &self.port) {
            (Pooled::Sent(landing), Some(port)) => {
                Ok(port.receive(landing, |numbers| f(numbers, terms))?)
            }
            (Pooled::Here(tensor), _) => Ok(f(&tensor.flatten_all()?.to_vec1::<f32>()?, terms)),
            (Pooled::Sent(_), None) => {
                Err(Error::Internal("expected logits of this device, found another's".into()))
            }
        }
    }
}

/// Where weights go, and as what.
#[derive(Clone, Copy)]
struct To<'a> {
    device: &'a Device,
    dtype: DType,
    epsilon: f32,
}

impl To<'_> {
    fn matrix(&self, matrix: Matrix) -> Result<Tensor> {
        let rows = matrix.data.len() / matrix.columns.max(1);
        let tensor = Tensor::from_vec(matrix.data, (rows, matrix.columns), self.device)?;
        Ok(tensor.to_dtype(self.dtype)?)
    }

    fn first_row(&self, matrix: &Matrix) -> Result<Tensor> {
        Ok(self.vector(matrix.row(0).to_vec())?.to_dtype(self.dtype)?)
    }

    fn vector(&self, numbers: Vec<f32>) -> Result<Tensor> {
        let length = numbers.len();
        Ok(Tensor::from_vec(numbers, length, self.device)?)
    }

    fn projection(&self, Linear { weight, bias }: Linear) -> Result<Projection> {
        Ok(Projection { weight: self.matrix(weight)?, bias: self.vector(bias)? })
    }

    fn norm(&self, norm: super::Norm) -> Result<Norm> {
        let (scale, shift) = (self.vector(norm.weight)?, self.vector(norm.bias)?);
        Ok(Norm { scale, shift, epsilon: self.epsilon })
    }

    fn head(&self, parts: HeadParts, head: Option<&VocabularyHead>) -> Result<DeviceHead> {
        match (parts, head) {
            (HeadParts::MaskedLanguage { transform, norm }, _) => Ok(DeviceHead::MaskedLanguage {
                transform: self.projection(transform)?,
                norm: self.norm(norm)?,
            }),
            (HeadParts::Vocabulary { dense, map }, Some(head)) => {
                let full = To { dtype: DType::F32, ..*self };
                let map = map.map(|weight| full.projection(Linear::without_bias(weight)));
                let dense = dense.into_iter().map(|part| full.projection(part));
                Ok(DeviceHead::Vocabulary {
                    pooled: head.pooled.clone(),
                    dense: dense.collect::<Result<_>>()?,
                    map: map.transpose()?,
                })
            }
            (HeadParts::None, _) | (HeadParts::Vocabulary { .. }, None) => {
                Err(Error::Internal("expected a model with a head, found none".into()))
            }
        }
    }

    fn layer(&self, layer: Layer) -> Result<DeviceLayer> {
        Ok(DeviceLayer {
            query_key_value: self.projection(Linear::side_by_side(layer.query_key_value))?,
            attention_out: self.projection(layer.attention_out)?,
            attention_norm: layer.attention_norm.map(|norm| self.norm(norm)).transpose()?,
            up: self.projection(layer.up)?,
            down: self.projection(layer.down)?,
            out_norm: self.norm(layer.out_norm)?,
        })
    }
}
