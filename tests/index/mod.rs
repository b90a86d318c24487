//! The index: built, read back, broken.

pub mod broken;
pub mod build;
pub mod corpus_weights;
pub mod fuzz;
