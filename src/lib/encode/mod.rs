//! Text to rows of vectors: documents through a network or BM25, queries through a table.
//!
//! Rows leave in the order of the input. What a file looks like is the business of `formats`, what a
//! logit is that of `model`; here they are joined, in bounded memory.

pub mod bm25;
mod document;
pub mod idf;
mod job;
mod join;
pub mod resume;

use std::{fmt, str::FromStr};

pub use document::{EncodeConfig, Source, Summary, Text, encode};
pub use job::{Job, Model, Role, texts};
pub use join::join;

use crate::{Error, Result};

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
            Error::Usage(format!("want I/N with I from 0 to N - 1, as in 0/4; got `{text}`"))
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
