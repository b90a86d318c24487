//! Gradients of variables, gathered outside candle's store.
//!
//! candle begins every gradient with zeros and adds a copy of what an operator gives; a look-up of rows
//! copies a whole table again. For the weights of a model that costs more than the optimizer.
//! The operators of `nn` give the gradient of a variable to this store instead, whole or by rows, and it
//! is added up in place. What candle's own operators give goes the usual way.

use std::cell::RefCell;

use candle_core::{
    CpuStorage, DType, InplaceOp2, Layout, Result as Candle, Tensor, backprop::GradStore,
};
use rayon::prelude::*;

use super::{
    cuda,
    custom_op::{on_slices, with_numbers},
};
use crate::{error::Result, kernels::slices};

/// A variable and its gradient so far.
type Entry = (Tensor, Tensor);

thread_local! {
    /// Open while [`backward`] runs; candle walks the graph on the thread that asks for it.
    static OPEN: RefCell<Option<Vec<Entry>>> = const { RefCell::new(None) };
}

/// The gradients of a scalar, as `loss.backward()` gives them.
///
/// # Errors
/// [`crate::Error::Compute`].
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

/// Σ x² over all numbers of some tensors of one device.
///
/// # Errors
/// [`crate::Error::Compute`].
pub fn sum_of_squares<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Result<f64> {
    let (mut sum, mut on_device) = (0.0, None);
    for x in tensors {
        if cuda::here(x) && x.dtype() == DType::F32 {
            // added up on the device and copied once
            let sum = match &on_device {
                Some(sum) => sum,
                None => on_device.insert(Tensor::zeros(1, DType::F64, x.device())?),
            };
            cuda::add_squares(&x.contiguous()?, sum)?;
        } else if on_slices(x) {
            sum += with_numbers([x], |[x]| slices::squares(x))?;
        } else {
            sum += x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
    }
    Ok(sum + on_device.map_or(Ok(0.0), |sum| sum.squeeze(0)?.to_scalar::<f64>())?)
}

/// Takes the gradient of a variable, which must share its numbers with nothing; gives it back for
/// candle's store if `input` is not a variable, or no store is open here.
pub(super) fn whole(input: &Tensor, gradient: Tensor) -> Candle<Option<Tensor>> {
    gather(input, gradient, |sum, gradient| sum.inplace_op2(gradient, &AddRows { rows: None }))
}

/// As [`whole`] for the gradient of some `rows` of a table `[V, H]`, one per row of `gradient`.
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
    let on_kernels = cuda::here(input);
    if !input.is_variable() || !on_slices(input) && !on_kernels {
        return Ok(Some(gradient));
    }
    OPEN.with_borrow_mut(|open| {
        let Some(entries) = open else { return Ok(Some(gradient)) };
        match entries.iter_mut().find(|(variable, _)| variable.id() == input.id()) {
            Some((_, sum)) if on_kernels => *sum = (&*sum + gradient)?,
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
            candle_core::bail!("add_rows: expected a contiguous f32 gradient")
        };
        let Some((more_from, more_to)) = layout.contiguous_offsets() else {
            candle_core::bail!("add_rows: expected contiguous rows")
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
    use crate::nn::{custom_op::tests::random, embed, linear};

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
            let off = sum_of_squares([&(ours - theirs).unwrap()].into_iter()).unwrap();
            let all = sum_of_squares([theirs].into_iter()).unwrap();
            assert!(off <= 1e-12 * all, "{ours} {theirs}");
        }
    }

    #[test]
    fn squares_are_summed_the_same_on_both_roads() {
        let x = random(&[3, 20_001], 1);
        let narrow = sum_of_squares([&x.to_dtype(DType::F32).unwrap()].into_iter()).unwrap();
        let wide = sum_of_squares([&x].into_iter()).unwrap();
        assert!((narrow - wide).abs() <= 1e-6 * wide, "{narrow} {wide}");
    }
}
