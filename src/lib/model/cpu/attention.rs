//! Self-attention of one document: softmax(Q Kᵀ / √d) V for each head, of all tokens or of a window.

use crate::{
    kernels::{
        packed::{Isa, Kind, Panels, Rows, Sink, WIDTH, floats},
        slices::softmax_shares,
    },
    model::Matrix,
    nn::{Span, bucket},
};

/// Queries at a time: their scores stay in a core's cache.
const QUERIES: usize = 32;

/// Sizes and buffers for attention, reused between documents.
pub(super) struct Attention {
    heads: usize,
    /// Of one head.
    width: usize,
    isa: Isa,
    keys: Panels,
    values: Panels,
    scores: Vec<f32>,
    /// One over the sum of each row.
    factors: Vec<f32>,
}

impl Attention {
    pub(super) fn new(heads: usize, width: usize) -> Attention {
        Attention {
            heads,
            width,
            isa: Isa::best(Kind::F32),
            keys: Panels::empty(),
            values: Panels::empty(),
            scores: Vec::new(),
            factors: Vec::new(),
        }
    }

    /// `all` `[T, 3H]` has queries, keys and values side by side; `context` is `[T, H]`.
    pub(super) fn apply(
        &mut self,
        all: &[f32],
        context: &mut [f32],
        span: Span,
        distances: Option<&Distances>,
    ) {
        let (d, h) = (self.width, self.heads * self.width);
        let length = context.len() / h;
        for head in 0..self.heads {
            let mut filled = 0..0;
            for from in (0..length).step_by(QUERIES) {
                let count = QUERIES.min(length - from);
                let seen = span.of(from..from + count, length);
                if seen != filled {
                    let rows = &all[seen.start * 3 * h..seen.end * 3 * h];
                    self.keys.refill_from_rows(rows, 3 * h, h + head * d, d);
                    self.values.refill_from_columns(rows, 3 * h, 2 * h + head * d, d);
                    filled = seen.clone();
                }
                let padded = seen.len().next_multiple_of(WIDTH);
                self.scores.resize(count * padded, 0.0);
                let queries = Rows::of_floats(&all[from * 3 * h + head * d..], 3 * h, count);
                let mut scores = Scores { out: &mut self.scores, stride: padded };
                floats(self.isa, queries, &self.keys, 0..self.keys.count(), &mut scores);
                self.factors.clear();
                for (place, row) in (from..).zip(self.scores.chunks_exact_mut(padded)) {
                    let own = span.of(place..place + 1, length);
                    let own = own.start - seen.start..own.end - seen.start;
                    if let Some(distances) = distances {
                        distances.add(head, place - seen.start, &mut row[..seen.len()]);
                    }
                    row[..own.start].fill(0.0);
                    row[own.end..seen.len()].fill(0.0);
                    let sum = softmax_shares(&mut row[own], 1.0 / (d as f32).sqrt());
                    self.factors.push(1.0 / sum);
                }
                let shares = Rows::of_floats(&self.scores, padded, count);
                let out = &mut context[from * h + head * d..];
                let mut out = Context { out, stride: h, width: d, factors: &self.factors };
                floats(self.isa, shares, &self.values, 0..self.values.count(), &mut out);
            }
        }
    }
}

/// What each head adds to the score of two tokens by their distance, before scores are divided by √d.
pub(super) struct Distances {
    /// `[heads, 2P − 1]`, from the farthest token before to the farthest after.
    table: Vec<f32>,
    longest: usize,
}

impl Distances {
    /// From the bias `[buckets, heads]`, for documents of at most `longest` tokens and heads of `width`
    /// numbers.
    pub(super) fn new(bias: &Matrix, longest: usize, width: usize) -> Distances {
        let factor = (width as f32).sqrt();
        let farthest = longest as isize - 1;
        let head = |head: usize| {
            (-farthest..=farthest).map(move |distance| factor * bias.row(bucket(distance))[head])
        };
        Distances { table: (0..bias.columns).flat_map(head).collect(), longest }
    }

    /// Adds to the scores of the token at `place`, one for each token of the document.
    fn add(&self, head: usize, place: usize, row: &mut [f32]) {
        let own = &self.table[head * (2 * self.longest - 1)..][self.longest - 1 - place..];
        row.iter_mut().zip(own).for_each(|(score, bias)| *score += bias);
    }
}

/// Rows of scores, filled up to whole panels.
struct Scores<'a> {
    out: &'a mut [f32],
    stride: usize,
}

impl Sink<f32> for Scores<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, panel: usize, sums: &[f32; WIDTH]) {
        self.out[row * self.stride + panel * WIDTH..][..WIDTH].copy_from_slice(sums);
    }
}

/// A head's part of the context: sums over tokens, each row times its factor.
struct Context<'a> {
    out: &'a mut [f32],
    stride: usize,
    width: usize,
    factors: &'a [f32],
}

impl Sink<f32> for Context<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, panel: usize, sums: &[f32; WIDTH]) {
        let (from, factor) = (panel * WIDTH, self.factors[row]);
        let own = &mut self.out[row * self.stride..][..self.width][from..];
        let scaled = sums.map(|sum| factor * sum);
        match own.first_chunk_mut::<WIDTH>() {
            Some(own) => *own = scaled,
            None => own.copy_from_slice(&scaled[..own.len()]),
        }
    }
}
