//! The order of documents in an index: that of the input, or one in which those with the same terms are
//! adjacent, which makes block maxima tighter and gaps shorter.
//!
//! Documents keep their numbers; the order is a table from places to documents.

use std::{fmt, str::FromStr};

use super::bisect;
use crate::{
    error::{Error, Result},
    index::format::postings::DocId,
    sparse::{SparseVector, TermId},
};

/// How documents are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order of the input.
    Given,
    /// By recursive graph bisection.
    Bp,
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Order> {
        match text {
            "given" => Ok(Order::Given),
            "bp" => Ok(Order::Bp),
            _ => Err(Error::Usage(format!("expected given or bp, found `{text}`"))),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Order::Given => "given",
            Order::Bp => "bp",
        })
    }
}

/// The strongest terms of a document, which bisection uses.
const STRONGEST: usize = 40;

/// The strongest terms of every document, gathered while an index is built.
#[derive(Debug, Default)]
pub(in crate::index) struct Graph {
    /// Where each document's terms end.
    ends: Vec<u64>,
    terms: Vec<TermId>,
}

impl Graph {
    /// Adds the next document.
    pub(in crate::index) fn push(&mut self, vector: &SparseVector) {
        let mut pairs: Vec<(TermId, f32)> = vector.iter().collect();
        if pairs.len() > STRONGEST {
            pairs.select_nth_unstable_by(STRONGEST, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            pairs.truncate(STRONGEST);
        }
        self.terms.extend(pairs.iter().map(|pair| pair.0));
        self.ends.push(self.terms.len() as u64);
    }

    /// Bytes of memory, about.
    pub(in crate::index) fn memory(&self) -> usize {
        8 * self.ends.capacity() + 4 * self.terms.capacity()
    }

    /// The document at each place, by bisection; `progress` gets the share that is done.
    pub(in crate::index) fn into_order(
        self,
        vocabulary_size: usize,
        progress: impl FnMut(f64),
    ) -> Vec<DocId> {
        bisect::order(&self.without_extremes(vocabulary_size), vocabulary_size, progress)
    }

    /// Without the uninformative terms: those of an eighth of all documents or more, and the rarest.
    fn without_extremes(mut self, vocabulary_size: usize) -> bisect::Rows {
        let mut counts = vec![0u32; vocabulary_size];
        self.terms.iter().for_each(|term| counts[term.index()] += 1);
        let most = (self.ends.len() / 8).max(16) as u32;
        let (mut kept, mut start) = (0, 0);
        for end in &mut self.ends {
            let row = start..*end as usize;
            start = row.end;
            for at in row {
                if (4..=most).contains(&counts[self.terms[at].index()]) {
                    self.terms[kept] = self.terms[at];
                    kept += 1;
                }
            }
            *end = kept as u64;
        }
        self.terms.truncate(kept);
        bisect::Rows { ends: self.ends, terms: self.terms }
    }
}

/// The place of each document in an order.
pub(in crate::index) fn places(order: &[DocId]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, doc) in (0..).zip(order) {
        places[doc.index()] = place;
    }
    places
}

/// Σ log₂(gap) over numbers that ascend.
pub(in crate::index) fn gap_bits(numbers: impl Iterator<Item = u32>) -> f64 {
    let gaps = numbers.scan(None, |before: &mut Option<u32>, number| {
        let gap = before.map_or(f64::from(number) + 1.0, |before| f64::from(number - before));
        *before = Some(number);
        Some(gap)
    });
    // eight factors below 2³² stay finite: an eighth of the logarithms
    let (mut bits, mut product, mut held) = (0.0, 1.0f64, 0);
    for gap in gaps {
        product *= gap;
        held += 1;
        if held == 8 {
            bits += product.log2();
            (product, held) = (1.0, 0);
        }
    }
    bits + product.log2()
}
