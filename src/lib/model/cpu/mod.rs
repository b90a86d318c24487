//! The encoder on plain slices of f32: one document at a time, no padding, no [tokens, vocabulary].
//!
//! Every document is computed by itself, and every output of a product is one sum in one order, so its
//! weights are the same bytes whatever else is in the batch and however many threads there are.

mod attention;
mod encoder;

pub use encoder::CpuEncoder;
