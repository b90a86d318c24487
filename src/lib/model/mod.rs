//! The document encoder: a masked-language model from a directory, which makes sparse vectors.
//!
//! `directory` knows what files mean, `checkpoint` what tensors are called, `cpu` the arithmetic on
//! slices, `device` that on a device, `tensor` the same arithmetic with gradients, `dense` the
//! models that act as teachers.
//! Nothing here knows corpora or outputs. Without the feature `model` only the directory, its
//! fingerprint and the shipped models remain: what an index takes from a model.

#[cfg(feature = "model")]
mod checkpoint;
#[cfg(feature = "model")]
mod config;
#[cfg(feature = "model")]
pub mod cpu;
#[cfg(feature = "model")]
mod dense;
#[cfg(feature = "model")]
mod device;
mod directory;
#[cfg(feature = "model")]
mod encoder;
mod files;
#[cfg(feature = "model")]
mod names;
pub mod shipped;
#[cfg(feature = "model")]
mod stored;
#[cfg(feature = "model")]
mod tensor;
#[cfg(feature = "model")]
mod vocabulary;
#[cfg(feature = "model")]
mod weights;

pub use directory::{Cutoff, Folded, ModelDirectory};
pub use files::fingerprint;
pub use shipped::Shipped;

pub use crate::sparse::Activation;

#[cfg(feature = "model")]
pub use self::{
    checkpoint::Checkpoint,
    config::{
        Architecture, Biases, Config, Form, HasBias, LayerAttention, Mlp, Norms, Positions, Rotary,
    },
    dense::{DenseDirectory, DenseEncoder},
    encoder::{Overrides, Pending, SparseEncoder},
    tensor::{Batch, TensorEncoder},
    vocabulary::{DecoderRows, DenseSize, HEAD_KEY, Length, Pooled, Squash, VocabularyHead},
    weights::{HeadParts, Layer, Linear, Matrix, Norm, Weights},
};
#[cfg(feature = "model")]
pub(crate) use self::{
    stored::{BLOCK, BLOCK_SCALE},
    vocabulary::normalize,
};
#[cfg(feature = "model")]
pub use crate::nn::Pooling;
