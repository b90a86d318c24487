//! Dot products of rows that are not packed: the decoder's with the states of a document's tokens.
//!
//! A dot product is sixteen running sums, each over every sixteenth number of k, added up in one fixed
//! tree. It is the same function anywhere in a block and in any block, so what else
//! is computed with it changes no bit of it.

use super::{Isa, portable, tile::WIDTH};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Sixteen numbers of an instruction set.
pub(super) trait Vectors {
    type Vector: Copy;

    /// # Safety
    /// Here and below: the processor has the instructions, and pointers are readable.
    unsafe fn zeros() -> Self::Vector;
    unsafe fn load(numbers: *const f32) -> Self::Vector;
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector;
    unsafe fn numbers(vector: Self::Vector) -> [f32; WIDTH];
    /// A bit for each number of `a` that is at least that of `b`.
    unsafe fn at_least(a: Self::Vector, b: Self::Vector) -> u16;
}

/// The states of a document's tokens, `[T, K]`, and the weights of up to 16 terms, `[16, K]`.
pub(super) struct Pair<'a> {
    pub states: &'a [f32],
    pub weights: &'a [f32],
    pub k: usize,
}

/// The largest dot products so far of some terms, and the tokens that gave them.
pub(crate) struct Best<'a> {
    pub values: &'a mut [f32],
    /// Of equal products the first token.
    pub tokens: &'a mut [u32],
}

impl Best<'_> {
    fn start(&mut self) {
        self.values.fill(f32::NEG_INFINITY);
        self.tokens.fill(0);
    }

    /// The larger of two is kept; NaN if either is.
    #[inline(always)]
    fn take(&mut self, term: usize, token: u32, value: f32) {
        let best = self.values[term];
        if !(best >= value || best.is_nan()) {
            (self.values[term], self.tokens[term]) = (value, token);
        }
    }
}

/// The largest dot product of each of up to 16 `weights` with any of the `states`; NaN if one is.
pub(crate) fn largest(isa: Isa, states: &[f32], weights: &[f32], k: usize, best: &mut Best) {
    let pair = Pair { states, weights, k };
    check(&pair, best);
    assert!(states.len().is_multiple_of(k), "whole rows");
    match isa {
        // SAFETY, for both: the instructions were found.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::largest(&pair, best) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::largest(&pair, best) },
        _ => portable::largest(&pair, best),
    }
}

fn check(pair: &Pair, best: &Best) {
    let terms = best.values.len();
    assert!(terms <= WIDTH && best.tokens.len() == terms && pair.weights.len() == terms * pair.k);
}

/// Tokens that may give the largest dot product of some of 16 terms.
#[derive(Default)]
pub(crate) struct Candidates {
    /// Tokens ascend; a bit for each term.
    found: Vec<(u32, u16)>,
    /// Pairs of a token and a term.
    pub count: usize,
}

impl Candidates {
    /// Finds the tokens whose upper bound reaches the threshold of a term: `upper` is `[T][16]`.
    pub fn find(&mut self, isa: Isa, upper: &[[f32; WIDTH]], threshold: &[f32; WIDTH]) {
        self.found.clear();
        match isa {
            // SAFETY, for both: the instructions were found.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::find(&mut self.found, upper, threshold) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::find(&mut self.found, upper, threshold) },
            _ => portable::find(&mut self.found, upper, threshold),
        }
        self.count = self.found.iter().map(|(_, terms)| terms.count_ones() as usize).sum();
    }

    /// As [`largest`], among the candidates alone; −∞ for a term without one.
    pub fn largest(&self, isa: Isa, states: &[f32], weights: &[f32], k: usize, best: &mut Best) {
        let pair = Pair { states, weights, k };
        check(&pair, best);
        let last = self.found.last().map_or(0, |&(token, _)| token as usize);
        assert!(self.found.is_empty() || last < states.len() / k, "tokens that are there");
        best.start();
        match isa {
            // SAFETY, for both: the instructions were found.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::largest_found(&pair, &self.found, best) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::largest_found(&pair, &self.found, best) },
            _ => portable::largest_found(&pair, &self.found, best),
        }
    }
}

/// The body of [`Candidates::find`].
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn find<L: Vectors>(
    found: &mut Vec<(u32, u16)>,
    upper: &[[f32; WIDTH]],
    threshold: &[f32; WIDTH],
) {
    // SAFETY: as the caller's; the pointers are those of sixteen numbers.
    unsafe {
        let threshold = L::load(threshold.as_ptr());
        for (token, upper) in (0..).zip(upper) {
            let reached = L::at_least(L::load(upper.as_ptr()), threshold);
            if reached != 0 {
                found.push((token, reached));
            }
        }
    }
}

/// The body of [`Candidates::largest`], four terms at a time where a token has as many: a token's
/// state, which comes from far, is read once, and the 16 terms stay near.
///
/// # Safety
/// The processor has the instructions of `L`; the tokens are there.
#[inline(always)]
pub(super) unsafe fn largest_found<L: Vectors>(pair: &Pair, found: &[(u32, u16)], best: &mut Best) {
    let Pair { states, weights, k } = *pair;
    let here = (1u32 << best.values.len()).wrapping_sub(1) as u16;
    let next = |terms: &mut u16| {
        let term = terms.trailing_zeros() as usize;
        *terms &= terms.wrapping_sub(1);
        term
    };
    // SAFETY: as the caller's; the terms have rows.
    unsafe {
        for &(token, terms) in found {
            let a = [states.as_ptr().add(token as usize * k)];
            let mut terms = terms & here;
            while terms.count_ones() >= 4 {
                let four = [(); 4].map(|()| next(&mut terms));
                let [dots] = dots::<L, 1, 4>(a, four.map(|term| weights.as_ptr().add(term * k)), k);
                four.iter().zip(dots).for_each(|(&term, dot)| best.take(term, token, dot));
            }
            while terms != 0 {
                let term = next(&mut terms);
                let [[dot]] = dots::<L, 1, 1>(a, [weights.as_ptr().add(term * k)], k);
                best.take(term, token, dot);
            }
        }
    }
}

/// The body of [`largest`], in blocks of `A` tokens and `B` terms.
///
/// # Safety
/// The processor has the instructions of `L`; the sizes were checked.
#[inline(always)]
pub(super) unsafe fn largest_in_blocks<L: Vectors, const A: usize, const B: usize>(
    pair: &Pair,
    best: &mut Best,
) {
    best.start();
    let terms = best.values.len();
    let whole = terms - terms % B;
    // SAFETY: as the caller's; rows of k numbers are there.
    unsafe {
        for first in (0..whole).step_by(B) {
            of_terms::<L, A, B>(pair, first, best);
        }
        for first in whole..terms {
            of_terms::<L, A, 1>(pair, first, best);
        }
    }
}

/// For the `B` terms from `first` on.
#[inline(always)]
unsafe fn of_terms<L: Vectors, const A: usize, const B: usize>(
    pair: &Pair,
    first: usize,
    best: &mut Best,
) {
    let Pair { states, weights, k } = *pair;
    let tokens = states.len() / k;
    let mut token = 0;
    // SAFETY: as the caller's.
    unsafe {
        let mut b = [weights.as_ptr(); B];
        b.iter_mut().enumerate().for_each(|(at, row)| *row = row.add((first + at) * k));
        while token < tokens {
            // at the end the last rows again: equal products keep the first token
            let from = if token + A <= tokens { token } else { tokens.saturating_sub(A) };
            let rows: [usize; A] = std::array::from_fn(|at| (from + at).min(tokens - 1));
            let a = rows.map(|row| states.as_ptr().add(row * k));
            for (row, dots) in rows.into_iter().zip(dots::<L, A, B>(a, b, k)) {
                for (term, dot) in (first..).zip(dots) {
                    best.take(term, row as u32, dot);
                }
            }
            token += A;
        }
    }
}

/// The dot product of each row of `a` with each of `b`.
#[inline(always)]
unsafe fn dots<L: Vectors, const A: usize, const B: usize>(
    a: [*const f32; A],
    b: [*const f32; B],
    k: usize,
) -> [[f32; B]; A] {
    // SAFETY: as the caller's; each row has k numbers, and the rest of one goes through a copy.
    unsafe {
        let mut sums = [[L::zeros(); B]; A];
        for at in (0..k - k % WIDTH).step_by(WIDTH) {
            add::<L, A, B>(&mut sums, a.map(|row| row.add(at)), b.map(|row| row.add(at)));
        }
        if !k.is_multiple_of(WIDTH) {
            let (from, length) = (k - k % WIDTH, k % WIDTH);
            let rest = |row: *const f32| {
                let mut rest = [0.0; WIDTH];
                row.add(from).copy_to_nonoverlapping(rest.as_mut_ptr(), length);
                rest
            };
            let (a, b) = (a.map(rest), b.map(rest));
            add::<L, A, B>(
                &mut sums,
                a.each_ref().map(|rest| rest.as_ptr()),
                b.each_ref().map(|rest| rest.as_ptr()),
            );
        }
        let mut out = [[0.0; B]; A];
        for (out, sums) in out.iter_mut().zip(&sums) {
            for (out, &lanes) in out.iter_mut().zip(sums) {
                *out = sum(L::numbers(lanes));
            }
        }
        out
    }
}

#[inline(always)]
unsafe fn add<L: Vectors, const A: usize, const B: usize>(
    sums: &mut [[L::Vector; B]; A],
    a: [*const f32; A],
    b: [*const f32; B],
) {
    // SAFETY: as the caller's.
    unsafe {
        let mut right = [L::zeros(); B];
        for (right, row) in right.iter_mut().zip(b) {
            *right = L::load(row);
        }
        for (sums, row) in sums.iter_mut().zip(a) {
            let left = L::load(row);
            for (sum, &right) in sums.iter_mut().zip(&right) {
                *sum = L::multiply_add(left, right, *sum);
            }
        }
    }
}

/// Halves onto halves.
#[inline(always)]
fn sum(lanes: [f32; WIDTH]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|at| lanes[at] + lanes[at + 8]);
    let four: [f32; 4] = std::array::from_fn(|at| eight[at] + eight[at + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
