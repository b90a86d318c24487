//! One query against several indexes, as if they were one.

use super::{Hit, Method, search};
use crate::{error::Result, index::Index, sparse::SparseVector};

/// A hit and the index it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The index's place among the arguments.
    pub index: usize,
    /// The hit in it.
    pub hit: Hit,
}

/// The at most `k` best documents of all indexes: score descending, then the order of the indexes,
/// then document ascending. That is the order in which one merged index would give them.
///
/// # Errors
/// [`crate::Error::Format`] if an index turns out to be damaged.
pub fn search_all(
    indexes: &[Index],
    query: &SparseVector,
    k: usize,
    method: Method,
) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (place, index) in indexes.iter().enumerate() {
        let hits = search(index, query, k, method)?;
        found.extend(hits.into_iter().map(|hit| Found { index: place, hit }));
    }
    found.sort_by(|a, b| {
        let order = b.hit.score.total_cmp(&a.hit.score);
        order.then(a.index.cmp(&b.index)).then(a.hit.doc.cmp(&b.hit.doc))
    });
    found.truncate(k);
    Ok(found)
}
