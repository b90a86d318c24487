//! Whether indexes, vectors and tokenizers belong together.

use super::{file::Index, layout::Section, metadata::describe};
use crate::{
    error::{Error, Result},
    vectors::VectorMeta,
};

impl Index {
    /// Checks that terms and weights of another index mean the same: vocabulary, encoding and
    /// query table agree.
    ///
    /// # Errors
    /// [`Error::Mismatch`] that names what differs.
    pub fn check_query_side(&self, other: &Index) -> Result<()> {
        let (left, right) = (self.metadata(), other.metadata());
        let mismatch = |what: &str, expected: &str, got: &str| {
            Err(Error::Mismatch {
                what: format!("{}: {what}", other.name()),
                expected: format!("{expected}, as in {}", self.name()),
                got: got.to_owned(),
                remedy: "build both from vectors of one model, with the same query weights: its own table or one file, not \
                         weights fitted to each collection".into(),
            })
        };
        if left.vocabulary != right.vocabulary {
            return mismatch("vocabulary fingerprint", &left.vocabulary, &right.vocabulary);
        }
        if left.encoding != right.encoding {
            return mismatch("encoding", &describe(&left.encoding), &describe(&right.encoding));
        }
        if self.section(Section::QueryTable) != other.section(Section::QueryTable) {
            return mismatch("query table", &left.query_weights, &right.query_weights);
        }
        Ok(())
    }

    /// Checks that query vectors made by a network were made by the network of the index.
    ///
    /// Those of a table, of BM25 or of another program pass: any table may weight any index's terms.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the networks differ.
    pub fn check_queries(&self, file: &str, queries: &VectorMeta) -> Result<()> {
        let known = self.metadata().encoding.as_ref();
        let expected = known.and_then(|encoding| encoding.model_sha256.as_deref());
        match (expected, queries.model_sha256.as_deref()) {
            (Some(expected), Some(got)) if expected != got && queries.activation != "table" => {
                Err(Error::Mismatch {
                    what: format!("{file}: model of the queries"),
                    expected: format!("SHA-256 {expected}, that of {}", self.name()),
                    got: got.to_owned(),
                    remedy: "encode queries and documents with the same model".into(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks that a vocabulary is that of the index.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if its fingerprint differs.
    pub fn check_fingerprint(&self, vocabulary: &str) -> Result<()> {
        let expected = &self.metadata().vocabulary;
        if expected == vocabulary {
            return Ok(());
        }
        Err(Error::Mismatch {
            what: format!("{}: vocabulary fingerprint", self.name()),
            expected: expected.clone(),
            got: vocabulary.to_owned(),
            remedy: "use the tokenizer of the model that made the vectors".into(),
        })
    }
}
