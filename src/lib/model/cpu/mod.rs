//! The encoder on plain slices of f32: one document at a time, no padding, no [tokens, vocabulary].
//!
//! Every document is computed by itself with single-threaded products, so its weights are the same
//! bytes whatever stands beside it in a batch and however many threads there are.

mod encoder;

pub use encoder::CpuEncoder;
