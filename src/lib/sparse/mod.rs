//! Sparse vectors over a vocabulary, and the ways to make them shorter.
//!
//! Nothing here knows of files, text or tensors.

mod prune;
mod vector;

pub use prune::Prune;
pub use vector::{SparseVector, TermId};
