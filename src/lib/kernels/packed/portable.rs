//! Kernels in plain Rust: they run on every processor, and the others are tested against them.

use super::{
    bf16,
    dot::{self, Best, Pair, Vectors},
    tile::{Job, Lanes, Sink, Step, WIDTH, product},
};

/// y in f32.
pub(super) fn f32(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: there are no instructions to have.
    unsafe { product::<F32, 4, 1>(job, sink) }
}

/// y of pairs of bf16.
pub(super) fn bf16(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: there are no instructions to have.
    unsafe { product::<Bf16, 4, 1>(job, sink) }
}

/// y of fours of u8 and i8.
pub(super) fn int8(job: &Job, sink: &mut impl Sink<i32>) {
    // SAFETY: there are no instructions to have.
    unsafe { product::<Int8, 4, 1>(job, sink) }
}

/// As [`dot::largest`].
pub(super) fn largest(pair: &Pair, best: &mut Best) {
    // SAFETY: there are no instructions to have; the caller checked the sizes.
    unsafe { dot::largest_in_blocks::<F32, 2, 2>(pair, best) }
}

/// As [`dot::largest_found`].
pub(super) fn largest_found(pair: &Pair, found: &[(u32, u16)], best: &mut Best) {
    // SAFETY: there are no instructions to have; the caller checked the sizes.
    unsafe { dot::largest_found::<F32>(pair, found, best) }
}

/// As [`dot::find`].
pub(super) fn find(found: &mut Vec<(u32, u16)>, upper: &[[f32; WIDTH]], threshold: &[f32; WIDTH]) {
    // SAFETY: there are no instructions to have.
    unsafe { dot::find::<F32>(found, upper, threshold) }
}

struct F32;
struct Bf16;
struct Int8;

/// sum + a · b, rounded once where the target surely has an instruction for it.
#[inline(always)]
pub(super) fn multiply_add(a: f32, b: f32, sum: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, sum)
    } else {
        sum + a * b
    }
}

// SAFETY of the bodies below, all alike: the caller promises that pointers are readable.

impl Lanes for F32 {
    type Number = f32;
    type Sums = [f32; WIDTH];
    type Weights = [u32; WIDTH];
    type Value = f32;

    #[inline(always)]
    unsafe fn zero() -> [f32; WIDTH] {
        [0.0; WIDTH]
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [u32; WIDTH] {
        unsafe { (*step).0 }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> f32 {
        f32::from_bits(unsafe { *word })
    }

    #[inline(always)]
    unsafe fn add(mut sums: [f32; WIDTH], value: f32, weights: [u32; WIDTH]) -> [f32; WIDTH] {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum = multiply_add(value, f32::from_bits(weight), *sum);
        }
        sums
    }

    #[inline(always)]
    unsafe fn numbers(sums: [f32; WIDTH]) -> [f32; WIDTH] {
        sums
    }
}

impl Lanes for Bf16 {
    type Number = f32;
    type Sums = [f32; WIDTH];
    type Weights = [u32; WIDTH];
    type Value = [f32; 2];

    #[inline(always)]
    unsafe fn zero() -> [f32; WIDTH] {
        [0.0; WIDTH]
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [u32; WIDTH] {
        unsafe { (*step).0 }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> [f32; 2] {
        bf16::widened(unsafe { *word })
    }

    #[inline(always)]
    unsafe fn add(mut sums: [f32; WIDTH], value: [f32; 2], weights: [u32; WIDTH]) -> [f32; WIDTH] {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            let weight = bf16::widened(weight);
            *sum = multiply_add(value[0], weight[0], *sum);
            *sum = multiply_add(value[1], weight[1], *sum);
        }
        sums
    }

    #[inline(always)]
    unsafe fn numbers(sums: [f32; WIDTH]) -> [f32; WIDTH] {
        sums
    }
}

impl Lanes for Int8 {
    type Number = i32;
    type Sums = [i32; WIDTH];
    type Weights = [u32; WIDTH];
    type Value = [u8; 4];

    #[inline(always)]
    unsafe fn zero() -> [i32; WIDTH] {
        [0; WIDTH]
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [u32; WIDTH] {
        unsafe { (*step).0 }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> [u8; 4] {
        unsafe { *word }.to_le_bytes()
    }

    #[inline(always)]
    unsafe fn add(mut sums: [i32; WIDTH], value: [u8; 4], weights: [u32; WIDTH]) -> [i32; WIDTH] {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let weights = weights.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
            for (value, weight) in value.into_iter().zip(weights) {
                *sum += i32::from(value) * weight;
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn numbers(sums: [i32; WIDTH]) -> [i32; WIDTH] {
        sums
    }
}

impl Vectors for F32 {
    type Vector = [f32; WIDTH];

    #[inline(always)]
    unsafe fn zeros() -> [f32; WIDTH] {
        [0.0; WIDTH]
    }

    #[inline(always)]
    unsafe fn load(numbers: *const f32) -> [f32; WIDTH] {
        unsafe { numbers.cast::<[f32; WIDTH]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn multiply_add(
        a: [f32; WIDTH],
        b: [f32; WIDTH],
        mut sum: [f32; WIDTH],
    ) -> [f32; WIDTH] {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum = multiply_add(a, b, *sum);
        }
        sum
    }

    #[inline(always)]
    unsafe fn numbers(vector: [f32; WIDTH]) -> [f32; WIDTH] {
        vector
    }

    #[inline(always)]
    unsafe fn at_least(a: [f32; WIDTH], b: [f32; WIDTH]) -> u16 {
        (0..WIDTH).fold(0, |bits, at| bits | (u16::from(a[at] >= b[at]) << at))
    }
}
