//! The best so far, under one total order.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::index::DocId;

/// A document and its score. The lesser hit is the better: score descending, then document
/// ascending.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// The document.
    pub doc: DocId,
    /// Above 0; infinite if the sum outgrew f32.
    pub score: f32,
}

impl Ord for Hit {
    fn cmp(&self, other: &Hit) -> Ordering {
        other.score.total_cmp(&self.score).then(self.doc.cmp(&other.doc))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Hit) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Hit) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Hit {}

/// Keeps the `k` best hits.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    /// The worst on top.
    heap: BinaryHeap<Hit>,
}

impl TopK {
    /// Without hits.
    pub fn new(k: usize) -> TopK {
        TopK { k, heap: BinaryHeap::new() }
    }

    /// Offers a hit; it is kept if its score is above 0 and it is among the `k` best.
    pub fn push(&mut self, hit: Hit) {
        if hit.score > 0.0 && self.heap.len() < self.k {
            self.heap.push(hit);
        } else if hit.score > 0.0
            && let Some(mut worst) = self.heap.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }

    /// The hits, best first.
    pub fn into_hits(self) -> Vec<Hit> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(k: usize, scores: &[f32], expected: &[u32]) {
        let mut top = TopK::new(k);
        for (doc, &score) in (0..).zip(scores) {
            top.push(Hit { doc: DocId(doc), score });
        }
        let docs: Vec<u32> = top.into_hits().iter().map(|hit| hit.doc.0).collect();
        assert_eq!(docs, expected);
    }

    #[test]
    fn the_best_first_and_of_equals_the_lower_document() {
        check(2, &[1.0, 3.0, 2.0], &[1, 2]);
        check(2, &[1.0, 1.0, 1.0, 2.0], &[3, 0]);
        check(5, &[1.0, 0.0, 2.0], &[2, 0]); // 0 is no hit
        check(0, &[1.0], &[]);
        check(2, &[f32::INFINITY, 1.0, f32::INFINITY], &[0, 2]);
    }
}
