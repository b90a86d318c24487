//! A file of weights, read once from front to back: hashed, and turned to f32 tensor by tensor.

use std::{fmt::Display, path::Path};

use candle_core::{DType, Device, Tensor, safetensors::Load};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    io,
};

/// SHA-256 in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    in_hex(Sha256::new_with_prefix(bytes))
}

fn in_hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
}

/// All tensors of a file of weights under their names in it, and its hash.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a file that is not readable as tensors.
pub(super) fn stored(file: &Path) -> Result<(Vec<(String, Stored)>, String)> {
    let bad =
        |error: &dyn Display| Error::format(file, format!("not readable as tensors: {error}"));
    let mapped = io::map(file)?;
    if file.extension().is_some_and(|e| e == "bin") {
        // the first line: a stack trace follows
        let tensors = candle_core::pickle::read_all(file).map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default();
            bad(&format!("want a zip archive of tensors as torch.save makes it; {reason}"))
        })?;
        let stored = tensors.into_iter().map(|(name, tensor)| Ok((name, Stored::of(&tensor)?)));
        return Ok((stored.collect::<Result<_>>()?, hash(&mapped)));
    }
    let tensors = SafeTensors::deserialize(&mapped).map_err(|error| bad(&error))?;
    let mut views = tensors.tensors();
    // the format knows no gaps: header and tensors, in the order of their places, are the file
    views.sort_by_key(|(_, view)| view.data().as_ptr());
    let behind: usize = views.iter().map(|(_, view)| view.data().len()).sum();
    let mut hasher = Sha256::new_with_prefix(&mapped[..mapped.len() - behind]);
    let mut done = mapped.len() - behind;
    let mut stored = Vec::with_capacity(views.len());
    for (name, view) in views {
        hasher.update(view.data());
        let shape = view.shape().to_vec();
        let one = match view.dtype() {
            Dtype::F32 => {
                let numbers = view.data().as_chunks().0.iter();
                Stored {
                    whole: false,
                    shape,
                    data: numbers.map(|&four| f32::from_le_bytes(four)).collect(),
                }
            }
            _ => Stored::of(&view.load(&Device::Cpu).map_err(|error| bad(&error))?)?,
        };
        stored.push((name, one));
        done += view.data().len();
        // a page that was read counts as this process's memory until it is let go
        io::let_go(&mapped, done);
    }
    Ok((stored, in_hex(hasher)))
}
