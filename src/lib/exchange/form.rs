//! The forms by name: what terms and weights are, and one document or query, ready to be written.

use std::{fmt, str::FromStr};

use super::Quantize;
use crate::error::{Error, Result};

/// A form to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// OpenSearch, exact: `rank_features`.
    OpenSearch,
    /// OpenSearch, approximate: `sparse_vector`.
    OpenSearchAnn,
    /// Elasticsearch: `sparse_vector`.
    Elasticsearch,
    /// Vespa.
    Vespa,
    /// Qdrant.
    Qdrant,
    /// Anserini's and Pyserini's `JsonVectorCollection`.
    Anserini,
    /// JSON lines of Seismic and of the LSR toolkits.
    Seismic,
    /// Token-keyed JSON lines.
    JsonLines,
    /// The Common Index File Format.
    Ciff,
    /// PISA's inverted index.
    Pisa,
}

impl Target {
    /// All of them, in the order of the table in [`super`].
    pub const ALL: [Target; 10] = [
        Target::OpenSearch,
        Target::OpenSearchAnn,
        Target::Elasticsearch,
        Target::Vespa,
        Target::Qdrant,
        Target::Anserini,
        Target::Seismic,
        Target::JsonLines,
        Target::Ciff,
        Target::Pisa,
    ];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; 10] = [
        "opensearch",
        "opensearch-ann",
        "elasticsearch",
        "vespa",
        "qdrant",
        "anserini",
        "seismic",
        "jsonl",
        "ciff",
        "pisa",
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Target::NAMES[self as usize]
    }

    /// Whether a term is written as its token, and not as its id.
    pub fn by_token(self) -> bool {
        !matches!(self, Target::OpenSearchAnn | Target::Qdrant)
    }

    /// Whether it is written list by list, and not document by document.
    pub fn by_list(self) -> bool {
        matches!(self, Target::Ciff | Target::Pisa)
    }

    /// Whether it holds whole numbers only.
    pub fn is_whole(self) -> bool {
        matches!(self, Target::Anserini | Target::Ciff | Target::Pisa)
    }

    /// The convention that its users expect for documents.
    pub fn usual(self) -> Quantize {
        match self {
            Target::Anserini => Quantize::Scale(100.0),
            Target::Ciff | Target::Pisa => Quantize::Max(255),
            _ => Quantize::None,
        }
    }

    /// The convention for queries: a query says a word as often as it weighs.
    pub fn usual_of_queries(self) -> Quantize {
        if self.is_whole() { Quantize::Scale(10.0) } else { Quantize::None }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        Target::ALL.into_iter().find(|target| target.name() == text).ok_or_else(|| {
            let names = Target::NAMES.join(", ");
            Error::Usage(format!("expected one of {names}; found `{text}`"))
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A weight as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// As it was.
    Real(f32),
    /// Quantised.
    Whole(u32),
}

impl serde::Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match *self {
            Number::Real(weight) => to.serialize_f32(weight),
            Number::Whole(level) => to.serialize_u32(level),
        }
    }
}

/// One document or query, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its place among all, from 0.
    pub place: u64,
    /// Its id.
    pub id: &'a str,
    /// Title, if it was kept.
    pub title: Option<&'a str>,
    /// Text, if it was kept.
    pub text: Option<&'a str>,
    /// Terms, ascending, with their tokens and weights.
    pub terms: &'a [(u32, &'a str, Number)],
}
