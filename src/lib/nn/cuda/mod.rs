//! Kernels for CUDA devices, as functions of tensors; without the feature `cuda` they answer with an error.
//!
//! `kernels.cu` has their code and says what each computes, `calls` and `documents` their shapes and grids;
//! `driver` is the one place that meets the driver. A tensor that [`here`] accepts may be given to any of them; anyone who
//! calls has the plain formula next to it for all others.

mod calls;
mod documents;
#[cfg(not(feature = "cuda"))]
#[path = "absent.rs"]
mod driver;
#[cfg(feature = "cuda")]
mod driver;

use candle_core::{DType, Tensor};

pub(crate) use calls::{
    Finish, NormParts, adamw, add_bias, add_squares, column_sums, embed, gelu, gelu_backward, norm,
    norm_backward, norms, product, spread_rows,
};
pub(crate) use documents::*;
pub(crate) use driver::{Landing, Port, into_storage};

/// Whether kernels can take this tensor.
pub(crate) fn here(x: &Tensor) -> bool {
    cfg!(feature = "cuda")
        && x.device().is_cuda()
        && matches!(x.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

/// What a kernel is given.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read where there is a driver"))]
enum Arg<'a> {
    /// A contiguous tensor, read or written.
    Tensor(&'a Tensor),
    /// No tensor.
    Null,
    /// An `int`.
    Int(usize),
    /// An `unsigned long long`.
    Long(u64),
    /// A `float`.
    Float(f32),
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(tensor: &'a Tensor) -> Arg<'a> {
        Arg::Tensor(tensor)
    }
}

impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(tensor: Option<&'a Tensor>) -> Arg<'a> {
        tensor.map_or(Arg::Null, Arg::Tensor)
    }
}

/// Blocks of a launch, and threads of a block.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read where there is a driver"))]
struct Grid {
    blocks: [usize; 3],
    threads: [u32; 2],
}

/// One side of a product: a row-major matrix, taken as it is or transposed.
#[derive(Clone, Copy)]
pub(crate) enum Side<'a> {
    /// `[rows, columns]`
    Plain(&'a Tensor),
    /// `[columns, rows]`
    Transposed(&'a Tensor),
}
