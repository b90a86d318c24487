//! The largest dot product of a term with the states of a document's tokens, for every term: exact,
//! though few of the products are computed.
//!
//! A weight needs max over t of h_t·w_v, and only if that plus the bias is above 0. States and rows of
//! the decoder are rounded to bytes, ĥ = s q and ŵ = r p with whole numbers |q|, |p| ≤ 127, and
//! a = ĥ·ŵ = s r Σ q p is computed for all pairs by the processor's instruction for bytes, four
//! times as fast as in f32. With e_h = h − ĥ and e_w = w − ŵ,
//!
//! ```text
//! h·w − a = (h − ĥ)·ŵ + h·(w − ŵ), so by Cauchy and Schwarz  |h·w − a| ≤ ‖e_h‖ ‖ŵ‖ + ‖h‖ ‖e_w‖ = ε.
//! ```
//!
//! For one document and term let L be the largest a_t − ε_t. Some token's product reaches L, so a
//! token with a_t + ε_t < L is not the largest; one with a_t + ε_t < −b_v cannot make the logit
//! positive. The dot products of the others are computed in f32 and the largest is taken. A term
//! without others has no weight, as its logit is below 0.
//!
//! What is claimed is more: the largest *as computed* is that of all products *as computed*, bit for
//! bit. Hence ε also holds what rounding can do. A dot product of `packed::largest` is sixteen sums
//! and a tree, so it is off by at most (K/16 + 6) u ‖h‖ ‖w‖ (1 + small), u = 2⁻²⁴; the sum of
//! whole numbers is exact; its product with s, and a ± ε, are off by a few u ‖h‖ ‖w‖; h − s q as
//! computed is off by u (|s q| + |e|) in each place; norms are off by less than 2⁻¹¹ of themselves. γ
//! ‖h‖ ‖w‖ with γ = (K/16 + 64) 2u, and norms raised by 2⁻¹⁰ and by 2⁻⁶⁰ (for squares that
//! vanish), are more than all of these together. Where states or weights are not numbers, or so large
//! that sums could overflow, nothing is screened.

use rayon::prelude::*;

use super::{
    packed::{
        Best, Candidates, Isa, Kind, Panels, Sink, WIDTH, Words, integers,
        largest as largest_of_all,
    },
    slices,
};

#[cfg(test)]
mod tests;

/// Panels that are screened at a time: their bounds stay in a core's cache.
const GROUP: usize = 6;

/// Norms above this are not screened; below, no sum of the screen overflows.
const LARGEST_NORM: f32 = 1e15;

/// A largest number under this is taken for 0 when it sets a scale.
const SMALLEST_SCALE: f32 = 1e-25;

/// Of 16, how many pairs may be left before it is cheaper to compute all, in blocks.
const DENSE: usize = 6;

/// The decoder's screen and the instructions in use.
pub(crate) struct Int8Filter {
    k: usize,
    floats: Isa,
    bytes: Option<Bytes>,
}

/// The decoder in bytes.
struct Bytes {
    isa: Isa,
    panels: Panels,
    bounds: Vec<Terms>,
}

/// What bounds need of the 16 terms of a panel. All but `sum` is divided by the scale r of its term.
#[derive(Clone)]
struct Terms {
    /// 128 Σ p, for states are bytes above 0: q + 128.
    sum: [i32; WIDTH],
    /// ‖ŵ‖
    norm: [f32; WIDTH],
    /// ‖e_w‖ + γ ‖w‖
    error: [f32; WIDTH],
    /// −b, a little lowered; a product below it gives no weight.
    floor: [f32; WIDTH],
}

/// What bounds need of a token.
#[derive(Clone, Copy)]
struct Token {
    /// s
    scale: f32,
    /// ‖h‖
    norm: f32,
    /// ‖e_h‖
    error: f32,
}

/// The states of a document's tokens `[T, K]`, and what screens them.
#[derive(Default)]
pub(crate) struct States {
    states: Vec<f32>,
    words: Words,
    /// Empty where nothing is screened.
    tokens: Vec<Token>,
}

/// Buffers for bounds, reused.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[panels][T]` of a_t + ε_t over r.
    upper: Vec<[f32; WIDTH]>,
    candidates: Candidates,
}

impl Int8Filter {
    /// Of a decoder `[V, K]` and its bias `[V]`, for the instructions of this processor.
    pub fn new(weights: &[f32], bias: &[f32]) -> Int8Filter {
        let bytes = Some(Isa::best(Kind::Int8)).filter(|&isa| isa != Isa::Portable);
        Int8Filter::with(weights, bias, Isa::best(Kind::F32), bytes)
    }

    /// `bytes` are the instructions to screen by; without, every product is computed.
    fn with(weights: &[f32], bias: &[f32], floats: Isa, bytes: Option<Isa>) -> Int8Filter {
        let k = weights.len() / bias.len();
        Int8Filter { k, floats, bytes: bytes.and_then(|isa| Bytes::new(isa, weights, bias, k)) }
    }

    /// Whether anything is left out.
    pub fn is_of_use(&self) -> bool {
        self.bytes.is_some()
    }

    /// Makes a document's states ready.
    pub fn states(&self, states: Vec<f32>) -> States {
        let mut ready = States { states, ..States::default() };
        if self.bytes.is_none() {
            return ready;
        }
        let count = ready.states.len() / self.k;
        let mut words = Words::bytes(count, self.k);
        let (mut whole, mut bytes) = (vec![0; self.k], vec![0; self.k]);
        let mut tokens = Vec::with_capacity(count);
        for (at, state) in ready.states.chunks_exact(self.k).enumerate() {
            let Some(token) = Token::new(state, &mut whole) else { return ready };
            let pairs = bytes.iter_mut().zip(&whole);
            pairs.for_each(|(byte, whole)| *byte = whole.cast_unsigned() ^ 0x80);
            words.set_bytes(at, &bytes);
            tokens.push(token);
        }
        (ready.words, ready.tokens) = (words, tokens);
        ready
    }

    /// Into `best`: for each of the terms from 16·`panel` on the largest dot product of its row of
    /// `weights` with a state, and the state's place; −∞ where that and the bias would be below 0.
    /// NaN if a product is.
    ///
    /// `weights` `[best.values.len(), K]` are the rows of these terms alone.
    pub fn largest(
        &self,
        states: &States,
        panel: usize,
        weights: &[f32],
        best: Best,
        scratch: &mut Scratch,
    ) {
        let Best { values, tokens } = best;
        let parts = values.chunks_mut(WIDTH).zip(tokens.chunks_mut(WIDTH));
        let parts = parts.map(|(values, tokens)| Best { values, tokens });
        let mut left = parts.zip(weights.chunks(WIDTH * self.k));
        if let Some(bytes) = self.bytes.as_ref().filter(|_| !states.tokens.is_empty()) {
            let count = left.len();
            for group in (0..count).step_by(GROUP) {
                let size = GROUP.min(count - group);
                let thresholds = bytes.thresholds(states, panel + group, size, scratch);
                let mut dense = 0;
                let upper = scratch.upper.chunks_exact(states.tokens.len());
                for ((upper, threshold), (mut best, weights)) in
                    upper.zip(&thresholds).zip(left.by_ref().take(size))
                {
                    scratch.candidates.find(self.floats, upper, threshold);
                    if scratch.candidates.count > DENSE * upper.len() {
                        dense += 1;
                        largest_of_all(self.floats, &states.states, weights, self.k, &mut best);
                    } else {
                        let (isa, states) = (self.floats, &states.states);
                        scratch.candidates.largest(isa, states, weights, self.k, &mut best);
                    }
                }
                if 2 * dense > size {
                    break; // a document like this gains nothing
                }
            }
        }
        for (mut best, weights) in left {
            largest_of_all(self.floats, &states.states, weights, self.k, &mut best);
        }
    }
}

impl Bytes {
    /// `None` if a weight is not a number, or too large.
    fn new(isa: Isa, weights: &[f32], bias: &[f32], k: usize) -> Option<Bytes> {
        let mut bytes = vec![0; weights.len()];
        let none = Terms {
            sum: [0; WIDTH],
            norm: [0.0; WIDTH],
            error: [0.0; WIDTH],
            floor: [f32::INFINITY; WIDTH],
        };
        let mut bounds = vec![none; bias.len().div_ceil(WIDTH)];
        let rows = weights.par_chunks(WIDTH * k).zip(bytes.par_chunks_mut(WIDTH * k));
        let panels = rows.zip(bias.par_chunks(WIDTH)).zip(&mut bounds);
        panels.try_for_each(|(((rows, bytes), bias), of)| {
            let rows = rows.chunks_exact(k).zip(bytes.chunks_exact_mut(k)).zip(bias);
            for (at, ((row, bytes), bias)) in rows.enumerate() {
                of.take(at, Token::new(row, bytes)?, bytes, *bias)?;
            }
            Some(())
        })?;
        Some(Bytes { isa, panels: Panels::of_bytes(&bytes, k), bounds })
    }

    /// The bounds of all tokens with the terms of `size` panels, and what they must reach.
    fn thresholds(
        &self,
        states: &States,
        panel: usize,
        size: usize,
        scratch: &mut Scratch,
    ) -> [[f32; WIDTH]; GROUP] {
        scratch.upper.resize(size * states.tokens.len(), [0.0; WIDTH]);
        let terms = &self.bounds[panel..panel + size];
        let mut bounds = Bounds {
            first: panel,
            terms,
            tokens: &states.tokens,
            upper: &mut scratch.upper,
            lower: [[f32::NEG_INFINITY; WIDTH]; GROUP],
        };
        integers(self.isa, states.words.rows(), &self.panels, panel..panel + size, &mut bounds);
        let mut thresholds = bounds.lower;
        for (threshold, terms) in thresholds.iter_mut().zip(terms) {
            threshold.iter_mut().zip(terms.floor).for_each(|(one, floor)| *one = one.max(floor));
        }
        thresholds
    }
}

impl Terms {
    /// The bounds of the term `at`, of its row as rounded and in bytes. None if they are no numbers.
    fn take(&mut self, at: usize, rounded: Token, bytes: &[i8], bias: f32) -> Option<()> {
        let whole = |byte: &i8| i32::from(*byte);
        let squares: i64 = bytes.iter().map(|byte| i64::from(whole(byte).pow(2))).sum();
        self.sum[at] = 128 * bytes.iter().map(whole).sum::<i32>();
        self.norm[at] = raised((squares as f32).sqrt());
        self.error[at] = (rounded.error + rounding(bytes.len()) * rounded.norm) / rounded.scale;
        let floor = -bias / rounded.scale;
        self.floor[at] = floor - floor.abs() * 2f32.powi(-20);
        (self.error[at].is_finite() && self.floor[at].is_finite()).then_some(())
    }
}

impl Token {
    /// Rounds a row to whole numbers of one scale. None if it is not of numbers, or too large.
    fn new(row: &[f32], whole: &mut [i8]) -> Option<Token> {
        let (norm, largest) = slices::norms(row);
        let norm = raised(norm);
        if norm.is_nan() || norm > LARGEST_NORM {
            return None;
        }
        let scale = if largest < SMALLEST_SCALE { 1.0 } else { largest / 127.0 };
        let error = slices::to_bytes(row, scale, whole);
        Some(Token { scale, norm, error: raised(error) + 2f32.powi(-22) * norm })
    }
}

/// A norm, raised over what rounding took from it.
fn raised(norm: f32) -> f32 {
    norm * (1.0 + 2f32.powi(-10)) + 2f32.powi(-60)
}

/// γ
fn rounding(k: usize) -> f32 {
    (k / 16 + 64) as f32 * 2f32.powi(-23)
}

/// Makes bounds of sums.
struct Bounds<'a> {
    first: usize,
    terms: &'a [Terms],
    tokens: &'a [Token],
    upper: &'a mut [[f32; WIDTH]],
    /// The largest a_t − ε_t over r.
    lower: [[f32; WIDTH]; GROUP],
}

impl Sink<i32> for Bounds<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, panel: usize, sums: &[i32; WIDTH]) {
        let at = panel - self.first;
        let (terms, token) = (&self.terms[at], self.tokens[row]);
        let (mut upper, mut lower) = ([0.0; WIDTH], self.lower[at]);
        for lane in 0..WIDTH {
            let near = token.scale * (sums[lane] - terms.sum[lane]) as f32;
            let error = token.error * terms.norm[lane] + token.norm * terms.error[lane];
            upper[lane] = near + error;
            let least = near - error;
            lower[lane] = if least > lower[lane] { least } else { lower[lane] };
        }
        // written whole, for the next row reads them again
        self.upper[at * self.tokens.len() + row] = upper;
        self.lower[at] = lower;
    }
}
