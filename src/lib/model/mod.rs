//! The document encoder: a masked-language model read off a directory, run to sparse vectors.
//!
//! `directory` knows what files mean, `checkpoint` what tensors are called, `cpu` the arithmetic on
//! slices, `device` that on a device, `tensor` the same arithmetic with gradients, `dense` the models
//! that teach.
//! Nothing here knows of corpora or outputs.

mod checkpoint;
mod config;
pub mod cpu;
mod dense;
mod device;
mod directory;
mod encoder;
mod names;
pub mod shipped;
mod stored;
mod tensor;
mod vocabulary;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::{
    Architecture, Biases, Config, Feed, Form, HasBias, Norms, Positions, Rotary, Sees,
};
pub use dense::{DenseDirectory, DenseEncoder};
pub use directory::{Cutoff, Folded, ModelDirectory};
pub use encoder::{Overrides, Pending, SparseEncoder};
pub use shipped::Shipped;
pub(crate) use stored::SCALE;
pub use tensor::{Batch, TensorEncoder};
pub(crate) use vocabulary::normalize;
pub use vocabulary::{DecoderRows, DenseSize, HEAD_KEY, Length, Pooled, Squash, VocabularyHead};
pub use weights::{HeadParts, Layer, Linear, Matrix, Norm, Weights};

pub use crate::ops::{Activation, Pooling};
