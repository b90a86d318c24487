//! The loops of a product, written once for all instruction sets.
//!
//! A block of rows times a few panels stays in registers while k runs; then its sums go to a
//! [`Sink`]. Panels are the outer loop, so that weights are read once per product, and rows the
//! inner one. Everything is inlined into one function for each instruction set, which alone says
//! what instructions there are.

use std::ops::Range;

/// Columns of a panel.
pub(crate) const WIDTH: usize = 16;

/// What 16 columns have for one step in k: a word of four bytes each, one f32, two bf16 or four i8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Step(pub [u32; WIDTH]);

/// What becomes of sums.
pub(crate) trait Sink<T> {
    /// Takes 16 sums: those of `row` for the columns of `panel`.
    fn put(&mut self, row: usize, panel: usize, sums: &[T; WIDTH]);
}

/// A product whose sizes were checked: every row has a word for each step, every panel a [`Step`].
pub(super) struct Job<'a> {
    pub words: &'a [u32],
    /// From one row to the next, in words.
    pub stride: usize,
    pub rows: usize,
    pub panels: &'a [Step],
    pub steps: usize,
    /// The panels that are wanted.
    pub range: Range<usize>,
}

/// Sixteen running sums of an instruction set.
pub(super) trait Lanes {
    /// What a sum is: f32 or i32.
    type Number;
    type Sums: Copy;
    type Weights: Copy;
    type Value: Copy;

    /// Sums of nothing.
    ///
    /// # Safety
    /// Here and below: the processor has the instructions, and pointers are readable.
    unsafe fn zero() -> Self::Sums;
    /// The weights of a step.
    unsafe fn weights(step: *const Step) -> Self::Weights;
    /// A row's word for a step, for every column.
    unsafe fn value(word: *const u32) -> Self::Value;
    /// sums + value · weights
    unsafe fn add(sums: Self::Sums, value: Self::Value, weights: Self::Weights) -> Self::Sums;
    unsafe fn numbers(sums: Self::Sums) -> [Self::Number; WIDTH];
}

/// A product in blocks of `M` rows and `V` panels, and smaller ones at the ends.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes, const M: usize, const V: usize>(
    job: &Job,
    sink: &mut impl Sink<L::Number>,
) {
    let Range { mut start, end } = job.range;
    // SAFETY: as the caller's; the panels are in the range.
    unsafe {
        while start + V <= end {
            panels::<L, M, V>(job, start, sink);
            start += V;
        }
        while start < end {
            panels::<L, M, 1>(job, start, sink);
            start += 1;
        }
    }
}

#[inline(always)]
unsafe fn panels<L: Lanes, const M: usize, const V: usize>(
    job: &Job,
    panel: usize,
    sink: &mut impl Sink<L::Number>,
) {
    let mut row = 0;
    // SAFETY: as the caller's; the rows are there.
    unsafe {
        while row + M <= job.rows {
            block::<L, M, V>(job, row, panel, sink);
            row += M;
        }
        if M > 4 && row + 4 <= job.rows {
            block::<L, 4, V>(job, row, panel, sink);
            row += 4;
        }
        if row + 2 <= job.rows {
            block::<L, 2, V>(job, row, panel, sink);
            row += 2;
        }
        while row < job.rows {
            block::<L, 1, V>(job, row, panel, sink);
            row += 1;
        }
    }
}

#[inline(always)]
unsafe fn block<L: Lanes, const M: usize, const V: usize>(
    job: &Job,
    row: usize,
    panel: usize,
    sink: &mut impl Sink<L::Number>,
) {
    debug_assert!(row + M <= job.rows && panel + V <= job.range.end);
    // SAFETY: `Job` promises a word for each row and step, and a step for each panel.
    unsafe {
        let words = job.words.as_ptr().add(row * job.stride);
        let first = job.panels.as_ptr().add(panel * job.steps);
        let mut sums = [[L::zero(); V]; M];
        for step in 0..job.steps {
            let mut weights = [L::weights(first.add(step)); V];
            for (at, weights) in weights.iter_mut().enumerate().skip(1) {
                *weights = L::weights(first.add(at * job.steps + step));
            }
            for (at, sums) in sums.iter_mut().enumerate() {
                let value = L::value(words.add(at * job.stride + step));
                for (sums, &weights) in sums.iter_mut().zip(&weights) {
                    *sums = L::add(*sums, value, weights);
                }
            }
        }
        for (at, sums) in sums.iter().enumerate() {
            for (next, &sums) in sums.iter().enumerate() {
                sink.put(row + at, panel + next, &L::numbers(sums));
            }
        }
    }
}
