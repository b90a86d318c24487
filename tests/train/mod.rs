//! Training: data to directory.

pub mod broken;
pub mod distill;
pub mod export;
pub mod from_dense;
pub mod masked;
pub mod ops;
pub mod programs;
pub mod recipes;
pub mod run;
pub mod score;
pub mod step;
