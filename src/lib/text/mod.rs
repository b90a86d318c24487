//! Text to terms: the tokenizer, the vocabulary of the term ids, and the query side.
//!
//! Nothing here knows file formats, documents or tensors: queries are answered without a neural network.

mod ascii;
mod bm25;
mod frequencies;
mod lexical;
mod query;
mod reweight;
mod tokenizer;
mod vocabulary;

pub use bm25::Bm25;
pub use frequencies::DocumentFrequencies;
pub use lexical::{Lexical, LexicalPart};
pub use query::{QueryEncoder, QueryTable, inverse_document_frequency};
pub use reweight::Reweighting;
pub use tokenizer::{Tokenizer, Tokens};
pub use vocabulary::Vocabulary;
