//! MaxScore over blocks, a document at a time: exact, and skips what cannot enter the best.
//!
//! Lists are divided by their bounds (query weight · largest stored weight). Those with the smallest
//! bounds, whose sum cannot pass the threshold, are never walked: a document that stands only there
//! is no hit. Documents of the others are candidates; the rest of a candidate's score is looked up,
//! largest bound first, and left as soon as it cannot suffice. Before a list is decoded for that, the
//! maximum of the one block where the candidate would stand is asked.
//!
//! Why rounding cannot lose a hit: a score is a sum of at most n f32 parts, each at most its list's
//! (or block's) bound, because one f32 product is monotone. Summed in f32 it exceeds the exact sum by
//! at most the factor (1 + 2⁻²⁴)ⁿ⁻¹. Bounds are summed in f64 and multiplied by 1 + (n + 1) · 2⁻²³,
//! which is more than both errors together, before they are compared in f32.
//!
//! Source: Turtle and Flood 1995; with block maxima as in Chakrabarti, Chaudhuri, Ganti 2011.

use super::{Hit, TopK, part};
use crate::{
    error::Result,
    index::{Cursor, DocId, Index},
    sparse::{SparseVector, TermId},
};

/// One list of the query.
struct Lane<'a> {
    term: TermId,
    query_weight: f32,
    cursor: Cursor<'a>,
    /// The most that the list can add.
    bound: f32,
}

/// The best hits of one index.
///
/// # Errors
/// [`crate::Error::Format`] if the index is damaged.
pub(super) fn search(index: &Index, query: &SparseVector, k: usize) -> Result<Vec<Hit>> {
    let mut lanes = Vec::with_capacity(query.nnz());
    for (term, query_weight) in query.iter() {
        let list = index.list(term)?;
        if !list.is_empty() {
            let bound = part(query_weight, list.max());
            lanes.push(Lane { term, query_weight, cursor: list.cursor(), bound });
        }
    }
    let hits = Walk::new(lanes, k).run();
    hits.map_err(|term| index.damaged_list(term))
}

struct Walk<'a> {
    /// In ascending order of terms.
    lanes: Vec<Lane<'a>>,
    /// What each lane adds to the candidate: the order in which a score is summed.
    parts: Vec<f32>,
    /// Lanes by ascending bound, then term.
    order: Vec<usize>,
    /// Where each lane of the order stands, side by side so that the next document is found fast.
    heads: Vec<u32>,
    /// `reach[i]`: the most that the first `i` lanes of the order can add together.
    reach: Vec<f64>,
    /// The lanes of the order from here on are walked, those before only looked up.
    walked: usize,
    slack: f64,
    top: TopK,
}

impl<'a> Walk<'a> {
    fn new(lanes: Vec<Lane<'a>>, k: usize) -> Walk<'a> {
        let mut order: Vec<usize> = (0..lanes.len()).collect();
        order.sort_by(|&a, &b| lanes[a].bound.total_cmp(&lanes[b].bound).then(a.cmp(&b)));
        let mut reach = vec![0.0];
        for &lane in &order {
            reach.push(reach[reach.len() - 1] + f64::from(lanes[lane].bound));
        }
        Walk {
            parts: vec![0.0; lanes.len()],
            heads: order.iter().map(|&lane| lanes[lane].cursor.doc().0).collect(),
            slack: 1.0 + (lanes.len() + 1) as f64 * f64::from(f32::EPSILON),
            lanes,
            order,
            reach,
            walked: 0,
            top: TopK::new(k),
        }
    }

    /// The hits, or the term whose list is damaged.
    fn run(mut self) -> Result<Vec<Hit>, TermId> {
        loop {
            self.drop_weak_lanes();
            let doc = self.heads[self.walked..].iter().copied().fold(DocId::END.0, u32::min);
            let doc = DocId(doc);
            if doc == DocId::END {
                break;
            }
            // a part of 0 changes no sum, so that only lists that hold the document count
            self.parts.fill(0.0);
            let sum = self.step(doc);
            if self.look_up(doc, sum) {
                let score = self.parts.iter().fold(0.0, |sum, part| sum + part);
                self.top.push(Hit { doc, score });
            }
        }
        match self.lanes.iter().find(|lane| lane.cursor.is_broken()) {
            Some(lane) => Err(lane.term),
            None => Ok(self.top.into_hits()),
        }
    }

    /// Whether a document behind all seen ones could enter with at most `bound`.
    fn suffices(&self, bound: f64) -> bool {
        (bound * self.slack) as f32 > self.top.threshold()
    }

    fn drop_weak_lanes(&mut self) {
        while self.walked < self.order.len() && !self.suffices(self.reach[self.walked + 1]) {
            self.walked += 1;
        }
    }

    /// Takes the parts of `doc` from the walked lanes, moves them on, and returns their sum.
    fn step(&mut self, doc: DocId) -> f64 {
        let mut sum = 0.0;
        for place in self.walked..self.heads.len() {
            if self.heads[place] == doc.0 {
                sum += self.take(self.order[place]);
                let cursor = &mut self.lanes[self.order[place]].cursor;
                cursor.advance();
                self.heads[place] = cursor.doc().0;
            }
        }
        sum
    }

    /// Takes the parts of `doc` from the other lanes; false as soon as they cannot suffice.
    fn look_up(&mut self, doc: DocId, mut sum: f64) -> bool {
        for place in (0..self.walked).rev() {
            if !self.suffices(sum + self.reach[place + 1]) {
                return false;
            }
            let lane = &mut self.lanes[self.order[place]];
            let most = part(lane.query_weight, lane.cursor.bound(doc));
            if !self.suffices(sum + f64::from(most) + self.reach[place]) {
                return false;
            }
            let cursor = &mut self.lanes[self.order[place]].cursor;
            cursor.seek(doc);
            if cursor.doc() == doc {
                sum += self.take(self.order[place]);
            }
        }
        self.suffices(sum)
    }

    /// The part of the document where a lane stands.
    fn take(&mut self, lane: usize) -> f64 {
        let Lane { query_weight, cursor, .. } = &self.lanes[lane];
        self.parts[lane] = part(*query_weight, cursor.weight());
        f64::from(self.parts[lane])
    }
}
