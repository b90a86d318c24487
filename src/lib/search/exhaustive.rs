//! Exhaustive search: every posting of every query term is scored, one term at a time.

use super::{Hit, TopK, part};
use crate::{error::Result, index::Index, sparse::SparseVector};

/// The best hits of one index.
///
/// # Errors
/// [`crate::Error::Format`] if the index is damaged.
pub(super) fn search(index: &Index, query: &SparseVector, k: usize) -> Result<Vec<Hit>> {
    let mut scores = vec![0.0f32; index.len()];
    for (term, query_weight) in query.iter() {
        // a list gives places of the index only
        let read = index.list(term)?.each(|place, weight| {
            scores[place as usize] += part(query_weight, weight);
        });
        index.whole(term, read)?;
    }
    let mut top = TopK::new(k);
    for (place, &score) in (0..).zip(&scores) {
        if score > 0.0 {
            top.push(Hit { doc: index.placed(place)?, score });
        }
    }
    Ok(top.into_hits())
}
