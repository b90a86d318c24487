//! Kernels for processors with AVX-512: sixteen sums are one register.

use std::arch::x86_64::*;

use super::{
    dot::{self, Best, Pair, Vectors},
    tile::{Job, Lanes, Sink, Step, WIDTH, product},
};

/// y in f32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn f32(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<F32, 8, 3>(job, sink) }
}

/// y of pairs of bf16, widened to f32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn wide_bf16(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<WideBf16, 8, 2>(job, sink) }
}

/// y of pairs of bf16 by the instruction for them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,avx512bf16")]
pub(super) fn bf16(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<Bf16, 8, 3>(job, sink) }
}

/// y of fours of u8 and i8.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,avx512vnni")]
pub(super) fn int8(job: &Job, sink: &mut impl Sink<i32>) {
    // SAFETY: this function has the instructions.
    unsafe { product::<Int8, 8, 3>(job, sink) }
}

/// As [`dot::largest`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn largest(pair: &Pair, best: &mut Best) {
    // SAFETY: this function has the instructions; the caller checked the sizes.
    unsafe { dot::largest_in_blocks::<F32, 4, 4>(pair, best) }
}

/// As [`dot::largest_found`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn largest_found(pair: &Pair, found: &[(u32, u16)], best: &mut Best) {
    // SAFETY: this function has the instructions; the caller checked the sizes.
    unsafe { dot::largest_found::<F32>(pair, found, best) }
}

/// As [`dot::find`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn find(found: &mut Vec<(u32, u16)>, upper: &[[f32; WIDTH]], threshold: &[f32; WIDTH]) {
    // SAFETY: this function has the instructions.
    unsafe { dot::find::<F32>(found, upper, threshold) }
}

struct F32;
struct WideBf16;
struct Bf16;
struct Int8;

// SAFETY of the bodies below, all alike: the functions above have the instructions, and the caller
// promises that pointers are readable.

impl Lanes for F32 {
    type Number = f32;
    type Sums = __m512;
    type Weights = __m512;
    type Value = __m512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> __m512 {
        unsafe { _mm512_load_ps(step.cast()) }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> __m512 {
        unsafe { _mm512_set1_ps(word.cast::<f32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512, value: __m512, weights: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(value, weights, sums) }
    }

    #[inline(always)]
    unsafe fn numbers(sums: __m512) -> [f32; WIDTH] {
        unsafe { floats(sums) }
    }
}

impl Lanes for WideBf16 {
    type Number = f32;
    type Sums = __m512;
    type Weights = [__m512; 2];
    type Value = [__m512; 2];

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> [__m512; 2] {
        unsafe { widened(_mm512_load_si512(step.cast())) }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> [__m512; 2] {
        unsafe { widened(_mm512_set1_epi32(word.cast::<i32>().read())) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512, value: [__m512; 2], weights: [__m512; 2]) -> __m512 {
        unsafe {
            let sums = _mm512_fmadd_ps(value[0], weights[0], sums);
            _mm512_fmadd_ps(value[1], weights[1], sums)
        }
    }

    #[inline(always)]
    unsafe fn numbers(sums: __m512) -> [f32; WIDTH] {
        unsafe { floats(sums) }
    }
}

impl Lanes for Bf16 {
    type Number = f32;
    type Sums = __m512;
    type Weights = __m512i;
    type Value = __m512i;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> __m512i {
        unsafe { _mm512_load_si512(step.cast()) }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> __m512i {
        unsafe { _mm512_set1_epi32(word.cast::<i32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512, value: __m512i, weights: __m512i) -> __m512 {
        // SAFETY: the types are the same 64 bytes.
        unsafe {
            let [value, weights] =
                [value, weights].map(|x| std::mem::transmute::<__m512i, __m512bh>(x));
            _mm512_dpbf16_ps(sums, value, weights)
        }
    }

    #[inline(always)]
    unsafe fn numbers(sums: __m512) -> [f32; WIDTH] {
        unsafe { floats(sums) }
    }
}

impl Lanes for Int8 {
    type Number = i32;
    type Sums = __m512i;
    type Weights = __m512i;
    type Value = __m512i;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn weights(step: *const Step) -> __m512i {
        unsafe { _mm512_load_si512(step.cast()) }
    }

    #[inline(always)]
    unsafe fn value(word: *const u32) -> __m512i {
        unsafe { _mm512_set1_epi32(word.cast::<i32>().read()) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512i, value: __m512i, weights: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, value, weights) }
    }

    #[inline(always)]
    unsafe fn numbers(sums: __m512i) -> [i32; WIDTH] {
        let mut out = [0; WIDTH];
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sums) };
        out
    }
}

#[inline(always)]
unsafe fn floats(sums: __m512) -> [f32; WIDTH] {
    let mut out = [0.0; WIDTH];
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

/// The lower and the upper halves of words as f32.
#[inline(always)]
unsafe fn widened(words: __m512i) -> [__m512; 2] {
    unsafe {
        let upper = _mm512_and_si512(words, _mm512_set1_epi32(-0x1_0000));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(upper)]
    }
}

impl Vectors for F32 {
    type Vector = __m512;

    #[inline(always)]
    unsafe fn zeros() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(numbers: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(numbers) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn numbers(vector: __m512) -> [f32; WIDTH] {
        unsafe { floats(vector) }
    }

    #[inline(always)]
    unsafe fn at_least(a: __m512, b: __m512) -> u16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b) }
    }
}
