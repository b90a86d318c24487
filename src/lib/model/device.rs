//! The document encoder on a device, for inference: packed token ids in, pooled logits out, no graph.
//!
//! The arithmetic is that of `cpu`. Matrices are held in the type of the products, cast once; biases,
//! norms, maxima and everything behind them are f32.

use candle_core::{DType, Device, Tensor};

use super::{Batch, Checkpoint, Config, Layer, Linear, Matrix, Weights};
use crate::{
    error::{Error, Result},
    ops::{
        Documents, Norm, Projection,
        kernels::{Landing, Port},
    },
};

/// A masked-language model that turns token ids into the largest logit of each term.
pub(super) struct DeviceEncoder {
    config: Config,
    words: Tensor,
    positions: Tensor,
    token_type: Option<Tensor>,
    embedding_norm: Norm,
    layers: Vec<DeviceLayer>,
    head: Projection,
    head_norm: Norm,
    decoder: Projection,
    port: Option<Port>,
}

struct DeviceLayer {
    /// Query, key and value as one product.
    query_key_value: Projection,
    attention_out: Projection,
    attention_norm: Norm,
    up: Projection,
    down: Projection,
    out_norm: Norm,
}

/// Pooled logits `[B, V]` on their way to the host.
pub(super) enum Pooled {
    /// They are there.
    Here(Tensor),
    /// A device still computes or sends them.
    Sent(Landing),
}

impl DeviceEncoder {
    /// From a checkpoint; `dtype` is that of matrices and states.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the device has no room.
    pub fn new(checkpoint: Checkpoint, device: &Device, dtype: DType) -> Result<DeviceEncoder> {
        let Checkpoint { config, weights, .. } = checkpoint;
        let to = To { device, dtype, epsilon: config.norm_epsilon };
        let has_types = config.token_types > 0;
        let Weights { words, positions, token_types, embedding_norm, layers, .. } = weights;
        let words = to.matrix(words)?;
        let decoder = weights.untied_decoder.map(|own| to.matrix(own)).transpose()?;
        let decoder = decoder.unwrap_or_else(|| words.clone());
        Ok(DeviceEncoder {
            positions: to.matrix(positions)?,
            token_type: has_types.then(|| to.first_row(&token_types)).transpose()?,
            embedding_norm: to.norm(embedding_norm)?,
            layers: layers.into_iter().map(|layer| to.layer(layer)).collect::<Result<_>>()?,
            head: to.projection(weights.head)?,
            head_norm: to.norm(weights.head_norm)?,
            decoder: Projection { weight: decoder, bias: to.vector(weights.decoder_bias)? },
            port: device.is_cuda().then(|| Port::new(device)).transpose()?,
            words,
            config,
        })
    }

    /// `[B, V]` in f32 on the device: the largest logit over the tokens of each document.
    ///
    /// # Errors
    /// [`Error::Usage`] for a document that is empty or longer than the model reads; [`Error::Tensor`].
    pub fn pooled_logits(&self, batch: Batch) -> Result<Tensor> {
        batch.check(self.config.max_positions)?;
        let heads = self.config.heads;
        let documents = Documents::new(batch.ids, batch.packing, &self.words)?;
        let tables = [&self.words, &self.positions];
        let types = self.token_type.as_ref();
        let mut x = self.embedding_norm.of_embeddings(&documents, tables, types)?;
        for layer in &self.layers {
            let context = layer.query_key_value.attention(&x, &documents, heads)?;
            x = layer.attention_norm.of_sum(&context, &layer.attention_out, &x)?;
            let wide = layer.up.gelu(&x)?;
            x = layer.out_norm.of_sum(&wide, &layer.down, &x)?;
        }
        let x = self.head_norm.of(&self.head.gelu(&x)?)?;
        self.decoder.max_pool(&x, &documents)
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
    /// [`Error::Tensor`] if the device failed.
    pub fn finish<R>(&self, pooled: Pooled, f: impl FnOnce(&[f32], usize) -> R) -> Result<R> {
        let terms = self.config.vocab_size;
        match (pooled, &self.port) {
            (Pooled::Sent(landing), Some(port)) => {
                Ok(port.receive(landing, |numbers| f(numbers, terms))?)
            }
            (Pooled::Here(tensor), _) => Ok(f(&tensor.flatten_all()?.to_vec1::<f32>()?, terms)),
            (Pooled::Sent(_), None) => Err(Error::Usage("logits of another device".into())),
        }
    }
}

/// Where weights go, and as what.
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

    fn layer(&self, layer: Layer) -> Result<DeviceLayer> {
        Ok(DeviceLayer {
            query_key_value: self.projection(Linear::side_by_side(layer.query_key_value))?,
            attention_out: self.projection(layer.attention_out)?,
            attention_norm: self.norm(layer.attention_norm)?,
            up: self.projection(layer.up)?,
            down: self.projection(layer.down)?,
            out_norm: self.norm(layer.out_norm)?,
        })
    }
}
