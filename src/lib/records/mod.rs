//! What is read and written besides vectors: one file per format, which begins with what the format means.
//!
//! | artefact | form | file |
//! |---|---|---|
//! | corpus, queries | JSON lines, BEIR's field names; tables with the same columns | `read` |
//! | training examples | JSON lines in six forms; tables with the same columns | `examples` |
//! | refused records | JSON lines | `rejects` |
//! | judgements, runs | TREC text; BEIR's table of judgements | `trec` |
//!
//! Nothing here knows tokenizers, tensors or indexes.

pub mod examples;
mod read;
pub mod rejects;
pub mod trec;

pub use read::{
    Document, Query, QueryBody, Records, RejectsFor, TextQuery, parse_document, parse_query,
};
