//! Kernels for processors with AVX2: sixteen sums are two registers.

use std::arch::x86_64::*;

use super::{
    dot::{self, Best, Pair, Vectors},
    tile::{Job, Lanes, Sink, Step, WIDTH, product},
};

/// y in f32.
#[target_feature(enable = "avx2,fma")]
pub(super) fn f32(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<F32, 6, 1>(job, sink) }
}

/// y of pairs of bf16, widened to f32.
#[target_feature(enable = "avx2,fma")]
pub(super) fn wide_bf16(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<WideBf16, 4, 1>(job, sink) }
}

/// y of fours of u8 and i8, by AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) fn int8(job: &Job, sink: &mut impl Sink<i32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<Int8, 6, 1>(job, sink) }
}

/// As [`dot::largest`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn largest(pair: &Pair, best: &mut Best) {
    // SAFETY: this function has the instructions; the caller checked the sizes.
    unsafe { dot::largest_in_blocks::<F32, 3, 2>(pair, best) }
}

/// As [`dot::largest_found`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn largest_found(pair: &Pair, found: &[(u32, u16)], best: &mut Best) {
    // SAFETY: this function has the instructions; the caller checked the sizes.
    unsafe { dot::largest_found::<F32>(pair, found, best) }
}

/// As [`dot::find`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn find(found: &mut Vec<(u32, u16)>, upper: &[[f32; WIDTH]], threshold: &[f32; WIDTH]) {
    // SAFETY: this function has the instructions.
    unsafe { dot::find::<F32>(found, upper, threshold) }
}

struct F32;
struct WideBf16;
struct Int8;

// SAFETY of the bodies below, all alike: the functions above have the instructions, and the caller
// promises that pointers are readable.

impl Lanes for F32 {
    type Number = f32;
    type Sums = [__m256; 2];
    type Weights = [__m256; 2];
    type Value = __m256;

    #[inline(always)]
    unsafe fn zero() -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [__m256; 2] {
        let halves = step.cast::<f32>();
        unsafe { [_mm256_load_ps(halves), _mm256_load_ps(halves.add(8))] }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> __m256 {
        unsafe { _mm256_set1_ps(word.cast::<f32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(sums: [__m256; 2], value: __m256, weights: [__m256; 2]) -> [__m256; 2] {
        unsafe {
            [
                _mm256_fmadd_ps(value, weights[0], sums[0]),
                _mm256_fmadd_ps(value, weights[1], sums[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn numbers(sums: [__m256; 2]) -> [f32; WIDTH] {
        unsafe { floats(sums) }
    }
}

impl Lanes for WideBf16 {
    type Number = f32;
    type Sums = [__m256; 2];
    type Weights = [[__m256; 2]; 2];
    type Value = [__m256; 2];

    #[inline(always)]
    unsafe fn zero() -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [[__m256; 2]; 2] {
        let halves = step.cast::<__m256i>();
        unsafe { [widened(_mm256_load_si256(halves)), widened(_mm256_load_si256(halves.add(1)))] }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> [__m256; 2] {
        unsafe { widened(_mm256_set1_epi32(word.cast::<i32>().read())) }
    }

    #[inline(always)]
    unsafe fn add(sums: [__m256; 2], value: [__m256; 2], weights: [[__m256; 2]; 2]) -> [__m256; 2] {
        unsafe {
            let first = _mm256_fmadd_ps(value[0], weights[0][0], sums[0]);
            let second = _mm256_fmadd_ps(value[0], weights[1][0], sums[1]);
            [
                _mm256_fmadd_ps(value[1], weights[0][1], first),
                _mm256_fmadd_ps(value[1], weights[1][1], second),
            ]
        }
    }

    #[inline(always)]
    unsafe fn numbers(sums: [__m256; 2]) -> [f32; WIDTH] {
        unsafe { floats(sums) }
    }
}

impl Lanes for Int8 {
    type Number = i32;
    type Sums = [__m256i; 2];
    type Weights = [__m256i; 2];
    type Value = __m256i;

    #[inline(always)]
    unsafe fn zero() -> [__m256i; 2] {
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [__m256i; 2] {
        let halves = step.cast::<__m256i>();
        unsafe { [_mm256_load_si256(halves), _mm256_load_si256(halves.add(1))] }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> __m256i {
        unsafe { _mm256_set1_epi32(word.cast::<i32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(sums: [__m256i; 2], value: __m256i, weights: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            [
                _mm256_dpbusd_avx_epi32(sums[0], value, weights[0]),
                _mm256_dpbusd_avx_epi32(sums[1], value, weights[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn numbers(sums: [__m256i; 2]) -> [i32; WIDTH] {
        let mut out = [0; WIDTH];
        let halves = out.as_mut_ptr().cast::<__m256i>();
        unsafe {
            _mm256_storeu_si256(halves, sums[0]);
            _mm256_storeu_si256(halves.add(1), sums[1]);
        }
        out
    }
}

#[inline(always)]
unsafe fn floats(sums: [__m256; 2]) -> [f32; WIDTH] {
    let mut out = [0.0; WIDTH];
    unsafe {
        _mm256_storeu_ps(out.as_mut_ptr(), sums[0]);
        _mm256_storeu_ps(out.as_mut_ptr().add(8), sums[1]);
    }
    out
}

/// The lower and the upper halves of words as f32.
#[inline(always)]
unsafe fn widened(words: __m256i) -> [__m256; 2] {
    unsafe {
        let upper = _mm256_and_si256(words, _mm256_set1_epi32(-0x1_0000));
        [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), _mm256_castsi256_ps(upper)]
    }
}

impl Vectors for F32 {
    type Vector = [__m256; 2];

    #[inline(always)]
    unsafe fn zeros() -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn load(numbers: *const f32) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(numbers), _mm256_loadu_ps(numbers.add(8))] }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [__m256; 2], b: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], sum[0]), _mm256_fmadd_ps(a[1], b[1], sum[1])] }
    }

    #[inline(always)]
    unsafe fn numbers(vector: [__m256; 2]) -> [f32; WIDTH] {
        unsafe { floats(vector) }
    }

    #[inline(always)]
    unsafe fn at_least(a: [__m256; 2], b: [__m256; 2]) -> u16 {
        unsafe {
            let lower = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a[0], b[0]));
            let upper = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a[1], b[1]));
            (lower | (upper << 8)) as u16
        }
    }
}
