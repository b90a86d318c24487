//! Corpora, queries, judgements, runs and training examples, as they are read.

pub mod examples;
