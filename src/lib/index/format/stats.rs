//! Counts and sizes of an index.

use std::fmt;

use serde::Serialize;

use super::{
    file::Index,
    layout::Section,
    metadata::{Encoding, Gain, describe},
    postings::Parts,
    quantize::Weights,
};
use crate::{error::Result, sparse::TermId};

/// Counts and sizes of an index.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Number of documents.
    pub docs: u32,
    /// Number of terms in the vocabulary.
    pub vocabulary_size: usize,
    /// Number of terms with postings.
    pub terms: usize,
    /// Number of postings.
    pub postings: u64,
    /// Postings per document.
    pub mean_nnz: f64,
    /// The term with the most postings, the lowest if there are several.
    pub longest_term: u32,
    /// Its postings.
    pub longest_list: usize,
    /// How weights are stored.
    pub weights: Weights,
    /// Fingerprint of the vocabulary.
    pub vocabulary: String,
    /// What made the vectors, if they say.
    pub encoding: Option<Encoding>,
    /// Where the query weights came from.
    pub query_weights: String,
    /// How much the order of the documents saves, if it is not the one of the input.
    pub order: Option<Gain>,
    /// Bytes of each section, in the order of the file.
    pub sections: Vec<(&'static str, u64)>,
    /// Bytes of the file.
    pub bytes: u64,
    /// What the lists are made of, in bytes.
    pub lists: Parts,
    /// Bytes of postings, table of terms and order, per posting.
    pub bytes_per_posting: f64,
}

impl Index {
    /// Counts and sizes; reads the table of terms and the heads of the lists, not the postings.
    ///
    /// # Errors
    /// [`crate::Error::Format`] if the table of terms or a list is damaged.
    pub fn stats(&self) -> Result<Stats> {
        let metadata = self.metadata().clone();
        let (mut terms, mut longest) = (0, (TermId(0), 0));
        let mut parts = Parts::default();
        for term in (0..).map(TermId).take(metadata.vocabulary_size) {
            let list = self.list(term)?;
            let length = list.len();
            self.whole(term, list.parts().map(|more| parts.add(more)))?;
            terms += usize::from(length > 0);
            if length > longest.1 {
                longest = (term, length);
            }
        }
        let size = |section| self.section(section).len() as u64;
        let stored = size(Section::Postings) + size(Section::Terms) + size(Section::Order);
        Ok(Stats {
            docs: metadata.docs,
            vocabulary_size: metadata.vocabulary_size,
            terms,
            postings: metadata.postings,
            mean_nnz: ratio(metadata.postings, u64::from(metadata.docs)),
            longest_term: longest.0.0,
            longest_list: longest.1,
            weights: metadata.weights,
            vocabulary: metadata.vocabulary,
            encoding: metadata.encoding,
            query_weights: metadata.query_weights,
            order: metadata.order,
            sections: Section::ALL.map(|section| (section.name(), size(section))).to_vec(),
            bytes: self.bytes().len() as u64,
            lists: parts,
            bytes_per_posting: ratio(stored, metadata.postings),
        })
    }
}

/// 0 of nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One line per value: name, TAB, value.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "documents\t{}", self.docs)?;
        writeln!(f, "vocabulary\t{}", self.vocabulary_size)?;
        writeln!(f, "terms used\t{}", self.terms)?;
        writeln!(f, "postings\t{}", self.postings)?;
        writeln!(f, "terms a document\t{:.1}", self.mean_nnz)?;
        writeln!(f, "longest list\t{} (term {})", self.longest_list, self.longest_term)?;
        writeln!(f, "weights\t{}", self.weights)?;
        writeln!(f, "query weights\t{}", self.query_weights)?;
        writeln!(f, "vocabulary fingerprint\t{}", self.vocabulary)?;
        writeln!(f, "encoding\t{}", describe(&self.encoding))?;
        if let Some(Gain { given, stored }) = self.order {
            writeln!(f, "bits a gap, order given\t{given:.3}")?;
            writeln!(f, "bits a gap, order bp\t{stored:.3}")?;
        }
        for (name, bytes) in &self.sections {
            writeln!(f, "bytes of {name}\t{bytes}")?;
        }
        let Parts { blocks, maxima, offsets, places, impacts } = self.lists;
        writeln!(f, "bytes of lists: blocks\t{blocks}")?;
        writeln!(f, "bytes of lists: maxima\t{maxima}")?;
        writeln!(f, "bytes of lists: offsets\t{offsets}")?;
        writeln!(f, "bytes of lists: places\t{places}")?;
        writeln!(f, "bytes of lists: impacts\t{impacts}")?;
        writeln!(f, "bytes\t{}", self.bytes)?;
        writeln!(f, "bytes a posting\t{:.3}", self.bytes_per_posting)
    }
}
