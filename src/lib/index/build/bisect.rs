//! Recursive graph bisection: an order in which documents with the same terms are adjacent.
//!
//! A range of documents is halved; then, for some rounds, pairs of documents that would make the lists
//! of their terms cheaper on the other side are exchanged, the best pair first; then each half is halved.
//! The cost of a term with `a` of the `n` documents of a half is a · log₂(n / (a + 1)), about the
//! bits of its gaps. Halves end at ends of windows and blocks as long as they can, so that a block is
//! never made of two ranges. Every step is a function of its range alone: the order is the same for
//! any number of threads.
//!
//! Source: Dhulipala, Kabiljo, Karrer, Ottaviano, Pupyrev, Shalita, KDD 2016. Deviation: what a term
//! gains by a move is computed once per round, not once per document.

use std::cell::RefCell;

use rayon::{
    iter::{
        IntoParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator,
    },
    slice::ParallelSliceMut,
};

use crate::{
    index::format::postings::{BLOCK, DocId},
    sparse::TermId,
};

/// The terms of documents, back to back.
#[derive(Debug)]
pub(in crate::index) struct Rows {
    /// Where each document's terms end.
    pub(in crate::index) ends: Vec<u64>,
    pub(in crate::index) terms: Vec<TermId>,
}

impl Rows {
    fn terms(&self, doc: DocId) -> &[TermId] {
        let before = doc.index().checked_sub(1);
        let start = before.map_or(0, |before| self.ends[before]);
        &self.terms[start as usize..self.ends[doc.index()] as usize]
    }
}

/// Places in a cell of a list that has all blocks: ranges end there as long as they can.
const WINDOW: usize = 16 * BLOCK;
/// Ranges of at most so many documents stay as they are.
const LEAF: usize = 24;
const ROUNDS: usize = 12;
/// Ranges of more documents are worked on by several threads.
const LARGE: usize = 1 << 15;

/// The document at each place; `progress` gets the share of the work that is done.
pub(in crate::index) fn order(
    rows: &Rows,
    vocabulary_size: usize,
    mut progress: impl FnMut(f64),
) -> Vec<DocId> {
    let mut docs: Vec<DocId> = (0..rows.ends.len() as u32).map(DocId).collect();
    let levels = (docs.len() as f64 / LEAF as f64).log2().max(1.0);
    let (mut parts, mut level) = (vec![&mut docs[..]], 0.0);
    while parts.iter().any(|part| part.len() > LARGE) {
        let halve = |part| halves(rows, part, vocabulary_size);
        parts = parts.into_par_iter().flat_map_iter(halve).collect();
        level += 1.0;
        progress(level / levels);
    }
    let group = parts.len().div_ceil(32).max(1);
    let mut done = 0;
    let all = parts.len();
    for group in parts.chunks_mut(group) {
        group.par_iter_mut().for_each(|part| bisect(rows, part, vocabulary_size));
        done += group.len();
        progress((level + (levels - level) * done as f64 / all as f64) / levels);
    }
    docs
}

/// The halves of a large range; a smaller one stays whole.
fn halves<'a>(rows: &Rows, docs: &'a mut [DocId], terms: usize) -> [&'a mut [DocId]; 2] {
    if docs.len() <= LARGE {
        return [docs, &mut []];
    }
    let middle = middle(docs.len());
    Counts::new(terms).improve(rows, docs, middle);
    let (left, right) = docs.split_at_mut(middle);
    [left, right]
}

fn bisect(rows: &Rows, docs: &mut [DocId], terms: usize) {
    if docs.len() <= LEAF {
        return;
    }
    let middle = middle(docs.len());
    thread_local! {
        static COUNTS: RefCell<Counts> = RefCell::default();
    }
    // nothing in here waits for another thread, so the cell cannot be entered twice
    COUNTS.with_borrow_mut(|counts| {
        counts.grow(terms);
        counts.improve(rows, docs, middle);
    });
    let (left, right) = docs.split_at_mut(middle);
    match left.len() > 1024 {
        true => {
            rayon::join(|| bisect(rows, left, terms), || bisect(rows, right, terms));
        }
        false => {
            bisect(rows, left, terms);
            bisect(rows, right, terms);
        }
    }
}

/// Half of the documents, or near it an end of a window or block.
fn middle(docs: usize) -> usize {
    let unit = [WINDOW, BLOCK].into_iter().find(|unit| docs > 2 * unit).unwrap_or(1);
    (docs / 2).next_multiple_of(unit)
}

/// What is known of each term in the range at hand.
#[derive(Default)]
struct Counts {
    /// Documents in the left and the right half, `[V]`.
    held: Vec<[u32; 2]>,
    /// What is gained if one document leaves the left, or the right half, `[V]`.
    gains: Vec<[f32; 2]>,
    /// Terms of the range.
    met: Vec<TermId>,
}

impl Counts {
    fn new(terms: usize) -> Counts {
        let mut counts = Counts::default();
        counts.grow(terms);
        counts
    }

    fn grow(&mut self, terms: usize) {
        self.held.resize(terms, [0; 2]);
        self.gains.resize(terms, [0.0; 2]);
    }

    /// Exchanges documents between the halves as long as that gains.
    fn improve(&mut self, rows: &Rows, docs: &mut [DocId], middle: usize) {
        self.count(rows, docs, middle);
        for _ in 0..ROUNDS {
            self.weigh(middle, docs.len() - middle);
            let (left, right) = docs.split_at_mut(middle);
            let (lefts, rights) = (self.ranked(rows, left, 0), self.ranked(rows, right, 1));
            let pairs = lefts.iter().zip(&rights);
            let swaps = pairs.take_while(|(from, to)| from.0 + to.0 > 0.0).count();
            for ((_, from), (_, to)) in lefts.iter().zip(&rights).take(swaps) {
                let (from, to) = (*from as usize, *to as usize);
                self.shift(rows.terms(left[from]), 0);
                self.shift(rows.terms(right[to]), 1);
                std::mem::swap(&mut left[from], &mut right[to]);
            }
            if swaps <= docs.len() / 500 {
                break;
            }
        }
        for term in self.met.drain(..) {
            self.held[term.index()] = [0; 2];
        }
    }

    fn count(&mut self, rows: &Rows, docs: &[DocId], middle: usize) {
        for (at, &doc) in docs.iter().enumerate() {
            let half = usize::from(at >= middle);
            for &term in rows.terms(doc) {
                let held = &mut self.held[term.index()];
                if *held == [0; 2] {
                    self.met.push(term);
                }
                held[half] += 1;
            }
        }
    }

    /// One document with these terms left a half.
    fn shift(&mut self, terms: &[TermId], from: usize) {
        for term in terms {
            let held = &mut self.held[term.index()];
            held[from] -= 1;
            held[1 - from] += 1;
        }
    }

    fn weigh(&mut self, left: usize, right: usize) {
        let cost = |held: u32, docs: usize| {
            let held = held as f32;
            held * (docs as f32 / (held + 1.0)).log2()
        };
        for term in &self.met {
            let [a, b] = self.held[term.index()];
            let before = cost(a, left) + cost(b, right);
            let gain = |a: u32, b: u32| before - cost(a, left) - cost(b, right);
            self.gains[term.index()] = [
                if a > 0 { gain(a - 1, b + 1) } else { 0.0 },
                if b > 0 { gain(a + 1, b - 1) } else { 0.0 },
            ];
        }
    }

    /// The documents of a half by what their leaving gains, as (gain, place in the half); of equals
    /// the first.
    fn ranked(&self, rows: &Rows, docs: &[DocId], half: usize) -> Vec<(f32, u32)> {
        let gain = |doc: &DocId| -> f32 {
            rows.terms(*doc).iter().map(|term| self.gains[term.index()][half]).sum()
        };
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if docs.len() > LARGE {
            let gains: Vec<f32> = docs.par_iter().map(gain).collect();
            let mut ranked: Vec<(f32, u32)> = gains.into_iter().zip(0..).collect();
            ranked.par_sort_unstable_by(order);
            return ranked;
        }
        let mut ranked: Vec<(f32, u32)> = docs.iter().map(gain).zip(0..).collect();
        ranked.sort_unstable_by(order);
        ranked
    }
}
