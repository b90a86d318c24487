//! Bytes to values and back.

pub mod rejects;
pub mod trec;
pub mod vectors;
