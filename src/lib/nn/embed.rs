//! Rows of a table by their numbers.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result as Candle, Shape, Tensor};

use super::{
    cuda,
    custom_op::{Value, custom_op, on_slices},
    gather,
};
use crate::error::Result;

/// Rows of a table `[V, H]` by number → `[rows, H]`. The gradient has only these rows.
///
/// # Errors
/// [`crate::Error::Compute`] for a number that the table has not.
pub fn embed(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    if cuda::here(table) && table.dtype() == DType::F32 {
        return on_device(table, rows);
    }
    if !on_slices(table) {
        return Ok(table.index_select(&Tensor::new(rows, table.device())?, 0)?);
    }
    Ok(table.apply_op1(Embed { rows: rows.to_vec() })?)
}

fn on_device(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let (terms, width) = table.dims2()?;
    let ids = Tensor::new(rows, table.device())?;
    let value = Value::Tensor(table.detach().index_select(&ids, 0)?);
    let backward = move |_: [&Tensor; 1], gradient: &Tensor| {
        Ok([cuda::spread_rows(&gradient.contiguous()?, &ids, terms)?])
    };
    Ok(custom_op("embed", [table], value, (rows.len(), width), Box::new(backward))?)
}

struct Embed {
    rows: Vec<u32>,
}

impl CustomOp1 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        let (terms, width) = layout.shape().dims2()?;
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("embed: expected a contiguous table")
        };
        let table = &storage.as_slice::<f32>()?[from..to];
        let mut numbers = Vec::with_capacity(self.rows.len() * width);
        for &row in &self.rows {
            let row = row as usize;
            if row >= terms {
                candle_core::bail!("embed: expected a row below {terms}, found {row}")
            }
            numbers.extend_from_slice(&table[row * width..][..width]);
        }
        Ok((CpuStorage::F32(numbers), Shape::from((self.rows.len(), width))))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, gradient: &Tensor) -> Candle<Option<Tensor>> {
        gather::rows(table, &self.rows, gradient.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::custom_op::tests::{check_same, random};

    #[test]
    fn rows_on_slices_are_those_of_index_select() {
        check_same(&[random(&[7, 3], 1)], |[table]| embed(table, &[2, 0, 2, 6]));
        assert!(
            embed(&random(&[7, 3], 1).to_dtype(candle_core::DType::F32).unwrap(), &[7]).is_err()
        );
    }
}
