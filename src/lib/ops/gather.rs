//! Gradients of variables, gathered beside candle's store.
//!
//! candle begins every gradient with zeros and adds a copy of what an operator gives; a look-up of rows
//! copies a whole table once more. For the weights of a model that costs more than the optimizer.
//! Operators of ours give the gradient of a variable to this store instead, whole or by rows, and it
//! is added up in place. What candle's own operators give goes the usual way.

use std::cell::RefCell;

use candle_core::{
    CpuStorage, DType, InplaceOp2, Layout, Result as Candle, Tensor, backprop::GradStore,
};
use rayon::prelude::*;

use super::{
    graft::{on_slices, with_numbers},
    slices,
};
use crate::error::Result;

/// A variable and its gradient so far.
type Entry = (Tensor, Tensor);

thread_local! {
    /// Open while [`backward`] runs; candle walks the graph on the thread that asks for it.
    static OPEN: RefCell<Option<Vec<Entry>>> = const { RefCell::new(None) };
}

/// The gradients of a scalar, as `loss.backward()` gives them.
///
/// # Errors
/// [`crate::Error::Tensor`].
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    OPEN.set(Some(Vec::new()));
    let store = loss.backward();
    let gathered = OPEN.take().unwrap_or_default();
    let mut store = store?;
    for (variable, gradient) in gathered {
        let gradient = match store.get(&variable) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        store.insert(&variable, gradient);
    }
    Ok(store)
}

/// Σ x² over all numbers of a tensor.
///
/// # Errors
/// [`crate::Error::Tensor`].
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    match on_slices(x) {
        true => Ok(with_numbers([x], |[x]| slices::squares(x))?),
        false => Ok(x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()?),
    }
}

/// Takes the gradient of a variable, which must share its numbers with nothing; gives it back for
/// candle's store if `input` is no variable, or no store of ours is open.
pub(super) fn whole(input: &Tensor, gradient: Tensor) -> Candle<Option<Tensor>> {
    gather(input, gradient, |sum, gradient| sum.inplace_op2(gradient, &AddRows { rows: None }))
}

/// As [`whole`] for the gradient of some `rows` of a table `[V, H]`, one a row of `gradient`.
pub(super) fn rows(table: &Tensor, rows: &[u32], gradient: Tensor) -> Candle<Option<Tensor>> {
    let spread = |gradient: &Tensor| -> Candle<Tensor> {
        let sum = table.zeros_like()?;
        sum.inplace_op2(gradient, &AddRows { rows: Some(rows) })?;
        Ok(sum)
    };
    let known = OPEN
        .with_borrow(|open| open.iter().flatten().any(|(variable, _)| variable.id() == table.id()));
    match known {
        false => whole(table, spread(&gradient)?),
        true => gather(table, gradient, |sum, gradient| {
            sum.inplace_op2(gradient, &AddRows { rows: Some(rows) })
        }),
    }
}

fn gather(
    input: &Tensor,
    gradient: Tensor,
    add: impl FnOnce(&Tensor, &Tensor) -> Candle<()>,
) -> Candle<Option<Tensor>> {
    if !input.is_variable() || !on_slices(input) {
        return Ok(Some(gradient));
    }
    OPEN.with_borrow_mut(|open| {
        let Some(entries) = open else { return Ok(Some(gradient)) };
        match entries.iter().find(|(variable, _)| variable.id() == input.id()) {
            Some((_, sum)) => add(sum, &gradient.contiguous()?)?,
            None => entries.push((input.clone(), gradient.contiguous()?)),
        }
        Ok(None)
    })
}

/// Adds rows to some rows of a table, or everything to everything.
struct AddRows<'a> {
    rows: Option<&'a [u32]>,
}

/// Numbers a thread takes at a time.
const CELLS: usize = 1 << 14;

impl InplaceOp2 for AddRows<'_> {
    fn name(&self) -> &'static str {
        "add_rows"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        more: &CpuStorage,
        layout: &Layout,
    ) -> Candle<()> {
        let (CpuStorage::F32(sum), Some((from, to))) = (sum, sum_layout.contiguous_offsets())
        else {
            candle_core::bail!("add_rows: want a contiguous f32 gradient")
        };
        let Some((more_from, more_to)) = layout.contiguous_offsets() else {
            candle_core::bail!("add_rows: want contiguous rows")
        };
        let (sum, more) = (&mut sum[from..to], &more.as_slice::<f32>()?[more_from..more_to]);
        let Some(rows) = self.rows else {
            sum.par_chunks_mut(CELLS).zip(more.par_chunks(CELLS)).for_each(|(sum, more)| {
                sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            });
            return Ok(());
        };
        let width = more.len() / rows.len().max(1);
        for (&row, more) in rows.iter().zip(more.chunks_exact(width.max(1))) {
            let sum = &mut sum[row as usize * width..][..width];
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::ops::{embed, graft::tests::random, linear};

    #[test]
    fn gathered_gradients_are_those_of_candle_s_store() {
        let var = |shape: &[usize], seed| {
            Var::from_tensor(&random(shape, seed).to_dtype(DType::F32).unwrap()).unwrap()
        };
        let (table, bias) = (var(&[6, 4], 1), var(&[6], 2));
        // the table is met as a product's weight, by rows twice, and by an operator of candle's
        let loss = || -> Result<Tensor> {
            let rows = (embed(&table, &[1, 3, 1])? + embed(&table, &[5, 0, 0])?)?;
            let scores = linear(&rows, &table, &bias)?;
            Ok((scores.sqr()?.sum_all()? + (table.as_tensor() * 0.5)?.sum_all()?)?)
        };
        let (ours, theirs) =
            (backward(&loss().unwrap()).unwrap(), loss().unwrap().backward().unwrap());
        for variable in [&table, &bias] {
            let [ours, theirs] = [&ours, &theirs].map(|store| store.get(variable).unwrap());
            let off = sum_of_squares(&(ours - theirs).unwrap()).unwrap();
            assert!(off <= 1e-12 * sum_of_squares(theirs).unwrap(), "{ours} {theirs}");
        }
    }

    #[test]
    fn squares_are_summed_the_same_on_both_roads() {
        let x = random(&[3, 20_001], 1);
        let narrow = sum_of_squares(&x.to_dtype(DType::F32).unwrap()).unwrap();
        let wide = sum_of_squares(&x).unwrap();
        assert!((narrow - wide).abs() <= 1e-6 * wide, "{narrow} {wide}");
    }
}
