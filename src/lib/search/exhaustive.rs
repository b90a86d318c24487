//! The truth: every posting of every query term is scored, a term at a time.

use super::{Hit, TopK, part};
use crate::{
    error::Result,
    index::{DocId, Index},
    sparse::SparseVector,
};

/// The best hits of one index.
///
/// # Errors
/// [`crate::Error::Format`] if the index is damaged.
pub(super) fn search(index: &Index, query: &SparseVector, k: usize) -> Result<Vec<Hit>> {
    let mut scores = vec![0.0f32; index.len()];
    for (term, query_weight) in query.iter() {
        let mut cursor = index.list(term)?.cursor();
        while cursor.doc() != DocId::END {
            // a cursor gives documents of the index only
            scores[cursor.doc().index()] += part(query_weight, cursor.weight());
            cursor.advance();
        }
        if cursor.is_broken() {
            return Err(index.damaged_list(term));
        }
    }
    let mut top = TopK::new(k);
    for (doc, &score) in (0..).map(DocId).zip(&scores) {
        top.push(Hit { doc, score });
    }
    Ok(top.into_hits())
}
