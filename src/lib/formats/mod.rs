//! Bytes to values and back: one file per format, which begins with what the format means.
//!
//! | artefact | form | file |
//! |---|---|---|
//! | corpus, queries | JSON lines, BEIR's field names; tables with the same columns | `records` |
//! | training examples | JSON lines in six forms; tables with the same columns | `examples` |
//! | sparse vectors | Parquet, Arrow IPC, JSON lines | `vectors`, `rows`, `sink`, `stream` |
//! | what other engines take and give | JSON lines, CIFF, PISA | `exchange` |
//! | refused records | JSON lines | `rejects` |
//! | judgements, runs | TREC text; BEIR's table of judgements | `trec` |
//!
//! Nothing here knows tokenizers, tensors or indexes.

mod arrow;
pub mod examples;
pub mod exchange;
pub mod records;
pub mod rejects;
mod rows;
mod sink;
mod stream;
pub mod trec;
pub mod vectors;
