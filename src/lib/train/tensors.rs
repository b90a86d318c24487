//! Named tensors as a safetensors file, written one after the other: a model is saved without a
//! second copy of it in memory.

use std::{
    borrow::Cow,
    cmp::{Ordering, Reverse},
    io::Write,
    path::Path,
};

use candle_core::Var;
use half::f16;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    model::{BLOCK, BLOCK_SCALE},
};

/// Where the numbers of a tensor are.
pub(in crate::train) enum Numbers<'a> {
    Variable(&'a Var),
    Host(Cow<'a, [f32]>),
}

/// A tensor of the file.
pub(in crate::train) struct Named<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub numbers: Numbers<'a>,
}

impl<'a> Named<'a> {
    pub fn variable(name: String, var: &'a Var) -> Named<'a> {
        Named { name, shape: var.dims().to_vec(), numbers: Numbers::Variable(var) }
    }

    fn numbers(&self) -> Result<Cow<'_, [f32]>> {
        Ok(match &self.numbers {
            Numbers::Variable(var) => Cow::Owned(var.flatten_all()?.to_vec1()?),
            Numbers::Host(numbers) => Cow::Borrowed(&**numbers),
        })
    }

    /// Whether [`Width::Byte`] stores it in bytes.
    fn is_matrix(&self) -> bool {
        self.shape.len() == 2 && self.name.ends_with(".weight")
    }

    fn columns(&self) -> usize {
        self.shape.last().map_or(1, |&columns| columns.max(1))
    }
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::train) enum Width {
    Full,
    /// f16, rounded to the nearest.
    Half,
    /// Matrices called `*.weight` in I8, each with a tensor of scales (`model::stored`); the rest in f32.
    ///
    /// A scale for every [`BLOCK`] columns of a row: max |x| / 127; byte = x / scale rounded to the nearest,
    /// ties to even: off by at most half a scale.
    Byte,
}

/// A tensor of the file, and the part of a model's tensor that it holds.
struct Part<'t, 'a> {
    tensor: &'t Named<'a>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    F32,
    F16,
    /// f32, the scales of blocks.
    Scales,
    I8,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::F32 | Kind::Scales => size_of::<f32>(),
            Kind::F16 => size_of::<f16>(),
            Kind::I8 => size_of::<i8>(),
        }
    }

    fn dtype(self) -> &'static str {
        match self {
            Kind::F32 | Kind::Scales => "F32",
            Kind::F16 => "F16",
            Kind::I8 => "I8",
        }
    }

    /// Adds what the file has of some numbers, whole rows of them.
    fn put(self, numbers: &[f32], columns: usize, bytes: &mut Vec<u8>) {
        match self {
            Kind::F32 => bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
            Kind::F16 => {
                bytes.extend(numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
            }
            Kind::Scales => {
                bytes.extend(blocks(numbers, columns).flat_map(|block| scale(block).to_le_bytes()));
            }
            Kind::I8 => {
                for block in blocks(numbers, columns) {
                    let scale = scale(block);
                    bytes.extend(block.iter().map(|&x| byte(x, scale).cast_unsigned()));
                }
            }
        }
    }
}

impl Part<'_, '_> {
    fn name(&self) -> String {
        let suffix = if self.kind == Kind::Scales { BLOCK_SCALE } else { "" };
        format!("{}{suffix}", self.tensor.name)
    }

    fn shape(&self) -> Vec<usize> {
        match self.kind {
            Kind::Scales => vec![self.tensor.shape[0], self.tensor.shape[1].div_ceil(BLOCK)],
            _ => self.tensor.shape.clone(),
        }
    }

    fn bytes(&self) -> usize {
        self.shape().iter().product::<usize>() * self.kind.bytes()
    }

    /// Wide numbers first, so that each lies at a multiple of its width, as some readers need; then by name.
    fn order(&self, other: &Self) -> Ordering {
        let key = |part: &Self| (Reverse(part.kind.bytes()), part.name());
        key(self).cmp(&key(other))
    }
}

/// The tensors of a file in their order.
fn parts<'t, 'a>(tensors: &'t [Named<'a>], width: Width) -> Vec<Part<'t, 'a>> {
    let kinds = |tensor: &Named| match width {
        Width::Full => &[Kind::F32][..],
        Width::Half => &[Kind::F16],
        Width::Byte if tensor.is_matrix() => &[Kind::Scales, Kind::I8],
        Width::Byte => &[Kind::F32],
    };
    let of = |tensor| kinds(tensor).iter().map(move |&kind| Part { tensor, kind });
    let mut parts: Vec<Part> = tensors.iter().flat_map(of).collect();
    parts.sort_by(Part::order);
    parts
}

/// Writes tensors by name, with the metadata that older loaders need.
///
/// # Errors
/// [`Error::Io`]; [`Error::Compute`] if a device does not give its numbers; [`Error::Format`] naming the
/// tensor, for a number that is too large for its width, and in bytes for one that is not finite.
pub(in crate::train) fn write(
    tensors: &[Named],
    width: Width,
    path: &Path,
    out: &mut impl Write,
) -> Result<()> {
    let parts = parts(tensors, width);
    let fail = |source| Error::io(path, source);
    let header = header(&parts);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(fail)?;
    out.write_all(header.as_bytes()).map_err(fail)?;
    for part in &parts {
        let numbers = part.tensor.numbers()?;
        if width != Width::Full {
            check(&numbers, width, &part.tensor.name, path)?;
        }
        let (mut bytes, columns) = (Vec::new(), part.tensor.columns());
        let cells = match part.kind {
            Kind::F32 | Kind::F16 => CELLS,
            Kind::Scales | Kind::I8 => columns * CELLS.div_ceil(columns), // whole rows
        };
        for numbers in numbers.chunks(cells) {
            bytes.clear();
            part.kind.put(numbers, columns, &mut bytes);
            out.write_all(&bytes).map_err(fail)?;
        }
    }
    Ok(())
}

/// Numbers that are converted to bytes at a time.
const CELLS: usize = 1 << 14;

fn header(parts: &[Part]) -> String {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut from = 0;
    for part in parts {
        let (name, to) = (part.name(), from + part.bytes());
        let dtype = part.kind.dtype();
        let entry = json!({"dtype": dtype, "shape": part.shape(), "data_offsets": [from, to]});
        header.insert(name, entry);
        from = to;
    }
    let mut header = Value::Object(header).to_string();
    // numbers begin at a multiple of 8
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    header
}

fn check(numbers: &[f32], width: Width, name: &str, path: &Path) -> Result<()> {
    let is_held = |number: &&f32| match width {
        Width::Half => f16::from_f32(**number).is_finite(),
        Width::Full | Width::Byte => number.is_finite(),
    };
    let what = if width == Width::Half { "numbers that f16 can hold" } else { "finite numbers" };
    match numbers.iter().find(|number| !is_held(number)) {
        Some(number) => {
            Err(Error::format(path, format!("expected {what} in {name}, found {number}")))
        }
        None => Ok(()),
    }
}

/// What of whole rows shares a scale.
fn blocks(rows: &[f32], columns: usize) -> impl Iterator<Item = &[f32]> {
    rows.chunks(columns).flat_map(|row| row.chunks(BLOCK))
}

fn scale(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())) / LARGEST
}

/// The largest byte.
const LARGEST: f32 = 127.0;

/// A block of zeros has the scale 0, and so may one of the smallest numbers that f32 has.
fn byte(x: f32, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    // the scale is rounded, so a quotient may be slightly above 127
    (x / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}

#[cfg(test)]
mod tests;
