//! Texts become vectors: l0-encode from outside, in parts, on clusters.

pub mod broken;
pub mod cluster;
pub mod programs;
