//! Sparse vectors over a vocabulary, how logits become their weights, and the ways to make them shorter.
//!
//! Nothing here knows files, text or tensors.

mod activation;
mod prune;
mod vector;

pub use activation::Activation;
pub use prune::Prune;
pub use vector::{SparseVector, TermId};
