//! Measures, comparisons, and l0-eval from outside.

pub mod diff;
pub mod programs;
pub mod trec_eval;
