//! What holds for all five programs.

pub mod completions;
pub mod pipes;
