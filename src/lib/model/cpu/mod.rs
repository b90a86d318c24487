//! The encoder on plain slices of f32: one document at a time, no padding, no [tokens, vocabulary].
//!
//! Every document is computed separately, and every output of a product is one sum in one order, so its
//! weights are the same bytes in any batch and with any number of threads.

mod attention;
mod encoder;

pub use encoder::CpuEncoder;
