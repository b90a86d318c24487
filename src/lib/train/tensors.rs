//! Named tensors as a safetensors file, written one after the other: a model is saved without a
//! second copy of it in memory.

use std::{borrow::Cow, io::Write, path::Path};

use candle_core::Var;
use half::f16;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Where the numbers of a tensor are.
pub(super) enum Numbers<'a> {
    Variable(&'a Var),
    Host(Cow<'a, [f32]>),
}

/// A tensor as a file knows it.
pub(super) struct Named<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub numbers: Numbers<'a>,
}

impl<'a> Named<'a> {
    pub fn variable(name: String, var: &'a Var) -> Named<'a> {
        Named { name, shape: var.dims().to_vec(), numbers: Numbers::Variable(var) }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Full,
    /// f16, rounded to the nearest.
    Half,
}

impl Width {
    fn bytes(self) -> usize {
        if self == Width::Full { size_of::<f32>() } else { size_of::<f16>() }
    }

    fn name(self) -> &'static str {
        if self == Width::Full { "F32" } else { "F16" }
    }
}

/// Numbers that are turned into bytes at a time.
const CELLS: usize = 1 << 14;

/// Writes tensors by name, with the metadata that older loaders want.
///
/// # Errors
/// [`Error::Io`]; [`Error::Tensor`] if a device does not give its numbers; [`Error::Format`] for a
/// number that is too large for its width.
pub(super) fn write(
    mut tensors: Vec<Named>,
    width: Width,
    path: &Path,
    out: &mut impl Write,
) -> Result<()> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut from = 0;
    for tensor in &tensors {
        let to = from + tensor.count() * width.bytes();
        let entry =
            json!({"dtype": width.name(), "shape": tensor.shape, "data_offsets": [from, to]});
        header.insert(tensor.name.clone(), entry);
        from = to;
    }
    let mut header = Value::Object(header).to_string();
    // numbers begin at a multiple of 8
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let fail = |source| Error::io(path, source);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(fail)?;
    out.write_all(header.as_bytes()).map_err(fail)?;
    let mut bytes = Vec::with_capacity(CELLS * size_of::<f32>());
    for tensor in &tensors {
        let numbers = match &tensor.numbers {
            Numbers::Variable(var) => Cow::Owned(var.flatten_all()?.to_vec1()?),
            Numbers::Host(numbers) => Cow::Borrowed(&**numbers),
        };
        for part in numbers.chunks(CELLS) {
            bytes.clear();
            match width {
                Width::Full => bytes.extend(part.iter().flat_map(|number| number.to_le_bytes())),
                Width::Half => {
                    let halves = part.iter().map(|&number| f16::from_f32(number));
                    bytes.extend(halves.flat_map(f16::to_le_bytes));
                    if let Some(large) = part.iter().find(|x| !f16::from_f32(**x).is_finite()) {
                        let reason =
                            format!("want numbers f16 can hold, got {large} in {}", tensor.name);
                        return Err(Error::format(path, reason));
                    }
                }
            }
            out.write_all(&bytes).map_err(fail)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_format_s_own_reader() {
        let var = Var::new(&[[1.0f32, -2.0, 0.5]], &Device::Cpu).unwrap();
        let host = Named {
            name: "a".into(),
            shape: vec![CELLS + 1],
            numbers: Numbers::Host(vec![7.0; CELLS + 1].into()),
        };
        let mut bytes = Vec::new();
        let tensors = vec![Named::variable("b.weight".into(), &var), host];
        write(tensors, Width::Full, Path::new("x"), &mut bytes).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let data = |name: &str| read.tensor(name).unwrap().data().to_vec();
        assert_eq!(read.tensor("b.weight").unwrap().shape(), [1, 3]);
        let expected: Vec<u8> = [1.0f32, -2.0, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(data("b.weight"), expected);
        assert_eq!(data("a"), 7.0f32.to_le_bytes().repeat(CELLS + 1));
        assert_eq!(read.names().len(), 2);
    }

    #[test]
    fn halves_are_rounded_and_what_they_cannot_hold_is_refused() {
        let named = |numbers: &[f32]| {
            let numbers = numbers.to_vec();
            Named {
                name: "a".into(),
                shape: vec![numbers.len()],
                numbers: Numbers::Host(numbers.into()),
            }
        };
        let mut bytes = Vec::new();
        let third = 1.0f32 / 3.0;
        write(vec![named(&[third, -2.0])], Width::Half, Path::new("x"), &mut bytes).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = read.tensor("a").unwrap();
        assert_eq!((tensor.dtype(), tensor.data().len()), (safetensors::Dtype::F16, 4));
        let first = f16::from_le_bytes(tensor.data()[..2].try_into().unwrap()).to_f32();
        assert!(first != third && (first - third).abs() < 1e-4);
        let error = write(vec![named(&[1e6])], Width::Half, Path::new("x"), &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("got 1000000 in a"));
    }
}
