//! The vocabulary head and its cross entropy as one operator: `[M, V]` is never stored.

use candle_core::{DType, Result as Candle, Tensor};
use rayon::prelude::*;

use super::custom_op::{Value, custom_op, on_slices, with_numbers};
use crate::{
    error::{Error, Result},
    kernels::slices::{self, Into, View},
};

/// Rows whose logits are in memory at a time, on a processor and on another device.
const BLOCK: usize = 256;
const DEVICE_BLOCK: usize = 1024;
/// Terms a thread takes at a time, and rows where rows are independent.
const TILE: usize = 512;
const ROWS: usize = 32;

/// mean over rows of −ln softmax(h Wᵀ + b) at the row's target: h `[M, H]`, W `[V, H]`, b `[V]`, M
/// targets below V; a scalar.
///
/// The gradients of a scalar are known up to a factor as soon as it is, so they are computed with it,
/// block after block: 3·M·V·H products and `[256, V]` numbers, whatever M is. The sums of a block are
/// taken in a fixed order, so the result does not depend on the number of threads.
///
/// # Errors
/// [`Error::Internal`] without rows or for another number of targets; [`Error::Compute`].
pub fn cross_entropy_head(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[u32],
) -> Result<Tensor> {
    let (rows, terms) = (hidden.dim(0)?, weight.dim(0)?);
    if rows == 0 || rows != targets.len() || targets.iter().any(|&at| at as usize >= terms) {
        return Err(Error::Internal(format!(
            "cross entropy: expected a target below {terms} for each of 1 or more rows, found {} for {rows}",
            targets.len()
        )));
    }
    let (value, gradients) = if on_slices(hidden) {
        let sums = with_numbers([hidden, weight, bias], |[hidden, weight, bias]| {
            Head { hidden, weight, bias, targets }.sums()
        })?;
        let device = hidden.device();
        let gradients = [
            Tensor::from_vec(sums.hidden, hidden.shape(), device)?,
            Tensor::from_vec(sums.weight, weight.shape(), device)?,
            Tensor::from_vec(sums.bias, bias.shape(), device)?,
        ];
        (Value::Host(vec![(sums.loss / rows as f64) as f32]), gradients)
    } else {
        let (loss, gradients) = on_device([hidden, weight, bias].map(Tensor::detach), targets)?;
        (Value::Tensor(loss), gradients)
    };
    let backward = move |_: [&Tensor; 3], upstream: &Tensor| {
        let [hidden, weight, bias] = &gradients;
        let times = |part: &Tensor| part.broadcast_mul(&upstream.to_dtype(part.dtype())?);
        Ok([times(hidden)?, times(weight)?, times(bias)?])
    };
    Ok(custom_op("cross_entropy_head", [hidden, weight, bias], value, (), Box::new(backward))?)
}

struct Head<'a> {
    hidden: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    targets: &'a [u32],
}

/// The sum of the losses, and the gradients of their mean.
struct Sums {
    loss: f64,
    hidden: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Head<'_> {
    fn sums(&self) -> Sums {
        let mut sums = Sums {
            loss: 0.0,
            hidden: vec![0.0; self.hidden.len()],
            weight: vec![0.0; self.weight.len()],
            bias: vec![0.0; self.bias.len()],
        };
        for from in (0..self.targets.len()).step_by(BLOCK) {
            self.block(from, BLOCK.min(self.targets.len() - from), &mut sums);
        }
        sums
    }

    /// The rows `from .. from + rows`; `scores` holds tile after tile, each `[rows, width]`.
    fn block(&self, from: usize, rows: usize, sums: &mut Sums) {
        let (terms, h) = (self.bias.len(), self.weight.len() / self.bias.len());
        let states = View::whole(&self.hidden[from * h..][..rows * h], h);
        let targets = &self.targets[from..][..rows];
        let tile = |at: usize| View::whole(&self.weight[at * TILE * h..], h);
        let tile = |at: usize| View { rows: TILE.min(terms - at * TILE), ..tile(at) };
        let mut scores = vec![0.0; rows * terms];
        let parts: Vec<Vec<(f32, f32)>> = scores
            .par_chunks_mut(rows * TILE)
            .enumerate()
            .map(|(at, scores)| {
                let (weight, bias) = (tile(at), &self.bias[at * TILE..]);
                let width = weight.rows;
                scores.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(&bias[..width]));
                slices::times_transposed(states, weight, scores, width, Into::Add);
                scores.chunks_exact(width).map(slices::largest_and_sum).collect()
            })
            .collect();
        let norms: Vec<f32> = (0..rows).map(|row| norm(parts.iter().map(|p| p[row]))).collect();
        for ((row, &target), norm) in targets.iter().enumerate().zip(&norms) {
            let (at, term) = (target as usize / TILE, target as usize % TILE);
            let score = scores[at * rows * TILE + row * tile(at).rows + term];
            sums.loss += f64::from(norm - score);
        }
        // from here on they are the gradients of the logits
        let share = 1.0 / self.targets.len() as f32;
        let gradients = sums.weight.par_chunks_mut(TILE * h).zip(sums.bias.par_chunks_mut(TILE));
        let tiles = scores.par_chunks_mut(rows * TILE).zip(gradients).enumerate();
        tiles.for_each(|(at, (scores, (dw, db)))| {
            for ((row, norm), &target) in scores.chunks_exact_mut(db.len()).zip(&norms).zip(targets)
            {
                slices::exponentials(row, *norm, share);
                if target as usize / TILE == at {
                    row[target as usize % TILE] -= share;
                }
                slices::add_scaled(db, 1.0, row);
            }
            slices::transposed_times(View::whole(scores, db.len()), states, dw, h, Into::Add);
        });
        let hidden = &mut sums.hidden[from * h..][..rows * h];
        hidden.par_chunks_mut(ROWS * h).enumerate().for_each(|(part, dh)| {
            for (at, scores) in scores.chunks(rows * TILE).enumerate() {
                let weight = tile(at);
                let scores = &scores[part * ROWS * weight.rows..][..dh.len() / h * weight.rows];
                slices::times(View::whole(scores, weight.rows), weight, dh, h, Into::Add);
            }
        });
    }
}

/// ln Σ exp over parts that are given by their largest score and their Σ exp(score − largest).
fn norm(parts: impl Iterator<Item = (f32, f32)> + Clone) -> f32 {
    let largest = parts.clone().fold(f32::NEG_INFINITY, |best, (largest, _)| best.max(largest));
    largest + parts.map(|(part, sum)| sum * (part - largest).exp()).sum::<f32>().ln()
}

/// The same by candle's operators, softmax in f32 or wider.
fn on_device(inputs: [Tensor; 3], targets: &[u32]) -> Candle<(Tensor, [Tensor; 3])> {
    let [hidden, weight, bias] = inputs;
    let (dtype, device) = (hidden.dtype(), hidden.device());
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (narrow, bias) = (weight.to_dtype(dtype)?, bias.to_dtype(wide)?);
    let share = 1.0 / targets.len() as f64;
    let mut loss = Tensor::zeros((), wide, device)?;
    let (mut dh, mut dw, mut db) = (Vec::new(), weight.zeros_like()?, bias.zeros_like()?);
    for (block, targets) in targets.chunks(DEVICE_BLOCK).enumerate() {
        let states = hidden.narrow(0, block * DEVICE_BLOCK, targets.len())?;
        let targets = Tensor::new(targets, device)?.unsqueeze(1)?;
        let logits = states.matmul(&narrow.t()?)?.to_dtype(wide)?.broadcast_add(&bias)?;
        let logits = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
        let powers = logits.exp()?;
        let sums = powers.sum_keepdim(1)?;
        loss = (loss + (sums.log()? - logits.gather(&targets, 1)?)?.sum_all()?)?;
        let hit = Tensor::ones(targets.shape(), wide, device)?.neg()?;
        let slope = powers.broadcast_div(&sums)?.scatter_add(&targets, &hit, 1)?;
        let slope = (slope * share)?;
        db = (db + slope.sum(0)?)?;
        let slope = slope.to_dtype(dtype)?;
        dw = (dw + slope.t()?.matmul(&states)?.to_dtype(weight.dtype())?)?;
        dh.push(slope.matmul(&narrow)?);
    }
    // the loss stays wide: a half number has three digits
    Ok(((loss * share)?, [Tensor::cat(&dh, 0)?, dw, db.to_dtype(weight.dtype())?]))
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::nn::{
        custom_op::tests::{check_same, random},
        linear,
    };

    fn inputs(rows: usize, terms: usize) -> ([Tensor; 3], Vec<u32>) {
        let inputs = [random(&[rows, 5], 1), random(&[terms, 5], 2), random(&[terms], 3)];
        let targets = (0..rows).map(|row| ((row * 97 + terms - 1) % terms) as u32).collect();
        (inputs, targets)
    }

    /// The formula as it is written, in candle's graph.
    fn plain(hidden: &Tensor, weight: &Tensor, bias: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let logits = linear(hidden, weight, bias)?;
        let norm = logits.exp()?.sum_keepdim(1)?.log()?;
        let targets = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
        Ok((norm - logits.gather(&targets, 1)?)?.mean_all()?)
    }

    #[test]
    fn in_blocks_it_is_the_plain_formula() {
        // one row; a row beyond two blocks and a term beyond two tiles
        for (rows, terms) in [(1, 3), (2 * BLOCK + 1, 2 * TILE + 1)] {
            let (inputs, targets) = inputs(rows, terms);
            check_same(&inputs, |[h, w, b]| Ok((cross_entropy_head(h, w, b, &targets)? * 3.0)?));
            check_same(&inputs, |[h, w, b]| match on_slices(h) {
                true => cross_entropy_head(h, w, b, &targets),
                false => plain(h, w, b, &targets),
            });
        }
    }

    #[test]
    fn logits_far_from_0_are_no_infinity() {
        let (inputs, targets) = inputs(3, 40);
        let [h, w, b] = inputs.map(|input| input.to_dtype(DType::F32).unwrap());
        let loss = cross_entropy_head(&(h * 3e4).unwrap(), &w, &b, &targets).unwrap();
        let loss = loss.to_scalar::<f32>().unwrap();
        assert!(loss.is_finite() && loss > 1e3, "{loss}");
    }

    /// As on a device: states in half numbers, weights wide.
    #[test]
    fn half_states_get_half_gradients_and_weights_wide_ones() {
        let (inputs, targets) = inputs(4, 40);
        let [h, w, b] = inputs.map(|input| input.to_dtype(DType::F32).unwrap());
        let truth = cross_entropy_head(&h, &w, &b, &targets).unwrap();
        let h = Var::from_tensor(&h.to_dtype(DType::F16).unwrap()).unwrap();
        let [w, b] = [w, b].map(|input| Var::from_tensor(&input).unwrap());
        let loss = cross_entropy_head(&h, &w, &b, &targets).unwrap();
        assert_eq!(loss.dtype(), DType::F32);
        let off = (&loss - truth).unwrap().abs().unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-2, "{off}");
        let gradients = loss.backward().unwrap();
        let dtypes = [&h, &w, &b].map(|var| gradients.get(var).unwrap().dtype());
        assert_eq!(dtypes, [DType::F16, DType::F32, DType::F32]);
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let ([h, w, b], targets) = inputs(3, 40);
        for targets in [&targets[..2], &[1, 2, 40]] {
            let error = cross_entropy_head(&h, &w, &b, targets).unwrap_err().to_string();
            assert!(error.contains("a target below 40"), "{error}");
        }
    }
}
