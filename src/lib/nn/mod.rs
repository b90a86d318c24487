//! Operators of the method on tensors: each a formula with a value and a gradient.
//!
//! On a processor in f32 the heavy ones run on slices (`kernels`), on a CUDA device on `cuda`, each with a
//! backward pass of its own (`custom_op` puts them into candle's graph); anywhere else, and in f64, the
//! plain formula next to them runs, which is also what they are tested against. candle's fused layer
//! norm and softmax are not used: they have no gradient and do not say so. Nothing here knows of files,
//! texts or models.

mod activation;
mod attention;
mod cross_entropy;
pub(crate) mod cuda;
mod custom_op;
mod dense;
mod dropout;
mod embed;
mod fused;
mod gather;
mod head;
mod packing;
mod pool;
mod position;
mod regularizer;
mod table;
mod threshold;

pub use attention::attention;
pub use cross_entropy::cross_entropy_head;
pub use dense::{Half, gated, gelu, layer_norm, linear, linear_after_gelu};
pub use dropout::{Dropout, dropout};
pub(crate) use dropout::{GOLDEN, mixed};
pub use embed::embed;
pub use fused::{Documents, Look, Norm, Projection};
pub use gather::{backward, sum_of_squares};
pub use head::max_pool_head;
pub use packing::Packing;
pub use pool::{Pooling, max_over_tokens, normalize, pool};
pub use position::{
    AttentionContext, BUCKETS, Rotation, Span, Turn, bucket, relative_bias, rotate,
};
pub use regularizer::{Denominator, Groups, Regularizer, RegularizerKind, count_terms};
pub use table::embedding_table;
pub use threshold::{HardThreshold, Kernel, Share};

use crate::error::Error;

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Error {
        Error::Compute(Box::new(error))
    }
}
