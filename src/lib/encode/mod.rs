//! Text to rows of vectors: documents through a network or BM25, queries through a table.
//!
//! Rows leave in the order of the input, in bounded memory. File formats are in `records` and `vectors`,
//! networks in `model`.

pub mod bm25;
mod document;
pub mod idf;
mod job;
mod join;
mod manifest;
pub mod resume;

use std::{fmt, str::FromStr};

pub(crate) use document::encodable;
pub use document::{EncodeConfig, Source, Summary, Text, encode};
pub use job::{Job, Model, Role, texts};
pub(crate) use job::{Origin, network};
pub use join::join;

use crate::{
    Error, Result,
    sparse::TermId,
    text::{DocumentFrequencies, Tokenizer},
    vectors::{Ending, VectorMeta, Writer},
};

/// The distinct word pieces among the tokens of a text, ascending, special ones left out.
fn distinct(tokens: &[u32], tokenizer: &Tokenizer) -> Vec<u32> {
    let pieces = tokens.iter().copied().filter(|&token| !tokenizer.is_special(TermId(token)));
    let mut terms: Vec<u32> = pieces.collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}

/// The document frequencies that follow the rows of a file, all of which were read; none if it has none.
///
/// # Errors
/// As [`DocumentFrequencies::from_text`].
fn carried(file: &str, ending: &Ending, meta: &VectorMeta) -> Result<Option<DocumentFrequencies>> {
    let (vocabulary, terms) = (&meta.vocabulary_sha256, meta.vocab_size);
    let text = ending.document_frequencies();
    text.map(|text| DocumentFrequencies::from_text(file, text, vocabulary, terms)).transpose()
}

/// Ends an output, with the document frequencies after the rows if there are some.
///
/// # Errors
/// As [`Writer::finish`].
fn finish(mut writer: Writer, counted: Option<&DocumentFrequencies>) -> Result<()> {
    if let Some(counted) = counted {
        writer.set_document_frequencies(counted.to_text()?);
    }
    writer.finish()
}

/// One of `count` equal parts of an input: the rows whose number, from 0, is `index` modulo `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `count`.
    pub index: u64,
    /// At least 1.
    pub count: u64,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Whether row `number` belongs to the part.
    pub fn has(self, number: u64) -> bool {
        number % self.count == self.index
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shard> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            Some(Shard { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        parsed.filter(|shard| shard.index < shard.count).ok_or_else(|| {
            Error::Usage(format!("expected I/N with I from 0 to N - 1, as in 0/4; found `{text}`"))
        })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_part_an_input() {
        let shards: Vec<Shard> = (0..3).map(|at| format!("{at}/3").parse().unwrap()).collect();
        for number in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
        }
        for bad in ["3/3", "0/0", "1", "-1/2", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
