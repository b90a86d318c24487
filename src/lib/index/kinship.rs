//! Whether indexes, vectors and tokenizers belong together.

use super::{file::Index, layout::Section, metadata::told};
use crate::error::{Error, Result};

impl Index {
    /// Checks that another index means the same by a term and by a weight: vocabulary, encoding and
    /// query table agree.
    ///
    /// # Errors
    /// [`Error::Mismatch`] that names what differs.
    pub fn check_language(&self, other: &Index) -> Result<()> {
        let (left, right) = (self.metadata(), other.metadata());
        let mismatch = |what: &str, expected: &str, got: &str| {
            Err(Error::Mismatch {
                what: format!("{}: {what}", other.name()),
                expected: format!("{expected}, as in {}", self.name()),
                got: got.to_owned(),
                remedy: "build both from vectors of one model, with one --query-weights".into(),
            })
        };
        if left.vocabulary != right.vocabulary {
            return mismatch("vocabulary fingerprint", &left.vocabulary, &right.vocabulary);
        }
        if left.encoding != right.encoding {
            return mismatch("encoding", &told(&left.encoding), &told(&right.encoding));
        }
        if self.section(Section::QueryTable) != other.section(Section::QueryTable) {
            return mismatch("query table", &left.query_weights, &right.query_weights);
        }
        Ok(())
    }

    /// Checks that a vocabulary is that of the index.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if its fingerprint is another.
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
