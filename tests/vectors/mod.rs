//! Rows of sparse vectors: written, read back, and read by other programs.

pub mod formats;
pub mod readers;
