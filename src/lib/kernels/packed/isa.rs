//! Which instructions a processor has, and the kernels for each.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use super::{
    layout::{Panels, Rows},
    portable,
    tile::{Job, Sink},
};

/// What a word of four bytes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One f32.
    F32,
    /// Two bf16.
    Bf16,
    /// Four bytes: u8 in rows, i8 in weights.
    Int8,
}

/// What a processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 with dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512 with dot products of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// Tiles, in addition to AVX-512.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Isa {
    /// All that this processor has for a kind of numbers, the best last.
    pub fn all(kind: Kind) -> Vec<Isa> {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            let known = match kind {
                Kind::F32 => vec![(Isa::Avx2, avx2), (Isa::Avx512, avx512)],
                Kind::Bf16 => vec![
                    (Isa::Avx2, avx2),
                    (Isa::Avx512, avx512),
                    (Isa::Avx512Bf16, avx512 && is_x86_feature_detected!("avx512bf16")),
                    (Isa::Amx, avx512 && amx::is_there()),
                ],
                Kind::Int8 => vec![
                    (Isa::AvxVnni, avx2 && is_x86_feature_detected!("avxvnni")),
                    (Isa::Avx512Vnni, avx512 && is_x86_feature_detected!("avx512vnni")),
                    (Isa::Amx, avx512 && amx::is_there()),
                ],
            };
            let here = known.into_iter().filter(|(_, here)| *here).map(|(isa, _)| isa);
            [Isa::Portable].into_iter().chain(here).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = kind;
            vec![Isa::Portable]
        }
    }

    /// The best of them.
    pub fn best(kind: Kind) -> Isa {
        Isa::all(kind).pop().unwrap_or(Isa::Portable)
    }
}

/// Hands the sums of `rows` and the panels of `range` to `sink`; numbers are f32 or bf16.
///
/// `isa` must be one of [`Isa::all`].
pub(crate) fn floats(
    isa: Isa,
    rows: Rows,
    panels: &Panels,
    range: Range<usize>,
    sink: &mut impl Sink<f32>,
) {
    let job = &job(rows, panels, range);
    match (isa, panels.kind()) {
        // SAFETY, for all: `Isa::all` found the instructions.
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Kind::F32) => unsafe { avx512::f32(job, sink) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Kind::F32) => unsafe { avx2::f32(job, sink) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Amx, Kind::Bf16) => unsafe { amx::bf16(job, sink) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, Kind::Bf16) => unsafe { avx512::bf16(job, sink) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Kind::Bf16) => unsafe { avx512::wide_bf16(job, sink) },
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Kind::Bf16) => unsafe { avx2::wide_bf16(job, sink) },
        (Isa::Portable, Kind::F32) => portable::f32(job, sink),
        (Isa::Portable, Kind::Bf16) => portable::bf16(job, sink),
        (isa, kind) => unreachable!("{isa:?} has no kernel for {kind:?} that gives floats"),
    }
}

/// As [`floats`], of bytes.
pub(crate) fn integers(
    isa: Isa,
    rows: Rows,
    panels: &Panels,
    range: Range<usize>,
    sink: &mut impl Sink<i32>,
) {
    assert_eq!(panels.kind(), Kind::Int8, "a product of bytes");
    let job = &job(rows, panels, range);
    match isa {
        // SAFETY, for all: `Isa::all` found the instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => unsafe { amx::int8(job, sink) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { avx512::int8(job, sink) },
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => unsafe { avx2::int8(job, sink) },
        Isa::Portable => portable::int8(job, sink),
        #[cfg(target_arch = "x86_64")]
        isa => unreachable!("{isa:?} has no kernel for bytes"),
    }
}

/// Checks the sizes.
fn job<'a>(rows: Rows<'a>, panels: &'a Panels, range: Range<usize>) -> Job<'a> {
    let (words, stride, count) = (rows.words, rows.stride, rows.count);
    let steps = panels.steps();
    assert!(
        count == 0 || words.len() >= (count - 1) * stride + steps,
        "rows larger than their data"
    );
    assert!(range.end <= panels.count(), "panels that are not there");
    Job { words, stride, rows: count, panels: panels.data(), steps, range }
}
