//! One query against several indexes, as if they were one.

use std::collections::BTreeMap;

use super::{Hit, Method, search};
use crate::{
    error::{Error, Result},
    index::Index,
    sparse::SparseVector,
};

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
/// [`Error::Format`] if an index turns out to be damaged, or two of them hold one document.
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
    if indexes.len() > 1 {
        refuse_repeated(indexes, &found)?;
    }
    Ok(found)
}

/// A document id may not be in two indexes, as it may not be in a merged index twice.
fn refuse_repeated(indexes: &[Index], found: &[Found]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for Found { index, hit } in found {
        let docno = indexes[*index].docno(hit.doc)?;
        if let Some(other) = seen.insert(docno, *index) {
            let other = indexes[other].name();
            let reason =
                format!("document `{docno}` is also in {other}; expected indexes that share none");
            return Err(Error::format(indexes[*index].name(), reason));
        }
    }
    Ok(())
}
