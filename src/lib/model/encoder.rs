//! The document encoder as the stages above drive it: token ids in, sparse vectors out.

use candle_core::{DType, Device};

use super::{
    Activation, Batch, Checkpoint, Config, Cutoff, ModelDirectory, TensorEncoder, cpu::CpuEncoder,
};
use crate::{
    device::{Compute, Precision},
    error::{Error, Result},
    sparse::{SparseVector, TermId},
};

/// Documents that a device computes at a time; they are padded to the longest of them.
const DEVICE_DOCS: usize = 64;

/// A model ready to encode documents.
pub struct SparseEncoder {
    engine: Engine,
    dtype: DType,
    cutoff: Option<Cutoff>,
    /// The activation in force.
    pub activation: Activation,
    /// The longest document in tokens.
    pub max_tokens: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// SHA-256 of the file of weights.
    pub sha256: String,
}

/// Who does the arithmetic.
enum Engine {
    Slices(Box<CpuEncoder>),
    Tensors(Box<TensorEncoder>),
}

/// What goes before what a model's files say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The activation.
    pub activation: Option<Activation>,
    /// The longest document in tokens.
    pub max_tokens: Option<usize>,
}

impl SparseEncoder {
    /// Loads a model: on slices for the processor, on tensors for a device.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; [`Error::Usage`] for a length the model has no positions for, for a
    /// device that is not there and for f16 on the processor.
    pub fn load(
        directory: &ModelDirectory,
        overrides: Overrides,
        compute: Compute,
        precision: Precision,
    ) -> Result<SparseEncoder> {
        let dtype = compute.dtype(precision)?;
        match compute {
            Compute::Cpu => SparseEncoder::with(directory, overrides, dtype, |checkpoint| {
                let Checkpoint { config, weights, .. } = checkpoint;
                let new = if dtype == DType::BF16 { CpuEncoder::in_bf16 } else { CpuEncoder::new };
                Ok(Engine::Slices(Box::new(new(config, weights))))
            }),
            Compute::Cuda(_) => {
                SparseEncoder::on_tensors(directory, overrides, &compute.open()?, dtype)
            }
        }
    }

    /// Loads a model on tensors, wherever the device is.
    ///
    /// # Errors
    /// As [`SparseEncoder::load`].
    pub fn on_tensors(
        directory: &ModelDirectory,
        overrides: Overrides,
        device: &Device,
        dtype: DType,
    ) -> Result<SparseEncoder> {
        SparseEncoder::with(directory, overrides, dtype, |checkpoint| {
            Ok(Engine::Tensors(Box::new(TensorEncoder::new(checkpoint, device, dtype)?)))
        })
    }

    fn with(
        directory: &ModelDirectory,
        overrides: Overrides,
        dtype: DType,
        engine: impl FnOnce(Checkpoint) -> Result<Engine>,
    ) -> Result<SparseEncoder> {
        let checkpoint = Checkpoint::load(&directory.encoder)?;
        let Config { max_positions, vocab_size, .. } = checkpoint.config;
        let longest = directory.max_tokens.map_or(max_positions, |own| own.min(max_positions));
        let max_tokens = overrides.max_tokens.unwrap_or(longest);
        if max_tokens > max_positions {
            return Err(Error::Usage(format!(
                "--max-tokens: the model has {max_positions} positions, got {max_tokens}"
            )));
        }
        let activation = overrides.activation.or(directory.activation);
        Ok(SparseEncoder {
            dtype,
            cutoff: directory.cutoff.clone(),
            activation: activation.unwrap_or(Activation::SPLADE),
            max_tokens,
            vocab_size,
            sha256: checkpoint.sha256.clone(),
            engine: engine(checkpoint)?,
        })
    }

    /// All that besides tensors and lengths decides what a weight is: the activation, the threshold if
    /// one was trained, the type of the numbers if it is not f32.
    pub fn convention(&self) -> String {
        let mut text = self.activation.to_string();
        if let Some(cutoff) = &self.cutoff {
            text += &format!(",threshold={}", cutoff.in_short());
        }
        if self.dtype != DType::F32 {
            text += &format!(",{}", self.dtype.as_str());
        }
        text
    }

    /// The weights of each document, in order: `documents` are token ids, special ones included,
    /// each at most `max_tokens` long. One without tokens has no weights.
    ///
    /// The largest logit over the tokens, then the activation (paper.md 1.1). Special tokens take
    /// part in the maximum, as in the released code. Weights that do not pass the model's threshold,
    /// if it has one, are left out.
    ///
    /// # Errors
    /// [`Error::Weight`] if the model yields a weight that is not finite; [`Error::Tensor`].
    pub fn encode(&self, documents: &[&[u32]]) -> Result<Vec<SparseVector>> {
        let vectors = match &self.engine {
            Engine::Slices(encoder) => encoder.encode(documents, self.activation)?,
            Engine::Tensors(encoder) => self.encode_on_tensors(encoder, documents)?,
        };
        match &self.cutoff {
            Some(cutoff) => vectors.iter().map(|vector| cutoff.apply(vector)).collect(),
            None => Ok(vectors),
        }
    }

    /// Documents of like length go together.
    fn encode_on_tensors(
        &self,
        encoder: &TensorEncoder,
        documents: &[&[u32]],
    ) -> Result<Vec<SparseVector>> {
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.retain(|&at| !documents[at].is_empty());
        order.sort_by_key(|&at| documents[at].len());
        let mut vectors = vec![SparseVector::default(); documents.len()];
        for group in order.chunks(DEVICE_DOCS) {
            let ids: Vec<Vec<u32>> = group.iter().map(|&at| documents[at].to_vec()).collect();
            let logits = encoder.pooled_logits(&Batch::new(&ids, 0), None)?.detach();
            for (&at, row) in group.iter().zip(logits.to_vec2::<f32>()?) {
                vectors[at] = self.activation.vector((0..).map(TermId).zip(row))?;
            }
        }
        Ok(vectors)
    }
}
