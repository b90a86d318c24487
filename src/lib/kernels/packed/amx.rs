//! Kernels for processors with AMX: a tile is 16 rows of 64 bytes, and a product of two a single
//! instruction.
//!
//! The instructions are not known to the compiler yet, so they are written as assembly. All eight
//! tiles are of full size; a block of the result is 32 rows and 32 columns, four tiles, in addition to two of
//! rows and two of weights. Rows must therefore be padded ([`super::Words`] does it).

use std::{arch::asm, sync::OnceLock};

use super::tile::{Job, Sink, Step, WIDTH};

/// Rows of a tile; also how many steps in k one has.
pub(super) const TILE: usize = 16;
/// Rows of a block.
const ROWS: usize = 2 * TILE;

/// Whether this process may use tiles: asked, and of the system demanded, once.
pub(super) fn is_there() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| has_instructions() && keeps_tiles() && is_permitted())
}

fn has_instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const ALL: u32 = BF16 | TILES | INT8;
    // kernels finish sums by AVX-512
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && __cpuid(0).eax >= 7
        && __cpuid_count(7, 0).edx & ALL == ALL
}

/// Whether the system keeps the tiles of a thread when it runs another.
fn keeps_tiles() -> bool {
    #[target_feature(enable = "xsave")]
    fn kept() -> u64 {
        // SAFETY: register 0 is always there.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    const CONFIGURATION_AND_TILES: u64 = 0b11 << 17;
    is_x86_feature_detected!("xsave")
        // SAFETY: the instruction is there.
        && unsafe { kept() } & CONFIGURATION_AND_TILES == CONFIGURATION_AND_TILES
}

/// Linux gives a process tiles when it asks for them.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: takes two numbers, and says by another than 0 that it did nothing.
        let answer =
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
        answer == 0
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The shapes of eight tiles, as the processor reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static FULL: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Sixteen rows of sixteen sums: a tile of the result.
type Sums<T> = [[T; WIDTH]; TILE];

/// y of pairs of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn bf16(job: &Job, sink: &mut impl Sink<f32>) {
    // SAFETY: the caller found the instructions.
    unsafe { product(job, 0.0, multiply_bf16, sink) }
}

/// y of fours of u8 and i8.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
pub(super) fn int8(job: &Job, sink: &mut impl Sink<i32>) {
    // SAFETY: the caller found the instructions.
    unsafe { product(job, 0, multiply_int8, sink) }
}

/// The operands of one block: pointers at the first of their tiles.
struct Operands<T> {
    /// Rows 0 and 16 of the block.
    rows: [*const u32; 2],
    /// From one row to the next, in bytes.
    stride: usize,
    /// The two panels.
    panels: [*const Step; 2],
    /// Tiles in k, at least 1.
    tiles: usize,
    /// The four tiles of the result, one after the other: rows 0 with both panels, then rows 16.
    sums: *mut T,
}

/// Blocks of 32 × 32, and where fewer rows or panels are left the same ones twice, put once.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn product<T: Copy>(
    job: &Job,
    zero: T,
    multiply: unsafe fn(&Operands<T>),
    sink: &mut impl Sink<T>,
) {
    assert!(job.steps > 0 && job.steps.is_multiple_of(TILE), "steps that do not fill tiles");
    let padded = job.rows.next_multiple_of(TILE);
    assert!(job.rows == 0 || job.words.len() >= (padded - 1) * job.stride + job.steps);
    let mut sums: [Sums<T>; 4] = [[[zero; WIDTH]; TILE]; 4];
    // SAFETY: the caller has the instructions, `FULL` is a sound set of shapes, and the asserts bound
    // what tiles read: 16 rows of 64 bytes from each pointer.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const FULL, options(nostack, readonly));
        for panel in job.range.clone().step_by(2) {
            let second = (panel + 1).min(job.range.end - 1);
            for row in (0..job.rows).step_by(ROWS) {
                let lower = if row + TILE < job.rows { row + TILE } else { row };
                multiply(&Operands {
                    rows: [row, lower].map(|row| job.words.as_ptr().add(row * job.stride)),
                    stride: 4 * job.stride,
                    panels: [panel, second].map(|at| job.panels.as_ptr().add(at * job.steps)),
                    tiles: job.steps / TILE,
                    sums: sums.as_mut_ptr().cast(),
                });
                for at in 0..ROWS.min(job.rows - row) {
                    let half = 2 * (at / TILE);
                    sink.put(row + at, panel, &sums[half][at % TILE]);
                    if second > panel {
                        sink.put(row + at, second, &sums[half + 1][at % TILE]);
                    }
                }
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// The loop over k of a block, by one instruction for two tiles.
macro_rules! multiply {
    ($name:ident, $number:ty, $instruction:literal) => {
        /// # Safety
        /// Tiles are configured as [`FULL`], and the operands are readable and writable.
        unsafe fn $name(operands: &Operands<$number>) {
            // SAFETY: as the caller's; no register but those named is changed.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{upper} + {stride}*1]",
                    "tileloadd tmm6, [{left} + {line}*1]",
                    "tileloadd tmm7, [{right} + {line}*1]",
                    "tileloadd tmm5, [{lower} + {stride}*1]",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "add {upper}, 64",
                    "add {lower}, 64",
                    "add {left}, 1024",
                    "add {right}, 1024",
                    "dec {tiles}",
                    "jnz 2b",
                    "tilestored [{sums} + {line}*1], tmm0",
                    "tilestored [{sums} + {line}*1 + 1024], tmm1",
                    "tilestored [{sums} + {line}*1 + 2048], tmm2",
                    "tilestored [{sums} + {line}*1 + 3072], tmm3",
                    upper = inout(reg) operands.rows[0] => _,
                    lower = inout(reg) operands.rows[1] => _,
                    stride = in(reg) operands.stride,
                    left = inout(reg) operands.panels[0] => _,
                    right = inout(reg) operands.panels[1] => _,
                    line = in(reg) 64usize,
                    tiles = inout(reg) operands.tiles => _,
                    sums = in(reg) operands.sums,
                    options(nostack),
                );
            }
        }
    };
}

multiply!(multiply_bf16, f32, "tdpbf16ps");
multiply!(multiply_int8, i32, "tdpbusd");
