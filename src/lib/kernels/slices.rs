//! Arithmetic on slices, compiled for several processors and chosen when the program starts.
//!
//! A closure that is compiled so must move what it changes into a name of its own: only a closure that
//! can be called but once is inlined into each processor's version. Any other is called through a
//! shim that knows the oldest processor's instructions alone.

mod curves;
mod pairs;

use gemm::Parallelism;
use pulp::Arch;
use rayon::prelude::*;

use curves::ROUND;
pub(crate) use curves::{erf, exp, gelu_of};
pub(crate) use pairs::{gated, rotate};

/// A row-major view: `rows × columns`, `stride` numbers from one row to the next.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl<'a> View<'a> {
    /// All of a matrix without gaps.
    pub fn whole(data: &'a [f32], columns: usize) -> View<'a> {
        View { data, rows: data.len() / columns.max(1), columns, stride: columns }
    }

    /// Columns `from .. from + columns` of a matrix whose rows are `stride` long.
    pub fn part(data: &'a [f32], stride: usize, from: usize, columns: usize) -> View<'a> {
        View { data: &data[from..], rows: data.len() / stride, columns, stride }
    }

    fn fits(&self) -> bool {
        self.rows == 0 || self.data.len() >= (self.rows - 1) * self.stride + self.columns
    }
}

/// What a product does with what is in its target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    Overwrite,
    Add,
}

/// C = A Bᵀ (or C += A Bᵀ): A `[m, k]`, B `[n, k]`, C `[m, n]` in rows of `stride`.
pub(crate) fn times_transposed(a: View, b: View, c: &mut [f32], stride: usize, into: Into) {
    assert_eq!(a.columns, b.columns, "inner sizes of a product");
    product(rows_of(a), a.columns, b.rows, (1, b.stride), b, c, stride, into);
}

/// C = A B: A `[m, k]`, B `[k, n]`, C `[m, n]` in rows of `stride`.
pub(crate) fn times(a: View, b: View, c: &mut [f32], stride: usize, into: Into) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product");
    product(rows_of(a), a.columns, b.columns, (b.stride, 1), b, c, stride, into);
}

/// C = Aᵀ B (or C += Aᵀ B): A `[k, m]`, B `[k, n]`, C `[m, n]` in rows of `stride`.
pub(crate) fn transposed_times(a: View, b: View, c: &mut [f32], stride: usize, into: Into) {
    assert_eq!(a.rows, b.rows, "inner sizes of a product");
    let left = Side { view: a, step: (1, a.stride as isize), outer: a.columns };
    product(left, a.rows, b.columns, (b.stride, 1), b, c, stride, into);
}

/// The left side of a product: how far it is from one row, and from one column.
struct Side<'a> {
    view: View<'a>,
    step: (isize, isize),
    outer: usize,
}

fn rows_of(a: View) -> Side {
    Side { view: a, step: (a.stride as isize, 1), outer: a.rows }
}

/// `step` = how far it is from one row, and from one column, of the `[k, n]` right side.
#[expect(clippy::too_many_arguments, reason = "one call, whose names are those of the product")]
fn product(
    left: Side,
    k: usize,
    n: usize,
    step: (usize, usize),
    b: View,
    c: &mut [f32],
    stride: usize,
    into: Into,
) {
    let (a, m) = (left.view, left.outer);
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.fits() && b.fits(), "a view larger than its data");
    assert!(n <= stride && c.len() >= (m - 1) * stride + n, "a target too small for its product");
    let step = (step.0 as isize, step.1 as isize);
    // SAFETY: the asserts above bound every element that these sizes and strides reach; A and B are
    // shared borrows and C is exclusive, so they do not overlap.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            into == Into::Add,
            a.data.as_ptr(),
            left.step.1,
            left.step.0,
            b.data.as_ptr(),
            step.1,
            step.0,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Layer norm of every row in place: (x − mean) / √(variance + ε) · scale + shift.
pub(crate) fn layer_norm(x: &mut [f32], scale: &[f32], shift: &[f32], epsilon: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let rows = x;
            for row in rows.chunks_exact_mut(scale.len()) {
                let mean = sum(row) / row.len() as f32;
                row.iter_mut().for_each(|value| *value -= mean);
                let variance = sum_of_squares(row) / row.len() as f32;
                let factor = 1.0 / (variance + epsilon).sqrt();
                for ((value, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
                    *value = *value * factor * scale + shift;
                }
            }
        },
    );
}

/// Softmax of every row of `columns` in place, after a multiplication by `scale`.
pub(crate) fn softmax(x: &mut [f32], columns: usize, scale: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let rows = x;
            for row in rows.chunks_exact_mut(columns) {
                row.iter_mut().for_each(|value| *value *= scale);
                let largest = largest(row);
                row.iter_mut().for_each(|value| *value = exp(*value - largest));
                let factor = 1.0 / sum(row);
                row.iter_mut().for_each(|value| *value *= factor);
            }
        },
    );
}

/// exp(scale · (x − the largest x)) in place; returns the sum.
pub(crate) fn softmax_shares(row: &mut [f32], scale: f32) -> f32 {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let numbers = row;
            let largest = largest(numbers);
            let mut lanes = [0.0; LANES];
            let (chunks, rest) = numbers.as_chunks_mut::<LANES>();
            for chunk in chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *value = exp(scale * (*value - largest));
                    *lane += *value;
                }
            }
            for (lane, value) in lanes.iter_mut().zip(rest) {
                *value = exp(scale * (*value - largest));
                *lane += *value;
            }
            lanes.into_iter().sum()
        },
    )
}

/// The largest number of a row, and Σ exp(x − largest).
pub(crate) fn largest_and_sum(row: &[f32]) -> (f32, f32) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let largest = largest(row);
            let sum = folded(row, 0.0, |sum, x| sum + exp(x - largest), |a, b| a + b);
            (largest, sum)
        },
    )
}

/// exp(x − norm) · factor in place.
pub(crate) fn exponentials(row: &mut [f32], norm: f32, factor: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let numbers = row;
            numbers.iter_mut().for_each(|x| *x = factor * exp(*x - norm));
        },
    );
}

/// gelu(x) = x/2 · (1 + erf(x/√2)) in place.
pub(crate) fn gelu(x: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let numbers = x;
            numbers.iter_mut().for_each(|value| *value = gelu_of(*value));
        },
    );
}

/// Puts the larger of each pair into `best`, for every row of `rows`, and keeps the number of the row
/// that gave each maximum, counted from `first`; of equal values the first row stays.
pub(crate) fn maxima_and_rows(best: &mut [f32], at: &mut [u32], rows: &[f32], first: u32) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (largest, winners) = (best, at);
            for (number, row) in (first..).zip(rows.chunks_exact(largest.len())) {
                for ((best, at), &value) in largest.iter_mut().zip(winners.iter_mut()).zip(row) {
                    // the first row counts whatever it is, so that −∞ and NaN have a row too
                    let larger = value > *best || number == first;
                    *best = if larger { value } else { *best };
                    *at = if larger { number } else { *at };
                }
            }
        },
    );
}

/// sum += factor · x
pub(crate) fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let sums = sum;
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
        },
    );
}

/// Σ x², each part of 16384 numbers in f32, the parts in f64.
pub(crate) fn squares(x: &[f32]) -> f64 {
    let part = |part: &[f32]| f64::from(Arch::new().dispatch(|| sum_of_squares(part)));
    // collected first: the order of a sum must not depend on the number of threads
    x.par_chunks(1 << 14).map(part).collect::<Vec<_>>().into_iter().sum()
}

/// ‖x‖, and the largest |x|.
pub(crate) fn norms(x: &[f32]) -> (f32, f32) {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let largest = folded(x, 0.0, |most, x| larger(most, x.abs()), larger);
            (sum_of_squares(x).sqrt(), largest)
        },
    )
}

/// Whole numbers near x / scale, at most 127 from 0; returns ‖x − scale · whole‖.
pub(crate) fn to_bytes(x: &[f32], scale: f32, whole: &mut [i8]) -> f32 {
    let inverse = 1.0 / scale;
    Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (bytes, mut lanes) = (whole, [0.0; LANES]);
            for (x, whole) in x.chunks(LANES).zip(bytes.chunks_mut(LANES)) {
                for ((lane, &x), whole) in lanes.iter_mut().zip(x).zip(whole) {
                    let near = ((x * inverse).clamp(-127.0, 127.0) + ROUND) - ROUND;
                    *whole = near as i8;
                    let error = x - scale * near;
                    *lane += error * error;
                }
            }
            lanes.into_iter().sum::<f32>().sqrt()
        },
    )
}

/// Sixteen running results keep the loops in vector registers and the rounding small.
pub(crate) const LANES: usize = 16;

#[inline(always)]
fn folded(
    row: &[f32],
    start: f32,
    step: impl Fn(f32, f32) -> f32,
    last: fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = step(*lane, value);
    }
    lanes.into_iter().fold(start, last)
}

#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    folded(row, 0.0, |sum, value| sum + value, |a, b| a + b)
}

#[inline(always)]
pub(crate) fn sum_of_squares(row: &[f32]) -> f32 {
    folded(row, 0.0, |sum, value| sum + value * value, |a, b| a + b)
}

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    folded(row, f32::NEG_INFINITY, larger, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_their_strides() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]); // [2, 2] and [2, 1]
        let mut c = [0.0; 2];
        let (left, right) = (View::whole(&a, 2), View::whole(&b, 1));
        transposed_times(left, right, &mut c, 1, Into::Overwrite);
        assert_eq!(c, [23.0, 34.0]);
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 1.0, 2.0, 1.0, 0.0]; // [2, 3]
        let mut c = [10.0; 5]; // rows of 3, two columns used
        times_transposed(View::whole(&a, 3), View::whole(&b, 3), &mut c, 3, Into::Add);
        assert_eq!(c, [14.0, 14.0, 10.0, 20.0, 23.0]);
        let mut c = [0.0; 4];
        let right = View::part(&b, 3, 1, 2); // [[0, 1], [1, 0]]
        times(View { columns: 2, ..View::whole(&a, 3) }, right, &mut c, 2, Into::Overwrite);
        assert_eq!(c, [2.0, 1.0, 5.0, 4.0]);
    }

    #[test]
    fn rows_are_normed_softened_and_maximised() {
        let mut x = [1.0, 3.0, -2.0, 2.0];
        layer_norm(&mut x, &[1.0, 2.0], &[0.0, 1.0], 0.0);
        assert_eq!(x, [-1.0, 3.0, -1.0, 3.0]);
        let mut x = [0.0, 2.0f32.ln(), 5.0, 5.0];
        softmax(&mut x, 2, 1.0);
        for (got, expected) in x.iter().zip([1.0 / 3.0, 2.0 / 3.0, 0.5, 0.5]) {
            assert!((got - expected).abs() < 1e-6);
        }
        let mut x: Vec<f32> = (0..19).map(|at| 0.1 * at as f32).collect();
        let sum = softmax_shares(&mut x, 2.0);
        for (at, share) in x.iter().enumerate() {
            let expected = (0.2 * (at as f32 - 18.0)).exp();
            assert!((share - expected).abs() < 1e-6, "{share} not {expected}");
        }
        assert!((sum - x.iter().sum::<f32>()).abs() < 1e-5);
        let (mut best, mut at) = ([0.0; 2], [0; 2]);
        maxima_and_rows(&mut best, &mut at, &[2.0, 0.0, 1.0, 5.0], 7);
        assert_eq!((best, at), ([2.0, 5.0], [7, 8]));
    }
}
