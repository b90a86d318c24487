//! A file of weights, read once from front to back: hashed, and turned to f32 tensor by tensor.
//!
//! A safetensors file may store a matrix `NAME` in eight bits: `NAME` in I8 `[rows, columns]` and its scales in
//! F32, value = scale × byte. `NAME.block_scale` `[rows, blocks]` has a scale for every 32 columns of a row (the
//! last block of a row may be shorter); `NAME.row_scale` `[rows]`, which older files have, one for the whole row.
//! Callers see the f32 values under `NAME` and not the scales.

use std::{collections::BTreeMap, fmt::Display, path::Path};

use candle_core::{DType, Device, Tensor, safetensors::Load};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use super::files::{hash, in_hex};
use crate::{
    error::{Error, Result},
    io,
};

/// Columns of a row that share a scale in a matrix stored in I8.
pub(crate) const BLOCK: usize = 32;

/// What follows the name of a matrix in I8 in the name of its scales.
pub(crate) const BLOCK_SCALE: &str = ".block_scale";

/// The same in files with one scale per row.
const ROW_SCALE: &str = ".row_scale";

/// The scales of a matrix in I8, row by row.
struct Scales {
    /// Columns that share a scale.
    block: usize,
    numbers: Vec<f32>,
}

/// A tensor of a file as plain f32.
pub(super) struct Stored {
    /// Whether the file has whole numbers, which weights are not.
    pub whole: bool,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

impl Stored {
    fn of(tensor: &Tensor) -> Result<Stored> {
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let whole = !tensor.dtype().is_float();
        Ok(Stored { whole, shape: tensor.dims().to_vec(), data })
    }

    /// A tensor in I8: a matrix with scales, or whole numbers without.
    fn of_bytes(view: &TensorView, scales: Option<&Scales>) -> Stored {
        let shape = view.shape().to_vec();
        let number = |&byte: &u8| f32::from(byte.cast_signed());
        let mut data = Vec::with_capacity(view.data().len());
        match scales {
            None => data.extend(view.data().iter().map(number)),
            Some(Scales { block, numbers }) => {
                let columns = shape.last().map_or(1, |&columns| columns.max(1));
                let rows = view.data().chunks_exact(columns);
                let blocks = rows.flat_map(|row| row.chunks(*block));
                for (bytes, scale) in blocks.zip(numbers) {
                    data.extend(bytes.iter().map(|byte| scale * number(byte)));
                }
            }
        }
        Stored { whole: scales.is_none(), shape, data }
    }
}

/// All tensors of a file of weights under their names in it, and its hash.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a file that is not readable as tensors, and for scales that do not
/// fit.
pub(super) fn stored(file: &Path) -> Result<(Vec<(String, Stored)>, String)> {
    let bad =
        |error: &dyn Display| Error::format(file, format!("not readable as tensors: {error}"));
    let mapped = io::map(file)?;
    if file.extension().is_some_and(|e| e == "bin") {
        // the first line: a stack trace follows
        let tensors = candle_core::pickle::read_all(file).map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default();
            bad(&format!("expected a zip archive of tensors as torch.save makes it; {reason}"))
        })?;
        let stored = tensors.into_iter().map(|(name, tensor)| Ok((name, Stored::of(&tensor)?)));
        return Ok((stored.collect::<Result<_>>()?, hash(&mapped)));
    }
    let tensors = SafeTensors::deserialize(&mapped).map_err(|error| bad(&error))?;
    let scales = scales(file, &tensors)?;
    let mut views = tensors.tensors();
    // the format knows no gaps: header and tensors, in the order of their places, are the file
    views.sort_by_key(|(_, view)| view.data().as_ptr());
    let behind: usize = views.iter().map(|(_, view)| view.data().len()).sum();
    let mut hasher = Sha256::new_with_prefix(&mapped[..mapped.len() - behind]);
    let mut done = mapped.len() - behind;
    let mut stored = Vec::with_capacity(views.len());
    for (name, view) in views {
        hasher.update(view.data());
        done += view.data().len();
        if scaled(&name).is_none() {
            let one = match view.dtype() {
                Dtype::F32 => {
                    Stored { whole: false, shape: view.shape().to_vec(), data: floats(&view) }
                }
                Dtype::I8 => Stored::of_bytes(&view, scales.get(&name)),
                _ => Stored::of(&view.load(&Device::Cpu).map_err(|error| bad(&error))?)?,
            };
            stored.push((name, one));
        }
        // a page that was read counts as this process's memory until it is let go
        io::let_go(&mapped, done);
    }
    Ok((stored, in_hex(hasher)))
}

fn floats(view: &TensorView) -> Vec<f32> {
    view.data().as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
}

/// The name of the matrix whose scales a tensor of this name holds, and whether they are blocks'.
fn scaled(name: &str) -> Option<(&str, bool)> {
    let blocks = name.strip_suffix(BLOCK_SCALE).map(|of| (of, true));
    blocks.or_else(|| name.strip_suffix(ROW_SCALE).map(|of| (of, false)))
}

/// The scales of every matrix in I8, under the matrix's name.
///
/// # Errors
/// [`Error::Format`] for scales that are not F32, finite, 0 or more and one per row, or per block of columns, of
/// a matrix in I8; and for a matrix that has both kinds.
fn scales(file: &Path, tensors: &SafeTensors) -> Result<BTreeMap<String, Scales>> {
    let mut found = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let Some((of, blocks)) = scaled(&name) else { continue };
        let bad = |reason: String| Error::format(file, format!("{name}: {reason}"));
        let matrix = tensors
            .tensor(of)
            .map_err(|_| bad(format!("expected a matrix {of} in I8 that it scales, found none")))?;
        if matrix.dtype() != Dtype::I8 {
            let dtype = matrix.dtype();
            return Err(bad(format!("expected {of}, which it scales, in I8, found {dtype:?}")));
        }
        let &[rows, columns] = matrix.shape() else {
            let shape = matrix.shape();
            return Err(bad(format!(
                "expected {of}, which it scales, as a matrix, found {shape:?}"
            )));
        };
        let (block, expected) = match blocks {
            true => (BLOCK, vec![rows, columns.div_ceil(BLOCK)]),
            false => (columns.max(1), vec![rows]),
        };
        if view.dtype() != Dtype::F32 || view.shape() != expected {
            let (dtype, shape) = (view.dtype(), view.shape());
            return Err(bad(format!(
                "expected F32 of shape {expected:?}, found {dtype:?} of {shape:?}"
            )));
        }
        let numbers = floats(&view);
        if let Some(at) = numbers.iter().position(|scale| !(scale.is_finite() && *scale >= 0.0)) {
            let (scale, row) = (numbers[at], at / expected.get(1).copied().unwrap_or(1));
            return Err(bad(format!(
                "expected finite scales of 0 or more, found {scale} in row {row}"
            )));
        }
        if found.insert(of.to_owned(), Scales { block, numbers }).is_some() {
            return Err(bad(format!("expected one tensor of scales for {of}, found two")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
