//! Products with weights that are packed once, for many activations: y `[T, N]` = x `[T, K]` Wᵀ.
//!
//! W is stored in panels of 16 columns, `[N/16][steps]` of 64 bytes: at each step in k a column has a
//! word of four bytes, which is one f32, two bf16 or four i8. x is read unpacked, a word of a row
//! at a time. So all numbers share one loop (`tile`), and an instruction set adds what it does with a
//! word. What becomes of the sums is a [`Sink`], inlined into the loop.
//!
//! Every output is one sum over k in the order of k, begun at 0: it depends neither on the rows of a
//! call nor on threads. Nothing here knows of layers or documents. `unsafe` is used here for the
//! instructions, and elsewhere in `kernels` only around the product routine of `slices`.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod dot;
mod isa;
mod layout;
mod linear;
mod portable;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use dot::{Best, Candidates, largest};
pub(crate) use isa::{Isa, Kind, floats, integers};
pub(crate) use layout::{Panels, Rows, Words};
pub(crate) use linear::{Finish, PackedLinear};
pub(crate) use tile::{Sink, WIDTH};
