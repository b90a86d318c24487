//! Pages and architecture: what is written is what is.

pub mod examples;
pub mod floors;
pub mod paper;
pub mod readme;
